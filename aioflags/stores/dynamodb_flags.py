"""DynamoDBFlags: flags and segments in a table of DynamoDB, and a marker that is set when they are written.

The partition key ``namespace`` is ``features``, ``segments`` or ``$inited``, after the prefix; the sort key ``key`` is the key of a
flag or segment. ``version`` is a number, which writes compare; ``item`` is the JSON.

Source: ``data-system.md`` 7.4; the layout is that of LaunchDarkly's SDKs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint

from aioflags.model.change import ObjectKind
from aioflags.runtime.cooperative import sliced
from aioflags.runtime.logs import Once, printable
from aioflags.stores.base import StoredItem, StoredItems
from aioflags.stores.dynamodb_connection import DynamoDBConnection, DynamoDBItem, keys
from aioflags.stores.layout import COLLECTIONS, MARKER, ItemReader

__all__ = ["DynamoDBFlags"]

_MAX_SIZE: Final = 400_000
"""Bytes of an item, the names of its attributes included. DynamoDB's limit is 400 KB; LaunchDarkly's SDKs use this number."""
_MAX_KEY: Final = 1024
"""DynamoDB's limit for the bytes of a sort key, which must not be empty."""
_SLICE: Final = 100
"""Items to encode between two checkpoints."""


class DynamoDBFlags:
    """The store that :class:`~aioflags.stores.DynamoDBStore` builds.

    DynamoDB replaces no data set in one step: while one is written, readers see old items and new ones.
    """

    def __init__(self, connection: DynamoDBConnection, *, prefix: str, logger: logging.Logger) -> None:
        self._connection = connection
        self._namespaces = {kind: prefix + name for kind, name in COLLECTIONS.items()}
        self._marker = prefix + MARKER
        self._logger = logger
        self._read_item = ItemReader("DynamoDB", logger)
        self._refused = Once()
        # An upsert in the middle of a replacement would be overwritten by it.
        self._writing = anyio.Lock()

    async def initialized(self) -> bool:
        """Whether the marker exists. What else it has does not matter."""
        return await self._connection.get(self._marker, self._marker) is not None

    async def load(self) -> StoredItems:
        """Both namespaces, one after the other."""
        items: dict[ObjectKind, dict[str, StoredItem]] = {kind: {} for kind in self._namespaces}
        for kind, namespace in self._namespaces.items():

            def take(page: Sequence[DynamoDBItem], kind: ObjectKind = kind) -> None:
                items[kind].update((item.key, item) for each in page if (item := self._read(kind, each)) is not None)

            await self._connection.each_page(namespace, take)
        return items

    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        """One item of a namespace."""
        if not 0 < len(key.encode()) <= _MAX_KEY:
            return None
        item = await self._connection.get(self._namespaces[kind], key)
        return None if item is None else self._read(kind, item)

    async def replace(self, items: StoredItems) -> None:
        """Write what is not stored yet, delete what is not in ``items``, then set the marker.

        An item that is stored already is not written again: programs that start together would use up the table's capacity. So a
        replacement that did not end in time is continued by the next one.
        """
        async with self._writing:
            wanted = await self._encoded(items)
            obsolete = await self._compare(wanted)
            await self._connection.put(list(wanted.values()))
            await self._connection.delete(obsolete)
            await self._connection.put([keys(self._marker, self._marker)])

    async def _encoded(self, items: StoredItems) -> dict[tuple[str, str], DynamoDBItem]:
        """The items to store, by namespace and key."""
        wanted: dict[tuple[str, str], DynamoDBItem] = {}
        for kind, namespace in self._namespaces.items():
            for batch in sliced(items.get(kind, {}).values(), _SLICE):
                wanted.update(((namespace, item.key), encoded) for item in batch if (encoded := self._written(item)) is not None)
                await checkpoint()
        return wanted

    async def _compare(self, wanted: dict[tuple[str, str], DynamoDBItem]) -> list[DynamoDBItem]:
        """Remove from ``wanted`` what is stored already, and return the keys of what is stored and not wanted."""
        obsolete: list[DynamoDBItem] = []

        def take(page: Sequence[DynamoDBItem]) -> None:
            for stored in page:
                place = stored["namespace"]["S"], stored["key"]["S"]
                if place not in wanted:
                    obsolete.append(keys(*place))
                elif wanted[place] == stored:
                    del wanted[place]

        for namespace in self._namespaces.values():
            await self._connection.each_page(namespace, take)
        return obsolete

    async def upsert(self, items: Sequence[StoredItem]) -> None:
        """Write the items one by one, each on the condition that the stored one is older."""
        async with self._writing:
            for item in items:
                if (encoded := self._written(item)) is not None:
                    await self._connection.put_if_newer(encoded)

    async def is_available(self) -> bool:
        """Whether the table answers. The answer does not matter."""
        await self.initialized()
        return True

    async def aclose(self) -> None:
        """Close the client, unless the program passed it."""
        await self._connection.aclose()

    def _written(self, item: StoredItem) -> DynamoDBItem | None:
        """An item of DynamoDB; ``None``, with one line in the log, if DynamoDB would refuse it, and all others of its request."""
        encoded = {
            **keys(self._namespaces[item.kind], item.key),
            "version": {"N": str(item.version)},
            "item": {"S": item.text.decode()},
        }
        place = item.kind, item.key
        if (problem := _problem(encoded)) is None:
            self._refused.forget(place)
            return encoded
        if self._refused(place):
            self._logger.error("DynamoDB: %s %s is not stored: %s", item.kind, printable(item.key), problem)
        return None

    def _read(self, kind: ObjectKind, stored: DynamoDBItem) -> StoredItem | None:
        """The item that is stored; ``None`` if it cannot be read."""
        text: Any = stored.get("item", {}).get("S")
        return self._read_item(kind, stored["key"]["S"], text.encode() if isinstance(text, str) else None)


def _problem(item: DynamoDBItem) -> str | None:
    """Why DynamoDB would refuse the item; ``None`` if it would not."""
    key = len(item["key"]["S"].encode())
    if not 0 < key <= _MAX_KEY:
        return f"its key has {key} bytes, and DynamoDB takes 1 to {_MAX_KEY}"
    size = sum(len(name) + len(value.encode()) for name, attribute in item.items() for value in attribute.values())
    return f"it has {size} bytes, and DynamoDB takes {_MAX_SIZE}" if size > _MAX_SIZE else None
