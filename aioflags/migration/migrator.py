"""Migrator: reads from and writes to the systems that the current stage names. Source: ``evaluation.md`` 8.3."""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeAlias, TypeVar

import anyio

from aioflags.errors import ConfigTypeError
from aioflags.migration.tracker import READS, WRITES, Operation, OpTracker, Origin, Stage
from aioflags.runtime.event_loops import contain_cancellation
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.logs import class_name
from aioflags.runtime.validation import require

if TYPE_CHECKING:
    from aioflags.model.context import Context


P = TypeVar("P")
R = TypeVar("R")
W = TypeVar("W")
T_co = TypeVar("T_co", covariant=True)


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
        if self._compare is not None and others and authoritative.is_success and others[0].is_success:
            self._check(authoritative, others[0], tracker)
        return authoritative

    def _check(self, authoritative: Result[R], other: Result[R], tracker: OpTracker) -> None:
        compare: Any = self._compare
        tracker.consistent(lambda: compare(authoritative.value, other.value))

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
