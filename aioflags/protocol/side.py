"""Side and EventPolicy: how an SDK asks for flag data and reads it, and which events it sends.

LaunchDarkly has server-side SDKs, which get definitions and evaluate them, and client-side SDKs, which get the flags of one
context, evaluated by the service. Both speak FDv2 and FDv1.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

import msgspec

from aioflags.model.change import Selector
from aioflags.protocol.messages import Effect
from aioflags.protocol.requests import endpoint

if TYPE_CHECKING:
    from aioflags.protocol.messages import ObjectReader


# -- EventPolicy: what differs between the events of server-side and client-side SDKs.
# Source: ``events.md`` 2 to 7; ``client-side.md`` 1.2 and 6.2.


class EventPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules for the events of one kind of SDK.

    Args:
        events_path: the path of the endpoint for analytics events, below the base URI.
        diagnostic_path: the path of the endpoint for diagnostic events.
        has_index_events: each new context is described once, by an index event. Otherwise the summary of a context describes it.
        has_context_summaries: each context has a summary of its own. Otherwise one summary counts all contexts.
        tracks_experiments: an evaluation that is part of an experiment has a feature event, even if its flag is not tracked.
            Otherwise the experiment only adds the reason to the events of a tracked flag.
        shows_anonymous_in_custom: custom events have the attributes of anonymous contexts. Feature events never have them.
    """

    events_path: str
    diagnostic_path: str
    has_index_events: bool
    has_context_summaries: bool
    tracks_experiments: bool
    shows_anonymous_in_custom: bool

    def events_url(self, base: str) -> str:
        """The endpoint for analytics events."""
        return endpoint(base, self.events_path, {})

    def diagnostic_url(self, base: str) -> str:
        """The endpoint for diagnostic events."""
        return endpoint(base, self.diagnostic_path, {})


SERVER_EVENTS: Final = EventPolicy(
    events_path="/bulk",
    diagnostic_path="/diagnostic",
    has_index_events=True,
    has_context_summaries=False,
    tracks_experiments=True,
    shows_anonymous_in_custom=False,
)
MOBILE_EVENTS: Final = EventPolicy(
    events_path="/mobile/events/bulk",
    diagnostic_path="/mobile/events/diagnostic",
    has_index_events=False,
    has_context_summaries=True,
    tracks_experiments=False,
    shows_anonymous_in_custom=True,
)


ReadEvent: TypeAlias = Callable[[str, str], Effect | Generator[None, None, Effect]]
"""Returns the effect of an event, given its name and data; or a cooperative generator, if decoding takes long."""


class DataRequest(msgspec.Struct, frozen=True):
    """A request for flag data: a GET of ``url``; with a ``body``, a REPORT."""

    url: str
    body: bytes | None = None
    public_url: str = ""
    """The URL for errors and logs, if ``url`` has something that they must not show."""

    @property
    def place(self) -> str:
        """The URL for errors and logs. They show it without the query."""
        return self.public_url or self.url


class Side(ABC):
    """The requests and the payloads of one kind of SDK."""

    polls_on_ping: ClassVar[bool] = False
    """Whether the ``ping`` of a stream asks for a poll. Otherwise it is an unknown event."""
    objects: ClassVar[ObjectReader]
    """Reads the objects in the messages of FDv2."""

    @abstractmethod
    def poll(self, base_uri: str, basis: Selector) -> DataRequest:
        """FDv2 polling. ``basis``: the selector of the data that the client has."""

    @abstractmethod
    def stream(self, base_uri: str, basis: Selector) -> DataRequest:
        """FDv2 streaming. ``basis``: the selector of the data that the client has."""

    @abstractmethod
    def fdv1_poll(self, base_uri: str, logger: logging.Logger) -> DataRequest:
        """FDv1 polling."""

    @abstractmethod
    def fdv1_stream(self, base_uri: str, logger: logging.Logger) -> DataRequest:
        """FDv1 streaming."""

    @abstractmethod
    def read_fdv1_poll(self, body: bytes) -> Generator[None, None, Effect]:
        """Reads the body of an FDv1 poll. A generator that yields after about 2 ms of work."""

    @abstractmethod
    def fdv1_reader(self, logger: logging.Logger) -> ReadEvent:
        """A reader for the events of one FDv1 stream."""
