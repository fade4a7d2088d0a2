"""StreamedSource: what every stream has in common, whatever the protocol: connect, read, report, wait, reconnect.

Protocols say what is asked for and what an event means. A directive in the head of a stream is latched: whatever the
stream reports next carries it, and is the last that it reports.

Source: ``data-system.md`` 1.7, 2.3, 3.3, 4.1, 5.7 and 6.2.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from types import GeneratorType
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

from aioflags.model.change import ChangeKind, ChangeSet, Selector
from aioflags.model.defaults import LATCH_GRACE, RECONNECT_DELAY
from aioflags.model.event import StreamAttempt
from aioflags.model.result import ErrorInfo, FallbackDirective, SourceState, Update
from aioflags.protocol.effects import Completed, Effect, Goodbye, Malformed, ServerError
from aioflags.protocol.failures import invalid_data, located, network_failure, server_failure, unexpected
from aioflags.runtime.checkpoints import pause_when_spent, run_cooperatively
from aioflags.runtime.clock import now_ms
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.logs import logger, printable
from aioflags.runtime.validation import TEXT, address, positive, require, set_all
from aioflags.sources.base import SourceContext, transport_for
from aioflags.sources.polled import read_environment_id
from aioflags.transport.answers import RequestFailed
from aioflags.transport.backoff import Backoff
from aioflags.transport.http import EventStream, HttpTransport
from aioflags.transport.settings import Http

if TYPE_CHECKING:
    from httpx_sse import ServerSentEvent

__all__ = ["ReadEvent", "StreamOptions", "StreamedSource"]

ReadEvent: TypeAlias = Callable[[str, str], Effect | Generator[None, None, Effect]]
"""What an event of that name, with these data, comes to; a generator that pauses, where that takes a while."""

_GRACE_OVER: Final = f"no payload within {LATCH_GRACE:g} s of the fallback directive"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """What can be chosen about a source that streams. What is ``None`` is taken from the client."""

    base_uri: str | None = None
    initial_reconnect_delay: float | None = None
    http: Http | None = None

    def __post_init__(self) -> None:
        if require("base_uri", self.base_uri, *TEXT):
            set_all(self, {"base_uri": address("base_uri", self.base_uri, "")})
        require("http", self.http, Http, type(None))
        if self.initial_reconnect_delay is not None:
            delay = positive("initial_reconnect_delay", self.initial_reconnect_delay, RECONNECT_DELAY, logger)
            set_all(self, {"initial_reconnect_delay": delay})

    def delay_for(self, context: SourceContext) -> float:
        """Seconds before the first reconnect."""
        return context.initial_reconnect_delay if self.initial_reconnect_delay is None else self.initial_reconnect_delay


class _Connection:
    """What is known of one connection when it has ended. ``attempted`` is told what became of the attempt at it."""

    def __init__(self, attempted: Callable[[StreamAttempt], object]) -> None:
        self.opened = math.inf
        self.retry_after = 0.0
        self.is_refused = False
        self._attempted: Callable[[StreamAttempt], object] | None = attempted
        self._at_ms = now_ms()
        self._began = anyio.current_time()

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Whatever ends it before there are data, being cancelled included, is its failure."""
        try:
            yield
        finally:
            self.decide(is_failed=True)

    def decide(self, *, is_failed: bool) -> None:
        """The attempt has come to something. Only the first word on it counts."""
        if self._attempted is not None:
            took_ms = int((anyio.current_time() - self._began) * 1000)
            self._attempted(StreamAttempt(at_ms=self._at_ms, took_ms=took_ms, is_failed=is_failed))
            self._attempted = None


class StreamedSource(ABC):
    """A synchronizer that reads event streams. ``random`` gives numbers in [0, 1), for the jitter."""

    def __init__(
        self, name: str, context: SourceContext, *, http: Http | None, backoff: Backoff, random: Callable[[], float]
    ) -> None:
        self.name = name
        self.latched: FallbackDirective | None = None
        self._context = context
        self._http = http
        self._backoff = backoff
        self._random = random
        self._environment_id: str | None = None
        self._requested = ""
        self._has_logged_error = False

    # -- what protocols decide

    @abstractmethod
    def _url(self, selector: Selector) -> str:
        """Where to ask, given the data we have."""

    @abstractmethod
    def _reader(self) -> ReadEvent:
        """A reader for one connection."""

    def _read_head(self, headers: Mapping[str, str]) -> FallbackDirective | None:  # noqa: ARG002 -- for those who override it
        """The directive in the head of an answer, where the protocol has one."""
        return None

    def _is_final(self, failed: RequestFailed) -> bool:  # noqa: ARG002 -- as above
        """Whether a failure ends the source, since asking again would not help."""
        return False

    # -- connections

    async def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        """One connection after another, until an answer ends it. The first one waits for what is left of the last run's delay."""
        state = self._backoff.state
        async with transport_for(self._context, self._http) as transport:
            if (left := state.not_before - anyio.current_time()) > 0:
                self._context.logger.info("%s: connects in %.3g s", self.name, left)
                await anyio.sleep(left)
            while True:
                connection = _Connection(self._context.attempted)
                try:
                    async with aclosing(self._connect(transport, selector, connection)) as updates:
                        async for update in updates:
                            yield update
                            if update.directive is not None or update.state is SourceState.OFF:
                                return
                finally:
                    # Also when the source is closed meanwhile: its next run continues from here.
                    pause = self._pause(connection)
                    state.not_before = anyio.current_time() + pause
                level = logging.WARNING if connection.is_refused else logging.INFO
                self._context.logger.log(level, "%s: reconnects in %.3g s", self.name, pause)
                await anyio.sleep(pause)

    def _pause(self, connection: _Connection) -> float:
        """Seconds to wait after this connection, which counts from now on."""
        lasted = max(anyio.current_time() - connection.opened, 0.0)
        return self._backoff.after(lasted, chance=self._random(), at_least=connection.retry_after, is_refused=connection.is_refused)

    async def _connect(
        self, transport: HttpTransport, selector: Callable[[], Selector], connection: _Connection
    ) -> AsyncGenerator[Update, None]:
        """The updates of one connection. It is closed before its failure is reported."""
        self.latched = None
        try:
            url = self._requested = self._url(selector())
            with connection.attempt():
                async with transport.open_stream(url, self._context.headers) as stream:
                    connection.opened = anyio.current_time()
                    self.latched = self._read_head(stream.headers)
                    self._environment_id = read_environment_id(stream.headers) or self._environment_id
                    async with aclosing(self._change_sets(stream)) as change_sets:
                        async for change_set in change_sets:
                            connection.decide(is_failed=False)
                            yield self._update(SourceState.VALID, change_set=change_set)
        except RequestFailed as failed:
            self.latched = self.latched or self._read_head(failed.headers)
            connection.retry_after = failed.retry_after
            connection.is_refused = not failed.is_recoverable
            state = SourceState.OFF if self._is_final(failed) else SourceState.INTERRUPTED
            yield self._update(state, error=failed.error)
        except Exception as error:  # a bug of ours: the source lives on
            self._context.logger.exception("%s: a connection broke off", self.name)
            yield self._update(SourceState.INTERRUPTED, error=unexpected(error))

    def _update(self, state: SourceState, *, change_set: ChangeSet | None = None, error: ErrorInfo | None = None) -> Update:
        """The one maker of updates: each carries what its connection knows."""
        if change_set is not None and change_set.kind is ChangeKind.NONE:
            change_set = None
        if error is not None:
            error = located(error, self._requested)
        return Update(state=state, directive=self.latched, change_set=change_set, error=error, environment_id=self._environment_id)

    async def _change_sets(self, stream: EventStream) -> AsyncGenerator[ChangeSet, None]:
        """What the stream completes. Ends with a goodbye; every other end is a :class:`RequestFailed`."""
        read = self._reader()
        deadline = anyio.current_time() + LATCH_GRACE if self.latched is not None else math.inf
        budget = Budget()
        async with aclosing(stream.events()) as events:
            while (event := await _next(events, deadline)) is not None:
                # Events that have arrived already come without a wait, so the loop would not run other tasks.
                await pause_when_spent(budget)
                effect = read(event.event, event.data)
                match await run_cooperatively(effect) if isinstance(effect, GeneratorType) else effect:
                    case Completed(change_set=change_set):
                        self._has_logged_error = False
                        yield change_set
                    case Goodbye() as goodbye:
                        self._leave(goodbye)
                        return
                    case Malformed(message=message):
                        raise RequestFailed(invalid_data(message))
                    case ServerError(reason=reason):
                        # Once until a payload is complete: a service may repeat it a thousand times a second.
                        level = logging.DEBUG if self._has_logged_error else logging.ERROR
                        self._has_logged_error = True
                        self._context.logger.log(
                            level, "%s: the service gave up on a payload: %s", self.name, printable(reason or "no reason")
                        )
                    case _:
                        pass
        raise RequestFailed(network_failure("the service closed the stream"), stream.headers)

    def _leave(self, goodbye: Goodbye) -> None:
        """A goodbye is no failure, unless it ends what a directive was latched on, or brings one."""
        reason = goodbye.reason or "no reason"
        self._context.logger.info("%s: the service said goodbye: %s", self.name, printable(reason))
        self.latched = goodbye.directive or self.latched
        if self.latched is not None:
            raise RequestFailed(server_failure(f"the service said goodbye: {reason}"))


async def _next(events: AsyncGenerator[ServerSentEvent, None], deadline: float) -> ServerSentEvent | None:
    """The next event; ``None`` at the end of the stream."""
    if deadline == math.inf:
        return await anext(events, None)
    left = deadline - anyio.current_time()
    if left > 0:
        with anyio.move_on_after(left):
            return await anext(events, None)
    raise RequestFailed(server_failure(_GRACE_OVER))
