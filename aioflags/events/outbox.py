"""Outbox: decides when recorded events are sent, how many payloads at once, and what a close still sends.

One task waits for the next deadline; every batch is delivered by a task of its own.

Source: ``events.md`` 2, 4, 10 and 11.3; ``architecture.md`` 9.
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager
from typing import Final

import anyio
import msgspec
from anyio.abc import TaskGroup

from aioflags.events.options import EventSettings
from aioflags.events.recorder import Recorder
from aioflags.events.sender import EventPayload, SendConditions, Sender, SendGate, SendOutcome, describe_amount
from aioflags.events.summary import Batch, SummaryEvent
from aioflags.model.defaults import MAX_DELIVERIES, MAX_PAYLOAD_BYTES
from aioflags.protocol.event_json import EventEncoder
from aioflags.protocol.redaction import Redaction
from aioflags.protocol.side import SERVER_EVENTS, EventPolicy
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.checkpoints import pause_when_spent
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.event_loops import loop_time
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import BugLog
from aioflags.runtime.logs import logger as package_logger

_EVENT_SLICE: Final = 0.00025
"""Seconds of work on a batch between two pauses. Shorter than for flag data, which arrives rarely."""
_BRACKETS: Final = 2
_DATING_INTERVAL: Final = 5.0
"""Seconds by which the end of a summary may be too late for evaluations that did not read the clock."""


class Outbox:
    """Sends what a recorder has, for one run of a client, on its event loop. :meth:`flush` may be called from any thread.

    ``gate``: whether events may be sent. While they may not, they stay in the recorder. Its sender and diagnostics have the same.
    """

    def __init__(
        self,
        recorder: Recorder,
        settings: EventSettings,
        sender: Sender,
        gate: SendGate,
        logger: logging.Logger = package_logger,
    ) -> None:
        self._recorder = recorder
        self._settings = settings
        self._sender = sender
        self._logger = logger
        self._redaction = Redaction(all_attributes_private=settings.all_attributes_private, private=settings.private_attributes)
        self._gate = gate
        self._count = 0
        self._bugs = BugLog(logger)
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: the parent delivers its batches, and its tasks do not run here."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: TaskGroup | None = None
        self._is_flush_requested = False
        self._requested = Signal()
        """Sent when a flush is requested, and when a delivery needs a task."""
        self._is_wake_up_scheduled = False
        self._deliveries: dict[int, _Delivery] = {}
        self._to_start: list[int] = []
        """The deliveries that have no task yet, by number."""
        self._delivered = Signal()
        self._reset_deduplication_at = math.inf

    # -- the life of a run

    def open(self) -> None:
        """Start recording."""
        self._loop = asyncio.get_running_loop()
        self._recorder.open()

    def stop(self) -> None:
        """Stop recording."""
        self._recorder.close()

    async def run(self) -> None:
        """Send events when they are due, until the task is cancelled. Batches that are being delivered then count as dropped."""
        try:
            async with anyio.create_task_group() as self._tasks:
                self._reset_deduplication_at = anyio.current_time() + self._settings.context_keys_flush_interval
                interval = self._settings.flush_interval
                await (self._run_on_request(self._tasks) if interval is None else self._run_on_timer(self._tasks, interval))
        finally:
            self._tasks = None
            self._to_start.clear()
            for number in list(self._deliveries):
                self._end_delivery(number)  # a task that was cancelled before its first step did not do it
            self._recorder.close()
            self._recorder.discard()

    async def _run_on_timer(self, tasks: TaskGroup, interval: float) -> None:
        now = anyio.current_time()
        flush_at = now + interval
        while True:
            with anyio.CancelScope(deadline=min(flush_at, self._reset_deduplication_at, now + _DATING_INTERVAL)):
                await self._wait_for_request(tasks)
            now = anyio.current_time()
            with self._logging_bugs():
                if self._is_flush_requested or now >= flush_at:
                    self._is_flush_requested = False
                    flush_at = now + interval
                    self._dispatch()
                else:
                    self._reset_deduplication_if_due(now)
                budget = Budget(_EVENT_SLICE)
                for _ in self._recorder.date_pending():
                    await pause_when_spent(budget)

    async def _run_on_request(self, tasks: TaskGroup) -> None:
        """Send when a flush is requested. There is no timer: deduplication is reset, and evaluations are dated, at a flush."""
        while True:
            await self._wait_for_request(tasks)
            self._is_flush_requested = False
            with self._logging_bugs():
                self._dispatch()

    async def _wait_for_request(self, tasks: TaskGroup) -> None:
        """Wait until a flush is requested, and start the deliveries that begin before that."""
        while True:
            # Here, and not in _dispatch: where sniffio is installed, a callback of the event loop cannot start a task of anyio.
            while self._to_start:
                tasks.start_soon(self._deliver, self._to_start.pop(0), name="aioflags events")
            if self._is_flush_requested:
                return
            await self._requested.wait()

    @contextmanager
    def _logging_bugs(self) -> Generator[None]:
        """Log an unexpected exception. The next flush tries again: one failure must not end the events of a client."""
        try:
            yield
        except Exception as bug:  # noqa: BLE001 -- a bug in aioflags: other events are still sent
            self._bugs.report(bug, "could not send events after an internal error, will retry at the next flush (please report)")

    def _reset_deduplication_if_due(self, now: float) -> None:
        if now >= self._reset_deduplication_at:
            self._reset_deduplication_at = now + self._settings.context_keys_flush_interval
            self._recorder.reset_deduplication()

    # -- flushing

    def flush(self) -> None:
        """Request that all recorded events are sent now. Does not wait."""
        # Skip the wake-up if one is already scheduled. Two threads may still pass this check at once; a second wake-up is harmless.
        if self._loop is None or self._is_wake_up_scheduled or not self._recorder.is_open:
            return
        self._is_wake_up_scheduled = True
        try:
            self._loop.call_soon_threadsafe(self._request_flush)
        except RuntimeError:  # the loop is closed: no event can be sent any more
            return

    def _request_flush(self) -> None:
        self._is_wake_up_scheduled = False  # first: a flush from here on needs another wake-up
        self._is_flush_requested = True
        self._requested.send()

    async def flush_and_wait(self, timeout: float | None) -> bool:
        """Send all recorded events. False if some are still pending after ``timeout`` seconds, or may not be sent now."""
        with anyio.move_on_after(timeout):
            await self._flush_all()
            return self._gate.conditions.allow_payloads or not self._has_pending
        return False

    async def finish(self, seconds: float) -> None:
        """Do the last flush, in at most ``seconds``. Logs how many events were not sent in that time and are lost."""
        self._sender.finish()
        with anyio.move_on_after(seconds):
            await self._flush_all()
        self._sender.close()
        if self._has_pending:
            stats = self._recorder.stats
            lost = describe_amount(stats.events_pending, stats.evaluations_pending)
            level = logging.INFO if self._sender.is_outage_known else logging.WARNING
            self._logger.log(level, "closed before all events were sent; lost: %s", lost)

    @property
    def _has_pending(self) -> bool:
        stats = self._recorder.stats
        return bool(stats.events_pending or stats.evaluations_pending)

    async def _flush_all(self) -> None:
        while self._tasks is not None and len(self._deliveries) >= MAX_DELIVERIES and self._gate.conditions.allow_payloads:
            await self._delivered.wait()
        self._dispatch()
        if not self._gate.conditions.has_network:
            return
        for delivery in list(self._deliveries.values()):
            await delivery.done.wait()

    def _dispatch(self) -> None:
        """Start to deliver a batch of all pending events, unless too many batches are being delivered, or none may be sent.

        On the event loop, also in a callback.
        """
        if self._tasks is None or len(self._deliveries) >= MAX_DELIVERIES or not self._gate.conditions.allow_payloads:
            return
        self._reset_deduplication_if_due(loop_time())
        if (batch := self._recorder.drain()) is not None:
            self._count += 1
            self._deliveries[self._count] = _Delivery(batch)
            self._to_start.append(self._count)
            self._requested.send()

    # -- conditions

    def set_conditions(self, conditions: SendConditions) -> None:
        """Change whether events may be sent. Called on the event loop, also in a callback.

        Recorded events are sent at once when the client goes offline, since nothing is sent after that; when it enters the
        background, where the system may stop the program; and when events may be sent again.
        """
        before = self._gate.conditions
        if conditions.is_offline and conditions.has_network:
            with self._logging_bugs():  # a bug must not keep the gate open
                self._dispatch()
        self._gate.conditions = conditions
        if not before.allow_payloads or (conditions.is_in_background and not before.is_in_background):
            self._dispatch()

    # -- delivery

    async def _deliver(self, number: int) -> None:
        delivery = self._deliveries[number]
        try:
            if self._recorder.is_refused:
                budget = Budget(_EVENT_SLICE)
                for _ in delivery.batch.counting:  # in steps; _end_delivery drops the batch
                    await pause_when_spent(budget)
                return
            async with aclosing(payloads(delivery.batch, self._redaction, self._settings.policy, logger=self._logger)) as packed:
                async for payload in packed:
                    outcome = await self._sender.send(payload)
                    is_sent = outcome is SendOutcome.SENT
                    delivery.events += payload.events
                    delivery.evaluations += payload.evaluations
                    self._recorder.mark_settled(events=payload.events, evaluations=payload.evaluations, is_sent=is_sent)
                    if outcome is SendOutcome.STOP:
                        self._recorder.refuse()
                        break
        except Exception as bug:  # noqa: BLE001 -- a bug in aioflags: other events are still sent
            self._bugs.report(bug, "dropped a batch of events after an internal error (please report)")
        finally:
            self._end_delivery(number)

    def _end_delivery(self, number: int) -> None:
        """Count the events of a batch that did not become a payload, or whose payload was cancelled, as dropped."""
        delivery = self._deliveries.pop(number)
        batch = delivery.batch
        events, evaluations = len(batch.events) - delivery.events, batch.count() - delivery.evaluations
        self._recorder.mark_settled(events=events, evaluations=evaluations, is_sent=False)
        delivery.done.set()
        self._delivered.send()


class _Delivery(msgspec.Struct):
    """A batch that is being delivered. ``events`` and ``evaluations``: how many of it are settled."""

    batch: Batch
    done: anyio.Event = msgspec.field(default_factory=anyio.Event)
    events: int = 0
    evaluations: int = 0


# -- A batch as bodies of requests: encoded and joined in slices, so that other tasks can run in between.


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
    budget = Budget(_EVENT_SLICE)
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
