"""Recorders without a client, and evaluations that they record."""

from __future__ import annotations

from typing import Any

from aioflags import Client, Context, Events
from aioflags.client_core.answers import DataAnswers, EvaluationLog
from aioflags.client_core.evaluator import Evaluator
from aioflags.client_core.flags import Flags
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.recorder import Recorder
from aioflags.events.summary import Batch
from aioflags.sources import MemorySource
from tests.support.events import U1, document


def snapshot_of(flags: dict[str, Any] | None = None) -> Snapshot:
    return Snapshot.empty().apply(MemorySource.from_document(flags or document()).change_set())


SNAPSHOT = snapshot_of()


class Clock:
    """A wall clock that stands still until a test sets ``now``."""

    def __init__(self, now: int = 1000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def recorder(**options: Any) -> Recorder:
    """An open recorder. ``options`` are those of ``Events`` and of ``Recorder``."""
    own = {"chance", "clock", "has_gil", "logger"}
    settings = Events(**{name: options.pop(name) for name in list(options) if name not in own})
    made = Recorder(settings, **options)
    made.open()
    return made


def evaluate(to: Recorder, key: str, context: Context = U1, *, with_reason: bool = False) -> None:
    to.evaluated(key, context, "d", SNAPSHOT.evaluate(key, context, "d"), with_reason=with_reason)


def drained(from_: Recorder) -> Batch:
    """The next batch, with its evaluations counted."""
    batch = from_.drain()
    assert batch is not None
    batch.count()
    return batch


def date_pending(of: Recorder) -> None:
    """Give the evaluations without a date the date of now."""
    for _ in of.date_pending():
        pass


SOME_CLIENT = Client.local(document())


def fast_evaluation(to: Recorder, key: str, context: Context) -> None:
    """An evaluation that this recorder counts. It takes the fast path if the flag allows that."""
    log = EvaluationLog(SOME_CLIENT._core.logger, SOME_CLIENT._core.cell)
    evaluator = Evaluator(SOME_CLIENT._core.cell, SOME_CLIENT._core.hooks, DataAnswers(to, log), log)
    evaluator.update_fast_path()
    assert SNAPSHOT.compiled(key)  # the first evaluation compiles the flag and takes the slow path
    Flags(evaluator, SNAPSHOT, context).variation(key, "d")
