"""FDv1 polling: what a client falls back to when the server directs it off FDv2, and what it may be told to do alone.

Source: ``data-system.md`` 3.1, 3.3 and 6.
"""

from __future__ import annotations

import random as random_numbers
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from aioflags.model.change import Selector
from aioflags.model.defaults import PATIENCE, POLL_INTERVAL
from aioflags.model.result import Update
from aioflags.protocol.fdv1 import read_all
from aioflags.protocol.requests import latest_all_url, usable_filter_key
from aioflags.sources.base import SourceContext
from aioflags.sources.poll_on_demand import PollOnDemand
from aioflags.sources.polled import Poller, PollOptions, PollOutcome
from aioflags.transport.backoff import Backoff
from aioflags.transport.settings import Http

__all__ = ["Fdv1FallbackOptions", "Fdv1Poller", "Fdv1Polling"]

_ENOUGH: Final = 2
"""Good answers in a row, after which a refusal is forgiven."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fdv1FallbackOptions(PollOptions):
    """How FDv1 is polled when FDv2 has been left: every ``interval`` seconds (30 or more, and 30 by default).

    With ``on_demand`` it is polled once, and then when :meth:`~aioflags.Client.refresh` is called. ``base_uri`` is by default the
    client's for polls.
    """

    name: ClassVar[str] = "FDv1 polling"

    def build(self, context: SourceContext, /) -> Fdv1Poller:
        """A fresh source, for one run."""
        interval = POLL_INTERVAL if self.interval is None else self.interval
        demand = context.demand if self.on_demand else None
        return Fdv1Poller(context, base_uri=self.base_uri or context.base_uri, interval=interval, demand=demand, http=self.http)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fdv1Polling(PollOptions):
    """Asks for flag data by FDv1 every ``interval`` seconds (30 or more), whatever the service answers.

    One that refuses the key, say with 401, is asked again after 5 minutes (less up to half, by chance), then after twice that,
    up to an hour. Two good answers in a row end this patience. With ``on_demand`` it asks once, and then when
    :meth:`~aioflags.Client.refresh` is called. What is ``None`` is taken from the client.
    """

    name: ClassVar[str] = "FDv1 polling"

    _patience: float = field(default=PATIENCE, repr=False)

    def build(self, context: SourceContext, /) -> Fdv1Poller:
        """A fresh source, for one run."""
        interval = context.poll_interval if self.interval is None else self.interval
        return Fdv1Poller(
            context,
            base_uri=self.base_uri or context.base_uri,
            interval=interval,
            patience=self._patience,
            demand=context.demand if self.on_demand else None,
            http=self.http,
        )


class Fdv1Poller:
    """What :class:`Fdv1FallbackOptions` and :class:`Fdv1Polling` build.

    It sends no ``basis``, and does not look for the directive that it may be there for. Without ``patience`` (seconds) a
    refusal is the end. ``random`` gives numbers in [0, 1), for the jitter.
    """

    def __init__(
        self,
        context: SourceContext,
        *,
        base_uri: str,
        interval: float,
        http: Http | None,
        patience: float | None = None,
        demand: PollOnDemand | None = None,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        self.name = Fdv1Polling.name
        self._interval = interval
        self._url = latest_all_url(base_uri, usable_filter_key(context.payload_filter_key, context.logger))
        self._poller = Poller(self.name, context, http, read_body=read_all, read_head=_no_directive)
        self._patience = patience
        self._demand = demand
        self._random = random

    def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:  # noqa: ARG002 - FDv1 has no cursor
        """Polls; without patience until an answer ends it."""
        pause = None if self._patience is None else _Pauses(self._interval, self._patience, self._random).after
        return self._poller.poll_every(lambda: self._url, self._interval, pause, demand=self._demand)


class _Pauses:
    """How long to wait after each poll, of one run that nothing ends."""

    def __init__(self, interval: float, patience: float, random: Callable[[], float]) -> None:
        self._interval = interval
        self._backoff = Backoff(interval, ceiling=interval, patience=patience)
        self._random = random
        self._successes = 0

    def after(self, outcome: PollOutcome) -> float:
        """Seconds from the end of a failed poll; 0 after a good one: then the interval alone counts, from start to start."""
        if outcome.error is None:
            self._successes += 1
            if self._successes == _ENOUGH:
                self._backoff.reset()
            return 0.0
        self._successes = 0
        return self._backoff.after(0.0, chance=self._random(), at_least=self._interval, is_refused=outcome.is_final)


def _no_directive(_: Mapping[str, str]) -> None:
    """On FDv1 the directive has been obeyed already: to obey it again would be to switch in circles."""
