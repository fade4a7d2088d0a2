"""Migrator: reads and writes that go where the stage of the moment says. Source: ``evaluation.md`` 8.3."""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeAlias, TypeVar

import anyio

from aioflags.errors import ConfigTypeError
from aioflags.migration.stages import READS, WRITES, Operation, Origin, Stage
from aioflags.migration.tracker import OpTracker
from aioflags.runtime.cancellation import contain_cancellation
from aioflags.runtime.validation import require

if TYPE_CHECKING:
    from aioflags.model.context import Context

__all__ = ["Failure", "Migrator", "ReadOrder", "Result", "WriteResult"]

P = TypeVar("P")
R = TypeVar("R")
W = TypeVar("W")
T_co = TypeVar("T_co", covariant=True)


class _MigrationClient(Protocol):
    """What a migrator calls on its client."""

    async def migration_variation(self, key: str, context: Context | None, default: Stage | str) -> tuple[Stage, OpTracker]: ...

    def track_migration_op(self, tracker: OpTracker) -> None: ...


class ReadOrder(StrEnum):
    """How a read asks two systems."""

    PARALLEL = "parallel"
    """Both at once."""
    SERIAL = "serial"
    """The one that decides, then the other."""
    RANDOM = "random"
    """One after the other; chance says which comes first."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a function returns that failed without raising; ``error`` says how."""

    error: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Generic[T_co]):
    """What one system answered: a value, or an error, which is the exception if one was raised."""

    origin: Origin
    is_success: bool
    value: T_co | None = None
    error: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult(Generic[T_co]):
    """What a write came to, in the system that decides and in the other; ``None`` where that was not written to."""

    authoritative: Result[T_co]
    nonauthoritative: Result[T_co] | None


_Function: TypeAlias = Callable[[Any], Any]


class Migrator(Generic[P, R, W]):
    """Reads and writes two systems, as the stage of a flag says, and sends what it measured.

    The four functions are coroutine functions of a payload; they return a value or a :class:`Failure`, or raise. Plain ones that do
    not block will do, too: what can be awaited is awaited, and anything else is the answer. Type checkers are not told of them, for
    they would infer no types from either kind then. ``compare`` gets the two values of a read that asked both systems, the one that
    decides first. ``order`` is how such a read asks them. Latencies are measured on the event loop's clock; ``track_latency`` and
    ``track_errors`` say what is sent.

    Raises:
        ConfigError: something that is to be called is missing, or cannot be called.
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
                raise ConfigTypeError(f"{name}: expected a function, got {type(function).__name__}")
        if inspect.iscoroutinefunction(compare):
            raise ConfigTypeError("compare: expected a plain function, got a coroutine function")
        self._client = client
        self._reading: Final[Mapping[Origin, _Function]] = {Origin.OLD: read_old, Origin.NEW: read_new}
        self._writing: Final[Mapping[Origin, _Function]] = {Origin.OLD: write_old, Origin.NEW: write_new}
        self._compare = compare
        self._order = require("order", order, ReadOrder)
        self._track_latency = track_latency
        self._track_errors = track_errors
        self._chance = chance

    async def read(self, key: str, context: Context | None, default: Stage | str, payload: P) -> Result[R]:
        """Reads, and gives the answer of the system that decides.

        ``key`` is the migration's flag, ``default`` the stage that counts where the flag has none. What a function does wrong is in
        the result. The event is sent also if the read is cancelled.
        """
        stage, tracker = await self._client.migration_variation(key, context, default)
        tracker.operation(Operation.READ)
        try:
            found = await self._read(READS[stage], payload, tracker)
        finally:
            self._client.track_migration_op(tracker)
        return found

    async def write(self, key: str, context: Context | None, default: Stage | str, payload: P) -> WriteResult[W]:
        """Writes to the system that decides, and then, if that did not fail, to the other one.

        Parameters and events are those of :meth:`read`.
        """
        stage, tracker = await self._client.migration_variation(key, context, default)
        tracker.operation(Operation.WRITE)
        first, *others = WRITES[stage]
        second: Result[W] | None = None
        try:
            authoritative: Result[W] = await self._run(first, self._writing, payload, tracker)
            if others and authoritative.is_success:
                second = await self._run(others[0], self._writing, payload, tracker)
        finally:
            self._client.track_migration_op(tracker)
        return WriteResult(authoritative=authoritative, nonauthoritative=second)

    async def _read(self, origins: tuple[Origin, ...], payload: P, tracker: OpTracker) -> Result[R]:
        """Asks the systems in the order that was chosen; the first of them decides, whichever is asked first."""
        results: dict[Origin, Result[R]] = {}

        async def ask(origin: Origin) -> None:
            results[origin] = await self._run(origin, self._reading, payload, tracker)

        if len(origins) > 1 and self._order is ReadOrder.PARALLEL:
            async with anyio.create_task_group() as asking:
                for origin in origins:
                    asking.start_soon(ask, origin)
        else:
            turned = self._order is ReadOrder.RANDOM and self._chance() < 0.5
            for origin in reversed(origins) if turned else origins:
                await ask(origin)
        authoritative, *others = (results[origin] for origin in origins)
        if self._compare is not None and others and authoritative.is_success and others[0].is_success:
            self._check(authoritative, others[0], tracker)
        return authoritative

    def _check(self, authoritative: Result[R], other: Result[R], tracker: OpTracker) -> None:
        compare: Any = self._compare
        tracker.consistent(lambda: compare(authoritative.value, other.value))

    async def _run(self, origin: Origin, functions: Mapping[Origin, _Function], payload: P, tracker: OpTracker) -> Result[Any]:
        """Asks one system and measures it. What it raises is its answer; only a cancellation of the caller is passed on."""
        tracker.invoked(origin)
        began = anyio.current_time()
        try:
            with contain_cancellation():
                returned = functions[origin](payload)
                if inspect.isawaitable(returned):
                    returned = await returned
        except Exception as error:  # noqa: BLE001 -- a system that fails is what is being measured
            returned = Failure(error)
        if self._track_latency:
            tracker.latency(origin, anyio.current_time() - began)
        if not isinstance(returned, Failure):
            return Result(origin=origin, is_success=True, value=returned)
        if self._track_errors:
            tracker.error(origin)
        return Result(origin=origin, is_success=False, error=returned.error)
