"""FDv2 polling: an initializer and a synchronizer on one request.

Source: ``data-system.md`` 1, 4.1.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from aioflags.model.change import ChangeSet, Selector
from aioflags.model.result import Basis, FallbackDirective, FetchFailure, Update
from aioflags.protocol.directive import read_directive
from aioflags.protocol.fdv2 import read_poll
from aioflags.protocol.requests import poll_url
from aioflags.sources.base import SourceContext
from aioflags.sources.poll_on_demand import PollOnDemand
from aioflags.sources.polled import Poller, PollOptions, PollOutcome
from aioflags.transport.settings import Http

__all__ = ["Polling", "PollingSource"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling(PollOptions):
    """Asks for flag data by FDv2: once, as an initializer; every ``interval`` seconds (30 or more), as a synchronizer.

    With ``on_demand`` a synchronizer asks once, and then when :meth:`~aioflags.Client.refresh` is called, but no sooner than
    ``interval`` after a good answer. What is ``None`` is taken from the client.
    """

    name: ClassVar[str] = "polling"

    def build(self, context: SourceContext, /) -> PollingSource:
        """A fresh source, for one run."""
        interval = context.poll_interval if self.interval is None else self.interval
        demand = context.demand if self.on_demand else None
        return PollingSource(context, base_uri=self.base_uri or context.base_uri, interval=interval, demand=demand, http=self.http)


class PollingSource:
    """What :class:`Polling` builds."""

    def __init__(
        self, context: SourceContext, *, base_uri: str, interval: float, demand: PollOnDemand | None, http: Http | None
    ) -> None:
        self.name = Polling.name
        self._base_uri = base_uri
        self._interval = interval
        self._demand = demand
        read_body = partial(read_poll, logger=context.logger)
        self._poller = Poller(self.name, context, http, read_body=read_body, read_head=read_directive)

    @property
    def latched(self) -> FallbackDirective | None:
        """The directive in the head of the answer that is being read."""
        return self._poller.latched

    async def fetch(self, selector: Callable[[], Selector]) -> AsyncGenerator[Basis | FetchFailure, None]:
        """One poll."""
        yield _as_result(await self._poller.poll_once(lambda: poll_url(self._base_uri, selector())))

    def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        """Polls, until an answer ends it."""
        return self._poller.poll_every(lambda: poll_url(self._base_uri, selector()), self._interval, demand=self._demand)


def _as_result(outcome: PollOutcome) -> Basis | FetchFailure:
    if outcome.error is not None:
        return FetchFailure(error=outcome.error, directive=outcome.directive)
    change_set = outcome.change_set or ChangeSet.unchanged()
    return Basis(change_set=change_set, directive=outcome.directive, environment_id=outcome.environment_id)
