"""OpTracker: the measurements of one read or write of a migration. Source: ``evaluation.md`` 8.2."""

from __future__ import annotations

import inspect
import logging
import math
import random
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

from aioflags.errors import ConfigError
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason, ReasonKind
from aioflags.model.event import MigrationEvent, is_drawn
from aioflags.model.flag import FlagDefinition
from aioflags.model.values import is_number
from aioflags.runtime.clock import now_ms
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.logs import printable

# -- Stages of a migration, and which systems are read and written in each. Source: ``evaluation.md`` 8.


class Stage(StrEnum):
    """The stages of a migration, in order. They are the values of its flag."""

    OFF = "off"
    """Reads and writes only the old system."""
    DUALWRITE = "dualwrite"
    """Reads the old system, writes both."""
    SHADOW = "shadow"
    """Reads and writes both; the old system is authoritative."""
    LIVE = "live"
    """Reads and writes both; the new system is authoritative."""
    RAMPDOWN = "rampdown"
    """Reads the new system, writes both."""
    COMPLETE = "complete"
    """Reads and writes only the new system."""


class Operation(StrEnum):
    """A read or a write."""

    READ = "read"
    WRITE = "write"


class Origin(StrEnum):
    """One of the two systems."""

    OLD = "old"
    NEW = "new"


_OLD: Final = (Origin.OLD,)
_NEW: Final = (Origin.NEW,)
_OLD_FIRST: Final = (Origin.OLD, Origin.NEW)
_NEW_FIRST: Final = (Origin.NEW, Origin.OLD)

READS: Final[Mapping[Stage, tuple[Origin, ...]]] = {
    Stage.OFF: _OLD,
    Stage.DUALWRITE: _OLD,
    Stage.SHADOW: _OLD_FIRST,
    Stage.LIVE: _NEW_FIRST,
    Stage.RAMPDOWN: _NEW,
    Stage.COMPLETE: _NEW,
}
"""The systems that a read calls. The first one is authoritative."""

WRITES: Final[Mapping[Stage, tuple[Origin, ...]]] = {
    Stage.OFF: _OLD,
    Stage.DUALWRITE: _OLD_FIRST,
    Stage.SHADOW: _OLD_FIRST,
    Stage.LIVE: _NEW_FIRST,
    Stage.RAMPDOWN: _NEW_FIRST,
    Stage.COMPLETE: _NEW,
}
"""The systems that a write calls, one after the other. The first one is authoritative."""

_NO_STAGE: Final = Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.WRONG_TYPE)


def as_stage(detail: EvaluationDetail[Any], default: Stage) -> EvaluationDetail[Stage]:
    """The detail with a stage as its value; with ``default`` if the value is not a stage."""
    try:
        return EvaluationDetail(Stage(detail.value), detail.variation_index, detail.reason)
    except ValueError:
        return EvaluationDetail(default, None, _NO_STAGE)


M = TypeVar("M", bound=StrEnum)


class OpTracker(ProcessBound):
    """Collects the measurements of one operation for one event.

    ``client.migration_variation`` makes it, and ``client.track_migration_op`` sends its event. A :class:`Migrator` calls both.
    ``key`` is the key of the flag.
    """

    def __init__(
        self,
        key: str,
        context: Context | None,
        detail: EvaluationDetail[Stage],
        default: Stage,
        flag: FlagDefinition | None,
        *,
        logger: logging.Logger,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.key: str = key
        self._context = context
        self._detail = detail
        self._default = default
        self._flag = flag
        self._check_ratio = flag.migration.check_ratio if flag is not None and flag.migration is not None else None
        self._logger = logger
        self._chance = chance
        self._operation: Operation | None = None
        self._invoked: set[Origin] = set()
        self._failed: set[Origin] = set()
        self._latency_ms: dict[Origin, float] = {}
        self._is_consistent: bool | None = None

    def operation(self, operation: Operation) -> None:
        """Set whether the operation is a read or a write."""
        self._operation = _member("operation", operation, Operation)

    def invoked(self, origin: Origin) -> None:
        """Note that a system was called, whether it succeeded or failed."""
        self._invoked.add(_member("origin", origin, Origin))

    def error(self, origin: Origin) -> None:
        """Note that a system failed."""
        self._failed.add(_member("origin", origin, Origin))

    def latency(self, origin: Origin, seconds: float) -> None:
        """Note how long a system took, in seconds. An invalid latency (negative, infinite, no number) is ignored with a warning."""
        system = _member("origin", origin, Origin)
        millis = float(seconds) * 1000 if is_number(seconds) else math.nan
        if not 0 <= millis < math.inf:
            self._logger.warning("migration %s: ignoring a latency of %r seconds", printable(self.key), seconds)
            return
        self._latency_ms[system] = millis

    def consistent(self, check: Callable[[], bool]) -> None:
        """Note whether both systems gave the same value.

        ``check`` is called for one in ``check_ratio`` operations, as the flag requires. If it raises, the log has the exception.
        """
        if not is_drawn(self._check_ratio, self._chance):
            return
        try:
            result = check()
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError("expected a plain function, got a coroutine function")
            self._is_consistent = bool(result)
        except Exception:
            self._logger.exception("migration %s: the comparison failed", printable(self.key))

    def event(self) -> MigrationEvent | str:
        """The event, or the reason why it cannot be made: the measurements are incomplete or contradict each other."""
        context, operation = self._context, self._operation
        if operation is None:
            return "the operation was not set to read or write"
        if not self.key:
            return "the flag's key is empty"
        if context is None or context.error is not None:
            return f"invalid context: {context.error if context is not None else 'no context'}"
        if not self._invoked:
            return "no system was invoked"
        if unknown := (self._latency_ms.keys() | self._failed) - self._invoked:
            return f"a measurement of the {min(unknown)} system, which was not invoked"
        if self._is_consistent is not None and len(self._invoked) < len(Origin):
            return "both systems were compared, but only one was invoked"
        flag, detail = self._flag, self._detail
        return MigrationEvent(
            at_ms=now_ms(),
            operation=operation.value,
            key=self.key,
            context=context,
            value=detail.value.value,
            default=self._default.value,
            reason=detail.reason,
            variation=detail.variation_index,
            version=None if flag is None else flag.version,
            sampling_ratio=None if flag is None else flag.sampling_ratio,
            invoked=[origin.value for origin in Origin if origin in self._invoked],
            is_consistent=self._is_consistent,
            check_ratio=self._check_ratio,
            latency_ms={origin.value: self._latency_ms[origin] for origin in Origin if origin in self._latency_ms},
            failed=[origin.value for origin in Origin if origin in self._failed],
        )


def _member(name: str, value: str, kind: type[M]) -> M:
    """The member of an enumeration with this value."""
    try:
        return kind(value)
    except ValueError:
        raise ConfigError(f"{name}: expected {' or '.join(kind)}, got {value!r:.60}") from None
