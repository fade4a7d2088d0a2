"""OfrepBulk: flags that an OFREP server evaluates for one context, all at once.

Source: ``flagd.md`` 9.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random as random_numbers
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from contextvars import Context as VariableContext
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final
from urllib.parse import urlsplit

import anyio

from aioflags.evaluation.openfeature import change_set_of
from aioflags.model.change import Selector, Update
from aioflags.model.defaults import CLOSE_GRACE, RECONNECT_DELAY
from aioflags.model.status import ErrorCode, ErrorInfo, FailureKind, SourceState
from aioflags.protocol.failures import failure, invalid_data, located, status_text, unexpected
from aioflags.protocol.ofrep import HINTS, EventStreamAddress, Refetch, flags_url, read_failure, read_flags, read_refetch
from aioflags.protocol.requests import USER_AGENT
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.logs import BugLog, describe_error, printable
from aioflags.sources.base import SourceContext, transport_for
from aioflags.transport.backoff import Backoff, read_retry_after
from aioflags.transport.http import HttpTransport
from aioflags.transport.http_client import RequestFailed, Response
from aioflags.transport.ofrep import OfrepEndpoint, OfrepRequests
from aioflags.transport.settings import origin

# -- OfrepStreams: listens to the event streams that an OFREP server names, and collects what they ask to fetch.
# Source: ``flagd.md`` 9.


_COALESCED: Final = 0.1
"""Seconds after a request to fetch, in which all further ones become part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """How to fetch all flags.

    ``is_conditional``: the server may answer that nothing has changed. ``refetch``: the event that asked for it, if any.
    """

    is_conditional: bool = True
    refetch: Refetch | None = None


class OfrepStreams:
    """The event streams of one source, each with its own connection. They reconnect after every failure, with growing delays.

    After a reconnect all flags are to be fetched without a condition, because events may be lost. The ``inactivityDelaySec`` of a
    stream is ignored: it is for programs that their user can put into the background, and a service is always active.
    """

    def __init__(
        self,
        transport: HttpTransport,
        requests: OfrepRequests,
        logger: logging.Logger,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        self._transport = transport
        self._requests = requests
        self._logger = logger
        self._random = random
        self._addresses: tuple[EventStreamAddress, ...] = ()
        self._backoffs: list[Backoff] = []
        """By number of the stream: a server may send new addresses all the time, and delays must grow nevertheless."""
        self._task: asyncio.Task[None] | None = None
        self._pending: FetchRequest | None = None
        self._requested = Signal()
        self._bugs = BugLog(logger)

    async def follow(self, addresses: Sequence[EventStreamAddress]) -> None:
        """Listen to these streams from now on, and to no others."""
        if tuple(addresses) == self._addresses:
            return
        await self.aclose()
        self._addresses = tuple(addresses)
        if self._addresses:
            # A task of its own, and no task group: the streams stay open while the source waits at its yield. The source cancels
            # the task and waits for its end.
            self._task = asyncio.get_running_loop().create_task(
                self._run(self._addresses), name="aioflags-ofrep", context=VariableContext()
            )

    async def requested(self, not_before: float) -> None:
        """Wait until a stream asks to fetch, and then for more requests: a moment, and until ``not_before`` on the loop's clock."""
        while self._pending is None:
            await self._requested.wait()
        await anyio.sleep(max(_COALESCED, not_before - anyio.current_time()))

    def take(self) -> FetchRequest | None:
        """What the streams asked to fetch since the last call; ``None`` if nothing."""
        request, self._pending = self._pending, None
        return request

    async def aclose(self) -> None:
        """Close all streams."""
        task, self._task, self._addresses = self._task, None, ()
        if task is not None:
            task.cancel()
            with anyio.move_on_after(CLOSE_GRACE, shield=True):
                await asyncio.wait({task})

    async def _run(self, addresses: Sequence[EventStreamAddress]) -> None:
        while len(self._backoffs) < len(addresses):
            self._backoffs.append(Backoff(RECONNECT_DELAY))
        async with anyio.create_task_group() as streams:
            for address, backoff in zip(addresses, self._backoffs, strict=False):
                streams.start_soon(self._listen, address, backoff)

    async def _listen(self, address: EventStreamAddress, backoff: Backoff) -> None:
        """Connect again and again. Logs have the origin only: the rest of the URL is secret."""
        may_have_missed = False
        while True:
            opened, retry_after, is_refused = None, 0.0, False
            try:
                async with self._transport.open_stream(address.url, self._headers(address)) as stream:
                    opened = anyio.current_time()
                    if may_have_missed:
                        self._request(FetchRequest(is_conditional=False))
                    async with aclosing(stream.events()) as events:
                        async for event in events:
                            if (refetch := read_refetch(event.data)) is not None:
                                self._request(FetchRequest(refetch=refetch))
                problem = "the service closed it"
            except RequestFailed as failed:
                status, retry_after, is_refused = failed.error.status_code, failed.retry_after, not failed.is_recoverable
                problem = status_text(status, HINTS) if status else failed.error.message
            except Exception as error:  # noqa: BLE001 -- a bug in aioflags: the stream reconnects
                problem = describe_error(error)
                self._bugs.report(error, "OFREP: an event stream failed (please report)")
            may_have_missed = True
            lasted = 0.0 if opened is None else anyio.current_time() - opened
            pause = backoff.after(lasted, chance=self._random(), at_least=retry_after)
            level = logging.WARNING if is_refused else logging.INFO
            self._logger.log(
                level, "OFREP: event stream of %s: %s; connecting in %.3g s", address.origin, printable(problem), pause
            )
            await anyio.sleep(pause)
            if is_refused:
                # The address may have expired. The response to this request has the current one.
                self._request(FetchRequest(is_conditional=False))

    def _request(self, request: FetchRequest) -> None:
        """Add a request. The last event counts; a request without a condition outranks all events."""
        if self._pending is None or self._pending.is_conditional:
            self._pending = request
        self._requested.send()

    def _headers(self, address: EventStreamAddress) -> dict[str, str]:
        """The headers of the server go to its own origin only."""
        if _origin(address.url) == _origin(self._requests.endpoint.base_url):
            return {"user-agent": USER_AGENT, **self._requests.headers()}
        return {"user-agent": USER_AGENT}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return origin(parts.scheme, parts.hostname or "", parts.port)


_CONDITIONAL: Final = FetchRequest()
_MIN_INTERVAL: Final = 1.0
"""Seconds from one request to the next that an event asks for."""
_REFUSED: Final = frozenset({401, 403})


@dataclass(frozen=True, slots=True, kw_only=True)
class OfrepBulk:
    """Fetches all flags, evaluated for one context: at the start, when an event stream of the server asks for it, and by polling.

    A response with 401 or 403 ends the source.

    Args:
        endpoint: the server.
        body: the body of every request, with the context of all evaluations.
        poll_interval: seconds from one poll to the next; 0: no polls.
    """

    name: ClassVar[str] = "OFREP"

    endpoint: OfrepEndpoint
    body: bytes = field(repr=False)
    poll_interval: float

    def build(self, context: SourceContext, /) -> OfrepBulkSource:
        """A new source, for one run."""
        return OfrepBulkSource(self, context)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What a request achieved. ``streams``: the addresses in the response; ``None`` if it has no body."""

    update: Update
    streams: tuple[EventStreamAddress, ...] | None = None
    retry_after: float = 0.0


class OfrepBulkSource:
    """The source that :class:`OfrepBulk` builds. ``random`` returns numbers in [0, 1), for the jitter."""

    def __init__(self, source: OfrepBulk, context: SourceContext, random: Callable[[], float] = random_numbers.random) -> None:
        self.name: str = OfrepBulk.name
        self._source = source
        self._context = context
        self._random = random
        self._backoff = Backoff(RECONNECT_DELAY, state=context.retry_state)
        self._tag: str | None = None
        """The ETag of the flags that the client has."""
        self._bugs = BugLog(context.logger)

    async def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:  # noqa: ARG002 -- OFREP has no cursor
        """All flags now and after every change, until the server refuses the headers."""
        async with transport_for(self._context, None) as transport:
            requests = OfrepRequests(self._source.endpoint, transport, self._context.logger)
            streams = OfrepStreams(transport, requests, self._context.logger, self._random)
            request = _CONDITIONAL
            try:
                while True:
                    await anyio.sleep(requests.pause)
                    start = anyio.current_time()
                    outcome = await self._fetch(requests, request)
                    yield outcome.update
                    if outcome.update.state is SourceState.OFF:
                        return
                    if outcome.streams is not None:
                        await streams.follow(outcome.streams)
                    request = await self._next_request(outcome, start, streams, request)
            finally:
                await streams.aclose()

    async def _next_request(self, outcome: _Outcome, start: float, streams: OfrepStreams, request: FetchRequest) -> FetchRequest:
        """Wait for the next poll, for an event, or after a failure for the end of a delay; then return the request."""
        interval = self._source.poll_interval
        until_poll = start + interval - anyio.current_time() if interval else math.inf
        if outcome.update.state is SourceState.VALID:
            self._backoff.reset()
            with anyio.move_on_after(max(until_poll, 0.0)):
                await streams.requested(start + _MIN_INTERVAL)
            return streams.take() or _CONDITIONAL
        # Also without polls: otherwise the client would never get its flags, or what an event announced.
        delay = self._backoff.after(0.0, chance=self._random())
        await anyio.sleep(max(min(delay, max(until_poll, _MIN_INTERVAL)), outcome.retry_after))
        newer = streams.take()
        # A request without a condition has to succeed once.
        return newer if newer is not None and request.is_conditional else request

    async def _fetch(self, requests: OfrepRequests, request: FetchRequest) -> _Outcome:
        base_url = self._source.endpoint.base_url
        url = flags_url(base_url, request.refetch)
        headers = {"if-none-match": self._tag} if request.is_conditional and self._tag is not None else None
        try:
            return await self._read(await requests.post(url, self._source.body, headers), base_url)
        except RequestFailed as failed:
            return _failed(failed.error, url, failed.retry_after)
        except Exception as error:  # noqa: BLE001 -- a bug in aioflags: the source continues
            self._bugs.report(error, "OFREP: a request for all flags failed (please report)")
            return _failed(unexpected(error), url)

    async def _read(self, reply: Response, base_url: str) -> _Outcome:
        if reply.status == 304 and self._tag is not None:
            return _Outcome(update=Update(state=SourceState.VALID, directive=None))
        url = flags_url(base_url)
        if reply.status != 200:
            return _failed(_refusal(reply), url, read_retry_after(reply.status, reply.headers), ends=reply.status in _REFUSED)
        answer = await run_cooperatively(read_flags(reply.body, base_url))
        if isinstance(answer, str):
            return _failed(invalid_data(answer), url)
        if answer.unusable:
            self._context.logger.warning("OFREP: %d entries of a response are not flags", answer.unusable)
        # Only of a usable body: with the ETag of another one the server would answer 304 from then on.
        self._tag = reply.headers.get("etag") or None
        change_set = change_set_of(answer.flags, answer.metadata)
        return _Outcome(update=Update(state=SourceState.VALID, directive=None, change_set=change_set), streams=answer.event_streams)


def _refusal(reply: Response) -> ErrorInfo:
    error = failure(FailureKind.ERROR_RESPONSE, read_failure(reply.status, reply.body)[1], reply.status)
    return replace(error, code=ErrorCode.PROVIDER_FATAL, is_fatal=True) if reply.status in _REFUSED else error


def _failed(error: ErrorInfo, url: str, retry_after: float = 0.0, *, ends: bool = False) -> _Outcome:
    state = SourceState.OFF if ends else SourceState.INTERRUPTED
    return _Outcome(update=Update(state=state, directive=None, error=located(error, url)), retry_after=retry_after)
