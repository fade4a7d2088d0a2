"""FDv1 polling: what a client falls back to when the server directs it off FDv2.

Source: ``data-system.md`` 3.1, 3.3 and 6.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from aioflags.model.change import Selector
from aioflags.model.defaults import POLL_INTERVAL
from aioflags.model.result import Update
from aioflags.protocol.fdv1 import read_all
from aioflags.protocol.requests import latest_all_url, usable_filter_key
from aioflags.sources.base import SourceContext
from aioflags.sources.requester import PollOptions, Requester
from aioflags.transport.settings import Http

__all__ = ["Fdv1FallbackOptions", "Fdv1Poller"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fdv1FallbackOptions(PollOptions):
    """How FDv1 is polled when FDv2 has been left: every ``interval`` seconds (30 or more, and 30 by default).

    ``base_uri`` is by default the client's for polls.
    """

    def build(self, context: SourceContext, /) -> Fdv1Poller:
        """A fresh source, for one run."""
        interval = POLL_INTERVAL if self.interval is None else self.interval
        return Fdv1Poller(context, base_uri=self.base_uri or context.base_uri, interval=interval, http=self.http)


class Fdv1Poller:
    """What :class:`Fdv1FallbackOptions` builds. It sends no ``basis``, and does not look for the directive it is there for."""

    def __init__(self, context: SourceContext, *, base_uri: str, interval: float, http: Http | None) -> None:
        self.name = "FDv1 polling"
        self._interval = interval
        self._url = latest_all_url(base_uri, usable_filter_key(context.payload_filter_key, context.logger))
        self._requester = Requester(self.name, context, http, read_body=read_all, read_head=_no_directive)

    def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:  # noqa: ARG002 - FDv1 has no cursor
        """Polls, until an answer ends it."""
        return self._requester.paced(lambda: self._url, self._interval)


def _no_directive(_: Mapping[str, str]) -> None:
    """On FDv1 the directive has been obeyed already: to obey it again would be to switch in circles."""
