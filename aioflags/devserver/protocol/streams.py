"""The event streams of FDv2 and FDv1 as async generators of frames: each sends what its client needs, then waits for edits.

A stream has no queue. It remembers the version that it sent last, so a slow client gets the newest state and not every edit.

Source: ``data-system.md`` 2.1 and 3.2.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import anyio

from aioflags.devserver.protocol.encoding import HEARTBEAT, fdv1_all, fdv1_update, fdv2_messages, frame
from aioflags.devserver.state import ServerState

__all__ = ["RecordSent", "fdv1_stream", "fdv2_stream"]

RecordSent = Callable[[str, int], None]
"""Called after each transfer with its kind in the protocol's words, and the version of the data that the client has now."""


async def fdv2_stream(
    state: ServerState, basis: str | None, heartbeat: float, record_sent: RecordSent
) -> AsyncGenerator[bytes, None]:
    """The frames of ``/sdk/stream`` for a client with that basis: a transfer, then one for each change."""
    transfer = state.transfer(basis)
    yield b"".join(map(frame, fdv2_messages(transfer)))
    record_sent(transfer.kind, transfer.version)
    while True:
        while not await _is_edited(state, transfer.version, heartbeat):
            yield HEARTBEAT
        transfer = state.transfer(transfer.selector)
        yield b"".join(map(frame, fdv2_messages(transfer, announced=True)))
        record_sent(transfer.kind, transfer.version)


async def fdv1_stream(state: ServerState, heartbeat: float, record_sent: RecordSent) -> AsyncGenerator[bytes, None]:
    """The frames of ``/all``: all flags and segments, then every change."""
    sent = state.version
    yield frame(("put", {"path": "/", "data": fdv1_all(state.transfer().objects)}))
    record_sent("put", sent)
    while True:
        while not await _is_edited(state, sent, heartbeat):
            yield HEARTBEAT
        updates, sent = state.changed_since(sent), state.version
        yield b"".join(frame(fdv1_update(served)) for served in updates)
        record_sent("patch", sent)


async def _is_edited(state: ServerState, version: int, within: float) -> bool:
    """Whether the data changed since that version. Waits up to ``within`` seconds for a change."""
    with anyio.move_on_after(within):
        await state.wait_for_edit(version)
    return state.version != version
