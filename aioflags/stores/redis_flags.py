"""Redis: the connection, and RedisFlags, which keeps flags and segments in a hash for each kind.

Redis may lose one hash and keep the marker: by eviction (``maxmemory-policy``), or by a ``DEL``.

Source: ``data-system.md`` 7.4 and 7.8.
"""

from __future__ import annotations

import importlib
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import wraps
from typing import Any, Final, TypeVar, cast

import anyio
from anyio.lowlevel import checkpoint

from aioflags.errors import StoreError
from aioflags.model.change import ObjectKind
from aioflags.runtime.cooperative import sliced
from aioflags.runtime.logs import class_name
from aioflags.stores.base import StoredItem, StoredItems
from aioflags.stores.items import (
    COLLECTIONS,
    MARKER,
    DatabaseFlags,
    Retries,
    listed_kinds,
    longer_marker,
    marker_text,
    stored_version,
)
from aioflags.transport.peers import cause_of

# -- RedisConnection: a client of redis-py, created here or passed by the program: for one server, a cluster or Sentinel.
#
# In a cluster all keys of a transaction must be in one slot. Braces in a key decide its slot:
# https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags


C = TypeVar("C", bound=Callable[..., Awaitable[Any]])

_CROSS_SLOT: Final = ("CrossSlot", "CROSSSLOT", "same key slot")
"""Parts of the errors of a cluster, or of redis-py, about keys in several slots."""
_MOVED: Final = ("MovedError", "MOVED", "AskError")
"""Parts of the errors that a client for one server gets from a server of a cluster."""

_MAX_CALLS: Final = 50
"""Calls at a time, each with a connection of its own. The others wait."""
_FULL_POOL: Final = Retries(attempts=18, first_pause=0.01, max_pause=0.1)
"""While the program uses all connections of a pool that it shares. The pauses are 0.8 s together, at most 1.6 s."""


class RedisConnection:
    """Opens nothing before its first use. A function makes a client, which is closed at the end; a client object stays open.

    A pool of redis-py has a limit of connections, and raises an error when they are all in use. So no more calls than that are
    made at a time, and a call that finds a shared pool full is repeated. ``chance`` returns numbers in [0, 1).
    """

    def __init__(self, client: Callable[[], Any] | object, *, chance: Callable[[], float] = random.random) -> None:
        self._make: Callable[[], Any] | None = None
        self._client: Any = None
        self._turns: anyio.Semaphore | None = None
        self.chance: Callable[[], float] = chance
        # Clients of redis-py are not callable.
        if callable(client):
            self._make = client
        else:
            self._client = client
        self._is_closed = False

    @property
    def client(self) -> Any:
        """A ``redis.asyncio.Redis`` or ``RedisCluster``. Untyped: redis-py's types do not say which methods are async.

        Raises:
            StoreError: :meth:`aclose` was called. A call may go on after a pause: a client that it made would stay open.
        """
        if self._is_closed:
            raise StoreError("the connection to Redis is closed")
        if self._client is None and self._make is not None:
            self._client = self._make()
        return self._client

    @property
    def turns(self) -> anyio.Semaphore:
        """For ``async with`` around a call, which needs one connection. Raises :class:`StoreError` after :meth:`aclose`."""
        pool = getattr(self.client, "connection_pool", None)  # a cluster has one for each server
        if self._turns is None:
            limit: int | None = getattr(pool, "max_connections", None)
            self._turns = anyio.Semaphore(min(limit or _MAX_CALLS, _MAX_CALLS), fast_acquire=True)
        return self._turns

    async def transaction(self) -> Any:
        """A pipeline for ``async with``, which collects commands and runs them in one transaction."""
        # Without this, a client of a cluster reads the slots at the first command, in a thread with another event loop.
        if (initialize := getattr(self.client, "initialize", None)) is not None:
            await initialize()
        return self.client.pipeline(transaction=True)

    @property
    def timeout_message(self) -> str:
        """An error message for a server that accepts connections and does not answer: its address and the timeout."""
        options: Mapping[str, Any] = getattr(getattr(self._client, "connection_pool", None), "connection_kwargs", {})
        address = options.get("path") or (f"{options['host']}:{options.get('port', 6379)}" if "host" in options else None)
        seconds = options.get("socket_timeout")
        return f"Redis{f' at {address}' if address else ''} did not answer{f' within {seconds:g} s' if seconds else ' in time'}"

    async def aclose(self) -> None:
        """Close the client, unless the program passed it. Later uses fail."""
        self._is_closed = True
        if self._make is not None and self._client is not None:
            client, self._client = self._client, None
            await client.aclose()


def as_bytes(value: object) -> bytes:
    """A result of redis-py as bytes: a program's client may decode to text. Raises :class:`StoreError` for another type."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        # Bytes that are not UTF-8 arrive as surrogates, if the client decodes them at all.
        return value.encode(errors="surrogateescape")
    raise StoreError(f"Redis answered with {class_name(value)} instead of text")


def explained(call: C) -> C:
    """Decorate a method of an object with a ``_connection``: wait for a connection, and raise a :class:`StoreError` with advice for
    errors of a cluster or of a full pool, and with the server's address for timeouts. The error of a failed connection says why.
    """

    @wraps(call)
    async def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        connection: RedisConnection = self._connection
        failures = 0
        while True:
            try:
                async with connection.turns:
                    return await call(self, *args, **kwargs)
            except Exception as error:
                failures += 1
                if not _is_full(error) or failures == _FULL_POOL.attempts:
                    # A timeout of redis-py: the time limits of callers arrive as cancellations, which are not caught here.
                    if type(error).__name__ == "TimeoutError":
                        raise StoreError(connection.timeout_message) from error
                    if (advice := _advice(error)) is not None:
                        raise StoreError(advice) from error
                    if type(error).__name__ == "ConnectionError" and (cause := _missing_cause(error)):
                        raise type(error)(f"{error} {cause}") from error
                    raise
            await anyio.sleep(_FULL_POOL.pause(failures, connection.chance()))

    return cast("C", wrapper)


def _missing_cause(error: Exception) -> str:
    """Why a connection failed, if the error shows only a number in place of it, as redis-py 5.0.1 does; else empty."""
    cause = error.__cause__ or error.__context__
    return cause_of(cause) if isinstance(cause, OSError) and cause.strerror and cause.strerror not in str(error) else ""


def _is_full(error: Exception) -> bool:
    return type(error).__name__ == "MaxConnectionsError" or str(error) == "Too many connections"


def _advice(error: Exception) -> str | None:
    if _is_full(error):
        return "all connections of this client are in use: it needs a higher max_connections"
    message = f"{type(error).__name__} {error}"
    if any(word in message for word in _CROSS_SLOT):
        return 'the keys are in several slots of this cluster: put the prefix in braces, as in prefix="{launchdarkly}"'
    if any(word in message for word in _MOVED):
        return "this Redis is one server of a cluster: RedisStore needs client=redis.asyncio.cluster.RedisCluster(…) for it"
    return None


_SLICE: Final = 100
"""Items to read between two checkpoints, or to send with one command."""
_UNFINISHED_TTL: Final = 60
"""Seconds after which Redis deletes a data set whose write was not finished."""


class RedisFlags(DatabaseFlags[RedisConnection]):
    """The store that :class:`~aioflags.stores.RedisStore` builds. Raises the errors of redis-py."""

    database = "Redis"
    lost_advice = "it has evicted or deleted them (set maxmemory-policy to noeviction)"

    def __init__(
        self,
        connection: RedisConnection,
        *,
        prefix: str,
        logger: logging.Logger,
        chance: Callable[[], float] = random.random,
    ) -> None:
        places = {kind: f"{prefix}:{name}" for kind, name in COLLECTIONS.items()}
        super().__init__(connection, places, f"{prefix}:{MARKER}", logger, chance)

    @explained
    async def _look(self, kinds: Collection[ObjectKind]) -> tuple[Any, list[str]]:
        async with await self._connection.transaction() as pipe:
            pipe.get(self._marker)
            for kind in kinds:
                pipe.hlen(self._places[kind])
            marker, *sizes = _answers(await pipe.execute(), 1 + len(kinds))
        return marker, self._lost(marker, dict(zip(kinds, sizes, strict=True)))

    @explained
    async def load(self) -> StoredItems:
        """Both hashes, read in one transaction. Raises :class:`StoreError` if one is missing that the marker lists."""
        async with await self._connection.transaction() as pipe:
            pipe.get(self._marker)
            for name in self._places.values():
                pipe.hgetall(name)
            marker, *answers = _answers(await pipe.execute(), 1 + len(self._places))
        self._require_not_lost(self._lost(marker, dict(zip(self._places, answers, strict=True))))
        items: dict[ObjectKind, dict[str, StoredItem]] = {kind: {} for kind in self._places}
        for kind, fields in zip(self._places, answers, strict=True):
            for batch in sliced(fields.items(), _SLICE):
                for field, text in batch:
                    if (item := self._read(kind, as_bytes(field), text)) is not None:
                        items[kind][item.key] = item
                await checkpoint()
        return items

    @explained
    async def get(self, kind: ObjectKind, key: str) -> StoredItem | None:
        """One field of a hash. Raises :class:`StoreError` if the hash is missing, and the marker lists it."""
        name = self._places[kind]
        async with await self._connection.transaction() as pipe:
            pipe.hget(name, key)
            pipe.hlen(name)
            pipe.get(self._marker)
            text, count, marker = _answers(await pipe.execute(), 3)
        self._require_not_lost(self._lost(marker, {kind: count}))
        return None if text is None else self._read(kind, key.encode(), text)

    @explained
    async def replace(self, items: StoredItems) -> None:
        """Write the items in slices under temporary names, then rename these in one transaction. Also for an empty data set."""
        temporary = {kind: await self._write_temporary(kind, list(items.get(kind, {}).values())) for kind in self._places}
        async with await self._connection.transaction() as pipe:
            for kind, name in self._places.items():
                if (new := temporary[kind]) is None:
                    pipe.delete(name)
                else:
                    pipe.persist(new)
                    # redis-py has no method for RENAME in a cluster, where the two keys could be in different slots.
                    pipe.execute_command("RENAME", new, name)
            pipe.set(self._marker, marker_text([kind for kind in self._places if temporary[kind] is not None]))
            commands = len(pipe)
            _answers(await pipe.execute(), commands)

    async def _write_temporary(self, kind: ObjectKind, items: Sequence[StoredItem]) -> str | None:
        """Write all items of a kind to a hash that expires in a minute, and return its name; ``None`` if there are no items."""
        if not items:
            return None
        name = f"{self._places[kind]}:{uuid.uuid4()}"
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
        """Write in one transaction.

        Nothing is written without the marker, or if a hash is missing that it lists: :meth:`initialized` is false then.

        Raises:
            StoreError: another process wrote first every time.
        """
        watch_error = importlib.import_module("redis.exceptions").WatchError
        names = list(dict.fromkeys(self._places[item.kind] for item in items))

        async def write() -> bool:
            try:
                await self._write_newer(names, items)
            except watch_error:
                return False
            return True

        if names:
            await self._write_first(write, f"{' and '.join(names)} in Redis")

    async def _write_newer(self, names: Sequence[str], items: Sequence[StoredItem]) -> None:
        """Write the items that are newer than the stored ones. Raises redis-py's ``WatchError`` if the hashes change first."""
        async with await self._connection.transaction() as pipe:
            await pipe.watch(*names, self._marker)
            marker = await pipe.get(self._marker)
            exist = {kind: await pipe.hlen(name) for kind, name in self._places.items() if name in names}
            if marker is None or self._lost(marker, exist):
                return
            texts_of = {name: await self._newer(pipe, kind, items) for kind, name in self._places.items()}
            newer = {name: texts for name, texts in texts_of.items() if texts}
            if not newer:
                return
            pipe.multi()
            for name, texts in newer.items():
                pipe.hset(name, mapping=texts)
            text = longer_marker(as_bytes(marker), [kind for kind in exist if self._places[kind] in newer])
            if text is not None:
                pipe.set(self._marker, text)
            commands = len(pipe)
            _answers(await pipe.execute(), commands)

    def _lost(self, marker: Any, present: Mapping[ObjectKind, Any]) -> list[str]:
        """The hashes that the marker lists and Redis lacks. ``present``: what Redis has of some kinds."""
        listed = None if marker is None else listed_kinds(as_bytes(marker))
        return [self._places[kind] for kind in listed or () if kind in present and not present[kind]]

    @explained
    async def is_available(self) -> bool:
        """Whether Redis answers. The answer does not matter."""
        await self._connection.client.exists(self._marker)
        return True

    async def _newer(self, pipe: Any, kind: ObjectKind, items: Sequence[StoredItem]) -> dict[str, bytes]:
        """The texts of a kind that are newer than the stored ones, by key. A stored text that cannot be read is replaced."""
        candidates = [item for item in items if item.kind is kind]
        if not candidates:
            return {}
        newer: dict[str, bytes] = {}
        texts = await pipe.hmget(self._places[kind], [item.key for item in candidates])
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
