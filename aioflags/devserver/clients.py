"""Who is connected, and what each client was last sent. Clients are told apart by what they say of themselves, never by key.

Source: ``data-system.md`` 1.4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.runtime.clock import now_ms
from aioflags.runtime.logs import printable

__all__ = ["SeenClient", "SeenClients", "Sent"]

_MOST_CLIENTS: Final = 1000
_GONE_STREAM_MS: Final = 60_000
_GONE_POLLER_MS: Final = 600_000
_LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What went to a client: the kind of the transfer or message, or the fault; the version of the data; when."""

    endpoint: Endpoint
    what: str
    version: int
    at_ms: int


@dataclass(slots=True, kw_only=True)
class SeenClient:
    """One client. ``streams``: those it has open, by endpoint. ``fault``: the last that it met."""

    number: int
    agent: str
    instance: str | None
    tags: str | None
    first_seen_ms: int
    last_seen_ms: int
    requests: int = 0
    streams: Counter[Endpoint] = field(default_factory=Counter[Endpoint])
    sent: Sent | None = None
    fault: Sent | None = None

    @property
    def gone_at_ms(self) -> int | None:
        """When the client counts as gone unless it asks again; ``None`` while it has a stream open.

        A client that had a stream reconnects within 30 s. One that polls may do so every five minutes.
        """
        return None if self.is_connected else self.last_seen_ms + (_GONE_STREAM_MS if self.streams else _GONE_POLLER_MS)

    @property
    def is_connected(self) -> bool:
        """Whether it has a stream open."""
        return self.streams.total() > 0


class SeenClients:
    """The clients of a server, in the order in which they came. ``revision`` grows with every news of one."""

    def __init__(self) -> None:
        self.revision: int = 0
        self._came: int = 0
        self._by_name: dict[tuple[str, ...], SeenClient] = {}

    @property
    def all(self) -> Sequence[SeenClient]:
        """Everyone who is remembered: the newest thousand, and who is connected."""
        return tuple(self._by_name.values())

    def arrived(self, headers: Mapping[str, str], peer: str) -> SeenClient:
        """Whose request it is that just arrived: the client of that instance id, or else of that program and address."""
        agent = _shown(headers, "user-agent") or "unnamed"
        instance = _shown(headers, "x-launchdarkly-instance-id")
        name = (instance,) if instance else (agent, peer)
        now = now_ms()
        client = self._by_name.get(name)
        if client is None:
            self._came += 1
            tags = _shown(headers, "x-launchdarkly-tags")
            client = SeenClient(number=self._came, agent=agent, instance=instance, tags=tags, first_seen_ms=now, last_seen_ms=now)
            self._by_name[name] = client
            self._forget()
        client.last_seen_ms = now
        client.requests += 1
        self.revision += 1
        return client

    @contextmanager
    def streaming(self, client: SeenClient, endpoint: Endpoint) -> Generator[None, None, None]:
        """It has a stream open, for as long as the block lasts."""
        client.streams[endpoint] += 1
        self.revision += 1
        try:
            yield
        finally:
            client.streams[endpoint] -= 1
            client.last_seen_ms = now_ms()
            self.revision += 1

    def sent(self, client: SeenClient, endpoint: Endpoint, what: str, version: int) -> None:
        """It was sent something."""
        client.sent = Sent(endpoint=endpoint, what=what, version=version, at_ms=now_ms())
        self.revision += 1

    def met(self, client: SeenClient, endpoint: Endpoint, fault: str, version: int) -> None:
        """It met a fault."""
        client.fault = Sent(endpoint=endpoint, what=fault, version=version, at_ms=now_ms())
        self.revision += 1

    def _forget(self) -> None:
        """Drops the oldest that is not connected, beyond a thousand."""
        if len(self._by_name) > _MOST_CLIENTS:
            gone = next((name for name, client in self._by_name.items() if not client.is_connected), None)
            if gone is not None:
                del self._by_name[gone]


def _shown(headers: Mapping[str, str], name: str) -> str | None:
    found = headers.get(name)
    return printable(found[:_LONGEST_NAME]) if found else None
