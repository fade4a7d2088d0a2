"""The interfaces of sources: async generators of results, made by immutable builders.

A source reports and never decides. It does nothing before it is iterated, is iterated by one task, and is closed by
closing its generator; cancellation may arrive at any ``await``. Expected failures are yielded. No cancel scope and no
task group spans a ``yield``.

Source: ``data-system.md`` 4; ``architecture.md`` 12.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

import anyio

from aioflags.model.change import Change, ChangeSet, Selector
from aioflags.model.defaults import BASE_URI, CLOSE_GRACE, POLL_INTERVAL, RECONNECT_DELAY, STREAM_URI
from aioflags.model.event import StreamAttempt
from aioflags.model.result import Basis, FallbackDirective, FetchFailure, Update
from aioflags.protocol.server_side import SERVER_SIDE
from aioflags.protocol.side import Side
from aioflags.runtime.event_loops import loop_time
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.process_bound import ProcessBound
from aioflags.sources.poll_on_demand import PollOnDemand
from aioflags.transport.backoff import RetryState, RetryTimes
from aioflags.transport.http import HttpTransport
from aioflags.transport.settings import Http

__all__ = [
    "CachedFlags",
    "FlagCache",
    "Initializer",
    "Latching",
    "LocalSource",
    "SourceBuilder",
    "SourceContext",
    "Synchronizer",
    "closing",
    "transport_for",
]

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
    """The flags that a device kept for a context. ``freshness_ms``: see :class:`~aioflags.model.result.Basis`."""

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


class SourceBuilder(Protocol):
    """Describes a source. Immutable: one builder may be in several lists and serve several clients."""

    def build(self, context: SourceContext, /) -> Initializer | Synchronizer:
        """A new source. It may be an initializer, a synchronizer, or both."""
        ...


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
