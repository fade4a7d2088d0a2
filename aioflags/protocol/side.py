"""Side: how an SDK asks for flag data, and how it reads what it gets.

LaunchDarkly has server-side SDKs, which get definitions and evaluate them, and client-side SDKs, which get the flags of one
context, evaluated by the service. Both speak FDv2 and FDv1.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from aioflags.model.change import Selector
from aioflags.protocol.effects import Effect

if TYPE_CHECKING:
    from aioflags.protocol.messages import ObjectReader

__all__ = ["DataRequest", "ReadEvent", "Side"]

ReadEvent: TypeAlias = Callable[[str, str], Effect | Generator[None, None, Effect]]
"""Returns the effect of an event, given its name and data; or a cooperative generator, if decoding takes long."""


@dataclass(frozen=True, slots=True)
class DataRequest:
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

    @property
    @abstractmethod
    def objects(self) -> ObjectReader:
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
