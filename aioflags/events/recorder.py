"""Recorder: takes evaluations and events from any thread, and hands them over in batches. It never waits and never raises.

One lock guards the recorder. It is held for a moment, and never during a wait. An evaluation that repeats an earlier one, the
most frequent input, does not take it (:mod:`aioflags.events.summary`).

Three steps without the lock need the global interpreter lock (GIL): to count (``itertools.count.__next__``), to refresh a context
(``OrderedDict.move_to_end``), and to replace ``HotContext.context``, which other threads read at the same time. On a free-threaded
interpreter ``hot_context`` stays empty, so that every evaluation takes the lock.

Source: ``events.md`` 3, 5, 7 to 10; ``architecture.md`` 6.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.items import Evaluation
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.encoding import encode_data, encode_metric
from aioflags.events.options import Events, EventSettings
from aioflags.events.shaping import ContextDeduplicator, EvaluatedFlag, EvaluationShaper, RoomLog, evaluated_flags
from aioflags.events.stats import DiagnosticPeriod, EventCounters, Stats
from aioflags.events.summarizer import NO_CONTEXT, Batch, ContextSummarizer, HotContext, Summarizer
from aioflags.events.summary import HAS_GIL, Increment, Summary, SummaryEntry
from aioflags.model.context import Context
from aioflags.model.defaults import MAX_HOT_ANSWERS
from aioflags.model.detail import EvaluationDetail
from aioflags.model.event import AnalyticsEvent, CustomEvent, IdentifyEvent, IndexEvent, MigrationEvent, is_drawn
from aioflags.runtime.clock import now_ms
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import Once
from aioflags.runtime.logs import logger as package_logger


class Recorder:
    """Evaluations and events that are not sent yet. Closed until :meth:`open`, and closed again in the child of a fork.

    The fast path of an evaluation reads ``hot_context`` without the lock. ``on_toggle`` is called after :meth:`open` and
    :meth:`close`. ``chance`` returns numbers in [0, 1), ``clock`` milliseconds of the wall clock. ``has_gil``: evaluations may be
    counted without the lock.
    """

    def __init__(
        self,
        settings: EventSettings,
        *,
        logger: logging.Logger = package_logger,
        on_toggle: Callable[[], object] = lambda: None,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], int] = now_ms,
        has_gil: bool = HAS_GIL,
    ) -> None:
        self._settings = settings
        self._policy = settings.policy
        self._has_index_events = settings.policy.has_index_events
        self._uses_hot_context = has_gil and (settings.context_keys_capacity > 0 or not self._has_index_events)
        self._on_toggle = on_toggle
        self._logger = logger
        self._chance = chance
        self._clock = clock
        self._room = RoomLog(settings.events_max_pending, logger)
        self._once_per_name = Once()
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: begin empty. The parent sends the events that the parent recorded."""
        self.hot_context: HotContext = NO_CONTEXT
        self.is_open: bool = False
        # Reentrant: a finalizer or a signal handler may evaluate a flag on the thread that is recording.
        self._lock = threading.RLock()
        self._pending: list[AnalyticsEvent] = []
        self._counters = EventCounters()
        summarizer = ContextSummarizer if self._policy.has_context_summaries else Summarizer
        self._summarizer = summarizer(self._lock, self._counters, self._clock)
        self._deduplicator = ContextDeduplicator(self._settings.context_keys_capacity)
        self._server_ms = 0
        self.is_refused: bool = False
        """Whether the service refuses events permanently: inputs are still counted, as dropped."""
        self._room.begin()

    def open(self) -> None:
        """Start recording."""
        with self._lock:
            self.is_open = True
        self._on_toggle()

    def close(self) -> None:
        """Stop recording. Pending events can still be drained."""
        with self._lock:
            self.is_open = False
            self.hot_context = NO_CONTEXT
        self._on_toggle()

    # -- inputs

    def answered(self, snapshot: Snapshot, key: str, context: Context, answer: Answer, default: Any, *, value: Any) -> None:
        """Record an evaluation of the fast path for a valid context, without its reason. ``value`` has the type of the default."""
        increment: Increment | None
        hot_context = self.hot_context
        if context.kind == hot_context.kind:
            # Another context of the hot kind, described before, with an answer that was counted before: as frequent as the hot
            # context itself where requests of several users alternate.
            try:
                increment = hot_context.increments[answer]
                self._deduplicator.refresh(context.key)
            except KeyError:
                pass
            else:
                hot_context.context = context
                increment()
                return
        # Not as a context manager, which takes three times as long.
        self._lock.acquire()
        try:
            if not self.is_open:
                return
            hot_context = self.hot_context
            if context is not hot_context.context:
                hot_context = self._switch_context(context, inputs=1 + len(answer.prerequisites))
            increment = hot_context.increments.get(answer)
            if increment is not None:
                increment()
                self._summarizer.has_undated = True
                return
            detail = EvaluationDetail(value, answer.index, answer.detail.reason)
            evaluation = Evaluation(
                detail=detail,
                flag=snapshot.compiled(key),
                is_experiment=answer.is_experiment,
                prerequisites=answer.prerequisites,
            )
            increment = self._record(key, context, hot_context.summary, default, evaluation, with_reason=False)
            if increment is not None and len(hot_context.increments) < MAX_HOT_ANSWERS:
                hot_context.increments[answer] = increment
        finally:
            self._lock.release()
        self._warn()

    def evaluated(self, key: str, context: Context, default: Any, evaluation: Evaluation, *, with_reason: bool) -> None:
        """Record an evaluation for a valid context, whatever its result."""
        with self._lock:
            if not self.is_open:
                return
            summary = self._switch_context(context, inputs=1 + len(evaluation.prerequisites)).summary
            self._record(key, context, summary, default, evaluation, with_reason=with_reason)
        self._warn()

    def tracked(self, name: str, context: Context, data: Any = None, metric_value: Any = None) -> None:
        """Record a tracked event for a valid context. Data that JSON cannot represent are left out: counted, with a warning."""
        if not self.is_open:
            return
        once, logger = self._once_per_name, self._logger
        encoded = encode_data(name, data, once=once, logger=logger)
        metric = encode_metric(name, metric_value, once=once, logger=logger)
        is_reduced = (data is not None and encoded is None) or (metric_value is not None and metric is None)
        with self._lock:
            if not self.is_open:
                return
            self._counters.events_reduced += is_reduced
            self._counters.deduplicable += 1
            if self._has_index_events:
                self._switch_context(context)
            self._add(CustomEvent(at_ms=self._clock(), key=name, context=context, data=encoded, metric_value=metric))
        self._warn()

    def identified(self, context: Context) -> None:
        """Record an identify event for a valid context."""
        with self._lock:
            described = self._described(context)
            if not self.is_open or described.error is not None:
                return
            self._counters.deduplicable += 1
            if self._has_index_events:
                self._counters.new_contexts += self._deduplicator.add(described)
                self.hot_context = NO_CONTEXT
            self._add(IdentifyEvent(at_ms=self._clock(), context=described))
        self._warn()

    def migrated(self, event: MigrationEvent) -> None:
        """Record a read or write of a migration. It does not describe its context."""
        with self._lock:
            if self.is_open and self._is_sampled(event.sampling_ratio):
                self._add(event)
        self._warn()

    # -- with the lock

    def _described(self, context: Context) -> Context:
        """The part of a context that events describe. It is an invalid context if they describe none of it."""
        return context.without_anonymous() if self._settings.omit_anonymous_contexts else context

    def _switch_context(self, context: Context, inputs: int = 1) -> HotContext:
        """Make a context the hot one, for a number of inputs. Describes a new context by an index event, if the policy has them."""
        if context is self.hot_context.context:
            return self.hot_context
        summary = self._summarizer.summary_for(context)
        if summary is None:
            self._room.note("contexts")
            return HotContext(context, {})
        if not self._has_index_events:
            hot_context = HotContext(context, summary.increments(context), None, summary.in_use, summary)
        else:
            omits = self._settings.omit_anonymous_contexts
            kind = "user" if context.kind == "user" and not omits else None
            hot_context = HotContext(context, summary.increments(context), kind, summary.in_use, summary)
            described = context
            if omits and (described := self._described(context)).error is not None:
                self._counters.deduplicable -= inputs
                self.hot_context = NO_CONTEXT
                return hot_context
            if self._deduplicator.add(described):
                self._counters.new_contexts += 1
                self._add(IndexEvent(at_ms=self._clock(), context=described))
        if self._uses_hot_context:
            self.hot_context = hot_context
            self._summarizer.has_undated = True
        return hot_context

    def _record(
        self, key: str, context: Context, summary: Summary | None, default: Any, evaluation: Evaluation, *, with_reason: bool
    ) -> Increment | None:
        """Count an evaluation in ``summary`` and add its events, prerequisites first.

        Returns the function that counts the next evaluation with the same answer; ``None`` if a count is not enough for it.
        """
        shaper = EvaluationShaper(
            context=context,
            at_ms=self._clock(),
            server_ms=self._server_ms,
            with_reason=with_reason,
            tracks_experiments=self._policy.tracks_experiments,
        )
        increments = [self._record_flag(shaper, flag, summary) for flag in evaluated_flags(evaluation, default)]
        if evaluation.flag is None:
            increments.append(self._count_unknown(shaper.unknown_entry(key, default, evaluation.detail.reason), summary))
        return _combined(increments)

    def _record_flag(self, shaper: EvaluationShaper, flag: EvaluatedFlag, summary: Summary | None) -> Increment | None:
        increment: Increment | None = None
        entry = shaper.entry(flag)
        if entry is not None and summary is not None:
            increment = summary.count(entry).increment
        elif entry is not None:
            self._drop_evaluation()
        else:
            self._counters.deduplicable += 1
        events = shaper.events(flag)
        for event in events:
            if self._is_sampled(event.sampling_ratio):
                self._add(event)
        return None if events else increment

    def _count_unknown(self, entry: SummaryEntry, summary: Summary | None) -> Increment | None:
        if summary is not None:
            if summary.has_room(entry.key):
                return summary.count(entry).increment
            self._room.note("keys")
        self._drop_evaluation()
        return None

    def _drop_evaluation(self) -> None:
        self._counters.evaluations_taken += 1
        self._counters.evaluations_dropped += 1

    def _is_sampled(self, ratio: int | None) -> bool:
        return is_drawn(ratio, self._chance)

    def _add(self, event: AnalyticsEvent) -> None:
        self._counters.events_recorded += 1
        if self.is_refused:
            self._counters.events_dropped += 1
        elif len(self._pending) < self._settings.events_max_pending:
            self._pending.append(event)
        else:
            self._counters.events_dropped += 1
            self._counters.dropped_for_room += 1
            self._room.note("events")

    def _warn(self) -> None:
        """Log that there is no room, once until the next batch. Call it without the lock: a log handler may evaluate flags.

        After a refusal there is no warning: every event is dropped anyway.
        """
        if self._room.reached and not self.is_refused:
            self._room.warn()

    # -- batches

    def drain(self) -> Batch | None:
        """All pending events and evaluations; ``None`` without any. Recording goes on with an empty buffer."""
        with self._lock:
            self.hot_context = NO_CONTEXT
            self._room.begin()
            if not self._pending and self._summarizer.is_empty:
                return None
            batch = self._summarizer.end_period(self._pending)
            self._pending = []
            if batch.events or not all(summary.is_empty for summary in batch.summaries):
                self._counters.last_batch = len(batch.events)
            return batch

    def mark_settled(self, *, events: int = 0, evaluations: int = 0, is_sent: bool) -> None:
        """Count events and evaluations of a drained batch as sent, or as dropped."""
        with self._lock:
            if is_sent:
                self._counters.events_sent += events
                self._counters.evaluations_sent += evaluations
            else:
                self._counters.events_dropped += events
                self._counters.evaluations_dropped += evaluations

    def refuse(self) -> None:
        """Drop pending and future events: the service refuses events permanently."""
        with self._lock:
            self.is_refused = True
        self.discard()

    def discard(self) -> None:
        """Drop pending events."""
        batch = self.drain()
        if batch is not None:
            self.mark_settled(events=len(batch.events), evaluations=batch.count(), is_sent=False)

    def date_pending(self) -> Iterator[object]:
        """Extend the period of the summary until now, for evaluations that were counted without reading the clock.

        In steps of some microseconds. Evaluations after the first step read the clock again.
        """
        with self._lock:
            if not self._summarizer.has_undated:
                return
            self.hot_context = NO_CONTEXT
            steps = self._summarizer.date_pending()
        yield from steps

    def reset_deduplication(self) -> None:
        """Forget which contexts were described: each is described again when it comes next."""
        with self._lock:
            # In this order: a signal handler in between must not find a hot context that is already forgotten.
            self._deduplicator.clear()
            self.hot_context = NO_CONTEXT

    def set_server_time(self, server_ms: int) -> None:
        """Set the time of the service: debugging of a flag ends by that clock, too."""
        with self._lock:
            self._server_ms = server_ms

    # -- statistics

    @property
    def stats(self) -> Stats:
        """The counts so far."""
        if self.is_refused:
            self.discard()  # otherwise the evaluations of the current period would count as pending
        with self._lock:
            stats, sum_up = self._counters.stats(0), self._summarizer.uncounted()
        # Without the lock. Evaluations that are sent or dropped meanwhile still count as pending, as they did with the lock.
        uncounted = sum_up()
        return replace(
            stats,
            evaluations_recorded=stats.evaluations_recorded + uncounted,
            evaluations_pending=stats.evaluations_pending + uncounted,
        )

    def close_period(self) -> DiagnosticPeriod:
        """The counts since the previous call, for diagnostics."""
        with self._lock:
            counted, sum_up = self._counters.evaluations_taken, self._summarizer.uncounted()
        counted += sum_up()
        with self._lock:
            period = self._counters.close_period(counted - self._counters.evaluations_taken)
        # Only index events are deduplicated.
        return period if self._has_index_events else msgspec.structs.replace(period, deduplicated=0)


def _combined(increments: Sequence[Increment | None]) -> Increment | None:
    """One function that calls all increments; ``None`` if one of them is ``None``."""
    if len(increments) == 1:
        return increments[0]  # a flag without prerequisites
    present = [increment for increment in increments if increment is not None]
    if len(present) < len(increments):
        return None

    def increment() -> None:
        for count_one in present:
            count_one()

    return increment


DISABLED_RECORDER: Final = Recorder(Events())
"""A recorder that is never opened: the fast path treats events as disabled."""
