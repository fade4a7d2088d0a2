"""OfrepBulk: flags that an OFREP server evaluates for one context, all at once.

Source: ``flagd.md`` 9.
"""

from __future__ import annotations

import math
import random as random_numbers
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

import anyio

from aioflags.evaluation.openfeature.resolved import change_set_of
from aioflags.model.change import Selector
from aioflags.model.defaults import RECONNECT_DELAY
from aioflags.model.result import Update
from aioflags.model.source_state import ErrorCode, ErrorInfo, FailureKind, SourceState
from aioflags.protocol.failures import invalid_data, located, unexpected
from aioflags.protocol.ofrep_bulk import EventStreamAddress, flags_url, read_failure, read_flags
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.clock import now
from aioflags.runtime.logs import Once, printable
from aioflags.sources.base import SourceContext, transport_for
from aioflags.sources.ofrep_streams import FetchRequest, OfrepStreams
from aioflags.transport.backoff import Backoff, read_retry_after
from aioflags.transport.ofrep import OfrepEndpoint, OfrepReply, OfrepRequests
from aioflags.transport.responses import RequestFailed

__all__ = ["OfrepBulk", "OfrepBulkSource"]

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
        self._is_new_bug = Once()

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
        except Exception as error:  # a bug in aioflags: the source continues
            problem = unexpected(error)
            if self._is_new_bug(problem.message):
                self._context.logger.exception("OFREP: a request for all flags failed (please report)")
            return _failed(problem, url)

    async def _read(self, reply: OfrepReply, base_url: str) -> _Outcome:
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


def _refusal(reply: OfrepReply) -> ErrorInfo:
    error = ErrorInfo(
        kind=FailureKind.ERROR_RESPONSE,
        message=printable(read_failure(reply.status, reply.body)[1]),
        time=now(),
        status_code=reply.status,
    )
    return replace(error, code=ErrorCode.PROVIDER_FATAL, is_fatal=True) if reply.status in _REFUSED else error


def _failed(error: ErrorInfo, url: str, retry_after: float = 0.0, *, ends: bool = False) -> _Outcome:
    state = SourceState.OFF if ends else SourceState.INTERRUPTED
    return _Outcome(update=Update(state=state, directive=None, error=located(error, url)), retry_after=retry_after)
