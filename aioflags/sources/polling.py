"""FDv2 polling: an initializer and a synchronizer with the same request.

Source: ``data-system.md`` 1, 4.1.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from aioflags.model.change import ChangeSet, Selector
from aioflags.model.result import Basis, FallbackDirective, FetchFailure, Update
from aioflags.protocol.directive import read_directive
from aioflags.protocol.fdv2 import read_poll
from aioflags.protocol.side import DataRequest
from aioflags.sources.base import SourceContext
from aioflags.sources.poll_on_demand import PollOnDemand
from aioflags.sources.poller import Poller, PollOptions, PollOutcome
from aioflags.transport.settings import Http

__all__ = ["Polling", "PollingSource"]


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
                yield _as_result(outcome)

    def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        """Poll until a response ends the source."""
        return self._poller.poll_every(lambda: self._request(selector), self._interval, demand=self._demand)

    def _request(self, selector: Callable[[], Selector]) -> DataRequest:
        return self._side.poll(self._base_uri, selector())


def _as_result(outcome: PollOutcome) -> Basis | FetchFailure:
    if outcome.error is not None:
        return FetchFailure(error=outcome.error, directive=outcome.directive, will_retry=outcome.will_retry)
    change_set = outcome.change_set or ChangeSet.unchanged()
    return Basis(change_set=change_set, directive=outcome.directive, environment_id=outcome.environment_id)
