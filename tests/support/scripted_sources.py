"""World: sources that follow a script in virtual time, and an UpdateSink that records what the supervisor reports.

A script is a list of steps: a number waits that many seconds, a result is yielded, a directive is latched, an exception is
raised, a function is called for the step to take, ``HANG`` never ends. A script that is over ends its source. A source
that is built again plays its next script; the last one is repeated.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import anyio

from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import (
    Basis,
    Change,
    ChangeKind,
    ChangeSet,
    FallbackDirective,
    FetchFailure,
    ObjectKind,
    Selector,
    Update,
)
from aioflags.model.defaults import CLOSE_GRACE
from aioflags.model.flag import FlagDefinition
from aioflags.model.status import ErrorInfo, FailureKind, SourceState
from aioflags.runtime.event_loops import ForkSafeAsyncLock
from aioflags.sources.base import SourceBuilder, SourceContext
from aioflags.supervisor.next_snapshot import SnapshotHolder
from aioflags.supervisor.policy import SERVER, Policy
from aioflags.supervisor.rotation import FallbackState, SourceOptions
from aioflags.supervisor.supervisor import Supervisor

HANG: Final = math.inf
DIRECTIVE: Final = FallbackDirective(ttl=None, origin="header")

Script: TypeAlias = Sequence[Any]


def error(status: int = 503) -> ErrorInfo:
    """A failure with an HTTP status; 0 for one of the network."""
    kind = FailureKind.ERROR_RESPONSE if status else FailureKind.NETWORK_ERROR
    return ErrorInfo(kind=kind, message=f"status {status}", time=0, status_code=status)


def data(version: int, kind: ChangeKind = ChangeKind.FULL, *, selector: bool = True) -> ChangeSet:
    """A transfer with one flag. Tests identify the data by the version of the flag."""
    flag = FlagDefinition(key="flag", version=version)
    return ChangeSet(
        kind=kind,
        changes=(Change(ObjectKind.FLAG, "flag", version, flag),),
        selector=Selector(f"s{version}", version) if selector else Selector.none(),
    )


def basis(version: int | None, *, selector: bool = True, directive: FallbackDirective | None = None) -> Basis:
    """The basis of an initializer; without a version, one without data."""
    change_set = ChangeSet.unchanged() if version is None else data(version, selector=selector)
    return Basis(change_set=change_set, directive=directive)


def failure(status: int = 503, directive: FallbackDirective | None = None) -> FetchFailure:
    return FetchFailure(error=error(status), directive=directive)


def valid(version: int | None = None, directive: FallbackDirective | None = None, *, selector: bool = True) -> Update:
    """``VALID`` of a synchronizer; without a version, an update without data."""
    change_set = None if version is None else data(version, selector=selector)
    return Update(state=SourceState.VALID, change_set=change_set, directive=directive)


def down(status: int = 503, directive: FallbackDirective | None = None) -> Update:
    return Update(state=SourceState.INTERRUPTED, error=error(status), directive=directive)


def off(status: int = 401, directive: FallbackDirective | None = None) -> Update:
    return Update(state=SourceState.OFF, error=error(status), directive=directive)


@dataclass(frozen=True)
class Entry:
    """One line of the journal: the time in seconds since the start, the name of the source, and the event."""

    time: float
    name: str
    what: str
    """``built``, ``opened``, ``latched``, ``yielded``, ``origin``, ``closed`` of a source; or ``reported``, ``environment``,
    ``rejected``, ``ready``."""
    detail: Any = None


@dataclass(frozen=True)
class Report:
    """A call of :meth:`UpdateSink.report`. ``version``: the version of the data that are served afterwards."""

    state: SourceState | None
    error: ErrorInfo | None
    version: int | None
    change_set: ChangeSet | None
    next_attempt: float | None = None


class World:
    """Scripted sources, and the journal of what they did and of what the supervisor reported."""

    def __init__(self) -> None:
        self.journal: list[Entry] = []
        self.live: list[str] = []
        self.most_live = 0
        self.holder = SnapshotHolder(Snapshot.empty())
        self.publishing = ForkSafeAsyncLock(fast_acquire=True)
        self.fallback_state = FallbackState()
        self._start: float | None = None

    # -- running

    def source(self, name: str, *scripts: Script, closing: float = 0, build: Exception | None = None) -> ScriptedBuilder:
        """A builder. ``closing``: seconds that its sources take to close. ``build``: raised by ``build()``."""
        return ScriptedBuilder(self, name, scripts or ([],), closing, build)

    async def run(
        self,
        *,
        initializers: Sequence[SourceBuilder] = (),
        synchronizers: Sequence[ScriptedBuilder] = (),
        fallback: ScriptedBuilder | None = None,
        fdv1_initializers: Sequence[ScriptedBuilder] = (),
        recovery: Literal["never", "ttl"] = "never",
        refused_retry: Literal["extended", "never"] = "never",
        policy: Policy = SERVER,
        random: Callable[[], float] = lambda: 0.5,
    ) -> None:
        """Run a new supervisor until no source is left."""
        self._start = anyio.current_time() if self._start is None else self._start
        options = SourceOptions(
            initializers=initializers,
            synchronizers=synchronizers,
            fdv1_fallback=fallback,
            fdv1_initializers=fdv1_initializers,
            recovers_fdv2=recovery == "ttl",
            retries_refused=refused_retry == "extended",
            policy=policy,
        )
        await Supervisor(options, SourceContext(), self, self.fallback_state, random=random).run()

    @asynccontextmanager
    async def running(self, **parts: Any) -> AsyncGenerator[World, None]:
        """The world while a supervisor runs in it. Afterwards the supervisor is cancelled, and no source may be open."""
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: self.run(**parts))
            yield self
            group.cancel_scope.cancel()
        assert self.live == []

    # -- UpdateSink

    is_followed: bool = False

    @property
    def snapshot(self) -> Snapshot:
        return self.holder.snapshot

    def report(
        self,
        state: SourceState | None,
        *,
        error: ErrorInfo | None = None,
        snapshot: Snapshot | None = None,
        change_set: ChangeSet | None = None,
        next_attempt: float | None = None,
    ) -> None:
        if snapshot is not None:
            self.holder.publish(snapshot)
        self.note("", "reported", Report(state, error, self.served, change_set, next_attempt))

    def report_overrides(self, snapshot: Snapshot, change_set: ChangeSet) -> None:
        self.holder.publish(snapshot)
        self.note("", "overrides", change_set)

    def set_environment(self, environment_id: str) -> None:
        self.note("", "environment", environment_id)

    def set_source(self, source: str, since: float | None) -> None:
        self.note(source, "origin")

    def count_rejection(self) -> None:
        self.note("", "rejected")

    def mark_ready(self) -> None:
        self.note("", "ready")

    # -- results

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return round(anyio.current_time() - (self._start or 0), 6)

    @property
    def served(self) -> int | None:
        """The version of the data that evaluations would use."""
        flag = self.holder.snapshot.flags.get("flag")
        return flag.version if flag else None

    @property
    def reports(self) -> list[Report]:
        return [entry.detail for entry in self.journal if entry.what == "reported"]

    @property
    def states(self) -> list[SourceState]:
        """The states that were reported, without repetitions of the same state."""
        states = [report.state for report in self.reports if report.state is not None]
        return [state for index, state in enumerate(states) if index == 0 or states[index - 1] is not state]

    @property
    def last_error(self) -> ErrorInfo | None:
        return next((report.error for report in reversed(self.reports) if report.error), None)

    @property
    def ready_at(self) -> float | None:
        """When waiters were woken."""
        times = [entry.time for entry in self.journal if entry.what == "ready"]
        assert len(times) <= 1, "waiters are woken once"
        return times[0] if times else None

    def times(self, name: str, what: str = "opened") -> list[float]:
        """The times of an event of a source."""
        return [entry.time for entry in self.journal if entry.name == name and entry.what == what]

    @property
    def opened(self) -> list[str]:
        """The names of the sources that ran, in order."""
        return [entry.name for entry in self.journal if entry.what == "opened"]

    def note(self, name: str, what: str, detail: Any = None) -> None:
        self.journal.append(Entry(self.now, name, what, detail))


class ScriptedBuilder:
    """Builds sources that follow a script."""

    def __init__(self, world: World, name: str, scripts: Sequence[Script], closing: float, build: Exception | None) -> None:
        self.world = world
        self.name = name
        self.closing = closing
        self._scripts = list(scripts)
        self._build = build

    def build(self, context: SourceContext, /) -> ScriptedSource:
        self.world.note(self.name, "built")
        if self._build is not None:
            raise self._build
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        return ScriptedSource(self, script)


class ScriptedSource:
    """An initializer and a synchronizer that follows its script."""

    def __init__(self, builder: ScriptedBuilder, script: Script) -> None:
        self.name = builder.name
        self.latched: FallbackDirective | None = None
        self._world = builder.world
        self._closing = builder.closing
        self._script = script

    def fetch(self, selector: Callable[[], Selector]) -> AsyncGenerator[Any, None]:
        return self._play(selector)

    def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Any, None]:
        return self._play(selector)

    async def _play(self, selector: Callable[[], Selector]) -> AsyncGenerator[Any, None]:
        world = self._world
        world.note(self.name, "opened", selector())
        world.live.append(self.name)
        world.most_live = max(world.most_live, len(world.live))
        try:
            for planned in self._script:
                step = planned() if callable(planned) else planned
                match step:
                    case int() | float():
                        await anyio.sleep(step)
                    case FallbackDirective():
                        self.latched = step
                        world.note(self.name, "latched", step)
                    case BaseException():
                        raise step
                    case _:
                        world.note(self.name, "yielded", step)
                        yield step
        finally:
            try:
                # As a source with a connection does: it shields its exit, if the exit ends within the grace.
                with anyio.CancelScope(shield=self._closing <= CLOSE_GRACE):
                    await anyio.sleep(self._closing)
            finally:
                world.live.remove(self.name)
                world.note(self.name, "closed")
