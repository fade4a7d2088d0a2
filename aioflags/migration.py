"""Migrations from an old system to a new one, in stages that a flag decides.

A :class:`Migrator` reads from and writes to the systems of the current stage, and measures both. For programs that do this
themselves, ``client.migration_variation`` returns the stage and an :class:`OpTracker`.

Source: ``evaluation.md`` 8.
"""

from __future__ import annotations

import inspect
import logging
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

import anyio

from aioflags.errors import ConfigError, ConfigTypeError
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason, ReasonKind
from aioflags.model.event import MigrationEvent, is_drawn
from aioflags.model.flag import FlagDefinition
from aioflags.model.values import is_number
from aioflags.runtime.clock import now_ms
from aioflags.runtime.event_loops import contain_cancellation
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.logs import class_name, printable
from aioflags.runtime.validation import require

__all__ = ["Failure", "Migrator", "OpTracker", "Operation", "Origin", "ReadOrder", "Result", "Stage", "WriteResult"]

M = TypeVar("M", bound=StrEnum)
P = TypeVar("P")
R = TypeVar("R")
W = TypeVar("W")
T_co = TypeVar("T_co", covariant=True)


# -- Stages of a migration, and which systems are read and written in each.


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


# -- OpTracker: the measurements of one read or write. Source: ``evaluation.md`` 8.2.


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


# -- Migrator. Source: ``evaluation.md`` 8.3.


class _MigrationClient(Protocol):
    """The methods of the client that a migrator calls."""

    async def migration_variation(self, key: str, context: Context | None, default: Stage | str) -> tuple[Stage, OpTracker]: ...

    def track_migration_op(self, tracker: OpTracker) -> None: ...


class ReadOrder(StrEnum):
    """The order in which a read calls both systems."""

    PARALLEL = "parallel"
    """Both at the same time."""
    SERIAL = "serial"
    """The authoritative system, then the other."""
    RANDOM = "random"
    """One after the other, in random order."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Returned by a function to report a failure without raising. ``error`` is its cause."""

    error: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Generic[T_co]):
    """The result of one system: a value or an error. The error is the exception, if one was raised."""

    origin: Origin
    is_success: bool
    value: T_co | None = None
    error: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult(Generic[T_co]):
    """The results of a write. ``nonauthoritative`` is ``None`` if the other system was not written."""

    authoritative: Result[T_co]
    nonauthoritative: Result[T_co] | None


_Function: TypeAlias = Callable[[Any], Any]


class Migrator(ProcessBound, Generic[P, R, W]):
    """Reads and writes two systems according to the stage of a flag, and sends the measurements.

    The four functions are coroutine functions that take a payload. They return a value or a :class:`Failure`, or raise. A plain
    function that does not block works too: an awaitable result is awaited, any other result is the value. The type annotations
    do not include plain functions, because type checkers would then infer no types from either kind.

    Args:
        client: The client that evaluates the flag and sends the measurements.
        read_old: Reads the old system.
        read_new: Reads the new system.
        write_old: Writes the old system.
        write_new: Writes the new system.
        compare: Takes the two values of a read that called both systems, the authoritative one first. True: they are consistent.
        order: The order in which such a read calls the systems.
        track_latency: Whether latencies are sent. They are measured on the event loop's clock.
        track_errors: Whether errors are sent.
        chance: Returns numbers in [0, 1), for a random order.

    Raises:
        ConfigError: A function is missing or not callable, or ``compare`` is a coroutine function.
    """

    def __init__(
        self,
        client: _MigrationClient,
        *,
        read_old: Callable[[P], Awaitable[R | Failure]],
        read_new: Callable[[P], Awaitable[R | Failure]],
        write_old: Callable[[P], Awaitable[W | Failure]],
        write_new: Callable[[P], Awaitable[W | Failure]],
        compare: Callable[[R, R], bool] | None = None,
        order: ReadOrder = ReadOrder.PARALLEL,
        track_latency: bool = True,
        track_errors: bool = True,
        chance: Callable[[], float] = random.random,
    ) -> None:
        functions = {"read_old": read_old, "read_new": read_new, "write_old": write_old, "write_new": write_new}
        for name, function in (functions | ({} if compare is None else {"compare": compare})).items():
            if not callable(function):
                raise ConfigTypeError(f"{name}: expected a function, got {class_name(function)}")
        if inspect.iscoroutinefunction(compare):
            raise ConfigTypeError("compare: expected a plain function, got a coroutine function")
        self._client = client
        self._reads: Final[Mapping[Origin, _Function]] = {Origin.OLD: read_old, Origin.NEW: read_new}
        self._writes: Final[Mapping[Origin, _Function]] = {Origin.OLD: write_old, Origin.NEW: write_new}
        self._compare = compare
        self._order = require("order", order, ReadOrder)
        self._track_latency = track_latency
        self._track_errors = track_errors
        self._chance = chance

    async def read(self, key: str, context: Context | None, default: Stage | str, payload: P) -> Result[R]:
        """Read, and return the result of the authoritative system.

        A function that fails does not raise here: its error is in the result. The measurements are sent even if the read is
        cancelled.

        Args:
            key: The migration's flag.
            context: The context to evaluate the flag for.
            default: The stage if the flag cannot be evaluated, or its value is not a stage.
            payload: Passed to the functions.
        """
        stage, tracker = await self._client.migration_variation(key, context, default)
        tracker.operation(Operation.READ)
        try:
            result = await self._read(READS[stage], payload, tracker)
        finally:
            self._client.track_migration_op(tracker)
        return result

    async def write(self, key: str, context: Context | None, default: Stage | str, payload: P) -> WriteResult[W]:
        """Write to the authoritative system, and then, if that succeeded, to the other one.

        As :meth:`read`, with the same parameters and measurements.
        """
        stage, tracker = await self._client.migration_variation(key, context, default)
        tracker.operation(Operation.WRITE)
        first, *others = WRITES[stage]
        second: Result[W] | None = None
        try:
            authoritative: Result[W] = await self._run(first, self._writes, payload, tracker)
            if others and authoritative.is_success:
                second = await self._run(others[0], self._writes, payload, tracker)
        finally:
            self._client.track_migration_op(tracker)
        return WriteResult(authoritative=authoritative, nonauthoritative=second)

    async def _read(self, origins: tuple[Origin, ...], payload: P, tracker: OpTracker) -> Result[R]:
        """Call the systems in the chosen order. The first of ``origins`` is authoritative, even if it is called second."""
        results: dict[Origin, Result[R]] = {}

        async def call(origin: Origin) -> None:
            results[origin] = await self._run(origin, self._reads, payload, tracker)

        if len(origins) > 1 and self._order is ReadOrder.PARALLEL:
            async with anyio.create_task_group() as calls:
                for origin in origins:
                    calls.start_soon(call, origin)
        else:
            is_reversed = self._order is ReadOrder.RANDOM and self._chance() < 0.5
            for origin in reversed(origins) if is_reversed else origins:
                await call(origin)
        authoritative, *others = (results[origin] for origin in origins)
        compare: Any = self._compare
        if compare is not None and others and authoritative.is_success and others[0].is_success:
            tracker.consistent(lambda: compare(authoritative.value, others[0].value))
        return authoritative

    async def _run(self, origin: Origin, functions: Mapping[Origin, _Function], payload: P, tracker: OpTracker) -> Result[Any]:
        """Call one system and measure it. An exception becomes its result; only a cancellation of the caller is raised."""
        tracker.invoked(origin)
        started = anyio.current_time()
        try:
            with contain_cancellation():
                returned = functions[origin](payload)
                if inspect.isawaitable(returned):
                    returned = await returned
        except Exception as error:  # noqa: BLE001 -- a system that fails is what is being measured
            returned = Failure(error)
        if self._track_latency:
            tracker.latency(origin, anyio.current_time() - started)
        if not isinstance(returned, Failure):
            return Result(origin=origin, is_success=True, value=returned)
        if self._track_errors:
            tracker.error(origin)
        return Result(origin=origin, is_success=False, error=returned.error)
