"""ConsulStore: the options of Consul, and its flags.

Source: ``architecture.md`` 12; LaunchDarkly's SDKs for the layout.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from aioflags.errors import ConfigError
from aioflags.model.change import ObjectKind
from aioflags.protocol.requests import check_header
from aioflags.runtime.checkpoints import pause_when_spent
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import address, require, set_all
from aioflags.stores.base import Store, StoreContext, StoredItem, StoredItems
from aioflags.stores.consul_connection import (
    MAX_VALUE,
    ConsulConnection,
    ConsulEntry,
    ConsulServer,
    ConsulWrite,
    batches,
    is_in_url,
    is_storable,
)
from aioflags.stores.items import COLLECTIONS, MARKER, DatabaseFlags, listed_kinds, longer_marker, marker_text, stored_version
from aioflags.transport.settings import Http

# -- ConsulFlags: flags and segments in Consul, each under a key of its own in the folder of its kind.
#
# ``consul kv delete -recurse`` may delete the folder of a kind and keep the marker.
#
# Source: ``data-system.md`` 7.4; LaunchDarkly's SDKs, which use the same keys.


_SINGLE_READS: Final = 16
"""Up to so many entries are read one by one before a write; otherwise all entries are read at once."""


class ConsulFlags(DatabaseFlags[ConsulConnection]):
    """The store that :class:`~aioflags.stores.ConsulStore` builds. Raises :class:`StoreError`."""

    database = "Consul"

    def __init__(
        self,
        connection: ConsulConnection,
        *,
        prefix: str,
        logger: logging.Logger,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._root = f"{prefix}/"
        folders = {kind: f"{prefix}/{name}/" for kind, name in COLLECTIONS.items()}
        super().__init__(connection, folders, f"{prefix}/{MARKER}", logger, chance)

    async def load(self) -> StoredItems:
        """All entries, read in one request. Raises :class:`StoreError` if a folder is missing that the marker lists."""
        entries = await self._all_entries()
        listed = _listed(entries.get(self._marker)) or ()
        self._require_not_lost([self._places[kind] for kind in self._unseen(entries) if kind in listed])
        items: dict[ObjectKind, dict[str, StoredItem]] = {kind: {} for kind in self._places}
        budget = Budget()
        for entry in entries.values():
            if (item := self._item(entry)) is not None:
                items[item.kind][item.key] = item
            await pause_when_spent(budget)
        return items

    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        """One entry. Raises :class:`StoreError` if its folder is missing, and the marker lists it."""
        entry = (await self._entries([(kind, key)])).get(self._places[kind] + key)
        if entry is not None:
            return self._item(entry)
        await self._require_whole([kind])
        return None

    async def replace(self, items: StoredItems) -> None:
        """Write the items that differ from the stored ones, delete those that are not among ``items``, and set the marker.

        A transaction of Consul has at most 64 operations. So a reader may see a large data set half-written, but with all that a
        flag depends on. The marker of a first data set comes last. One that exists is changed before anything is deleted: it never
        lists a kind whose items are gone. If it lists a kind that was lost, it is deleted first and set last: a writer that dies
        between the two leaves a data set without a marker.
        """
        async with self._writing:
            stored = await self._all_entries()
            for batch in batches(self._replacing(items, stored), self._connection.namespace):
                # Nothing has an index, so nothing can conflict.
                await self._connection.apply(batch)

    async def upsert(self, items: Sequence[StoredItem]) -> None:
        """Write newer items in one transaction, or in several if they are large or many.

        Without the marker no folder is begun, and nothing is written if one is missing that it lists: :meth:`initialized` is false
        then. The marker is read only if the items are not stored yet.

        Raises:
            StoreError: another process wrote first every time.
        """
        newest: dict[tuple[ObjectKind, str], StoredItem] = {}
        for item in items:
            if (other := newest.get((item.kind, item.key))) is None or item.version > other.version:
                newest[item.kind, item.key] = item
        if newest:
            await self._write_first(lambda: self._write_newer(list(newest.values())), "the keys of Consul")

    # -- reading

    async def _all_entries(self) -> dict[str, ConsulEntry]:
        entries = {entry.key: entry for entry in await self._connection.entries(self._root, below=True)}
        await self._require_readable(self._unseen(entries))
        return entries

    def _unseen(self, keys: Collection[str]) -> list[ObjectKind]:
        """The kinds that have no key in ``keys``."""
        return [kind for kind, folder in self._places.items() if not any(key.startswith(folder) for key in keys)]

    async def _require_readable(self, kinds: Iterable[ObjectKind]) -> None:
        """Consul leaves out of a list what the token may not read, without an error. It does refuse a single key."""
        for kind in kinds:
            await self._connection.entries(self._places[kind])

    async def _look(self, kinds: Collection[ObjectKind]) -> tuple[ConsulEntry | None, list[str]]:
        marker = next(iter(await self._connection.entries(self._marker)), None)
        listed = (_listed(marker) or frozenset()).intersection(kinds)
        if not listed:
            return marker, []
        lost = listed.intersection(self._unseen(await self._connection.names(self._root)))
        await self._require_readable(lost)
        return marker, [self._places[kind] for kind in lost]

    async def _entries(self, wanted: Sequence[tuple[ObjectKind, str]]) -> dict[str, ConsulEntry]:
        """The entries of some items, by key, among others."""
        keys = [self._places[kind] + key for kind, key in wanted]
        if len(keys) > _SINGLE_READS or not all(map(is_in_url, keys)):
            return await self._all_entries()
        return {entry.key: entry for key in keys for entry in await self._connection.entries(key)}

    def _item(self, entry: ConsulEntry) -> StoredItem | None:
        """The item of an entry; ``None`` if it is not one, or cannot be read."""
        if (name := self._name(entry.key)) is None:
            return None
        return self._read_item(*name, entry.text)

    def _name(self, key: str) -> tuple[ObjectKind, str] | None:
        """Kind and key of an item, if it is the key of one. Consul's web page makes an entry for an empty folder."""
        for kind, folder in self._places.items():
            if key.startswith(folder) and key != folder:
                return kind, key[len(folder) :]
        return None

    # -- writing

    def _replacing(self, items: StoredItems, stored: dict[str, ConsulEntry]) -> Iterator[ConsulWrite]:
        """The writes that make the store equal to ``items``."""
        kept, kinds = {self._marker}, set[ObjectKind]()
        before = stored.get(self._marker)
        if (listed := _listed(before)) and not listed.isdisjoint(self._unseen(stored)):
            before = None
            yield ConsulWrite(key=self._marker, text=None)
        for kind in self._places:
            for item in items.get(kind, {}).values():
                write = ConsulWrite(key=self._places[kind] + item.key, text=item.text)
                kept.add(write.key)
                entry = stored.get(write.key)
                is_changed = (entry is None or entry.text != item.text) and self._is_storable(item, write)
                if is_changed:
                    yield write
                if is_changed or entry is not None:
                    kinds.add(kind)
        marker = ConsulWrite(key=self._marker, text=marker_text(kinds).encode())
        if before is not None and before.text != marker.text:
            yield marker
        yield from (ConsulWrite(key=key, text=None) for key in stored if key not in kept and self._name(key) is not None)
        if before is None:
            yield marker

    async def _write_newer(self, items: Sequence[StoredItem]) -> bool:
        """Write the items that are newer than the stored ones: false if another process writes one of them first."""
        stored = await self._entries([(item.kind, item.key) for item in items])
        writes = list(self._newer(items, stored))
        unseen = frozenset(self._unseen(stored)).difference(self._unseen([write.key for write in writes]))
        if unseen:
            marker, lost = await self._look(unseen)
            if marker is None or lost:
                return True
            if (text := longer_marker(marker.text, unseen)) is not None:
                writes.append(ConsulWrite(key=self._marker, text=text.encode(), index=marker.modify_index))
        for batch in batches(writes, self._connection.namespace):
            if not await self._connection.apply(batch):
                return False
        return True

    def _newer(self, items: Iterable[StoredItem], stored: dict[str, ConsulEntry]) -> Iterator[ConsulWrite]:
        """The writes of the items that are newer than the stored ones. A stored value that cannot be read is replaced."""
        for item in items:
            key = self._places[item.kind] + item.key
            entry = stored.get(key)
            text = None if entry is None else entry.text
            version = None if text is None else stored_version(text)
            write = ConsulWrite(key=key, text=item.text, index=0 if entry is None else entry.modify_index)
            if (version is None or item.version > version) and self._is_storable(item, write):
                yield write

    def _is_storable(self, item: StoredItem, write: ConsulWrite) -> bool:
        """Whether Consul can keep the item. If not, it is left out, and the log says so once."""
        if is_storable(write, self._connection.namespace):
            self._refused.forget(write.key)
            return True
        if self._refused(write.key):
            self._logger.error(
                "Consul keeps at most %d bytes for a key: %s %s has %d and is not stored; programs that read the store keep its"
                " last version that was smaller, if any",
                *(MAX_VALUE, item.kind, printable(item.key), len(item.text)),
            )
        return False


def _listed(marker: ConsulEntry | None) -> frozenset[ObjectKind] | None:
    """The kinds that the marker lists; ``None`` without a marker, and for the marker of another SDK."""
    return None if marker is None else listed_kinds(marker.text)


_URL: Final = "http://localhost:8500"
_PREFIX: Final = "launchdarkly"
_HTTP: Final = Http(connect_timeout=2, read_timeout=2)
"""Shorter than for a service on the internet: evaluations may wait for a store."""


@dataclass(frozen=True, slots=True)
class ConsulStore:
    """Flags in the KV store of Consul, in the layout of LaunchDarkly's SDKs and its Relay Proxy, so that they can share it.

    Args:
        url: the HTTP address of an agent, with ``https://`` for TLS.
        prefix: the start of every key, without a slash at its end. It keeps environments apart.
        token: an ACL token, sent in the header ``X-Consul-Token``.
        datacenter: the datacenter to ask, if it is not the agent's.
        namespace: a namespace of Consul Enterprise.
        http: timeouts, TLS, proxies, or your own ``httpx.AsyncClient``.

    Raises:
        ConfigError: an option is invalid.
    """

    url: str = _URL
    _: KW_ONLY
    prefix: str = _PREFIX
    token: str | None = field(default=None, repr=False)
    datacenter: str | None = None
    namespace: str | None = None
    http: Http = _HTTP

    def __post_init__(self) -> None:
        prefix = require("prefix", self.prefix, str) or _PREFIX
        if not is_in_url(prefix):
            raise ConfigError("prefix: expected names with single slashes between them, such as team/flags")
        for option in ("token", "datacenter", "namespace"):
            set_all(self, {option: check_header(option, getattr(self, option)) or None})
        require("http", self.http, Http)
        set_all(self, {"url": address("url", self.url, _URL), "prefix": prefix})

    @property
    def description(self) -> str:
        """The name in diagnostic events."""
        return "Consul"

    def build(self, context: StoreContext, /) -> Store:
        """A store of flags and segments, with its own connections."""
        server = ConsulServer(url=self.url, token=self.token, datacenter=self.datacenter, namespace=self.namespace, http=self.http)
        return ConsulFlags(ConsulConnection(server, context.logger), prefix=self.prefix, logger=context.logger)
