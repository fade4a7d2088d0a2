"""FDv1 polling and streaming: the fallback when the server directs a client off FDv2, and sources for FDv1 alone.

Source: ``data-system.md`` 3.1, 3.3 and 6.
"""

from __future__ import annotations

import random as random_numbers
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from aioflags.model.change import Selector, Update
from aioflags.model.defaults import POLL_INTERVAL, REFUSED_RETRY_DELAY
from aioflags.protocol.side import DataRequest, ReadEvent
from aioflags.sources.base import PollOnDemand, SourceContext
from aioflags.sources.event_streams import PingPolls, StreamOptions, StreamSource
from aioflags.sources.polling import Poller, PollOptions, PollOutcome
from aioflags.transport.backoff import Backoff
from aioflags.transport.settings import Http

_SUCCESSES_TO_RESET: Final = 2
"""Successful polls in a row that reset the long back-off after a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fdv1FallbackOptions(PollOptions):
    """Options of the FDv1 fallback, which polls every ``interval`` seconds (at least 30; 30 by default).

    With ``on_demand`` it polls once, and then when :meth:`~aioflags.Client.refresh` is called. The default of ``base_uri`` is the
    client's ``base_uri``.
    """

    name: ClassVar[str] = "FDv1 polling"

    def build(self, context: SourceContext, /) -> Fdv1Poller:
        """A new source, for one run."""
        interval = POLL_INTERVAL if self.interval is None else self.interval
        demand = context.demand if self.on_demand else None
        return Fdv1Poller(context, base_uri=self.base_uri or context.base_uri, interval=interval, demand=demand, http=self.http)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fdv1Polling(PollOptions):
    """Polls flag data by FDv1 every ``interval`` seconds (at least 30). After a refusal such as 401 it tries again later.

    If the service refuses the key, for instance with 401, the next poll comes after 5 minutes (less a random part of up to half),
    and each delay is twice the last one, up to an hour. Two successful polls in a row restore the interval. With ``on_demand`` it
    polls once, and then when :meth:`~aioflags.Client.refresh` is called. ``None`` means the client's value.
    """

    name: ClassVar[str] = "FDv1 polling"

    _refused_delay: float = field(default=REFUSED_RETRY_DELAY, repr=False)

    def build(self, context: SourceContext, /) -> Fdv1Poller:
        """A new source, for one run."""
        interval = context.poll_interval if self.interval is None else self.interval
        return Fdv1Poller(
            context,
            base_uri=self.base_uri or context.base_uri,
            interval=interval,
            refused_delay=self._refused_delay,
            demand=context.demand if self.on_demand else None,
            http=self.http,
        )


class Fdv1Poller:
    """The source that :class:`Fdv1FallbackOptions` and :class:`Fdv1Polling` build.

    It sends no ``basis`` and ignores the fallback directive.

    Args:
        refused_delay: seconds of the first delay after a refusal. ``None``: a refusal ends the source.
        random: returns numbers in [0, 1), for the jitter.
    """

    def __init__(
        self,
        context: SourceContext,
        *,
        base_uri: str,
        interval: float,
        http: Http | None,
        refused_delay: float | None = None,
        demand: PollOnDemand | None = None,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        self.name: str = Fdv1Polling.name
        self._interval = interval
        self._request = context.side.fdv1_poll(base_uri, context.logger)
        self._poller = Poller(self.name, context, http, read_body=context.side.read_fdv1_poll, read_head=_no_directive)
        self._refused_delay = refused_delay
        self._demand = demand
        self._random = random

    def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:  # noqa: ARG002 - FDv1 has no cursor
        """Poll until a response ends the source. With ``refused_delay``, no response does."""
        pause = None if self._refused_delay is None else _Pauses(self._interval, self._refused_delay, self._random).after
        return self._poller.poll_every(lambda: self._request, self._interval, pause, demand=self._demand)


class _Pauses:
    """The delays of one run that no response ends."""

    def __init__(self, interval: float, refused_delay: float, random: Callable[[], float]) -> None:
        self._interval = interval
        self._backoff = Backoff(interval, ceiling=interval, refused_delay=refused_delay)
        self._random = random
        self._successes = 0

    def after(self, outcome: PollOutcome) -> float:
        """Seconds to wait from the end of a failed poll; 0 after a successful one: the interval counts from start to start."""
        if outcome.error is None:
            self._successes += 1
            if self._successes == _SUCCESSES_TO_RESET:
                self._backoff.reset()
            return 0.0
        self._successes = 0
        return self._backoff.after(0.0, chance=self._random(), at_least=self._interval, is_refused=outcome.is_refused)


def _no_directive(_: Mapping[str, str]) -> None:
    """Ignore the directive: the client is on FDv1 already, and would switch to FDv1 again and again."""


# -- FDv1 streaming, for clients that use FDv1 only. No response ends the source: it reconnects.
# Source: ``data-system.md`` 3.2 and 3.3.


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

    def _ping_polls(self, selector: Callable[[], Selector]) -> PingPolls | None:  # noqa: ARG002 - FDv1 has no cursor
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
