"""RedisFlags: flags and segments in Redis, with a hash for each kind and a marker key that is set when they are written.

The marker lists the kinds that have items, because Redis may lose one hash and keep the marker: by eviction
(``maxmemory-policy``), or by a ``DEL``. A data set that lacks a listed hash is never read, and no change set is written to it: the
hash would begin again with a few items, and look complete.

Source: ``data-system.md`` 7.4 and 7.8.
"""

from __future__ import annotations

import importlib
import logging
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint

from aioflags.errors import StoreError
from aioflags.model.change import ObjectKind
from aioflags.runtime.cooperative import sliced
from aioflags.stores.base import StoredItem, StoredItems
from aioflags.stores.items import stored_version
from aioflags.stores.layout import COLLECTIONS, MARKER, ItemReader, listed_kinds, marker_text
from aioflags.stores.redis_connection import RedisConnection, as_bytes, explained
from aioflags.stores.retries import LOST_RACE

__all__ = ["RedisFlags"]

_SLICE: Final = 100
"""Items to read between two checkpoints, or to send with one command."""
_UNFINISHED_TTL: Final = 60
"""Seconds after which Redis deletes a data set whose write was not finished."""


class RedisFlags:
    """The store that :class:`~aioflags.stores.RedisStore` builds. Raises the errors of redis-py.

    ``chance`` returns numbers in [0, 1).
    """

    def __init__(
        self,
        connection: RedisConnection,
        *,
        prefix: str,
        logger: logging.Logger,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._connection = connection
        self._chance = chance
        self._hashes = {kind: f"{prefix}:{name}" for kind, name in COLLECTIONS.items()}
        self._marker = f"{prefix}:{MARKER}"
        self._read_item = ItemReader("Redis", logger)
        # Two writers on one client would only interrupt each other.
        self._writing = anyio.Lock()

    @explained
    async def initialized(self) -> bool:
        """Whether the marker exists, and each hash that it lists."""
        async with await self._connection.transaction() as pipe:
            pipe.get(self._marker)
            for name in self._hashes.values():
                pipe.hlen(name)
            marker, *exist = _answers(await pipe.execute(), 1 + len(self._hashes))
        return marker is not None and not self._lost(marker, dict(zip(self._hashes, exist, strict=True)))

    @explained
    async def load(self) -> StoredItems:
        """Both hashes, read in one transaction. Raises :class:`StoreError` if one is missing that the marker lists."""
        async with await self._connection.transaction() as pipe:
            pipe.get(self._marker)
            for name in self._hashes.values():
                pipe.hgetall(name)
            marker, *answers = _answers(await pipe.execute(), 1 + len(self._hashes))
        self._require_whole(marker, dict(zip(self._hashes, answers, strict=True)))
        items: dict[ObjectKind, dict[str, StoredItem]] = {kind: {} for kind in self._hashes}
        for kind, fields in zip(self._hashes, answers, strict=True):
            for batch in sliced(fields.items(), _SLICE):
                for field, text in batch:
                    if (item := self._read(kind, as_bytes(field), text)) is not None:
                        items[kind][item.key] = item
                await checkpoint()
        return items

    @explained
    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        """One field of a hash. Raises :class:`StoreError` if the hash is missing, and the marker lists it."""
        name = self._hashes[kind]
        async with await self._connection.transaction() as pipe:
            pipe.hget(name, key)
            pipe.hlen(name)
            pipe.get(self._marker)
            text, count, marker = _answers(await pipe.execute(), 3)
        self._require_whole(marker, {kind: count})
        return None if text is None else self._read(kind, key.encode(), text)

    @explained
    async def replace(self, items: StoredItems) -> None:
        """Write the items in slices under temporary names, then rename these in one transaction. Also for an empty data set."""
        temporary = {kind: await self._write_temporary(kind, list(items.get(kind, {}).values())) for kind in self._hashes}
        async with await self._connection.transaction() as pipe:
            for kind, name in self._hashes.items():
                if (new := temporary[kind]) is None:
                    pipe.delete(name)
                else:
                    pipe.persist(new)
                    # redis-py has no method for RENAME in a cluster, where the two keys could be in different slots.
                    pipe.execute_command("RENAME", new, name)
            pipe.set(self._marker, marker_text([kind for kind in self._hashes if temporary[kind] is not None]))
            commands = len(pipe)
            _answers(await pipe.execute(), commands)

    async def _write_temporary(self, kind: ObjectKind, items: Sequence[StoredItem]) -> str | None:
        """Write all items of a kind to a hash that expires in a minute, and return its name; ``None`` if there are no items."""
        if not items:
            return None
        name = f"{self._hashes[kind]}:{uuid.uuid4()}"
        first, *others = sliced(items, _SLICE)
        async with await self._connection.transaction() as pipe:
            pipe.hset(name, mapping={item.key: item.text for item in first})
            pipe.expire(name, _UNFINISHED_TTL)
            _answers(await pipe.execute(), 2)
        for batch in others:
            await self._connection.client.hset(name, mapping={item.key: item.text for item in batch})
        return name

    @explained
    async def upsert(self, items: Sequence[StoredItem]) -> None:
        """Write in one transaction. If another process writes at the same time, pause and try again.

        Nothing is written without the marker, or if a hash is missing that it lists: :meth:`initialized` is false then.

        All processes of a fleet receive a change at the same moment, and write it. A process that loses the race reads the items
        again: usually another process has written the same ones.

        Raises:
            StoreError: another process wrote first every time.
        """
        watch_error = importlib.import_module("redis.exceptions").WatchError
        names = list(dict.fromkeys(self._hashes[item.kind] for item in items))
        if not names:
            return
        async with self._writing:
            for failures in range(LOST_RACE.attempts):
                await anyio.sleep(LOST_RACE.pause(failures, self._chance()))
                try:
                    await self._write_newer(names, items)
                except watch_error:
                    continue
                return
        raise StoreError(f"{' and '.join(names)} in Redis changed {LOST_RACE.attempts} times while this client tried to write")

    async def _write_newer(self, names: Sequence[str], items: Sequence[StoredItem]) -> None:
        """Write the items that are newer than the stored ones. Raises redis-py's ``WatchError`` if the hashes change meanwhile."""
        async with await self._connection.transaction() as pipe:
            await pipe.watch(*names, self._marker)
            marker = await pipe.get(self._marker)
            exist = {kind: await pipe.hlen(name) for kind, name in self._hashes.items() if name in names}
            if marker is None or self._lost(marker, exist):
                return
            texts_of = {name: await self._newer(pipe, kind, items) for kind, name in self._hashes.items()}
            newer = {name: texts for name, texts in texts_of.items() if texts}
            if not newer:
                return
            pipe.multi()
            for name, texts in newer.items():
                pipe.hset(name, mapping=texts)
            listed = listed_kinds(as_bytes(marker))
            if listed is not None and (first := {kind for kind in exist if self._hashes[kind] in newer} - listed):
                pipe.set(self._marker, marker_text(listed | first))
            commands = len(pipe)
            _answers(await pipe.execute(), commands)

    def _require_whole(self, marker: Any, present: Mapping[ObjectKind, Any]) -> None:
        if lost := self._lost(marker, present):
            raise StoreError(f"Redis has evicted or deleted {' and '.join(lost)} (set maxmemory-policy to noeviction)")

    def _lost(self, marker: Any, present: Mapping[ObjectKind, Any]) -> list[str]:
        """The hashes that the marker lists and Redis lacks. ``present``: what Redis has of some kinds."""
        listed = None if marker is None else listed_kinds(as_bytes(marker))
        return [self._hashes[kind] for kind in listed or () if kind in present and not present[kind]]

    @explained
    async def is_available(self) -> bool:
        """Whether Redis answers. The answer does not matter."""
        await self._connection.client.exists(self._marker)
        return True

    async def aclose(self) -> None:
        """Close the client, unless the program passed it."""
        await self._connection.aclose()

    async def _newer(self, pipe: Any, kind: ObjectKind, items: Sequence[StoredItem]) -> dict[str, bytes]:
        """The texts of a kind that are newer than the stored ones, by key. A stored text that cannot be read is replaced."""
        candidates = [item for item in items if item.kind is kind]
        if not candidates:
            return {}
        newer: dict[str, bytes] = {}
        texts = await pipe.hmget(self._hashes[kind], [item.key for item in candidates])
        for batch in sliced(zip(candidates, texts, strict=True), _SLICE):
            for item, text in batch:
                version = None if text is None else stored_version(as_bytes(text))
                if version is None or item.version > version:
                    newer[item.key] = item.text
            await checkpoint()
        return newer

    def _read(self, kind: ObjectKind, field: bytes, value: Any) -> StoredItem | None:
        """The item of a hash field; ``None`` if it cannot be read, or if the name of the field is not text."""
        key = field.decode(errors="backslashreplace")
        return self._read_item(kind, key, as_bytes(value) if key.encode() == field else None)


def _answers(result: Any, count: int) -> list[Any]:
    """The answers of a transaction. redis-py does not check them: raises :class:`StoreError` unless it is a list of ``count``."""
    if type(result).__name__ != "list" or len(result) != count:
        raise StoreError("Redis sent an invalid answer to a transaction")
    return list(result)
