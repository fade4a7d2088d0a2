"""Recorder: takes evaluations and events from any thread, and hands them over in batches. It never waits and never raises.

An event goes one way: the recorder decides what an evaluation sends, ``summary.py`` counts it, ``outbox.py`` decides when a batch
is sent and makes the bodies of its requests, and ``sender.py`` posts them.

One lock guards the recorder. It is held for a moment, and never during a wait. An evaluation that repeats an earlier one, the
most frequent input, does not take it. Three steps without the lock need the global interpreter lock (GIL): to count
(``itertools.count.__next__``), to refresh a context (``OrderedDict.move_to_end``), and to replace ``HotContext.context``, which
other threads read at the same time. On a free-threaded interpreter ``hot_context`` stays empty, so that every evaluation takes the
lock.

Source: ``events.md`` 3 to 5, 7 to 10; ``architecture.md`` 6.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final

import msgspec

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.items import Evaluation
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.evaluation_events import EvaluatedFlag, evaluated_flags, evaluation_events
from aioflags.events.options import Events, EventSettings
from aioflags.events.stats import DiagnosticPeriod, EventCounters, LimitLog, Stats
from aioflags.events.summary import (
    HAS_GIL,
    NO_CONTEXT,
    Batch,
    HotContext,
    Increment,
    Summarizer,
    Summary,
    combined,
)
from aioflags.model.attributes import json_or_same
from aioflags.model.context import Context
from aioflags.model.defaults import MAX_HOT_ANSWERS, MAX_PAYLOAD_BYTES
from aioflags.model.detail import EvaluationDetail, OverrideMark
from aioflags.model.event import AnalyticsEvent, CustomEvent, IdentifyEvent, IndexEvent, MigrationEvent, is_drawn
from aioflags.model.values import is_number
from aioflags.protocol.event_json import try_json
from aioflags.runtime.clock import now_ms
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import Once, printable
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
        self._limits = LimitLog(settings.events_max_pending, logger)
        self._once_per_name = Once()
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: begin empty. The parent sends the events that the parent recorded."""
        self.hot_context: HotContext = NO_CONTEXT
        self.is_open: bool = False
        # Reentrant: a finalizer or a signal handler may evaluate a flag on the thread that is recording.
        self._lock = threading.RLock()
        self._pending: list[AnalyticsEvent] = []
        self._counters = EventCounters()
        self._summarizer = Summarizer(self._lock, self._counters, self._clock, for_each_context=self._policy.has_context_summaries)
        self._described: OrderedDict[Hashable, None] = OrderedDict()
        """The contexts that were described, least recently used first: each is described once, and not with every event."""
        self._server_ms = 0
        self.is_refused: bool = False
        """Whether the service refuses events permanently: inputs are still counted, as dropped."""
        self._limits.begin()

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
        if context.kind == hot_context.swappable_kind:
            # Another context of the hot kind, described before, with an answer that was counted before: as frequent as the hot
            # context itself where requests of several users alternate.
            try:
                increment = hot_context.increments[answer]
                # The newest of the described contexts again. A single C function, so with a GIL it needs no lock: for keys of the
                # class `str` no other thread runs in the middle of it.
                self._described.move_to_end(context.key)
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
        encoded, metric = self._encoded_data(name, data), self._encoded_metric(name, metric_value)
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
            described = self._described_part(context)
            if not self.is_open or described.error is not None:
                return
            self._counters.deduplicable += 1
            if self._has_index_events:
                self._counters.new_contexts += self._is_new(described)
                self.hot_context = NO_CONTEXT
            self._add(IdentifyEvent(at_ms=self._clock(), context=described))
        self._warn()

    def migrated(self, event: MigrationEvent) -> None:
        """Record a read or write of a migration. It does not describe its context."""
        with self._lock:
            if self.is_open and is_drawn(event.sampling_ratio, self._chance):
                self._add(event)
        self._warn()

    def _encoded_data(self, name: str, data: Any) -> msgspec.Raw | None:
        """The data of the tracked event ``name`` as JSON; ``None`` without data.

        Values that JSON lacks are converted like attributes of a context (:mod:`aioflags.model.attributes`). Data that cannot be
        converted, or that are longer than ``MAX_PAYLOAD_BYTES``, are left out, with one warning for each ``name``.
        """
        if data is None:
            return None
        encoded = try_json(data)
        if isinstance(encoded, Exception):
            problem = printable(encoded)
        elif (size := memoryview(encoded).nbytes) <= MAX_PAYLOAD_BYTES:
            return encoded
        else:
            problem = f"they have {size} bytes, more than {MAX_PAYLOAD_BYTES}"
        if self._once_per_name(("data", name)):
            self._logger.warning("track: %s is sent without its data: %s", printable(name), problem)
        return None

    def _encoded_metric(self, name: str, value: Any) -> msgspec.Raw | None:
        """The metric value of a tracked event as JSON; ``None`` if it is not a number, with one warning for each ``name``."""
        if value is None:
            return None
        if is_number(value := json_or_same(value)) and not isinstance(encoded := try_json(value), Exception):
            return encoded
        if self._once_per_name(("metric", name)):
            self._logger.warning("track: %s is sent without its metric value, which is not a number in JSON", printable(name))
        return None

    # -- with the lock

    def _described_part(self, context: Context) -> Context:
        """The part of a context that events describe. It is an invalid context if they describe none of it."""
        return context.without_anonymous() if self._settings.omit_anonymous_contexts else context

    def _switch_context(self, context: Context, inputs: int = 1) -> HotContext:
        """Make a context the hot one, for a number of inputs. Describes a new context by an index event, if the policy has them."""
        if context is self.hot_context.context:
            return self.hot_context
        summary = self._summarizer.summary_for(context)
        if summary is None:
            self._limits.reached.add("contexts")
            return HotContext(context, {})
        if not self._has_index_events:
            hot_context = HotContext(context, summary.increments(context), None, summary.in_use, summary)
        else:
            omits = self._settings.omit_anonymous_contexts
            kind = "user" if context.kind == "user" and not omits else None
            hot_context = HotContext(context, summary.increments(context), kind, summary.in_use, summary)
            described = context
            if omits and (described := self._described_part(context)).error is not None:
                self._counters.deduplicable -= inputs
                self.hot_context = NO_CONTEXT
                return hot_context
            if self._is_new(described):
                self._counters.new_contexts += 1
                self._add(IndexEvent(at_ms=self._clock(), context=described))
        if self._uses_hot_context:
            self.hot_context = hot_context
            self._summarizer.has_undated = True
        return hot_context

    def _is_new(self, context: Context) -> bool:
        """Whether a valid context was not described lately. It becomes the newest of the described ones."""
        if context.kind == "user" and context.members is None:
            identity: Hashable = context.key
        else:
            # In a tuple: the key of a user may look like the canonical key of another kind, such as "org:o".
            identity = (context.canonical_key,)
        described = self._described
        try:
            described.move_to_end(identity)
        except KeyError:
            described[identity] = None
        else:
            return False
        if len(described) > self._settings.context_keys_capacity:
            described.popitem(last=False)
        return True

    def _record(
        self, key: str, context: Context, summary: Summary | None, default: Any, evaluation: Evaluation, *, with_reason: bool
    ) -> Increment | None:
        """Count an evaluation in ``summary`` and add its events, prerequisites first.

        Returns the function that counts the next evaluation with the same answer; ``None`` if a count is not enough for it.
        """
        at_ms = self._clock()
        increments = [
            self._record_flag(flag, context, summary, at_ms, with_reason=with_reason)
            for flag in evaluated_flags(evaluation, default)
        ]
        if evaluation.flag is None:
            mark = evaluation.detail.reason.override_mark
            increments.append(self._count_unknown(key, context, summary, default, mark=mark, at_ms=at_ms))
        return combined(increments)

    def _record_flag(
        self, evaluated: EvaluatedFlag, context: Context, summary: Summary | None, at_ms: int, *, with_reason: bool
    ) -> Increment | None:
        increment: Increment | None = None
        flag, detail = evaluated.flag, evaluated.detail
        if not flag.tracking.is_counted:
            self._counters.deduplicable += 1
        elif summary is None:
            self._drop_evaluation()
        else:
            increment = summary.count(
                flag.key,
                context,
                default=evaluated.default,
                value=detail.value,
                variation=detail.variation_index,
                version=flag.version,
                mark=detail.reason.override_mark,
                at_ms=at_ms,
            ).increment
        events = evaluation_events(
            evaluated,
            context,
            at_ms=at_ms,
            server_ms=self._server_ms,
            with_reason=with_reason,
            tracks_experiments=self._policy.tracks_experiments,
        )
        for event in events:
            if is_drawn(event.sampling_ratio, self._chance):
                self._add(event)
        return None if events else increment

    def _count_unknown(
        self, key: str, context: Context, summary: Summary | None, default: Any, *, mark: OverrideMark | None, at_ms: int
    ) -> Increment | None:
        """Count an evaluation of a flag that is unknown, perhaps because an override removes it."""
        if summary is not None:
            if summary.has_room(key):
                return summary.count(key, context, default=default, value=default, mark=mark, at_ms=at_ms).increment
            self._limits.reached.add("keys")
        self._drop_evaluation()
        return None

    def _drop_evaluation(self) -> None:
        self._counters.evaluations_taken += 1
        self._counters.evaluations_dropped += 1

    def _add(self, event: AnalyticsEvent) -> None:
        self._counters.events_recorded += 1
        if self.is_refused:
            self._counters.events_dropped += 1
        elif len(self._pending) < self._settings.events_max_pending:
            self._pending.append(event)
        else:
            self._counters.events_dropped += 1
            self._counters.dropped_for_room += 1
            self._limits.reached.add("events")

    def _warn(self) -> None:
        """Log which limits were reached: a full buffer once until the next batch, the others once.

        Call it without the lock: a log handler may evaluate flags.

        After a refusal there is no warning: every event is dropped anyway.
        """
        if self._limits.reached and not self.is_refused:
            self._limits.warn()

    # -- batches

    def drain(self) -> Batch | None:
        """All pending events and evaluations; ``None`` without any. Recording goes on with an empty buffer."""
        with self._lock:
            self.hot_context = NO_CONTEXT
            self._limits.begin()
            if not self._pending and self._summarizer.is_empty:
                return None
            events, self._pending = self._pending, []
            self._counters.last_batch = len(events)
            return self._summarizer.end_period(events)

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
            self._described.clear()
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
            return self._counters.stats(self._summarizer.pending())

    def close_period(self) -> DiagnosticPeriod:
        """The counts since the previous call, for diagnostics."""
        with self._lock:
            period = self._counters.close_period(self._summarizer.pending())
        # Only index events are deduplicated.
        return period if self._has_index_events else msgspec.structs.replace(period, deduplicated=0)


DISABLED_RECORDER: Final = Recorder(Events())
"""A recorder that is never opened: the fast path treats events as disabled."""
