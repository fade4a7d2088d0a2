"""Polling: requests for both protocols, the source that polls FDv2, and the cache of a device as a source.

FDv2 polling: an initializer and a synchronizer with the same request.

Source: ``data-system.md`` 1, 4.1.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Final, TypeAlias

import anyio

from aioflags.model.change import Basis, ChangeKind, ChangeSet, FallbackDirective, FetchFailure, Selector, Update
from aioflags.model.defaults import MIN_POLL_INTERVAL
from aioflags.model.status import ErrorInfo, SourceState
from aioflags.protocol.directive import read_directive
from aioflags.protocol.failures import asked_to_wait, invalid_data, located, server_failure, unexpected
from aioflags.protocol.fdv2 import read_poll
from aioflags.protocol.messages import Completed, Effect, Goodbye, Malformed, ServerError
from aioflags.protocol.side import DataRequest
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.logs import BugLog, as_seconds
from aioflags.runtime.validation import Option, at_least, boolean, check_options, http_address, instance, optional
from aioflags.sources.base import FlagCache, PollOnDemand, SourceContext, as_basis, transport_for
from aioflags.transport.http import HttpTransport
from aioflags.transport.http_client import RequestFailed
from aioflags.transport.settings import Http

# -- Cache: the flags that the device kept for the context, as an initializer. It makes no request.
# Source: ``client-side.md`` 5.4.


@dataclass(frozen=True, slots=True)
class Cache:
    """The flags of an earlier run, until newer ones arrive. They have no selector, so the first transfer is a full one."""

    name: ClassVar[str] = "cache"

    def build(self, context: SourceContext, /) -> CacheSource:
        """A new source, for one run."""
        return CacheSource(context.cache)


class CacheSource:
    """The source that :class:`Cache` builds."""

    def __init__(self, cache: FlagCache | None) -> None:
        self.name: str = Cache.name
        self._cache = cache

    async def fetch(self, selector: Callable[[], Selector]) -> AsyncGenerator[Basis, None]:  # noqa: ARG002 -- what it has is all
        """The flags, or a change set that changes nothing."""
        flags = None if self._cache is None else await self._cache.read()
        if flags is None:
            yield Basis(change_set=ChangeSet.unchanged(), directive=None, cached=True)
            return
        change_set = ChangeSet(kind=ChangeKind.FULL, changes=flags.changes, persist=False)
        yield Basis(change_set=change_set, directive=None, cached=True, freshness_ms=flags.freshness_ms)


# -- Poller: sends poll requests, for both protocols. Each poll has an outcome; it does not raise.
#
# Headers are read before the body, so that a broken body cannot lose a directive.
#
# Source: ``data-system.md`` 1.5, 1.6, 2.3 and 4.1.


ReadBody: TypeAlias = Callable[[bytes], Generator[None, None, Effect]]
ReadHead: TypeAlias = Callable[[Mapping[str, str]], FallbackDirective | None]

_BETWEEN_ATTEMPTS: Final = 1.0
"""Seconds between two polls of an initializer."""
_MAX_BETWEEN_ATTEMPTS: Final = 10.0
"""An initializer that the service asks to wait longer leaves the flags to the next source, as a synchronizer without data does."""
_UNCHANGED: Final = Completed(ChangeSet.unchanged())


@dataclass(frozen=True, slots=True, kw_only=True)
class PollOutcome:
    """The outcome of a poll: a change set or an error.

    ``retry_after``: seconds that the server asked clients to wait. ``is_refused``: the service refused the request, so another poll
    would fail in the same way for some time. ``will_retry``: another poll of the same initializer follows.
    """

    directive: FallbackDirective | None
    change_set: ChangeSet | None = None
    error: ErrorInfo | None = None
    environment_id: str | None = None
    retry_after: float = 0.0
    is_refused: bool = False
    will_retry: bool = False


def as_update(outcome: PollOutcome) -> Update:
    """The update that a synchronizer yields for an outcome. A directive ends the source, so an error with one is ``OFF``."""
    if outcome.error is None:
        state = SourceState.VALID
    elif outcome.directive is not None or outcome.is_refused:
        state = SourceState.OFF
    else:
        state = SourceState.INTERRUPTED
    return Update(
        state=state,
        directive=outcome.directive,
        change_set=None if outcome.change_set is None or outcome.change_set.kind is ChangeKind.NONE else outcome.change_set,
        error=outcome.error,
        environment_id=outcome.environment_id,
    )


def read_environment_id(headers: Mapping[str, str]) -> str | None:
    """The environment id in the headers of a response, if there is one. Names of headers are in lower case."""
    return headers.get("x-ld-envid") or None


OPTIONS: Final = (Option("base_uri", optional(http_address())), Option("http", instance(Http, type(None))))
"""The options of all sources that make requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollOptions:
    """Options of sources that poll. ``None`` means the default of the builder."""

    base_uri: str | None = None
    interval: float | None = None
    on_demand: bool = False
    http: Http | None = None
    _minimum_interval: float = field(default=MIN_POLL_INTERVAL, repr=False)

    def __post_init__(self) -> None:
        interval = Option("interval", optional(at_least(self._minimum_interval)))
        check_options(self, (*OPTIONS, interval, Option("on_demand", boolean)))


class Poller:
    """Polls for one source. ``read_body`` decodes a body; ``read_head`` returns the directive in the headers, if there is one."""

    def __init__(self, name: str, context: SourceContext, http: Http | None, *, read_body: ReadBody, read_head: ReadHead) -> None:
        self.latched: FallbackDirective | None = None
        """The directive in the headers of the response that is being read."""
        self._name = name
        self._context = context
        self._http = http
        self._read_body = read_body
        self._read_head = read_head
        self._place = ""
        """The URL of the last request, for errors."""
        self._tag: tuple[str, str] | None = None
        """The URL of the last usable response, and its ETag."""
        self._bugs = BugLog(context.logger)

    async def poll_once(self, request: Callable[[], DataRequest]) -> PollOutcome:
        """The outcome of one poll. If the service asked an earlier source to wait, it is sent after the rest of that time."""
        async with transport_for(self._context, self._http) as transport:
            await anyio.sleep(self._context.asked_to_wait(lambda: request().place))
            return await self._poll(transport, request)

    async def poll_attempts(self, request: Callable[[], DataRequest], attempts: int) -> AsyncGenerator[PollOutcome, None]:
        """The outcomes of at most ``attempts`` polls, a second apart, or as far apart as the service asks.

        The last one has data, a directive, or a failure after which the client should not wait for another poll. If the service
        asked an earlier source to wait for long, that is the failure, and no poll is sent.
        """
        if (left := self._context.asked_to_wait(lambda: request().place)) > _MAX_BETWEEN_ATTEMPTS:
            yield PollOutcome(directive=None, error=located(asked_to_wait(left), request().place))
            return
        async with transport_for(self._context, self._http) as transport:
            await anyio.sleep(left)
            while True:
                outcome = await self._poll(transport, request)
                attempts -= 1
                pause = max(_BETWEEN_ATTEMPTS, outcome.retry_after)
                is_final = outcome.error is None or outcome.directive is not None or outcome.is_refused
                if is_final or attempts <= 0 or pause > _MAX_BETWEEN_ATTEMPTS:
                    yield outcome
                    return
                self._context.logger.info("%s: polling again in %s: %s", self._name, as_seconds(pause), outcome.error)
                yield replace(outcome, will_retry=True)
                await anyio.sleep(pause)

    async def poll_every(
        self,
        request: Callable[[], DataRequest],
        interval: float,
        pause: Callable[[PollOutcome], float] | None = None,
        *,
        demand: PollOnDemand | None = None,
    ) -> AsyncGenerator[Update, None]:
        """Poll every ``interval`` seconds, from start to start, until an outcome ends it.

        If the service asked an earlier run to wait, the first poll waits for the rest of that time.

        Args:
            request: called for every poll.
            interval: seconds.
            pause: returns the least number of seconds to wait after an outcome. With it no error ends the polls; only a directive
                does.
            demand: poll now, and then only when a poll is requested, at least ``interval`` after a successful one.
        """
        state = self._context.retry_state
        async with transport_for(self._context, self._http) as transport:
            left = self._context.asked_to_wait(lambda: request().place)
            if demand is not None:
                demand.poll_started()
            else:
                left = max(left, state.not_before - anyio.current_time())
            await anyio.sleep(left)
            while True:
                start = anyio.current_time()
                outcome = await self._poll(transport, request)
                end = anyio.current_time()
                wait = outcome.retry_after
                state.not_before = end + wait
                if pause is not None:
                    wait = max(wait, pause(outcome))
                    outcome = replace(outcome, is_refused=False)
                update = as_update(outcome)
                yield update
                if update.directive is not None or update.state is SourceState.OFF:
                    return
                if demand is not None:
                    # After a failure the interval does not apply: the next request may succeed.
                    await demand.wait_for_request(wait if update.error is not None else start + interval - anyio.current_time())
                    continue
                if wait > interval:
                    self._context.logger.info("%s: next poll in %s", self._name, as_seconds(wait))
                next_poll = max(start + interval, end + wait)
                await anyio.sleep(max(next_poll - anyio.current_time(), 0.0))

    async def _poll(self, transport: HttpTransport, request: Callable[[], DataRequest]) -> PollOutcome:
        """One poll. Its error has the address."""
        outcome = await self._attempt(transport, request)
        return outcome if outcome.error is None else replace(outcome, error=located(outcome.error, self._place))

    async def _attempt(self, transport: HttpTransport, request: Callable[[], DataRequest]) -> PollOutcome:
        self.latched = None
        try:
            sent = request()
            self._place = sent.place
            return await self._send(transport, sent)
        except RequestFailed as failed:
            self._context.note_retry_after(self._place, failed.retry_after)
            directive = self._read_head(failed.headers)
            is_refused = not failed.is_recoverable
            return PollOutcome(directive=directive, error=failed.error, retry_after=failed.retry_after, is_refused=is_refused)
        except Exception as error:  # noqa: BLE001 -- a bug in aioflags: the source continues
            self._bugs.report(error, "%s: a poll failed (please report)", self._name)
            return PollOutcome(directive=self.latched, error=unexpected(error))

    async def _send(self, transport: HttpTransport, request: DataRequest) -> PollOutcome:
        body: bytes | None = None
        async with transport.get(request.url, self._headers(request), request.body) as reply:
            self.latched = directive = self._read_head(reply.headers)
            headers = reply.headers
            if reply.status != 304:
                body = await reply.read()
        environment_id = read_environment_id(headers)
        effect = _UNCHANGED if body is None else await run_cooperatively(self._read_body(body))
        match effect:
            case Completed(change_set=change_set):
                if body is not None:
                    # Only for a usable body: with the ETag of an unusable one the server would answer 304 from then on.
                    self._tag = (request.url, headers["etag"]) if headers.get("etag") else None
                return PollOutcome(directive=directive, change_set=change_set, environment_id=environment_id)
            case Goodbye(reason=reason):
                directive = effect.directive or directive
                error = server_failure(f"the service sent a goodbye: {reason}" if reason else "the service sent a goodbye")
            case ServerError(reason=reason):
                error = server_failure(reason)
            case Malformed(message=message):
                error = invalid_data(message)
            case _:
                raise AssertionError(f"a reader of whole bodies returned {effect!r}")
        return PollOutcome(directive=directive, error=error, environment_id=environment_id)

    def _headers(self, request: DataRequest) -> dict[str, str]:
        headers = dict(self._context.headers)
        if self._tag is not None and self._tag[0] == request.url and request.body is None:
            headers["If-None-Match"] = self._tag[1]
        return headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling(PollOptions):
    """Polls flag data by FDv2: once, as an initializer; every ``interval`` seconds (at least 30), as a synchronizer.

    With ``on_demand`` a synchronizer polls once, and then when :meth:`~aioflags.Client.refresh` is called, at least ``interval``
    after a successful poll. ``None`` means the client's value.
    """

    name: ClassVar[str] = "polling"

    def build(self, context: SourceContext, /) -> PollingSource:
        """A new source, for one run."""
        interval = context.poll_interval if self.interval is None else self.interval
        demand = context.demand if self.on_demand else None
        return PollingSource(context, base_uri=self.base_uri or context.base_uri, interval=interval, demand=demand, http=self.http)


class PollingSource:
    """The source that :class:`Polling` builds."""

    def __init__(
        self, context: SourceContext, *, base_uri: str, interval: float, demand: PollOnDemand | None, http: Http | None
    ) -> None:
        self.name: str = Polling.name
        self._base_uri = base_uri
        self._interval = interval
        self._demand = demand
        self._side = context.side
        self._attempts = context.poll_attempts
        read_body = partial(read_poll, objects=context.side.objects, logger=context.logger)
        self._poller = Poller(self.name, context, http, read_body=read_body, read_head=read_directive)

    @property
    def latched(self) -> FallbackDirective | None:
        """The directive in the headers of the response that is being read."""
        return self._poller.latched

    async def fetch(self, selector: Callable[[], Selector]) -> AsyncGenerator[Basis | FetchFailure, None]:
        """One poll; after a failure that may be temporary, as many as the client allows."""
        async with aclosing(self._poller.poll_attempts(lambda: self._request(selector), self._attempts)) as outcomes:
            async for outcome in outcomes:
                result = as_basis(as_update(outcome))
                yield replace(result, will_retry=True) if isinstance(result, FetchFailure) and outcome.will_retry else result

    def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        """Poll until a response ends the source."""
        return self._poller.poll_every(lambda: self._request(selector), self._interval, demand=self._demand)

    def _request(self, selector: Callable[[], Selector]) -> DataRequest:
        return self._side.poll(self._base_uri, selector())
