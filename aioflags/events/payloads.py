"""A batch becomes payloads: shaped, joined and compressed in slices, so that the event loop is never held for long.

Source: ``events.md`` 2, 4 and 11.3.
"""

from __future__ import annotations

import logging
import uuid
import zlib
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Final

from anyio.lowlevel import checkpoint

from aioflags.events.batch import Batch
from aioflags.model.defaults import MAX_PAYLOAD_BYTES
from aioflags.protocol.payloads import Shaper
from aioflags.protocol.redaction import Redaction
from aioflags.runtime.checkpoints import pause_when_spent
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.logs import logger as package_logger

__all__ = ["EVENT_SLICE", "EventPayload", "compressed", "payloads"]

EVENT_SLICE: Final = 0.00025
"""Seconds of work on a batch between two pauses. Shorter than for flag data, which arrives rarely."""
_BRACKETS: Final = 2
_PIECE: Final = 4 * 1024
"""How much is compressed at once, which takes about as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPayload:
    """The body of one POST, and of how many events and counted evaluations it tells. ``id`` stays the same in a retry."""

    body: bytes
    events: int
    evaluations: int
    id: str


async def payloads(
    batch: Batch, redaction: Redaction, *, longest: int = MAX_PAYLOAD_BYTES, logger: logging.Logger = package_logger
) -> AsyncGenerator[EventPayload, None]:
    """The payloads of a batch: one, unless its body would be longer than ``longest``; a record that is longer goes alone.

    Events that have no shape are left out; the log has the first of them. The summary is the last record of the last one.
    """
    shaper = Shaper(redaction)
    records: list[bytes] = []
    size = _BRACKETS
    budget = Budget(EVENT_SLICE)
    has_failed = False
    for _ in batch.counting:
        await pause_when_spent(budget)
    for event in batch.events:
        try:
            for _ in shaper.preparing(event):
                await pause_when_spent(budget)
            record = shaper.record(event)
        except Exception:
            if not has_failed:  # with one of thousands, all may be
                has_failed = True
                logger.exception("an event is dropped that cannot be shaped, because of a bug in aioflags")
            continue
        if records and size + len(record) > longest:
            yield _payload(records, evaluations=0)
            records, size = [], _BRACKETS
            shaper = Shaper(redaction)  # and with it the contexts that were shaped
        records.append(record)
        size += len(record) + 1
        await pause_when_spent(budget)
    if batch.evaluations:
        summary: list[bytes] = []
        for piece in shaper.summary(batch.summary.start_ms, batch.summary.end_ms, batch.summary.features()):
            summary.append(piece)
            await pause_when_spent(budget)
        last = b"".join(summary)
        if records and size + len(last) > longest:
            yield _payload(records, evaluations=0)
            records = []
        yield _payload([*records, last], evaluations=batch.evaluations)
    elif records:
        yield _payload(records, evaluations=0)


def _payload(records: list[bytes], *, evaluations: int) -> EventPayload:
    events = len(records) - bool(evaluations)
    return EventPayload(body=b"[" + b",".join(records) + b"]", events=events, evaluations=evaluations, id=str(uuid.uuid4()))


async def compressed(body: bytes) -> bytes:
    """The same as gzip."""
    deflater = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    packed: list[bytes] = []
    for piece in _cut(body):
        packed.append(deflater.compress(piece))
        await checkpoint()
    packed.append(deflater.flush())
    return b"".join(packed)


def _cut(body: bytes) -> Iterator[bytes]:
    return (body[start : start + _PIECE] for start in range(0, len(body), _PIECE))
