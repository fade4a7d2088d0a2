"""FDv2 streaming: a synchronizer, and an initializer that closes the stream after its first payload.

Source: ``data-system.md`` 1.7, 2.3, 4.1, 5.7 and 6.2; ``client-side.md`` 3.1.
"""

from __future__ import annotations

import random as random_numbers
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

import anyio

from aioflags.model.change import Basis, FallbackDirective, FetchFailure, Selector, Update
from aioflags.model.status import FailureKind, SourceState
from aioflags.protocol.directive import read_directive
from aioflags.protocol.failures import network_failure
from aioflags.protocol.fdv2 import Fdv2Reader, read_poll
from aioflags.protocol.side import DataRequest, ReadEvent
from aioflags.sources.base import SourceContext, as_basis
from aioflags.sources.event_streams import PingPolls, StreamOptions, StreamSource
from aioflags.sources.polling import Poller
from aioflags.transport.backoff import Backoff
from aioflags.transport.http_client import RequestFailed
from aioflags.transport.settings import Http

_FIRST_PAYLOAD: Final = 10.0
"""Seconds until the first payload of an initializer must be complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming(StreamOptions):
    """Streams flag data by FDv2. After a disconnect it waits ``initial_reconnect_delay`` seconds, and longer after each failure.

    As an initializer it connects once, for the first payload, which has to arrive within ten seconds.

    ``None`` means the client's value.
    """

    name: ClassVar[str] = "streaming"

    def build(self, context: SourceContext, /) -> StreamingSource:
        """A new source, for one run."""
        base_uri = self.base_uri or context.stream_uri
        return StreamingSource(context, base_uri=base_uri, initial_delay=self.delay_for(context), http=self.http)


class StreamingSource(StreamSource):
    """The source that :class:`Streaming` builds. ``random`` returns numbers in [0, 1), for the jitter."""

    def __init__(
        self,
        context: SourceContext,
        *,
        base_uri: str,
        initial_delay: float,
        http: Http | None = None,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        super().__init__(
            Streaming.name, context, http=http, backoff=Backoff(initial_delay, state=context.retry_state), random=random
        )
        self._base_uri = base_uri

    async def fetch(self, selector: Callable[[], Selector]) -> AsyncGenerator[Basis | FetchFailure, None]:
        """The first payload of one connection, which is closed before the result is yielded."""
        update: Update | None = None
        async with aclosing(self.sync(selector)) as updates:
            with anyio.move_on_after(_FIRST_PAYLOAD):
                update = await anext(updates)
        if update is None:
            update = self._update(SourceState.INTERRUPTED, error=network_failure(f"no payload within {_FIRST_PAYLOAD:g} s"))
        yield as_basis(update)

    def _request(self, selector: Selector) -> DataRequest:
        return self._context.side.stream(self._base_uri, selector)

    def _reader(self) -> ReadEvent:
        context = self._context
        largest = (self._http or context.http).max_response_bytes
        return Fdv2Reader(context.side.objects, largest=largest, logger=context.logger).feed

    def _read_head(self, headers: Mapping[str, str]) -> FallbackDirective | None:
        return read_directive(headers)

    def _ping_polls(self, selector: Callable[[], Selector]) -> PingPolls | None:
        context = self._context
        if not context.side.polls_on_ping:
            return None
        read_body = partial(read_poll, objects=context.side.objects, logger=context.logger)
        poller = Poller(f"{self.name}: ping", context, self._http, read_body=read_body, read_head=read_directive)
        return PingPolls(poller, lambda: context.side.poll(context.base_uri, selector()))

    def _is_refused(self, failed: RequestFailed) -> bool:
        was_refused = failed.error.kind is FailureKind.ERROR_RESPONSE
        return was_refused and (self.latched is not None or not failed.is_recoverable)
