"""Sentry: an error that its own SDK sends carries the flags that were evaluated before it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from aioflags import Client, Config
from aioflags.sentry import SentryHook
from tests.support.canaries import WATCH, secretive

USER = secretive("anna")
FLAGS = {"flagValues": {"on": True, "off": False, "text": "t", "number": 1}}


class Captured(Transport):
    """Keeps the envelopes instead of sending them."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        WATCH.text("Sentry", envelope.serialize())
        self.events.append(envelope.get_event())


@contextmanager
def request(sent: Captured) -> Generator[None, None, None]:
    """A separate scope, as Sentry's integrations make for each request."""
    with sentry_sdk.isolation_scope() as scope:
        scope.set_client(sentry_sdk.Client(dsn="https://key@sentry.test/1", transport=sent, default_integrations=False))
        yield


def fail() -> None:
    """Sends an error to Sentry."""
    try:
        raise ValueError("the checkout is broken")
    except ValueError as error:
        sentry_sdk.capture_exception(error)


def flags_of(event: Any) -> dict[str, bool]:
    return {flag["flag"]: flag["result"] for flag in event["contexts"].get("flags", {}).get("values", [])}


async def test_an_error_has_the_boolean_flags_that_were_evaluated() -> None:
    sent = Captured()
    async with Client.local(FLAGS, Config(hooks=[SentryHook()])) as client:
        with request(sent):
            await client.variation("on", USER, False)
            client.variation_nowait("off", USER, True)
            (await client.flags(USER)).variation("missing", True)
            await client.variation("text", USER, "")
            await client.variation("number", USER, 0)
            fail()
    (event,) = sent.events
    assert flags_of(event) == {"on": True, "off": False, "missing": True}


async def test_each_task_has_its_own_flags() -> None:
    sent = Captured()
    async with Client.local(FLAGS, Config(hooks=[SentryHook()])) as client:

        async def serve(key: str) -> None:
            with request(sent):
                await asyncio.sleep(1)
                await client.variation(key, USER, False)
                await asyncio.sleep(1)
                fail()

        await asyncio.gather(serve("on"), serve("off"))
    assert [flags_of(event) for event in sent.events] == [{"on": True}, {"off": False}]


async def test_without_a_sentry_client_the_hook_has_no_effect() -> None:
    async with Client.local(FLAGS, Config(hooks=[SentryHook()])) as client:
        with sentry_sdk.isolation_scope():
            assert await client.variation("on", USER, False) is True


@pytest.mark.real_time
def test_without_the_extra_the_import_error_names_it() -> None:
    program = "import sys; sys.modules['sentry_sdk'] = None; import aioflags.sentry"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "aioflags.sentry needs the extra sentry: pip install 'aioflags[sentry]'" in ran.stderr
