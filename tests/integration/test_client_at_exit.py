"""A synchronous program that closes its client in an ``atexit`` function, where some releases of CPython start no thread."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE

import pytest

from aioflags.testing import FlagsService
from tests.support.canaries import KEY

PROGRAM = """
import atexit
from contextlib import ExitStack

from anyio.from_thread import start_blocking_portal

from aioflags import Client, Context

running = ExitStack()
atexit.register(running.close)
client = Client.from_env()
portal = running.enter_context(start_blocking_portal())
running.enter_context(portal.wrap_async_context_manager(client))
portal.call(client.flush_and_wait, 30)
client.track("at the end", Context("anna"))
"""


@pytest.mark.real_time
async def test_a_client_that_closes_in_atexit_sends_its_last_events(flags_service: FlagsService) -> None:
    # A name, which has to be looked up, in place of the address.
    url = flags_service.url.replace("127.0.0.1", "localhost")
    places = {f"LAUNCHDARKLY_{place}_URI": url for place in ("BASE", "STREAM", "EVENTS")}
    environment = {**os.environ, **places, "LAUNCHDARKLY_SDK_KEY": KEY}
    program = await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", PROGRAM, env=environment, stderr=PIPE)
    _, errors = await program.communicate()
    assert (program.returncode, errors.decode()) == (0, "")
    await flags_service.wait_for_event("custom", key="at the end", timeout=10)
