"""Programs that end while a client is open."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import warnings
from asyncio.subprocess import PIPE
from collections.abc import Callable

import pytest

from aioflags import Client, Config, Context, FlagdClient, FlagdConfig, MobileClient, MobileConfig
from aioflags.testing import FlagsService
from tests.support.canaries import KEY

NOWHERE = "http://127.0.0.1:9"


def client() -> Client:
    return Client("sdk-x", Config(base_uri=NOWHERE, stream_uri=NOWHERE, events_uri=NOWHERE, start_wait=0))


def mobile_client() -> MobileClient:
    config = MobileConfig(base_uri=NOWHERE, stream_uri=NOWHERE, events_uri=NOWHERE, start_wait=0)
    return MobileClient("mob-x", Context("a"), config)


def flagd_client() -> FlagdClient:
    return FlagdClient(FlagdConfig(host="127.0.0.1", port=9))


@pytest.mark.real_time
@pytest.mark.slow
@pytest.mark.parametrize("make", [client, mobile_client, flagd_client])
def test_whenever_a_program_ends_without_closing_no_coroutine_of_the_package_is_reported(
    make: Callable[[], Client | MobileClient | FlagdClient],
) -> None:
    async def program(cycles: int) -> None:
        unclosed = make()
        await unclosed.start(0)
        for _ in range(cycles):
            await asyncio.sleep(0)

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        for cycles in range(30):
            asyncio.run(program(cycles))
        gc.collect()
    reported = [str(warning.message) for warning in shown if warning.category is RuntimeWarning]
    # The same may happen to the tasks of anyio's own connect_tcp.
    assert [text for text in reported if "connect_tcp" not in text] == []


# -- a synchronous program that closes its client in an ``atexit`` function, where some releases of CPython start no thread


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
