"""The interfaces of sources: async generators of results, made by immutable builders; and polls on demand.

A source reports and never decides. It does nothing before it is iterated, is iterated by one task, and is closed by
closing its generator; cancellation may arrive at any ``await``. Expected failures are yielded. No cancel scope and no
task group spans a ``yield``.

Source: ``data-system.md`` 4; ``architecture.md`` 12.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast, runtime_checkable

import anyio
from anyio.lowlevel import checkpoint

from aioflags.model.change import Basis, Change, ChangeSet, FallbackDirective, FetchFailure, Selector, Update
from aioflags.model.defaults import BASE_URI, CLOSE_GRACE, POLL_INTERVAL, RECONNECT_DELAY, STREAM_URI
from aioflags.model.event import StreamAttempt
from aioflags.model.status import SourceState
from aioflags.protocol.failures import server_failure
from aioflags.protocol.server_side import SERVER_SIDE
from aioflags.protocol.side import Side
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.clock import now
from aioflags.runtime.event_loops import loop_time
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.validation import require_methods, require_sequence
from aioflags.transport.backoff import RetryState, RetryTimes
from aioflags.transport.http import HttpTransport
from aioflags.transport.settings import Http

# -- PollOnDemand: connects sources that poll on demand with ``Client.refresh()``, which asks for a poll and waits for its
# end.
#
# A source that waits for a request has no timer. A process may therefore be frozen between two polls, as serverless functions
# are, and has no overdue timers when it continues.


class PollOnDemand:
    """Shared by the sources of one client and its ``refresh()`` calls, on the client's event loop.

    Args:
        polled_on_demand: called after each poll of a source that polls on demand.
        wall_clock: returns Unix seconds.
    """

    def __init__(self, polled_on_demand: Callable[[], None] | None = None, wall_clock: Callable[[], float] = now) -> None:
        self._polled_on_demand = polled_on_demand
        self._wall_clock = wall_clock
        self._is_waiting = False
        """A source waits for a request."""
        self._is_polling = False
        self._seconds = 0.0
        self._waiting_since = (0.0, 0.0)
        self._requested = Signal()
        self._finished = Signal()

    # -- for sources

    def poll_started(self) -> None:
        """A source starts to poll without a request."""
        self._is_polling = True

    async def wait_for_request(self, seconds: float) -> None:
        """Report that a poll is over and its result applied, then wait for a request. Ignores requests for ``seconds``."""
        self._seconds, self._waiting_since = seconds, self._now()
        self._is_waiting = True
        self._poll_finished()
        if self._polled_on_demand is not None:
            self._polled_on_demand()
        try:
            await self._requested.wait()
        finally:
            self._is_waiting = False

    # -- for the client

    async def request(self) -> None:
        """Request a poll, and return when it is over. If a poll is running already, wait for that one.

        Returns at once if no source polls on demand, or if the source must not poll again yet.
        """
        if self._is_waiting and self._is_due():
            self._is_waiting, self._is_polling = False, True
            self._requested.send()
        if self._is_polling:
            await self._finished.wait()
        else:
            await checkpoint()

    def sources_stopped(self) -> None:
        """No source runs any more: wake the callers that wait for a poll."""
        self._poll_finished()

    def after_fork(self) -> None:
        """Start afresh in the child of a fork: the source and the waiting callers exist in the parent only."""
        self._is_waiting = self._is_polling = False
        self._requested.after_fork()
        self._finished.after_fork()

    def _poll_finished(self) -> None:
        self._is_polling = False
        self._finished.send()

    def _is_due(self) -> bool:
        """Uses the clock that advanced more: one of them may have stood still while the process was frozen."""
        return max(now - then for now, then in zip(self._now(), self._waiting_since, strict=True)) >= self._seconds

    def _now(self) -> tuple[float, float]:
        return loop_time(), self._wall_clock()


T = TypeVar("T")


class Initializer(Protocol):
    """Gets data once. Yields a basis (or several, the best one last), or the failure."""

    name: str

    def fetch(self, selector: Callable[[], Selector]) -> AsyncGenerator[Basis | FetchFailure, None]:
        """One run. ``selector`` returns the cursor of the newest data."""
        ...


class Synchronizer(Protocol):
    """Keeps data current. Yields updates until it cannot continue; an ``Update`` with ``OFF`` is the last one."""

    name: str

    def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        """One run. ``selector`` is called for every request."""
        ...


@runtime_checkable
class Latching(Protocol):
    """A source that can receive a directive before it has a result to put it in. Optional for other sources."""

    @property
    def latched(self) -> FallbackDirective | None:
        """The directive in the headers of the open stream, or of the response that is being read."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedFlags:
    """The flags that a device kept for a context. ``freshness_ms``: see :class:`~aioflags.model.change.Basis`."""

    changes: tuple[Change, ...]
    freshness_ms: int | None


class FlagCache(Protocol):
    """The flags that a device keeps for one context."""

    async def read(self) -> CachedFlags | None:
        """The flags; ``None`` if the device has not kept any. Raises nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceContext(ProcessBound):
    """What a client passes to the builders of its sources.

    ``transport`` is the client's, open for as long as its sources run. If it is ``None``, each source opens one with the
    settings ``http``.
    """

    http: Http = field(default_factory=Http)
    transport: HttpTransport | None = None
    base_uri: str = BASE_URI
    stream_uri: str = STREAM_URI
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Sent with every request: the key, the user agent, the instance id, tags and wrapper."""
    side: Side = SERVER_SIDE
    """What the client asks for, and how it reads the answers."""
    cache: FlagCache | None = field(default=None, repr=False)
    """The flags that the device kept; ``None``: it keeps none."""
    poll_interval: float = POLL_INTERVAL
    poll_attempts: int = 1
    """How many times an initializer polls if the failure may be temporary. A second passes between two polls."""
    initial_reconnect_delay: float = RECONNECT_DELAY
    demand: PollOnDemand = field(default_factory=PollOnDemand, repr=False)
    """Wakes sources that poll on demand."""
    attempted: Callable[[StreamAttempt], object] = lambda _: None
    """Called once for every attempt to open a stream, when it has succeeded or failed."""
    retry_state: RetryState = field(default_factory=RetryState, repr=False)
    """The back-off state that the last run of this source left."""
    retry_times: RetryTimes | None = field(default=None, repr=False)
    """When sources may send requests again, if a client starts new sources while the service asks to wait."""
    logger: logging.Logger = package_logger

    def asked_to_wait(self, url: Callable[[], str]) -> float:
        """Seconds until a request may be sent to ``url()``, as the service asked an earlier source."""
        return 0.0 if self.retry_times is None else self.retry_times.left(url(), loop_time())

    def note_retry_after(self, url: str, seconds: float) -> None:
        """The service asked to send no request to ``url`` for so long."""
        if self.retry_times is not None:
            self.retry_times.note(url, loop_time() + seconds)


def as_basis(update: Update) -> Basis | FetchFailure:
    """What an initializer yields for the first update of a synchronizer."""
    if update.state is not SourceState.VALID:
        error = update.error or server_failure("the source gave no reason")
        return FetchFailure(error=error, directive=update.directive)
    change_set = update.change_set or ChangeSet.unchanged()
    return Basis(change_set=change_set, directive=update.directive, environment_id=update.environment_id)


class SourceBuilder(Protocol):
    """Describes a source. Immutable: one builder may be in several lists and serve several clients."""

    def build(self, context: SourceContext, /) -> Initializer | Synchronizer:
        """A new source. It may be an initializer, a synchronizer, or both."""
        ...


def source_builders(option: str, builders: object) -> tuple[SourceBuilder, ...]:
    """The check of an option with builders of sources, which become a tuple."""
    for builder in (items := require_sequence(option, builders, "source builders")):
        require_methods(option, builder, SourceBuilder, "source builder")
    return tuple(cast("Sequence[SourceBuilder]", items))


class LocalSource:
    """A builder whose flags come from this process or its files. No client writes them to a persistent store."""

    def change_set(self) -> ChangeSet | None:
        """The flags, if they can be read without a wait, so that they can be evaluated before the start."""
        return None


@asynccontextmanager
async def closing(results: AsyncGenerator[T, None], grace: float = CLOSE_GRACE) -> AsyncGenerator[AsyncGenerator[T, None], None]:
    """Close a generator that waits at its ``yield`` when the block ends: shielded, within ``grace`` seconds."""
    try:
        yield results
    finally:
        with anyio.move_on_after(grace, shield=True):
            await results.aclose()


@asynccontextmanager
async def transport_for(context: SourceContext, http: Http | None) -> AsyncGenerator[HttpTransport, None]:
    """The transport of a source: the client's, or a new one if the source has its own HTTP settings."""
    if http is None and context.transport is not None:
        yield context.transport
        return
    async with HttpTransport(http or context.http, context.logger) as transport:
        yield transport
