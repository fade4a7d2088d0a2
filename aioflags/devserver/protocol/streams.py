"""The two event streams as async generators of frames: each sends what its client lacks, then waits for edits.

A stream keeps no queue: it knows which version it has sent, so a slow client gets the newest state and not every step.

Source: ``data-system.md`` 2.1 and 3.2.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import anyio

from aioflags.devserver.protocol.encoding import HEARTBEAT, fdv1_all, fdv1_update, fdv2_messages, frame
from aioflags.devserver.state import ServerState

__all__ = ["Note", "fdv1_stream", "fdv2_stream"]

Note = Callable[[str, int], None]
"""Takes what was sent, in a word of the protocol, and the version of the data that it brought the client to."""


async def fdv2_stream(state: ServerState, basis: str | None, heartbeat: float, note: Note) -> AsyncGenerator[bytes, None]:
    """``/sdk/stream`` for a client with that basis."""
    transfer = state.transfer(basis)
    yield b"".join(map(frame, fdv2_messages(transfer)))
    note(transfer.kind, transfer.version)
    while True:
        while not await _edited(state, transfer.version, heartbeat):
            yield HEARTBEAT
        transfer = state.transfer(transfer.selector)
        yield b"".join(map(frame, fdv2_messages(transfer, announced=True)))
        note(transfer.kind, transfer.version)


async def fdv1_stream(state: ServerState, heartbeat: float, note: Note) -> AsyncGenerator[bytes, None]:
    """``/all``: everything, then every change."""
    sent = state.version
    yield frame(("put", {"path": "/", "data": fdv1_all(state.transfer().objects)}))
    note("put", sent)
    while True:
        while not await _edited(state, sent, heartbeat):
            yield HEARTBEAT
        updates, sent = state.changed_since(sent), state.version
        yield b"".join(frame(fdv1_update(found)) for found in updates)
        note("patch", sent)


async def _edited(state: ServerState, version: int, within: float) -> bool:
    """Whether the data have changed since that version, or do so within the time."""
    with anyio.move_on_after(within):
        await state.newer_than(version)
    return state.version != version
