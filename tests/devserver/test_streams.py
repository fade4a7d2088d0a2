"""The frames of both streams, and when they are sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import anyio
import msgspec
import pytest

from aioflags.devserver import ServerState
from aioflags.devserver.data.history import fill_defaults
from aioflags.devserver.responses import SERVER_SIDE, fdv1_stream, fdv2_stream
from aioflags.model.change import ObjectKind

Change = Callable[[ServerState], Any]

HEARTBEAT = 30.0
DOCUMENT = {"flags": {"a": {"on": True}}, "segments": {"s": {}}}


def doing(change: Change) -> Change:
    """Gives a lambda a typed argument."""
    return change


def flip_and_add(state: ServerState) -> None:
    state.flip("a")
    state.put("b", {})


def ignore(_what: str, _version: int) -> None:
    """Ignores what was sent."""


def names(frames: bytes) -> list[str]:
    return [line.removeprefix("event: ") for line in frames.decode().splitlines() if line.startswith("event: ")]


def data(frames: bytes) -> list[Any]:
    return [msgspec.json.decode(line.removeprefix("data: ")) for line in frames.decode().splitlines() if line.startswith("data: ")]


async def then(frames: AsyncGenerator[bytes, None], state: ServerState, change: Change) -> bytes:
    """The frames that the stream sends after a change."""
    received = b""

    async def read() -> None:
        nonlocal received
        received = await anext(frames)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        change(state)
    return received


@pytest.fixture
def state() -> ServerState:
    return ServerState.of(DOCUMENT)


@pytest.mark.parametrize(
    ("basis_of", "code", "events"),
    [
        pytest.param(
            doing(lambda state: None),
            "xfer-full",
            ["server-intent", "put-object", "put-object", "payload-transferred"],
            id="without a basis everything",
        ),
        pytest.param(doing(lambda state: state.transfer().selector), "none", ["server-intent"], id="up to date nothing"),
        pytest.param(
            doing(lambda state: (state.transfer().selector, state.flip("a"))[0]),
            "xfer-changes",
            ["server-intent", "put-object", "payload-transferred"],
            id="lagging a delta",
        ),
    ],
)
async def test_fdv2_begins_with_what_the_client_needs(state: ServerState, basis_of: Change, code: str, events: list[str]) -> None:
    async with aclosing(fdv2_stream(state, SERVER_SIDE, basis_of(state), HEARTBEAT, ignore)) as frames:
        first = await anext(frames)
    assert names(first) == events
    assert data(first)[0]["payloads"][0]["intentCode"] == code


async def test_fdv2_sends_each_change_without_a_new_intent(state: ServerState) -> None:
    async with aclosing(fdv2_stream(state, SERVER_SIDE, None, HEARTBEAT, ignore)) as frames:
        await anext(frames)
        changed = await then(frames, state, flip_and_add)
        assert names(changed) == ["put-object", "put-object", "payload-transferred"]
        assert data(changed)[-1] == {"state": state.transfer().selector, "version": 3}
        assert names(await then(frames, state, lambda state: state.delete("b"))) == ["delete-object", "payload-transferred"]


async def test_fdv2_sends_everything_if_deletions_were_forgotten(state: ServerState) -> None:
    def bury(state: ServerState) -> None:
        for n in range(1001):
            state.put(f"temporary-{n}", {})
            state.delete(f"temporary-{n}")

    async with aclosing(fdv2_stream(state, SERVER_SIDE, None, HEARTBEAT, ignore)) as frames:
        await anext(frames)
        again = await then(frames, state, bury)
    assert names(again) == ["server-intent", "put-object", "put-object", "payload-transferred"]
    assert data(again)[0]["payloads"][0]["intentCode"] == "xfer-full"


@pytest.mark.parametrize(
    "open_stream",
    [
        doing(lambda state: fdv2_stream(state, SERVER_SIDE, None, HEARTBEAT, ignore)),
        doing(lambda state: fdv1_stream(state, SERVER_SIDE, HEARTBEAT, ignore)),
    ],
)
async def test_a_stream_without_data_sends_heartbeats(
    state: ServerState, open_stream: Callable[[ServerState], AsyncGenerator[bytes, None]]
) -> None:
    async with aclosing(open_stream(state)) as frames:
        await anext(frames)
        for _ in range(3):
            began = anyio.current_time()
            assert await anext(frames) == b":\n\n"
            assert anyio.current_time() - began == pytest.approx(HEARTBEAT)
        assert names(await then(frames, state, lambda state: state.flip("a")))


async def test_fdv1_sends_everything_then_patches_and_deletions(state: ServerState) -> None:
    async with aclosing(fdv1_stream(state, SERVER_SIDE, HEARTBEAT, ignore)) as frames:
        first = await anext(frames)
        assert names(first) == ["put"]
        assert data(first) == [
            {
                "path": "/",
                "data": {
                    "flags": {"a": fill_defaults(ObjectKind.FLAG, {"key": "a", "version": 1, "on": True})},
                    "segments": {"s": fill_defaults(ObjectKind.SEGMENT, {"key": "s", "version": 1})},
                },
            }
        ]
        patch = await then(frames, state, lambda state: state.flip("a"))
        assert (names(patch), data(patch)) == (
            ["patch"],
            [{"path": "/flags/a", "data": fill_defaults(ObjectKind.FLAG, {"key": "a", "version": 2, "on": False})}],
        )
        delete = await then(frames, state, lambda state: state.replace({}))
        assert names(delete) == ["delete", "delete"]
        assert data(delete) == [{"path": "/segments/s", "version": 2}, {"path": "/flags/a", "version": 3}]


@pytest.mark.parametrize("protocol", ["FDv2", "FDv1"])
async def test_a_transfer_is_recorded_after_it_was_sent(state: ServerState, protocol: str) -> None:
    noted: list[tuple[str, int]] = []

    def note(what: str, version: int) -> None:
        noted.append((what, version))

    words = ["xfer-full", "xfer-changes"] if protocol == "FDv2" else ["put", "patch"]
    stream = (
        fdv2_stream(state, SERVER_SIDE, None, HEARTBEAT, note)
        if protocol == "FDv2"
        else fdv1_stream(state, SERVER_SIDE, HEARTBEAT, note)
    )
    async with aclosing(stream) as frames:
        await anext(frames)
        assert noted == []
        await then(frames, state, lambda state: state.flip("a"))
        assert noted == [(words[0], 1)]
        await then(frames, state, lambda state: state.flip("a"))
        assert noted == [(words[0], 1), (words[1], 2)]
