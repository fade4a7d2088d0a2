"""The clients that sent requests, and what each was sent last.

Clients are distinguished by their instance id, or by program and address. Their SDK key is never stored.

Source: ``data-system.md`` 1.4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from aioflags.devserver.endpoints import Endpoint
from aioflags.model.context import Context
from aioflags.model.flag import FlagDefinition
from aioflags.runtime.clock import now_ms
from aioflags.runtime.logs import printable

_MAX_CLIENTS: Final = 1000
_STREAM_GONE_AFTER_MS: Final = 60_000
_POLLER_GONE_AFTER_MS: Final = 600_000
_MAX_HEADER_LENGTH: Final = 200
_MAX_KEY_LENGTH: Final = 40


class Audience(StrEnum):
    """The client-side SDKs by their kind of credential: a mobile key, or a client-side id.

    Source: ``evaluation.md`` 2.1.
    """

    MOBILE = "mobile"
    JAVASCRIPT = "JavaScript"

    def sees(self, flag: FlagDefinition) -> bool:
        """Whether these SDKs get the flag, as LaunchDarkly's service decides it."""
        return flag.is_mobile_visible if self is Audience.MOBILE else flag.is_client_visible


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRecord:
    """Something that was sent to a client. ``what``: the kind of transfer, message or fault. ``version``: of the data."""

    endpoint: Endpoint
    what: str
    version: int
    at_ms: int


@dataclass(slots=True, kw_only=True)
class ClientRecord:
    """One client.

    ``streams``: how many streams it has open, by endpoint. ``fault``: the last fault that affected it. ``audience``: the kind of a
    client-side SDK; ``None`` for a server-side SDK. ``context``: the key of its newest context, shortened.
    """

    number: int
    agent: str
    instance: str | None
    tags: str | None
    first_seen_ms: int
    last_seen_ms: int
    requests: int = 0
    streams: Counter[Endpoint] = field(default_factory=Counter[Endpoint])
    sent: SentRecord | None = None
    fault: SentRecord | None = None
    audience: Audience | None = None
    context: str | None = None

    @property
    def gone_at_ms(self) -> int | None:
        """When the client counts as gone if it sends no further request; ``None`` while it has a stream open.

        One minute for a client that had a stream, because it reconnects within 30 s. Ten minutes for a client that polls,
        because it may poll every five minutes.
        """
        if self.is_connected:
            return None
        return self.last_seen_ms + (_STREAM_GONE_AFTER_MS if self.streams else _POLLER_GONE_AFTER_MS)

    @property
    def is_connected(self) -> bool:
        """Whether it has a stream open."""
        return self.streams.total() > 0


class ClientRegistry:
    """The clients of a server, in the order of their first requests. ``revision`` grows with each change."""

    def __init__(self) -> None:
        self.revision: int = 0
        self._count: int = 0
        self._by_name: dict[tuple[str, ...], ClientRecord] = {}

    @property
    def all(self) -> Sequence[ClientRecord]:
        """The newest thousand clients; connected clients are kept first."""
        return tuple(self._by_name.values())

    def record_request(self, headers: Mapping[str, str], peer: str) -> ClientRecord:
        """Record a request and return its client: the one with that instance id, or else with that program and address."""
        # JavaScript in web pages cannot set the header User-Agent.
        agent = _printable_header(headers, "x-launchdarkly-user-agent") or _printable_header(headers, "user-agent") or "unnamed"
        instance = _printable_header(headers, "x-launchdarkly-instance-id")
        name = (instance,) if instance else (agent, peer)
        now = now_ms()
        client = self._by_name.get(name)
        if client is None:
            self._count += 1
            client = ClientRecord(
                number=self._count,
                agent=agent,
                instance=instance,
                tags=_printable_header(headers, "x-launchdarkly-tags"),
                first_seen_ms=now,
                last_seen_ms=now,
            )
            self._by_name[name] = client
            self._forget_oldest()
        client.last_seen_ms = now
        client.requests += 1
        self.revision += 1
        return client

    @contextmanager
    def record_stream(self, client: ClientRecord, endpoint: Endpoint) -> Generator[None, None, None]:
        """Record a stream of the client as open until the block ends."""
        client.streams[endpoint] += 1
        self.revision += 1
        try:
            yield
        finally:
            client.streams[endpoint] -= 1
            client.last_seen_ms = now_ms()
            self.revision += 1

    def record_sent(self, client: ClientRecord, endpoint: Endpoint, what: str, version: int) -> None:
        """Record what was sent to the client, and the version of the data in it."""
        client.sent = SentRecord(endpoint=endpoint, what=what, version=version, at_ms=now_ms())
        self.revision += 1

    def record_fault(self, client: ClientRecord, endpoint: Endpoint, fault: str, version: int) -> None:
        """Record a fault that affected the client."""
        client.fault = SentRecord(endpoint=endpoint, what=fault, version=version, at_ms=now_ms())
        self.revision += 1

    def record_context(self, client: ClientRecord, audience: Audience, context: Context | None) -> None:
        """Record that the client is a client-side SDK, and the valid context whose flags it asks for."""
        client.audience = audience
        if context is not None:
            key = context.canonical_key
            client.context = printable(key if len(key) <= _MAX_KEY_LENGTH else f"{key[:_MAX_KEY_LENGTH]}…")
        self.revision += 1

    def _forget_oldest(self) -> None:
        """Drop the oldest client that is not connected, if there are more than a thousand."""
        if len(self._by_name) > _MAX_CLIENTS:
            oldest = next((name for name, client in self._by_name.items() if not client.is_connected), None)
            if oldest is not None:
                del self._by_name[oldest]


def _printable_header(headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name)
    return printable(value[:_MAX_HEADER_LENGTH]) if value else None
