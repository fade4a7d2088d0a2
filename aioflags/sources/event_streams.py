"""StreamSource: connects to an event stream, reads it, polls for its pings, waits and reconnects, for both protocols.

Subclasses supply the URL and the meaning of events. A directive in the headers of a stream is latched: the next update of the
stream carries it, and is the last one.

Source: ``data-system.md`` 1.7, 2.3, 3.3, 4.1, 5.7 and 6.2.
"""

from __future__ import annotations

import asyncio
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import aclosing, contextmanager, nullcontext, suppress
from contextvars import Context as VariableContext
from dataclasses import dataclass, replace
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio

from aioflags.model.change import ChangeKind, ChangeSet, FallbackDirective, Selector, Update
from aioflags.model.defaults import CLOSE_GRACE, LATCH_GRACE
from aioflags.model.event import StreamAttempt
from aioflags.model.status import ErrorInfo, SourceState
from aioflags.protocol.failures import invalid_data, located, network_failure, server_failure, unexpected
from aioflags.protocol.messages import Completed, Goodbye, Malformed, ServerError
from aioflags.protocol.side import DataRequest, ReadEvent
from aioflags.runtime.checkpoints import pause_when_spent, run_cooperatively
from aioflags.runtime.clock import now_ms
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.event_loops import loop_time
from aioflags.runtime.logs import BugLog, as_seconds, printable
from aioflags.runtime.validation import Option, check_options, interval, optional
from aioflags.sources.base import SourceContext, transport_for
from aioflags.sources.polling import OPTIONS, Poller, PollOutcome, as_update, read_environment_id
from aioflags.transport.backoff import Backoff
from aioflags.transport.http import HttpTransport
from aioflags.transport.http_client import RequestFailed
from aioflags.transport.settings import Http

if TYPE_CHECKING:
    from httpx_sse import ServerSentEvent

    from aioflags.transport.connections import EventStream


# -- PingPolls: polls when an event stream sends ``ping``, while the stream is read on.
# Source: ``client-side.md`` 2.2 and 2.6.


_BETWEEN_POLLS: Final = 1.0
"""Seconds from the start of a poll to the start of the next one, however often the stream pings."""

T = TypeVar("T")


class PingPolls:
    """The polls of one connection: at most one is in flight, and all pings that arrive during it lead to one more, at
    least a second after the first.

    Args:
        poller: sends the polls.
        request: called for every poll.
    """

    def __init__(self, poller: Poller, request: Callable[[], DataRequest]) -> None:
        self._poller = poller
        self._request = request
        self._is_requested = False
        self._not_before = -math.inf
        self._poll: _Step[PollOutcome] | None = None
        self._read: _Step[ServerSentEvent | None] | None = None
        self._left: FallbackDirective | None = None

    @property
    def is_idle(self) -> bool:
        """Whether the next event may be read without :meth:`next`."""
        return self._poll is None and self._read is None and not self._is_requested

    @property
    def latched(self) -> FallbackDirective | None:
        """The directive of a poll whose outcome :meth:`next` has not returned."""
        if self._poll is None:
            return self._left
        return self._poll.task.result().directive if self._poll.task.done() else self._poller.latched

    def request(self) -> None:
        """Poll when no other poll is in flight."""
        self._is_requested = True

    async def next(self, events: AsyncGenerator[ServerSentEvent, None], timeout: float) -> ServerSentEvent | PollOutcome | None:
        """The next event, or the outcome of a poll if that comes first; ``None`` at the end of the stream.

        Raises:
            TimeoutError: neither came within ``timeout`` seconds.
        """
        if self._poll is None and self._is_requested:
            self._is_requested = False
            self._poll = _Step(self._poll_once())
        if self._read is None:
            self._read = _Step(_next_event(events))
        waiting = [step.task for step in (self._poll, self._read) if step is not None]
        await asyncio.wait(waiting, timeout=None if timeout == math.inf else timeout, return_when=asyncio.FIRST_COMPLETED)
        # The poll is first: it may have a directive, and the event may be the last one.
        if self._poll is not None and self._poll.task.done():
            poll, self._poll = self._poll, None
            return poll.task.result()
        if self._read.task.done():
            read, self._read = self._read, None
            return read.task.result()
        raise TimeoutError

    async def aclose(self) -> None:
        """End the poll, and the wait for an event. :attr:`latched` keeps what the poll had received."""
        self._left = self.latched
        steps = [step for step in (self._poll, self._read) if step is not None]
        self._poll = self._read = None
        for step in steps:
            step.scope.cancel()
        with anyio.move_on_after(CLOSE_GRACE, shield=True):
            for step in steps:
                await asyncio.wait([step.task])

    async def _poll_once(self) -> PollOutcome:
        await anyio.sleep(max(self._not_before - anyio.current_time(), 0.0))
        # The poll that starts now is also for the pings that came during the wait.
        self._is_requested = False
        start = anyio.current_time()
        outcome = await self._poller.poll_once(self._request)
        self._not_before = max(start + _BETWEEN_POLLS, anyio.current_time() + outcome.retry_after)
        return outcome


async def _next_event(events: AsyncGenerator[ServerSentEvent, None]) -> ServerSentEvent | None:
    return await anext(events, None)


class _Step(Generic[T]):
    """A coroutine in a task of its own, which goes on while the source waits at its yield: a task group could not.

    To end it, cancel its scope and wait for the task: what closes a connection is shielded against a scope alone.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.scope: anyio.CancelScope = anyio.CancelScope()
        self.task: asyncio.Task[T] = asyncio.get_running_loop().create_task(
            self._run(coroutine), name="aioflags-ping", context=VariableContext()
        )
        # What it raises does not count after it was cancelled, and asyncio would log it.
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with self.scope:
            return await coroutine
        raise asyncio.CancelledError


_GRACE_OVER: Final = f"no payload within {LATCH_GRACE:g} s of the fallback directive"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Options of sources that stream. ``None`` means the client's value."""

    base_uri: str | None = None
    initial_reconnect_delay: float | None = None
    http: Http | None = None

    def __post_init__(self) -> None:
        check_options(self, (*OPTIONS, Option("initial_reconnect_delay", optional(interval))))

    def delay_for(self, context: SourceContext) -> float:
        """Seconds before the first reconnect."""
        return context.initial_reconnect_delay if self.initial_reconnect_delay is None else self.initial_reconnect_delay


class _Connection:
    """What the back-off needs to know about one connection. ``attempted`` is called once, with the outcome of the attempt."""

    def __init__(self, attempted: Callable[[StreamAttempt], object]) -> None:
        self.opened = math.inf
        self.retry_after = 0.0
        self.is_refused = False
        self._attempted: Callable[[StreamAttempt], object] | None = attempted
        self._at_ms = now_ms()
        self._began = loop_time()

    @contextmanager
    def attempt(self) -> Generator[None]:
        """The attempt has failed if the block ends before data arrive, also by cancellation."""
        try:
            yield
        finally:
            self.report_attempt(is_failed=True)

    def report_attempt(self, *, is_failed: bool) -> None:
        """Report the outcome of the attempt. Only the first call counts."""
        if self._attempted is not None:
            took_ms = int((loop_time() - self._began) * 1000)
            self._attempted(StreamAttempt(at_ms=self._at_ms, took_ms=took_ms, is_failed=is_failed))
            self._attempted = None


class StreamSource(ABC):
    """A synchronizer that reads event streams. ``random`` returns numbers in [0, 1), for the jitter."""

    def __init__(
        self, name: str, context: SourceContext, *, http: Http | None, backoff: Backoff, random: Callable[[], float]
    ) -> None:
        self.name = name
        self._context = context
        self._http = http
        self._backoff = backoff
        self._random = random
        self._latched: FallbackDirective | None = None
        self._pings: PingPolls | None = None
        self._environment_id: str | None = None
        self._place = ""
        """The URL of the last request, for errors."""
        self._has_logged_error = False
        self._bugs = BugLog(context.logger)

    @property
    def latched(self) -> FallbackDirective | None:
        """The directive in the headers of the open stream, or of a poll beside it, that no update has carried."""
        return self._latched if self._pings is None else _both(self._latched, self._pings.latched)

    # -- for subclasses

    @abstractmethod
    def _request(self, selector: Selector) -> DataRequest:
        """The request of a client with this selector."""

    @abstractmethod
    def _reader(self) -> ReadEvent:
        """A new reader, for one connection."""

    def _read_head(self, headers: Mapping[str, str]) -> FallbackDirective | None:  # noqa: ARG002 -- for subclasses
        """The directive in the headers of a response, if the protocol has one."""
        return None

    def _ping_polls(self, selector: Callable[[], Selector]) -> PingPolls | None:  # noqa: ARG002 -- for subclasses
        """The polls beside a new connection; ``None`` if a ping means nothing."""
        return None

    def _is_refused(self, failed: RequestFailed) -> bool:  # noqa: ARG002 -- for subclasses
        """Whether a failure ends the source, because another request would fail in the same way."""
        return False

    # -- connections

    async def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        """Connect again and again until a response ends the source. First wait for the rest of the last run's delay."""
        state = self._backoff.state
        async with transport_for(self._context, self._http) as transport:
            asked = self._context.asked_to_wait(lambda: self._request(Selector.none()).place)
            if (left := max(state.not_before - anyio.current_time(), asked)) > 0:
                self._context.logger.info("%s: connecting in %s", self.name, as_seconds(left))
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
                    # Also when the source is closed: its next run continues with this delay.
                    pause = self._pause(connection)
                    state.not_before = anyio.current_time() + pause
                level = logging.WARNING if connection.is_refused else logging.INFO
                self._context.logger.log(level, "%s: reconnecting in %s", self.name, as_seconds(pause))
                await anyio.sleep(pause)

    def _pause(self, connection: _Connection) -> float:
        """Count this connection, and return the seconds to wait after it."""
        lasted = max(loop_time() - connection.opened, 0.0)
        return self._backoff.after(lasted, chance=self._random(), at_least=connection.retry_after, is_refused=connection.is_refused)

    async def _connect(
        self, transport: HttpTransport, selector: Callable[[], Selector], connection: _Connection
    ) -> AsyncGenerator[Update, None]:
        """The updates of one connection. The connection is closed before its failure is reported."""
        self._latched, self._pings = None, self._ping_polls(selector)
        try:
            request = self._request(selector())
            self._place = request.place
            with connection.attempt():
                async with transport.open_stream(request.url, self._context.headers, request.body) as stream:
                    connection.opened = anyio.current_time()
                    self._latched = self._read_head(stream.headers)
                    self._environment_id = read_environment_id(stream.headers) or self._environment_id
                    async with aclosing(self._results(stream)) as results:
                        async for result in results:
                            connection.report_attempt(is_failed=False)
                            if isinstance(result, PollOutcome):
                                yield self._polled(result)
                            else:
                                yield self._update(SourceState.VALID, change_set=result)
        except RequestFailed as failed:
            self._latched = self._latched or self._read_head(failed.headers)
            connection.retry_after = failed.retry_after
            self._context.note_retry_after(self._place, failed.retry_after)
            connection.is_refused = not failed.is_recoverable
            state = SourceState.OFF if self._is_refused(failed) else SourceState.INTERRUPTED
            yield self._update(state, error=failed.error)
        except Exception as error:  # noqa: BLE001 -- a bug in aioflags: the source continues
            self._bugs.report(error, "%s: a connection failed (please report)", self.name)
            yield self._update(SourceState.INTERRUPTED, error=unexpected(error))

    def _update(self, state: SourceState, *, change_set: ChangeSet | None = None, error: ErrorInfo | None = None) -> Update:
        """Make an update with the directive and the environment id of the connection."""
        if change_set is not None and change_set.kind is ChangeKind.NONE:
            change_set = None
        if error is not None:
            error = located(error, self._place)
        return Update(state=state, directive=self.latched, change_set=change_set, error=error, environment_id=self._environment_id)

    def _polled(self, outcome: PollOutcome) -> Update:
        """The update for a poll that a ping asked for."""
        environment_id = outcome.environment_id or self._environment_id
        return as_update(replace(outcome, directive=_both(self._latched, outcome.directive), environment_id=environment_id))

    async def _results(self, stream: EventStream) -> AsyncGenerator[ChangeSet | PollOutcome, None]:
        """The change sets of a stream, and the outcomes of the polls that its pings asked for, until a goodbye.

        Every other end of the stream raises :class:`RequestFailed`.
        """
        read, pings = self._reader(), self._pings
        deadline = anyio.current_time() + LATCH_GRACE if self._latched is not None else math.inf
        budget = Budget()
        async with aclosing(stream.events()) as events, aclosing(pings) if pings is not None else nullcontext():
            while (event := await _next(events, deadline, pings)) is not None:
                if isinstance(event, PollOutcome):
                    yield event
                    continue
                # Events that have already arrived are read without a wait, so other tasks would not run.
                await pause_when_spent(budget)
                if event.event == "ping" and pings is not None:
                    pings.request()  # the service has newer flags of the context, and sends them in answer to a poll
                    continue
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
                        # One error until a payload is complete: a service may repeat the message a thousand times a second.
                        level = logging.DEBUG if self._has_logged_error else logging.ERROR
                        self._has_logged_error = True
                        self._context.logger.log(
                            level, "%s: the service cancelled a payload: %s", self.name, printable(reason or "no reason")
                        )
                    case _:
                        pass
        raise RequestFailed(network_failure("the service closed the stream"), stream.headers)

    def _leave(self, goodbye: Goodbye) -> None:
        """A goodbye is a failure only if it has a directive, or if the headers of the stream had one."""
        reason = goodbye.reason or "no reason"
        self._context.logger.info("%s: the service sent a goodbye: %s", self.name, printable(reason))
        self._latched = goodbye.directive or self._latched
        if self.latched is not None:
            raise RequestFailed(server_failure(f"the service sent a goodbye: {reason}"))


def _both(of_stream: FallbackDirective | None, of_poll: FallbackDirective | None) -> FallbackDirective | None:
    """The directive of a stream with a poll beside it. That of the stream counts, unless only the other one has a time."""
    if of_stream is None or (of_stream.ttl is None and of_poll is not None):
        return of_poll
    return of_stream


async def _next(
    events: AsyncGenerator[ServerSentEvent, None], deadline: float, pings: PingPolls | None
) -> ServerSentEvent | PollOutcome | None:
    """The next event, or the outcome of a poll; ``None`` at the end of the stream."""
    is_idle = pings is None or pings.is_idle
    if deadline == math.inf and is_idle:
        return await anext(events, None)
    left = deadline - anyio.current_time()
    if left > 0:
        if pings is not None and not is_idle:
            with suppress(TimeoutError):
                return await pings.next(events, left)
        else:
            with anyio.move_on_after(left):
                return await anext(events, None)
    raise RequestFailed(server_failure(_GRACE_OVER))
