"""ConsulStore: the options of Consul, and its flags.

Source: ``architecture.md`` 12; LaunchDarkly's SDKs for the layout.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

import anyio

from aioflags.errors import ConfigError, StoreError
from aioflags.model.change import ObjectKind
from aioflags.protocol.requests import check_header
from aioflags.runtime.checkpoints import pause_when_spent
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.logs import Once, printable
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
from aioflags.stores.items import COLLECTIONS, LOST_RACE, MARKER, ItemReader, items_lost, listed_kinds, marker_text, stored_version
from aioflags.transport.settings import Http

# -- ConsulFlags: flags and segments in Consul, each under a key of its own, and a marker that is set when they are written.
#
# The marker lists the kinds that have items: ``consul kv delete -recurse`` may delete the folder of a kind and keep the
# marker. A data set that lacks a listed folder is never read, and no change set is written to it: the folder would begin
# again with a few items, and look complete.
#
# Source: ``data-system.md`` 7.4; LaunchDarkly's SDKs, which use the same keys.


_SINGLE_READS: Final = 16
"""Up to so many entries are read one by one before a write; otherwise all entries are read at once."""


class ConsulFlags:
    """The store that :class:`~aioflags.stores.ConsulStore` builds. Raises :class:`StoreError`.

    ``chance`` returns numbers in [0, 1).
    """

    def __init__(
        self,
        connection: ConsulConnection,
        *,
        prefix: str,
        logger: logging.Logger,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._connection = connection
        self._chance = chance
        self._root = f"{prefix}/"
        self._folders = {kind: f"{prefix}/{name}/" for kind, name in COLLECTIONS.items()}
        self._marker = f"{prefix}/{MARKER}"
        self._logger = logger
        self._read_item = ItemReader("Consul", logger)
        self._too_large = Once()
        # Two writers of one client would only interrupt each other.
        self._writing = anyio.Lock()

    async def initialized(self) -> bool:
        """Whether the marker exists, and each folder that it lists."""
        marker = await self._stored_marker()
        return marker is not None and not await self._lost(marker, self._folders)

    async def load(self) -> StoredItems:
        """All entries, read in one request. Raises :class:`StoreError` if a folder is missing that the marker lists."""
        entries = await self._all_entries()
        listed = _listed(entries.get(self._marker)) or ()
        if lost := [self._folders[kind] for kind in self._unseen(entries) if kind in listed]:
            raise items_lost("Consul", lost)
        items: dict[ObjectKind, dict[str, StoredItem]] = {kind: {} for kind in self._folders}
        budget = Budget()
        for entry in entries.values():
            if (item := self._item(entry)) is not None:
                items[item.kind][item.key] = item
            await pause_when_spent(budget)
        return items

    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        """One entry. Raises :class:`StoreError` if its folder is missing, and the marker lists it."""
        entry = (await self._entries([(kind, key)])).get(self._folders[kind] + key)
        if entry is not None:
            return self._item(entry)
        if lost := await self._lost(await self._stored_marker(), [kind]):
            raise items_lost("Consul", lost)
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

        If another process writes one of them at the same time, pause and try again. All processes of a fleet receive a change at
        the same moment, and write it: one that loses the race usually finds the same items written already.

        Raises:
            StoreError: another process wrote first every time.
        """
        newest: dict[tuple[ObjectKind, str], StoredItem] = {}
        for item in items:
            if (other := newest.get((item.kind, item.key))) is None or item.version > other.version:
                newest[item.kind, item.key] = item
        if not newest:
            return
        async with self._writing:
            for failures in range(LOST_RACE.attempts):
                await anyio.sleep(LOST_RACE.pause(failures, self._chance()))
                if await self._write_newer(list(newest.values())):
                    return
        raise StoreError(f"the keys of Consul changed {LOST_RACE.attempts} times while this client tried to write")

    async def is_available(self) -> bool:
        """Whether Consul answers, and has a leader. Whether the marker exists does not matter."""
        await self._stored_marker()
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connection.aclose()

    # -- reading

    async def _all_entries(self) -> dict[str, ConsulEntry]:
        entries = {entry.key: entry for entry in await self._connection.entries(self._root, below=True)}
        await self._require_readable(self._unseen(entries))
        return entries

    def _unseen(self, keys: Collection[str]) -> list[ObjectKind]:
        """The kinds that have no key in ``keys``."""
        return [kind for kind, folder in self._folders.items() if not any(key.startswith(folder) for key in keys)]

    async def _require_readable(self, kinds: Iterable[ObjectKind]) -> None:
        """Consul leaves out of a list what the token may not read, without an error. It does refuse a single key."""
        for kind in kinds:
            await self._connection.entries(self._folders[kind])

    async def _stored_marker(self) -> ConsulEntry | None:
        return next(iter(await self._connection.entries(self._marker)), None)

    async def _lost(self, marker: ConsulEntry | None, kinds: Collection[ObjectKind]) -> list[str]:
        """The folders of these kinds that the marker lists and Consul lacks."""
        listed = (_listed(marker) or frozenset()).intersection(kinds)
        if not listed:
            return []
        lost = listed.intersection(self._unseen(await self._connection.names(self._root)))
        await self._require_readable(lost)
        return [self._folders[kind] for kind in lost]

    async def _entries(self, wanted: Sequence[tuple[ObjectKind, str]]) -> dict[str, ConsulEntry]:
        """The entries of some items, by key, among others."""
        keys = [self._folders[kind] + key for kind, key in wanted]
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
        for kind, folder in self._folders.items():
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
        for kind in self._folders:
            for item in items.get(kind, {}).values():
                write = ConsulWrite(key=self._folders[kind] + item.key, text=item.text)
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
            marker = await self._stored_marker()
            if marker is None or await self._lost(marker, unseen):
                return True
            listed = _listed(marker)
            if listed is not None and not unseen <= listed:
                text = marker_text(listed | unseen).encode()
                writes.append(ConsulWrite(key=self._marker, text=text, index=marker.modify_index))
        for batch in batches(writes, self._connection.namespace):
            if not await self._connection.apply(batch):
                return False
        return True

    def _newer(self, items: Iterable[StoredItem], stored: dict[str, ConsulEntry]) -> Iterator[ConsulWrite]:
        """The writes of the items that are newer than the stored ones. A stored value that cannot be read is replaced."""
        for item in items:
            key = self._folders[item.kind] + item.key
            entry = stored.get(key)
            text = None if entry is None else entry.text
            version = None if text is None else stored_version(text)
            write = ConsulWrite(key=key, text=item.text, index=0 if entry is None else entry.modify_index)
            if (version is None or item.version > version) and self._is_storable(item, write):
                yield write

    def _is_storable(self, item: StoredItem, write: ConsulWrite) -> bool:
        """Whether Consul can keep the item. If not, it is left out, and the log says so once."""
        if is_storable(write, self._connection.namespace):
            self._too_large.forget(write.key)
            return True
        if self._too_large(write.key):
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
