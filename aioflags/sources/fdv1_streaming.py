"""FDv1 streaming, for clients that use FDv1 only. No response ends the source: it reconnects.

Source: ``data-system.md`` 3.2 and 3.3.
"""

from __future__ import annotations

import random as random_numbers
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from aioflags.model.change import Selector
from aioflags.model.defaults import REFUSED_RETRY_DELAY
from aioflags.model.result import Update
from aioflags.protocol.side import DataRequest, ReadEvent
from aioflags.sources.base import SourceContext
from aioflags.sources.ping_polls import PingPolls
from aioflags.sources.poller import Poller, PollOutcome
from aioflags.sources.stream_source import StreamOptions, StreamSource
from aioflags.transport.backoff import Backoff
from aioflags.transport.settings import Http

__all__ = ["Fdv1Streamer", "Fdv1Streaming"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fdv1Streaming(StreamOptions):
    """Streams flag data by FDv1. It reconnects like :class:`Streaming`, and also after responses that end that one.

    If the service refuses the key, for instance with 401, it reconnects after 5 minutes (less a random part of up to half), and
    each delay is twice the last one, up to an hour. A connection that lasts a minute restores the short delays. ``None`` means
    the client's value.
    """

    name: ClassVar[str] = "FDv1 streaming"

    _refused_delay: float = field(default=REFUSED_RETRY_DELAY, repr=False)

    def build(self, context: SourceContext, /) -> Fdv1Streamer:
        """A new source, for one run."""
        return Fdv1Streamer(
            context,
            base_uri=self.base_uri or context.stream_uri,
            initial_delay=self.delay_for(context),
            refused_delay=self._refused_delay,
            http=self.http,
        )


class Fdv1Streamer(StreamSource):
    """The source that :class:`Fdv1Streaming` builds. ``random`` returns numbers in [0, 1), for the jitter."""

    def __init__(
        self,
        context: SourceContext,
        *,
        base_uri: str,
        initial_delay: float,
        refused_delay: float = REFUSED_RETRY_DELAY,
        http: Http | None = None,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        backoff = Backoff(initial_delay, refused_delay=refused_delay, state=context.retry_state)
        super().__init__(Fdv1Streaming.name, context, http=http, backoff=backoff, random=random)
        self._data_request = context.side.fdv1_stream(base_uri, context.logger)

    def _request(self, selector: Selector) -> DataRequest:  # noqa: ARG002 - FDv1 has no cursor
        return self._data_request

    def _ping_polls(self, selector: Callable[[], Selector]) -> PingPolls | None:  # noqa: ARG002 - as above
        context = self._context
        if not context.side.polls_on_ping:
            return None
        poller = Poller(f"{self.name}: ping", context, self._http, read_body=context.side.read_fdv1_poll, read_head=self._read_head)
        request = context.side.fdv1_poll(context.base_uri, context.logger)
        return PingPolls(poller, lambda: request)

    def _polled(self, outcome: PollOutcome) -> Update:
        return super()._polled(replace(outcome, is_refused=False))

    def _reader(self) -> ReadEvent:
        return self._context.side.fdv1_reader(self._context.logger)
