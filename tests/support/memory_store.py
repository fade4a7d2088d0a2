"""MemoryStore: a custom store in a dictionary, which can fail, hang and be slow."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from aioflags.stores import ObjectKind, StoredItem, StoredItems


class MemoryStore:
    """Keeps items in memory. ``fails``, ``hangs`` and ``delay`` change its next calls; ``calls`` has the names of past calls.

    With ``pretends`` it always reports that it is available.
    """

    def __init__(self) -> None:
        self.items: dict[ObjectKind, dict[str, StoredItem]] = {kind: {} for kind in ObjectKind}
        self.marker = False
        self.fails: Exception | None = None
        self.hangs = False
        self.delay = 0.0
        self.pretends = False
        self.calls: list[str] = []
        self.written: list[list[tuple[ObjectKind, str]]] = []
        self.closed = 0

    def empty(self) -> None:
        """Lose everything, as a server does that restarts."""
        self.items = {kind: {} for kind in ObjectKind}
        self.marker = False

    async def initialized(self) -> bool:
        await self._called("initialized")
        return self.marker

    async def load(self) -> StoredItems:
        await self._called("load")
        return {kind: dict(items) for kind, items in self.items.items()}

    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        await self._called("get")
        return self.items[kind].get(key)

    async def replace(self, items: StoredItems) -> None:
        await self._called("replace")
        self.written.append([(kind, key) for kind, items_of_kind in items.items() for key in items_of_kind])
        self.items = {kind: dict(items.get(kind, {})) for kind in ObjectKind}
        self.marker = True

    async def upsert(self, items: Sequence[StoredItem]) -> None:
        await self._called("upsert")
        self.written.append([(item.kind, item.key) for item in items])
        for item in items if self.marker else ():
            stored = self.items[item.kind].get(item.key)
            if stored is None or item.version > stored.version:
                self.items[item.kind][item.key] = item

    async def is_available(self) -> bool:
        self.calls.append("is_available")
        if self.hangs:
            await anyio.sleep_forever()
        return self.pretends or self.fails is None

    @property
    def is_closed(self) -> bool:
        """Whether it has been closed."""
        return self.closed > 0

    async def aclose(self) -> None:
        self.closed += 1

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.hangs:
            await anyio.sleep_forever()
        if self.fails is not None:
            raise self.fails
        await anyio.sleep(self.delay)
