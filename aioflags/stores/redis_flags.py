"""RedisFlags: flags and segments in Redis, a hash for each kind and a key that marks that they were written.

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
from aioflags.runtime.logs import Once, printable
from aioflags.stores.base import StoredItem, StoredItems
from aioflags.stores.items import stored_version
from aioflags.stores.redis_connection import RedisConnection, as_bytes, explained

__all__ = ["RedisFlags", "pause"]

_HASHES: Final = {ObjectKind.SEGMENT: "segments", ObjectKind.FLAG: "features"}
_MARKER: Final = "$inited"
_ATTEMPTS: Final = 32
"""So often others may write in between before an upsert gives up. Others who do the same on Redis get ten, at once."""
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.5
"""Seconds that a pause between two attempts may take: the first, and any."""
_SLICE: Final = 100
"""How many items are looked at, or sent with one command, before others get a turn."""
_UNFINISHED: Final = 60
"""For how many seconds Redis keeps a data set that nobody finished writing."""


class RedisFlags:
    """What :class:`~aioflags.stores.RedisStore` builds. Raises what redis-py raises. ``chance`` gives numbers in [0, 1)."""

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
        self._hashes = {kind: f"{prefix}:{name}" for kind, name in _HASHES.items()}
        self._marker = f"{prefix}:{_MARKER}"
        self._logger = logger
        self._once = Once()
        # Two writers on one client would only see each other's writes come in between.
        self._writing = anyio.Lock()

    @explained
    async def initialized(self) -> bool:
        """Whether the marker is there, whatever it says."""
        return bool(await self._connection.client.exists(self._marker))

    @explained
    async def load(self) -> StoredItems:
        """Both hashes, as of one moment."""
        async with await self._connection.transaction() as pipe:
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

    @explained
    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        """One field of a hash."""
        text = await self._connection.client.hget(self._hashes[kind], key)
        return None if text is None else self._read(kind, key.encode(), text)

    @explained
    async def replace(self, items: StoredItems) -> None:
        """In slices under other names, which then become the names in one transaction. An empty data set is one, too."""
        written = {kind: await self._write_apart(kind, list(items.get(kind, {}).values())) for kind in self._hashes}
        async with await self._connection.transaction() as pipe:
            for kind, name in self._hashes.items():
                if (apart := written[kind]) is None:
                    pipe.delete(name)
                else:
                    pipe.persist(apart)
                    # redis-py has no method for it in a cluster, where one key could be in another slot.
                    pipe.execute_command("RENAME", apart, name)
            pipe.set(self._marker, self._marker)
            commands = len(pipe)
            _answers(await pipe.execute(), commands)

    async def _write_apart(self, kind: ObjectKind, items: Sequence[StoredItem]) -> str | None:
        """Where all items of a kind are now, for a minute; ``None`` if there are none."""
        if not items:
            return None
        name = f"{self._hashes[kind]}:{uuid.uuid4()}"
        first, *others = (items[start : start + _SLICE] for start in range(0, len(items), _SLICE))
        async with await self._connection.transaction() as pipe:
            pipe.hset(name, mapping={item.key: item.text for item in first})
            pipe.expire(name, _UNFINISHED)
            _answers(await pipe.execute(), 2)
        for some in others:
            await self._connection.client.hset(name, mapping={item.key: item.text for item in some})
        return name

    @explained
    async def upsert(self, items: Sequence[StoredItem]) -> None:
        """In one transaction, that is begun anew if somebody else writes meanwhile, after a pause.

        All processes of a fleet hear of a change at once, and write it at once. Whoever loses a race looks again what is there:
        mostly it is what was to be written.

        Raises:
            StoreError: others were faster every time.
        """
        watch_error = importlib.import_module("redis.exceptions").WatchError
        names = list(dict.fromkeys(self._hashes[item.kind] for item in items))
        if not names:
            return
        async with self._writing:
            for lost in range(_ATTEMPTS):
                await anyio.sleep(pause(lost, self._chance()))
                try:
                    await self._write_news(names, items)
                except watch_error:
                    continue
                return
        raise StoreError(f"{' and '.join(names)} in Redis changed {_ATTEMPTS} times while this client wanted to write")

    async def _write_news(self, names: Sequence[str], items: Sequence[StoredItem]) -> None:
        """Writes what is newer than what the hashes of these names have; raises redis-py's own error if they change meanwhile."""
        async with await self._connection.transaction() as pipe:
            await pipe.watch(*names)
            found = {name: await self._news(pipe, kind, items) for kind, name in self._hashes.items()}
            news = {name: texts for name, texts in found.items() if texts}
            if not news:
                return
            pipe.multi()
            for name, texts in news.items():
                pipe.hset(name, mapping=texts)
            _answers(await pipe.execute(), len(news))

    async def is_available(self) -> bool:
        """Whether Redis answers, whatever it says."""
        await self._connection.client.exists(self._marker)
        return True

    async def aclose(self) -> None:
        """Closes the client, unless it is the program's."""
        await self._connection.aclose()

    async def _news(self, pipe: Any, kind: ObjectKind, items: Sequence[StoredItem]) -> dict[str, bytes]:
        """The texts of a kind that are newer than what is stored, by key. What cannot be read gives way."""
        candidates = [item for item in items if item.kind is kind]
        if not candidates:
            return {}
        news: dict[str, bytes] = {}
        texts = await pipe.hmget(self._hashes[kind], [item.key for item in candidates])
        for count, (item, text) in enumerate(zip(candidates, texts, strict=True), 1):
            version = None if text is None else stored_version(as_bytes(text))
            if version is None or item.version > version:
                news[item.key] = item.text
            if count % _SLICE == 0:
                await checkpoint()
        return news

    def _read(self, kind: ObjectKind, field: bytes, value: Any) -> StoredItem | None:
        """An item named by its field, whatever key the text claims: a tombstone's may be no key at all."""
        text = as_bytes(value)
        key, version = field.decode(errors="backslashreplace"), stored_version(text)
        if version is None or key.encode() != field:
            if self._once((kind, field)):
                self._logger.warning("Redis: the %s %s cannot be read, and is left out", kind, printable(key))
            return None
        return StoredItem(kind, key, version, text)


def pause(lost: int, chance: float) -> float:
    """Seconds to wait after so many lost races: none before the first, then up to a limit that doubles.

    ``chance`` in [0, 1) says how much of it. All of it is left to chance: those who begin at the same moment would otherwise
    meet again. A crowd of 120 is done after 27 races of each at the most, where Redis is 20 ms away.
    """
    return chance * min(_FIRST_PAUSE * 2.0 ** (lost - 1), _LONGEST_PAUSE) if lost else 0.0


def _answers(found: Any, count: int) -> list[Any]:
    """What a transaction answered. redis-py believes whoever answers it; what is no list of answers was no transaction."""
    if type(found).__name__ != "list" or len(found) != count:
        raise StoreError("Redis answered a transaction with rubbish")
    return list(found)
