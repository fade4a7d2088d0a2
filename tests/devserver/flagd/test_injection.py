"""A fault that arrives while a message is on its way. The context of the call is the test's, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import grpc
import pytest

from aioflags.devserver import Endpoint, Fault, ServerState
from aioflags.devserver.decode import decode
from aioflags.devserver.flagd.relay import CallFaults


class Aborted(Exception):  # noqa: N818 -- as gRPC's
    """What ``abort`` raises."""


class SlowContext:
    """A call whose messages take some seconds to be sent. ``log``: what was done, and when."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.log: list[tuple[str, float]] = []
        self._began = anyio.current_time()

    def invocation_metadata(self) -> tuple[()]:
        return ()

    async def write(self, message: object) -> None:
        await anyio.sleep(self.seconds)
        self._note("sent")

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        self._note(code.name)
        raise Aborted

    def _note(self, what: str) -> None:
        self.log.append((what, round(anyio.current_time() - self._began, 3)))


def cut(*, reset: bool) -> None:
    raise AssertionError("no fault here cuts a connection")


async def messages() -> AsyncGenerator[str, None]:
    yield "first"
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("seconds", "log"),
    [
        pytest.param(0.1, [("sent", 0.1), ("INTERNAL", 0.5)], id="sent before it"),
        pytest.param(0.8, [("sent", 0.8), ("INTERNAL", 0.8)], id="on its way"),
        pytest.param(60, [("INTERNAL", 1.5)], id="to a client that does not read"),
    ],
)
async def test_a_status_is_sent_after_the_message_before_it(seconds: float, log: list[tuple[str, float]]) -> None:
    state, context = ServerState.of({"flags": {}}), SlowContext(seconds)

    async def inject() -> None:
        await anyio.sleep(0.5)
        state.inject(decode(Fault, {"kind": "status", "code": "INTERNAL", "on": ["SyncFlags"]}))

    as_context: Any = context
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(inject)
        with CallFaults(state, Endpoint.SYNC_FLAGS, as_context, cut) as call, pytest.raises(Aborted):
            await call.stream(messages(), lambda: None)
    assert context.log == log
