"""Payloads: a batch as bodies of requests. It is encoded, joined and compressed in slices, so that other tasks can run in between.

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
from aioflags.protocol.event_json import EventEncoder
from aioflags.protocol.redaction import Redaction
from aioflags.runtime.checkpoints import pause_when_spent
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.logs import logger as package_logger

__all__ = ["EVENT_SLICE", "EventPayload", "compressed", "payloads"]

EVENT_SLICE: Final = 0.00025
"""Seconds of work on a batch between two pauses. Shorter than for flag data, which arrives rarely."""
_BRACKETS: Final = 2
_COMPRESSED_SLICE: Final = 4 * 1024
"""Bytes that are compressed between two pauses, which takes about as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPayload:
    """The body of one POST, and its numbers of events and counted evaluations. ``id`` stays the same in a retry."""

    body: bytes
    events: int
    evaluations: int
    id: str


async def payloads(
    batch: Batch, redaction: Redaction, *, max_bytes: int = MAX_PAYLOAD_BYTES, logger: logging.Logger = package_logger
) -> AsyncGenerator[EventPayload, None]:
    """The payloads of a batch. A body has at most ``max_bytes``, unless a single record is longer; that record is sent alone.

    Events that cannot be encoded are left out; the first of them is logged. The summary is the last record of the last payload.
    """
    shaper = EventEncoder(redaction)
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
            if not has_failed:  # a batch may have thousands of such events
                has_failed = True
                logger.exception("dropped an event that cannot be encoded, after an internal error (please report)")
            continue
        if records and size + len(record) > max_bytes:
            yield _payload(records, evaluations=0)
            records, size = [], _BRACKETS
            shaper = EventEncoder(redaction)  # the old one keeps the contexts that it has encoded
        records.append(record)
        size += len(record) + 1
        await pause_when_spent(budget)
    if batch.evaluations:
        summary: list[bytes] = []
        for piece in shaper.summary(batch.summary.start_ms, batch.summary.end_ms, batch.summary.features()):
            summary.append(piece)
            await pause_when_spent(budget)
        last = b"".join(summary)
        if records and size + len(last) > max_bytes:
            yield _payload(records, evaluations=0)
            records = []
        yield _payload([*records, last], evaluations=batch.evaluations)
    elif records:
        yield _payload(records, evaluations=0)


def _payload(records: list[bytes], *, evaluations: int) -> EventPayload:
    events = len(records) - bool(evaluations)
    return EventPayload(body=b"[" + b",".join(records) + b"]", events=events, evaluations=evaluations, id=str(uuid.uuid4()))


async def compressed(body: bytes) -> bytes:
    """A body compressed with gzip, in slices."""
    deflater = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    packed: list[bytes] = []
    for piece in _slices(body):
        packed.append(deflater.compress(piece))
        await checkpoint()
    packed.append(deflater.flush())
    return b"".join(packed)


def _slices(body: bytes) -> Iterator[bytes]:
    return (body[start : start + _COMPRESSED_SLICE] for start in range(0, len(body), _COMPRESSED_SLICE))
