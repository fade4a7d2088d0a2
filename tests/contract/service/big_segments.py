"""A big segment store that requests its data from the harness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.contract.service.callbacks import Callbacks


class CallbackBigSegmentStore:
    """A custom store for the client. An answer other than 200 is a failure of the store."""

    def __init__(self, uri: str, callbacks: Callbacks) -> None:
        self._uri = uri
        self._callbacks = callbacks

    async def memberships(self, context_hash: str) -> Mapping[str, bool] | None:
        """The memberships of the context."""
        return (await self._ask("getMembership", {"contextHash": context_hash})).get("values")

    async def last_updated_ms(self) -> int | None:
        """The time of the last update, according to the harness."""
        return (await self._ask("getMetadata", {})).get("lastUpToDate")

    async def aclose(self) -> None:
        """Closes nothing."""

    async def _ask(self, what: str, params: dict[str, str]) -> dict[str, Any]:
        answer: dict[str, Any] = await self._callbacks.ask(f"{self._uri.rstrip('/')}/{what}", params)
        return answer
