"""RedisFlags: flags and segments in Redis, a hash for each kind and a key that marks that they were written.

Source: ``data-system.md`` 7.4 and 7.8.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint

from aioflags.errors import StoreError
from aioflags.logs import Once, printable
from aioflags.model.change import ObjectKind
from aioflags.stores.base import StoredItem, StoredItems
from aioflags.stores.items import stored_version
from aioflags.stores.redis_connection import RedisConnection, as_bytes

__all__ = ["RedisFlags"]

_HASHES: Final = {ObjectKind.SEGMENT: "segments", ObjectKind.FLAG: "features"}
_MARKER: Final = "$inited"
_ATTEMPTS: Final = 10
"""So often others may write in between before an upsert gives up."""
_SLICE: Final = 500
"""How many items are looked at before others get a turn."""


class RedisFlags:
    """What :class:`~aioflags.stores.RedisStore` builds. Raises what redis-py raises."""

    def __init__(self, connection: RedisConnection, *, prefix: str, logger: logging.Logger) -> None:
        self._connection = connection
        self._hashes = {kind: f"{prefix}:{name}" for kind, name in _HASHES.items()}
        self._marker = f"{prefix}:{_MARKER}"
        self._logger = logger
        self._once = Once()
        # Two writers on one client would only see each other's writes come in between.
        self._writing = anyio.Lock()

    async def initialized(self) -> bool:
        """Whether the marker is there, whatever it says."""
        return bool(await self._connection.client.exists(self._marker))

    async def load(self) -> StoredItems:
        """Both hashes, as of one moment."""
        async with self._connection.client.pipeline(transaction=True) as pipe:
            for name in self._hashes.values():
                pipe.hgetall(name)
            answers: list[Mapping[Any, Any]] = _answers(await pipe.execute(), len(self._hashes))
        found: dict[ObjectKind, dict[str, StoredItem]] = {kind: {} for kind in self._hashes}
        for kind, fields in zip(self._hashes, answers, strict=True):
            for count, (field, text) in enumerate(fields.items(), 1):
                if (item := self._read(kind, as_bytes(field), text)) is not None:
                    found[kind][item.key] = item
                if count % _SLICE == 0:
                    await checkpoint()
        return found

    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        """One field of a hash."""
        text = await self._connection.client.hget(self._hashes[kind], key)
        return None if text is None else self._read(kind, key.encode(), text)

    async def replace(self, items: StoredItems) -> None:
        """In one transaction, an empty data set too."""
        async with self._connection.client.pipeline(transaction=True) as pipe:
            for name in self._hashes.values():
                pipe.delete(name)
            for kind, name in self._hashes.items():
                for count, item in enumerate(items.get(kind, {}).values(), 1):
                    pipe.hset(name, item.key, item.text)
                    if count % _SLICE == 0:
                        await checkpoint()
            pipe.set(self._marker, self._marker)
            commands = len(pipe)
            _answers(await pipe.execute(), commands)

    async def upsert(self, items: Sequence[StoredItem]) -> None:
        """In one transaction, that is begun anew if somebody else writes meanwhile."""
        watch_error = importlib.import_module("redis.exceptions").WatchError
        names = list(dict.fromkeys(self._hashes[item.kind] for item in items))
        if not names:
            return
        async with self._writing:
            for _ in range(_ATTEMPTS):
                async with self._connection.client.pipeline(transaction=True) as pipe:
                    await pipe.watch(*names)
                    news = [item for kind in self._hashes for item in await self._news(pipe, kind, items)]
                    pipe.multi()
                    for item in news:
                        pipe.hset(self._hashes[item.kind], item.key, item.text)
                    try:
                        _answers(await pipe.execute(), len(news))
                    except watch_error:
                        continue
                    return
        raise StoreError(f"{' and '.join(names)} in Redis changed {_ATTEMPTS} times while this client wanted to write")

    async def is_available(self) -> bool:
        """Whether Redis answers, whatever it says."""
        await self._connection.client.exists(self._marker)
        return True

    async def aclose(self) -> None:
        """Closes the client, unless it is the program's."""
        await self._connection.aclose()

    async def _news(self, pipe: Any, kind: ObjectKind, items: Sequence[StoredItem]) -> list[StoredItem]:
        """Which items of a kind are newer than what is stored. What cannot be read gives way."""
        candidates = [item for item in items if item.kind is kind]
        if not candidates:
            return []
        texts = await pipe.hmget(self._hashes[kind], [item.key for item in candidates])
        stored = [None if text is None else stored_version(as_bytes(text)) for text in texts]
        return [item for item, version in zip(candidates, stored, strict=True) if version is None or item.version > version]

    def _read(self, kind: ObjectKind, field: bytes, value: Any) -> StoredItem | None:
        """An item named by its field, whatever key the text claims: a tombstone's may be no key at all."""
        text = as_bytes(value)
        key, version = field.decode(errors="backslashreplace"), stored_version(text)
        if version is None or key.encode() != field:
            if self._once((kind, field)):
                self._logger.warning("Redis: the %s %s cannot be read, and is left out", kind, printable(key))
            return None
        return StoredItem(kind, key, version, text)


def _answers(found: Any, count: int) -> list[Any]:
    """What a transaction answered. redis-py believes whoever answers it; what is no list of answers was no transaction."""
    if type(found).__name__ != "list" or len(found) != count:
        raise StoreError("Redis answered a transaction with rubbish")
    return list(found)
