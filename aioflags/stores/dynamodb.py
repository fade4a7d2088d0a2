"""DynamoDBStore: the connection options of DynamoDB, its flags and its big segments.

Creating a ``DynamoDBStore`` requires aiobotocore (the extra ``dynamodb``), or a client of it.

Source: ``data-system.md`` 7.9; ``architecture.md`` 12.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Sequence
from dataclasses import KW_ONLY, dataclass, field
from importlib.util import find_spec
from typing import Any, Final

from anyio.lowlevel import checkpoint

from aioflags.errors import ConfigError, ConfigTypeError, StoreError
from aioflags.model.change import ObjectKind
from aioflags.runtime.cooperative import sliced
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import address, interval, require, set_all, text_or_none
from aioflags.stores.base import MembershipStore, Store, StoreContext, StoredItem, StoredItems
from aioflags.stores.dynamodb_connection import DynamoDBClient, DynamoDBConnection, DynamoDBItem, keys
from aioflags.stores.items import COLLECTIONS, MARKER, DatabaseFlags, listed_kinds, longer_marker, marker_text

# -- DynamoDBFlags: flags and segments in a table of DynamoDB, and a marker that is set when they are written.
#
# The partition key ``namespace`` is ``features``, ``segments`` or ``$inited``, after the prefix; the sort key ``key`` is the
# key of a flag or segment. ``version`` is a number, which writes compare; ``item`` is the JSON, or in the marker the kinds
# that have items.
#
# Source: ``data-system.md`` 7.4; LaunchDarkly's SDKs have the same layout.


_MAX_SIZE: Final = 400_000
"""Bytes of an item, the names of its attributes included. DynamoDB's limit is 400 KB; LaunchDarkly's SDKs use this number."""
_MAX_KEY: Final = 1024
"""DynamoDB's limit for the bytes of a sort key, which must not be empty."""
_SLICE: Final = 100
"""Items to encode between two checkpoints."""


class DynamoDBFlags(DatabaseFlags[DynamoDBConnection]):
    """The store that :class:`~aioflags.stores.DynamoDBStore` builds.

    DynamoDB replaces no data set in one step: while one is written, readers see old items and new ones.
    """

    database = "DynamoDB"

    def __init__(self, connection: DynamoDBConnection, *, prefix: str, logger: logging.Logger) -> None:
        namespaces = {kind: prefix + name for kind, name in COLLECTIONS.items()}
        super().__init__(connection, namespaces, prefix + MARKER, logger)

    async def load(self) -> StoredItems:
        """Both namespaces, one after the other. Raises :class:`StoreError` if one is empty that the marker lists."""
        items: dict[ObjectKind, dict[str, StoredItem]] = {kind: {} for kind in self._places}
        empty = set(self._places)
        for kind, namespace in self._places.items():

            def take(page: Sequence[DynamoDBItem], kind: ObjectKind = kind) -> None:
                if page:
                    empty.discard(kind)
                items[kind].update((item.key, item) for each in page if (item := self._read(kind, each)) is not None)

            await self._connection.each_page(namespace, take)
        if empty:
            await self._require_whole(empty)
        return items

    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        """One item of a namespace. Raises :class:`StoreError` if the namespace is empty, and the marker lists it."""
        if not 0 < len(key.encode()) <= _MAX_KEY:
            return None
        if (item := await self._connection.get(self._places[kind], key)) is not None:
            return self._read(kind, item)
        await self._require_whole([kind])
        return None

    async def replace(self, items: StoredItems) -> None:
        """Write what is not stored yet, delete what is not in ``items``, then set the marker.

        An item that is stored already is not written again: programs that start together would use up the table's capacity. So a
        replacement that did not end in time is continued by the next one. A marker that exists is changed before anything is
        deleted: it never lists a kind whose items are gone. If it lists a kind that was lost, it is deleted first and set last: a
        writer that dies between the two leaves a data set without a marker.
        """
        async with self._writing:
            wanted = await self._encoded(items)
            filled = {namespace for namespace, _ in wanted}
            marker = self._marker_with(marker_text([kind for kind, namespace in self._places.items() if namespace in filled]))
            stored, lost = await self._look(self._places)
            if lost:
                await self._connection.delete([keys(self._marker, self._marker)])
                stored = None
            obsolete = await self._compare(wanted)
            await self._connection.put(list(wanted.values()))
            if stored is not None and stored != marker:
                await self._connection.put([marker])
            await self._connection.delete(obsolete)
            if stored is None:
                await self._connection.put([marker])

    async def _encoded(self, items: StoredItems) -> dict[tuple[str, str], DynamoDBItem]:
        """The items to store, by namespace and key."""
        wanted: dict[tuple[str, str], DynamoDBItem] = {}
        for kind, namespace in self._places.items():
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

        for namespace in self._places.values():
            await self._connection.each_page(namespace, take)
        return obsolete

    async def upsert(self, items: Sequence[StoredItem]) -> None:
        """Write the items one by one, each on the condition that the stored one is older.

        Nothing is written without the marker, or if a namespace is empty that it lists: :meth:`initialized` is false then.
        """
        async with self._writing:
            storable = [(item.kind, encoded) for item in items if (encoded := self._written(item)) is not None]
            if not storable:
                return
            kinds = {kind for kind, _ in storable}
            marker, lost = await self._look(kinds)
            if marker is None or lost:
                return
            for _, encoded in storable:
                await self._connection.put_if_newer(encoded)
            if (text := longer_marker(_text(marker), kinds)) is not None:
                await self._connection.put_if_unchanged(self._marker_with(text), before=marker)

    # -- the marker

    def _marker_with(self, text: str) -> DynamoDBItem:
        return {**keys(self._marker, self._marker), "item": {"S": text}}

    async def _look(self, kinds: Collection[ObjectKind]) -> tuple[DynamoDBItem | None, list[str]]:
        marker = await self._connection.get(self._marker, self._marker)
        listed = (None if marker is None else listed_kinds(_text(marker))) or ()
        namespaces = [self._places[kind] for kind in kinds if kind in listed]
        return marker, [namespace for namespace in namespaces if await self._connection.is_empty(namespace)]

    # -- items

    def _written(self, item: StoredItem) -> DynamoDBItem | None:
        """An item of DynamoDB; ``None``, with one line in the log, if DynamoDB would refuse it, and all others of its request."""
        encoded = {
            **keys(self._places[item.kind], item.key),
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
        return self._read_item(kind, stored["key"]["S"], _text(stored))


def _text(stored: DynamoDBItem) -> bytes | None:
    text: Any = stored.get("item", {}).get("S")
    return text.encode() if isinstance(text, str) else None


def _problem(item: DynamoDBItem) -> str | None:
    """Why DynamoDB would refuse the item; ``None`` if it would not."""
    key = len(item["key"]["S"].encode())
    if not 0 < key <= _MAX_KEY:
        return f"its key has {key} bytes, and DynamoDB takes 1 to {_MAX_KEY}"
    size = sum(len(name) + len(value.encode()) for name, attribute in item.items() for value in attribute.values())
    return f"it has {size} bytes, and DynamoDB takes {_MAX_SIZE}" if size > _MAX_SIZE else None


# -- DynamoDBMemberships: reads big segments that a Relay Proxy, or an integration of LaunchDarkly, wrote to DynamoDB.
#
# One item for each context has the sets ``included`` and ``excluded``; one more has the time of the last update.
#
# Source: ``data-system.md`` 7.9; ``client-surface.md`` 11; LaunchDarkly's SDKs have the same layout.


_CONTEXTS: Final = "big_segments_user"
_METADATA: Final = "big_segments_metadata"


class DynamoDBMemberships:
    """The membership store that :class:`~aioflags.stores.DynamoDBStore` builds."""

    def __init__(self, connection: DynamoDBConnection, *, prefix: str) -> None:
        self._connection = connection
        self._contexts = prefix + _CONTEXTS
        self._metadata = prefix + _METADATA

    async def memberships(self, context_hash: str) -> dict[str, bool]:
        """Both sets of the context. A segment in both sets includes it."""
        item = await self._connection.get(self._contexts, context_hash) or {}
        return {**dict.fromkeys(_names(item, "excluded"), False), **dict.fromkeys(_names(item, "included"), True)}

    async def last_updated_ms(self) -> int | None:
        """The time that the writer stored; ``None`` if it stored none."""
        item = await self._connection.get(self._metadata, self._metadata) or {}
        number = _value(item, "synchronizedOn", "N")
        try:
            return None if number is None else int(number)
        except ValueError:
            raise StoreError("synchronizedOn in DynamoDB is not an integer") from None

    async def aclose(self) -> None:
        """Close the client, unless the program passed it."""
        await self._connection.aclose()


def _names(item: DynamoDBItem, attribute: str) -> list[str]:
    """The strings of a set; none if the attribute is missing. DynamoDB has no empty sets."""
    return list(_value(item, attribute, "SS") or ())


def _value(item: DynamoDBItem, attribute: str, kind: str) -> Any:
    """The value of an attribute; ``None`` if it is missing or null. Raises :class:`StoreError` for another type."""
    value = item.get(attribute, {"NULL": True})
    if kind not in value and "NULL" not in value:
        raise StoreError(f"{attribute} in DynamoDB has the type {'/'.join(value)} instead of {kind}")
    return value.get(kind)


_TIMEOUT: Final = 2.0
_METHODS: Final = ("get_item", "put_item", "query", "batch_write_item", "__aenter__")
"""What a client of aiobotocore has. One of boto3 has no ``__aenter__``."""


@dataclass(frozen=True, slots=True)
class DynamoDBStore:
    """Flags and big segments in DynamoDB, in the layout of LaunchDarkly's SDKs and its Relay Proxy, so that they can share a table.

    The table must exist, with the partition key ``namespace`` and the sort key ``key``, both strings. Credentials come from where
    AWS's tools look for them: environment variables, files, roles.

    Args:
        table: the name of the table.
        prefix: with ``:`` after it, the start of every ``namespace``. It keeps environments apart.
        region: in place of the region of the environment (``AWS_DEFAULT_REGION``) or of AWS's files.
        endpoint_url: an address in place of the region's, for DynamoDB Local.
        timeout: seconds that a connection may take to open, or to answer.
        client: a ``dynamodb`` client of aiobotocore or aioboto3 in place of ``region``, ``endpoint_url`` and ``timeout``. The
            program closes it.

    Raises:
        ConfigError: an option is invalid, or aiobotocore is not installed.
        TypeError: ``client`` is a synchronous client.
    """

    table: str
    _: KW_ONLY
    prefix: str = ""
    region: str | None = None
    endpoint_url: str | None = None
    timeout: float = _TIMEOUT
    client: object | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not require("table", self.table, str):
            raise ConfigError("table: expected the name of a table, got an empty one")
        require("prefix", self.prefix, str)
        text_or_none("region", self.region)
        if self.endpoint_url is not None:
            set_all(self, {"endpoint_url": address("endpoint_url", self.endpoint_url, "")})
        if self.client is not None and not all(callable(getattr(self.client, method, None)) for method in _METHODS):
            raise ConfigTypeError(f"client: expected a dynamodb client of aiobotocore, got {_described(self.client)}")
        set_all(self, {"timeout": interval("timeout", self.timeout)})
        if self.client is None and "aiobotocore" not in sys.modules and find_spec("aiobotocore") is None:
            raise ConfigError('DynamoDBStore needs aiobotocore: pip install "aioflags[dynamodb]"')

    @property
    def description(self) -> str:
        """The name in diagnostic events."""
        return "DynamoDB"

    def build(self, context: StoreContext, /) -> Store:
        """A store of flags and segments, with a new client or the program's."""
        return DynamoDBFlags(self.connection(), prefix=self._start, logger=context.logger)

    def build_memberships(self) -> MembershipStore:
        """A store of memberships, with a new client or the program's."""
        return DynamoDBMemberships(self.connection(), prefix=self._start)

    def connection(self) -> DynamoDBConnection:
        """A connection that opens at first use."""
        own = DynamoDBClient(region=self.region, endpoint_url=self.endpoint_url, timeout=self.timeout)
        return DynamoDBConnection(own if self.client is None else self.client, self.table)

    @property
    def _start(self) -> str:
        return f"{self.prefix}:" if self.prefix else ""


def _described(client: object) -> str:
    """The type of what is not a usable client, and what to do about the two that come close."""
    name = type(client).__name__
    if name == "ClientCreatorContext":
        return "one that is not open: use what async with returns"
    return f"the synchronous {name} of boto3" if callable(getattr(client, "batch_write_item", None)) else name
