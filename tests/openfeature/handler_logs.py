"""HandlerLog: the events that OpenFeature's handlers received, from any thread."""

from __future__ import annotations

import asyncio
import queue
from typing import Any

from openfeature.client import OpenFeatureClient
from openfeature.event import EventDetails, ProviderEvent

__all__ = ["HandlerLog"]


class HandlerLog:
    """Handlers of all events of a client of OpenFeature. OpenFeature calls them in threads, in no certain order."""

    def __init__(self, client: OpenFeatureClient) -> None:
        self._received: queue.Queue[tuple[ProviderEvent, EventDetails]] = queue.Queue()
        for event in ProviderEvent:
            client.add_handler(event, self._handler(event))

    def _handler(self, event: ProviderEvent) -> Any:
        def handler(details: EventDetails) -> None:
            self._received.put((event, details))

        return handler

    async def next(self) -> tuple[ProviderEvent, EventDetails]:
        """The next event and its details."""
        return await asyncio.to_thread(self._received.get, timeout=30)

    async def names(self, count: int) -> list[str]:
        """The next ``count`` events, without the words that all have in common."""
        return [(await self.next())[0].value.removeprefix("PROVIDER_") for _ in range(count)]

    def is_empty(self) -> bool:
        """Whether no other event has arrived."""
        return self._received.empty()
