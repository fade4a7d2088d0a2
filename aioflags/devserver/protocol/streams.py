"""The event streams of FDv2 and FDv1 as async generators of frames: each sends what its client needs, then waits for edits.

A stream has no queue. It remembers the version that it sent last, so a slow client gets the newest state and not every edit.

Source: ``data-system.md`` 2.1 and 3.2; ``client-side.md`` 2.2 and 2.3.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import anyio

from aioflags.devserver.data.served_data import ServedData
from aioflags.devserver.protocol.encoding import HEARTBEAT, Encoding, Fdv1Events, fdv2_messages, frame

RecordSent = Callable[[str, int], None]
"""Called after each transfer with its kind in the protocol's words, and the version of the data that the client has now."""


async def fdv2_stream(
    data: ServedData, encoding: Encoding, basis: str | None, heartbeat: float, record_sent: RecordSent
) -> AsyncGenerator[bytes, None]:
    """The frames for a client with that basis: a transfer, then one for each change."""
    transfer = data.transfer(basis)
    yield b"".join(map(frame, fdv2_messages(transfer, encoding.kinds)))
    record_sent(transfer.kind, transfer.version)
    while True:
        while not await _is_edited(data, transfer.version, heartbeat):
            yield HEARTBEAT
        transfer = data.transfer(transfer.selector)
        yield b"".join(map(frame, fdv2_messages(transfer, encoding.kinds, announced=True)))
        record_sent(transfer.kind, transfer.version)


async def fdv1_stream(
    data: ServedData, events: Fdv1Events, heartbeat: float, record_sent: RecordSent
) -> AsyncGenerator[bytes, None]:
    """The frames of FDv1: an event about all objects, then events about every change."""
    sent = data.version
    first = events.first(data.transfer().objects)
    yield frame(first)
    record_sent(first[0], sent)
    while True:
        while not await _is_edited(data, sent, heartbeat):
            yield HEARTBEAT
        changes, sent = data.changed_since(sent), data.version
        if frames := b"".join(map(frame, events.changes(changes))):
            yield frames
            record_sent(events.change, sent)


async def _is_edited(data: ServedData, version: int, within: float) -> bool:
    """Whether the data changed since that version. Waits up to ``within`` seconds for a change."""
    with anyio.move_on_after(within):
        await data.wait_for_edit(version)
    return data.version != version
