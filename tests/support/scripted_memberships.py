"""ScriptedMemberships: a store of memberships with scripted answers that records its calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio

from aioflags.stores import context_hash


class ScriptedMemberships:
    """``known``: memberships by context key. ``updated``: when the store was last updated.

    An exception in place of an answer is raised. ``delay``: seconds that an answer takes.
    """

    def __init__(self, known: Mapping[str, Any] | None = None, *, updated: Any = 1_000_000, delay: float = 0) -> None:
        self.known: dict[str, Any] = dict(known or {})
        self.updated: Any = updated
        self.delay = delay
        self.failure: Exception | None = None
        self.asked: list[str] = []
        """The context keys of the queries, in order."""
        self.polls = 0
        self.closed = 0

    async def memberships(self, context_hash: str) -> Any:
        """The scripted memberships of the key with this hash."""
        key = self._key(context_hash)
        self.asked.append(key)
        return await self._answered(self.known.get(key))

    async def last_updated_ms(self) -> Any:
        """The time that the test set."""
        self.polls += 1
        return await self._answered(self.updated)

    async def aclose(self) -> None:
        """Count the calls."""
        self.closed += 1

    def _key(self, hashed: str) -> str:
        keys = {*self.known, "user-key", "org-key", "a", "b", "c"}
        return next(key for key in keys if context_hash(key) == hashed)

    async def _answered(self, answer: Any) -> Any:
        if self.delay:
            await anyio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure
        if isinstance(answer, Exception):
            raise answer
        return answer
