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

from aioflags.events.summary import Batch, SummaryEvent
from aioflags.model.defaults import MAX_PAYLOAD_BYTES
from aioflags.protocol.event_json import EventEncoder
from aioflags.protocol.redaction import Redaction
from aioflags.protocol.side import SERVER_EVENTS, EventPolicy
from aioflags.runtime.checkpoints import pause_when_spent
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.logs import logger as package_logger

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
    batch: Batch,
    redaction: Redaction,
    policy: EventPolicy = SERVER_EVENTS,
    *,
    max_bytes: int = MAX_PAYLOAD_BYTES,
    logger: logging.Logger = package_logger,
) -> AsyncGenerator[EventPayload, None]:
    """The payloads of a batch. A body has at most ``max_bytes``, unless a single record is longer; that record is sent alone.

    Events that cannot be encoded are left out; the first of them is logged. The summaries are the last records.
    """
    encoder = EventEncoder(redaction, policy)
    body = _Body(max_bytes)
    budget = Budget(EVENT_SLICE)
    has_failed = False
    for _ in batch.counting:
        await pause_when_spent(budget)
    for event in batch.events:
        try:
            for _ in encoder.preparing(event):
                await pause_when_spent(budget)
            record = encoder.record(event)
        except Exception:
            if not has_failed:  # a batch may have thousands of such events
                has_failed = True
                logger.exception("dropped an event that cannot be encoded, after an internal error (please report)")
            continue
        if not body.has_room(record):
            yield body.taken()
            encoder = EventEncoder(redaction, policy)  # the old one keeps the contexts that it has encoded
        body.add(record)
        await pause_when_spent(budget)
    for summary in batch.summaries:
        record = await _summary_record(encoder, summary, budget)
        if not body.has_room(record):
            yield body.taken()
            encoder = EventEncoder(redaction, policy)
        body.add(record, evaluations=summary.evaluations)
    if body.records:
        yield body.taken()


async def _summary_record(encoder: EventEncoder, summary: SummaryEvent, budget: Budget) -> bytes:
    context, pieces = summary.context, list[bytes]()
    if context is not None:
        for _ in encoder.preparing_summary(context):
            await pause_when_spent(budget)
    for piece in encoder.summary(summary.start_ms, summary.end_ms, summary.features, context):
        pieces.append(piece)
        await pause_when_spent(budget)
    return b"".join(pieces)


class _Body:
    """The records of the next payload. ``max_bytes``: the length of its body."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._begin()

    def _begin(self) -> None:
        self.records: list[bytes] = []
        self._size = _BRACKETS
        self._events = self._evaluations = 0

    def has_room(self, record: bytes) -> bool:
        """Whether the record fits. Every record fits into an empty body."""
        return not self.records or self._size + len(record) <= self._max_bytes

    def add(self, record: bytes, evaluations: int = 0) -> None:
        """Append an event, or a summary of ``evaluations``."""
        self.records.append(record)
        self._size += len(record) + 1
        self._events += not evaluations
        self._evaluations += evaluations

    def taken(self) -> EventPayload:
        """The payload of these records. The next one begins."""
        body = b"[" + b",".join(self.records) + b"]"
        payload = EventPayload(body=body, events=self._events, evaluations=self._evaluations, id=str(uuid.uuid4()))
        self._begin()
        return payload


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
