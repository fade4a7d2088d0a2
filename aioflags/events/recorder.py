"""Recorder: takes what happened, from any thread, and hands it over when it is asked to. It never waits and never raises.

One lock guards all of it, held for a moment and never while something else is waited for. An evaluation like one before, the
most frequent event, does not take it (:class:`aioflags.events.summary.HotContext`).

Three steps without the lock rely on the global interpreter lock (GIL): to count (``itertools.count.__next__``), to renew a
context (``OrderedDict.move_to_end``), and to store the context in ``HotContext.context``, which other threads read at the same
time. On a free-threaded interpreter ``hot_context`` stays empty, so that every evaluation takes the lock.

Source: ``events.md`` 3, 5, 7 to 10; ``architecture.md`` 6.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import msgspec

from aioflags.evaluation.answers import Answer, PrerequisiteEvaluation
from aioflags.evaluation.compiled import CompiledFlag, Evaluation
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.batch import Batch
from aioflags.events.context_deduplicator import ContextDeduplicator
from aioflags.events.options import Events
from aioflags.events.stats import DiagnosticPeriod, EventCounters, Stats
from aioflags.events.summarizer import Summarizer
from aioflags.events.summary import HAS_GIL, NO_CONTEXT, HotContext, Increment, kept, kinds_of
from aioflags.events.tracked_data import TrackedData
from aioflags.model.context import Context
from aioflags.model.defaults import MAX_HOT_ANSWERS, MAX_UNKNOWN_KEYS
from aioflags.model.detail import EvaluationDetail
from aioflags.model.event import AnalyticsEvent, CustomEvent, EvaluationEvent, IdentifyEvent, IndexEvent, MigrationEvent
from aioflags.model.sampling import is_drawn
from aioflags.runtime.clock import now_ms
from aioflags.runtime.fork import notify_after_fork, reset_after_fork
from aioflags.runtime.logs import Once
from aioflags.runtime.logs import logger as package_logger

__all__ = ["DISABLED_RECORDER", "Recorder"]


class Recorder:
    """What happened and was not sent yet. Closed until :meth:`open`, and closed again in the child of a fork.

    The fast path of an evaluation reads ``hot_context`` without the lock. ``on_toggle`` is called whenever it was opened or closed.
    ``chance`` gives numbers in [0, 1), ``clock`` milliseconds of the wall clock. ``has_gil``: evaluations may be counted without
    the lock.
    """

    def __init__(
        self,
        settings: Events,
        *,
        logger: logging.Logger = package_logger,
        on_toggle: Callable[[], object] = lambda: None,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], int] = now_ms,
        has_gil: bool = HAS_GIL,
    ) -> None:
        self._settings = settings
        self._has_focus = has_gil and settings.context_keys_capacity > 0
        self._on_toggle = on_toggle
        self._logger = logger
        self._chance = chance
        self._clock = clock
        self._once = Once()
        self._carried = TrackedData(logger)
        self.after_fork()
        reset_after_fork(self)
        notify_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: what the parent recorded, the parent sends."""
        self.hot_context: HotContext = NO_CONTEXT
        self.is_open: bool = False
        # Reentrant: a finalizer or a signal handler may evaluate a flag on the very thread that is recording.
        self._lock = threading.RLock()
        self._pending: list[AnalyticsEvent] = []
        self._accounts = EventCounters()
        self._tally = Summarizer(self._lock, self._accounts, self._clock)
        self._known = ContextDeduplicator(self._settings.context_keys_capacity)
        self._server_ms = 0
        self.is_refused: bool = False
        """Whether the service refuses events for good: what happens is still counted, as dropped."""
        self._has_no_room: set[str] = set()
        """For what there is none: events, keys."""

    def after_fork_reset(self) -> None:
        """In the child of a fork, when all is reset: it is closed there, which its client has to know."""
        self._on_toggle()

    def open(self) -> None:
        """Records from now on."""
        with self._lock:
            self.is_open = True
        self._on_toggle()

    def close(self) -> None:
        """Records no more. What is there can still be drained."""
        with self._lock:
            self.is_open = False
            self.hot_context = NO_CONTEXT
        self._on_toggle()

    # -- what happens

    def answered(self, snapshot: Snapshot, key: str, context: Context, answer: Answer, default: Any, *, value: Any) -> None:
        """A plain flag's answer for a valid context. ``value`` fits the type asked for, and nobody wants to know the reason."""
        increment: Increment | None
        hot_context = self.hot_context
        if context.kind == hot_context.kind:
            # Somebody who is known, counted as before: where people take turns, this is as hot as it gets.
            try:
                increment = hot_context.increments[answer]
                self._known.renew(context.key)
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
                hot_context = self._meet(context, inputs=1 + len(answer.prerequisites))
            increment = hot_context.increments.get(answer)
            if increment is not None:
                increment()
                self._tally.is_behind = True
                return
            detail = EvaluationDetail(value, answer.index, answer.detail.reason)
            evaluation = Evaluation(
                detail=detail,
                flag=snapshot.compiled(key),
                is_experiment=answer.is_experiment,
                prerequisites=answer.prerequisites,
            )
            increment = self._evaluation(key, context, default, evaluation, with_reason=False)
            if increment is not None and len(hot_context.increments) < MAX_HOT_ANSWERS:
                hot_context.increments[answer] = increment
        finally:
            self._lock.release()
        self._warn()

    def evaluated(self, key: str, context: Context, default: Any, evaluation: Evaluation, *, with_reason: bool) -> None:
        """One evaluation, whatever came of it, for a valid context."""
        with self._lock:
            if not self.is_open:
                return
            self._meet(context, inputs=1 + len(evaluation.prerequisites))
            self._evaluation(key, context, default, evaluation, with_reason=with_reason)
        self._warn()

    def tracked(self, name: str, context: Context, data: Any = None, metric_value: Any = None) -> None:
        """What the program tracks, for a valid context. What JSON cannot carry is left out, with a warning."""
        if not self.is_open:
            return
        as_it_is, metric = self._carried.data(name, data), self._carried.metric(name, metric_value)
        with self._lock:
            if not self.is_open:
                return
            self._accounts.deduplicable += 1
            self._meet(context)
            self._add(CustomEvent(at_ms=self._clock(), key=name, context=context, data=as_it_is, metric_value=metric))
        self._warn()

    def identified(self, context: Context) -> None:
        """The program names a valid context."""
        with self._lock:
            shown = self._shown(context)
            if not self.is_open or shown.error is not None:
                return
            self._accounts.deduplicable += 1
            self._accounts.new_contexts += self._known.meet(shown)
            self.hot_context = NO_CONTEXT
            self._add(IdentifyEvent(at_ms=self._clock(), context=shown))
        self._warn()

    def migrated(self, event: MigrationEvent) -> None:
        """A read or write of a migration took place. Its context is not described by this."""
        with self._lock:
            if self.is_open and self._draws(event.sampling_ratio):
                self._add(event)
        self._warn()

    # -- with the lock

    def _shown(self, context: Context) -> Context:
        """What of a context is told when it is described; invalid if that is nothing."""
        return context.without_anonymous() if self._settings.omit_anonymous_contexts else context

    def _meet(self, context: Context, inputs: int = 1) -> HotContext:
        """Puts the focus on a context, on behalf of so many inputs. One that is new is described first."""
        if context is self.hot_context.context:
            return self.hot_context
        omits = self._settings.omit_anonymous_contexts
        summary = self._tally.summary
        kind = "user" if context.kind == "user" and not omits else None
        hot_context = HotContext(context, summary.increments(context), kind, summary.in_use)
        shown = context
        if omits and (shown := self._shown(context)).error is not None:
            self._accounts.deduplicable -= inputs
            self.hot_context = NO_CONTEXT
            return hot_context
        if self._known.meet(shown):
            self._accounts.new_contexts += 1
            self._add(IndexEvent(at_ms=self._clock(), context=shown))
        if self._has_focus:
            self.hot_context = hot_context
            self._tally.is_behind = True
        return hot_context

    def _evaluation(
        self, key: str, context: Context, default: Any, evaluation: Evaluation, *, with_reason: bool
    ) -> Increment | None:
        """Prerequisites first. Answers how the next evaluation like this one is counted; ``None`` if there is more to it."""
        at_ms = self._clock()
        increments: list[Increment | None] = [
            self._flag(
                note,
                context,
                None,
                note.answer.detail,
                at_ms,
                with_reason=with_reason,
                is_experiment=note.answer.is_experiment,
                prerequisite_of=note.prerequisite_of,
            )
            for note in evaluation.prerequisites
        ]
        if evaluation.flag is not None:
            is_experiment = evaluation.is_experiment and evaluation.detail.reason.error_kind is None
            increment = self._flag(
                evaluation.flag,
                context,
                default,
                evaluation.detail,
                at_ms,
                with_reason=with_reason,
                is_experiment=is_experiment,
            )
        elif self._tally.summary.has_room(key):
            counter = self._tally.summary.count(
                key, kinds_of(context), default=default, value=default, variation=None, version=None, at_ms=at_ms
            )
            increment = counter.increment
        else:
            self._accounts.evaluations_taken += 1
            self._accounts.evaluations_dropped += 1
            self._has_no_room.add("keys")
            increment = None
        return _together([*increments, increment])

    def _flag(
        self,
        flag: CompiledFlag | PrerequisiteEvaluation,
        context: Context,
        default: Any,
        detail: EvaluationDetail[Any],
        at_ms: int,
        *,
        with_reason: bool,
        is_experiment: bool,
        prerequisite_of: str | None = None,
    ) -> Increment | None:
        tracking = flag.tracking
        increment: Increment | None = None
        if tracking.is_counted:
            increment = self._tally.summary.count(
                flag.key,
                kinds_of(context),
                default=default,
                value=detail.value,
                variation=detail.variation_index,
                version=flag.version,
                at_ms=at_ms,
            ).increment
        else:
            self._accounts.deduplicable += 1
        is_tracked = tracking.is_tracked or is_experiment
        until = tracking.debug_until_ms
        is_debugged = until is not None and until > at_ms and until > self._server_ms
        if not is_tracked and not is_debugged:
            return increment
        event = EvaluationEvent(
            at_ms=at_ms,
            key=flag.key,
            context=context,
            value=kept(detail.value),
            default=kept(default),
            version=flag.version,
            variation=detail.variation_index,
            reason=detail.reason if with_reason or is_experiment else None,
            prerequisite_of=prerequisite_of,
            sampling_ratio=tracking.sampling_ratio,
        )
        if is_tracked and self._draws(tracking.sampling_ratio):
            self._add(event)
        if is_debugged and self._draws(tracking.sampling_ratio):
            self._add(msgspec.structs.replace(event, is_debug=True))
        return None

    def _draws(self, ratio: int | None) -> bool:
        """Whether this one is among those that are sent."""
        return is_drawn(ratio, self._chance)

    def _add(self, event: AnalyticsEvent) -> None:
        self._accounts.events_recorded += 1
        if self.is_refused:
            self._accounts.events_dropped += 1
        elif len(self._pending) < self._settings.events_max_pending:
            self._pending.append(event)
        else:
            self._accounts.events_dropped += 1
            self._accounts.dropped_for_room += 1
            self._has_no_room.add("events")

    def _warn(self) -> None:
        """Logs that there is no room, once until there is. Call it without the lock: a log handler may evaluate flags.

        After a refusal nothing is logged: what is recorded is dropped anyway.
        """
        if self._has_no_room and not self.is_refused:
            # What was recorded must not be recorded once more because a filter of the program's log has raised.
            with suppress(Exception):
                self._tell_of_room()

    def _tell_of_room(self) -> None:
        if "events" in self._has_no_room and self._once("full"):
            most = self._settings.events_max_pending
            self._logger.warning("%d events wait to be sent: new ones are dropped until they are", most)
        if "keys" in self._has_no_room and self._once("many keys"):
            self._logger.warning(
                "evaluations of %d keys that are no flag's wait to be sent: those of others are not counted. Are keys made up?",
                MAX_UNKNOWN_KEYS,
            )

    # -- handing over

    def drain(self) -> Batch | None:
        """All that is there; ``None`` if there is nothing. Recording goes on into new containers."""
        with self._lock:
            self.hot_context = NO_CONTEXT
            self._has_no_room.clear()
            self._once.forget("full")
            if not self._pending and self._tally.is_empty:
                return None
            batch = self._tally.end_period(self._pending)
            self._pending = []
            if batch.events or not batch.summary.is_empty:
                self._accounts.last_batch = len(batch.events)
            return batch

    def settle(self, *, events: int = 0, evaluations: int = 0, is_sent: bool) -> None:
        """So many of those that were drained were sent, or were not and never will be."""
        with self._lock:
            if is_sent:
                self._accounts.events_sent += events
                self._accounts.evaluations_sent += evaluations
            else:
                self._accounts.events_dropped += events
                self._accounts.evaluations_dropped += evaluations

    def refuse(self) -> None:
        """Drops what is there, and all that comes: the service refuses events for good."""
        with self._lock:
            self.is_refused = True
        self.discard()

    def discard(self) -> None:
        """Drops what is there."""
        batch = self.drain()
        if batch is not None:
            self.settle(events=len(batch.events), evaluations=batch.count(), is_sent=False)

    def date_pending(self) -> Iterator[object]:
        """Looks at the clock on behalf of the evaluations that did not: they were before now, and the next one will be after.

        In steps, as a batch is counted.
        """
        with self._lock:
            if not self._tally.is_behind:
                return
            self.hot_context = NO_CONTEXT
            steps = self._tally.settle()
        yield from steps

    def reset_deduplication(self) -> None:
        """Every context is described again when it comes next."""
        with self._lock:
            # In this order: a signal handler in between evaluates for somebody who is forgotten already.
            self._known.clear()
            self.hot_context = NO_CONTEXT

    def set_server_time(self, server_ms: int) -> None:
        """What time it is where the events go: debugging ends by that clock, too."""
        with self._lock:
            self._server_ms = server_ms

    # -- accounts

    @property
    def stats(self) -> Stats:
        """What became of everything so far."""
        if self.is_refused:
            self.discard()  # else the evaluations of the current period would count as pending
        with self._lock:
            known, sum_up = self._accounts.stats(0), self._tally.waiting()
        # What is sent or dropped from here on still waits: these are the accounts as they were with the lock.
        waiting = sum_up()
        return replace(
            known,
            evaluations_recorded=known.evaluations_recorded + waiting,
            evaluations_pending=known.evaluations_pending + waiting,
        )

    def close_period(self) -> DiagnosticPeriod:
        """What happened since this was asked last."""
        with self._lock:
            counted, sum_up = self._accounts.evaluations_taken, self._tally.waiting()
        counted += sum_up()
        with self._lock:
            return self._accounts.close_period(counted - self._accounts.evaluations_taken)


def _together(increments: Sequence[Increment | None]) -> Increment | None:
    """One function that counts them all; ``None`` if one of them is more than a count."""
    known = [increment for increment in increments if increment is not None]
    if len(known) < len(increments):
        return None
    if len(known) == 1:
        return known[0]

    def increment() -> None:
        for each in known:
            each()

    return increment


DISABLED_RECORDER: Final = Recorder(Events())
"""One that nobody opens: for those who have nothing to record."""
