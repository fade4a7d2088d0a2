"""R21: a client whose source works, beside a store that fails in every manner. Random operations; memory serves all the time.

In virtual time the store is scripted. The same operations run on a real Redis behind a proxy that breaks its connections.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any, ClassVar

import anyio
import pytest
import redis.asyncio

from aioflags import Client, StoreStatus
from aioflags.errors import StoreError
from aioflags.stores import ObjectKind, RedisStore, StoreBuilder, StoredItem
from aioflags.testing import FaultProxy, toxics
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import batches, replayable
from tests.support.canaries import KEY
from tests.support.feed import Feed, change, changes, flag_json, full
from tests.support.memory_store import MemoryStore
from tests.support.store_clients import USER, beside

KEYS = tuple("abcdefgh")
REFILL = 5.0
"""Seconds after the end of an outage until the store has all flags again."""
PATIENCE = 10.0
"""Seconds, on a busy machine."""
SCRIPTED = 20
"""How many operations are tried in virtual time for each one on Redis."""
AVAILABLE = StoreStatus(available=True, stale=False)
RUBBISH = (b"", b"rubbish", b"[]", b"null", b'{"key":5,"version":"one"}', b"\x00\xff")
TROUBLES = [
    toxics.Refuse(),
    toxics.ResetPeer(),
    toxics.BlackHole(),
    toxics.HalfOpen(),
    toxics.LimitData(bytes=30),
    toxics.Corrupt(every=2),
]


class Trial(ABC):
    """One client, its source and its store. ``newest``: what the source sent."""

    calm: ClassVar[int]
    """Other operations between two outages, on average: an outage takes seconds."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.newest: dict[str, int | None] = {}
        self.slowest = 0.0
        self.outages = 0
        self._feed = Feed()
        self._version = 0
        self._client: Client

    async def run(self, operations: int) -> None:
        """Try so many operations. The last outage ends, and the store has everything."""
        self._feed.say(full(*self._changes(KEYS)))
        async with self.store() as store, Client(KEY, beside(self._feed, store)) as self._client:
            await self._recovered()
            for _ in range(operations):
                if self.chance.random() < 1 / self.calm:
                    await self._outage()
                else:
                    await self.chance.choice([self._change, self._change, self._change, self.spoil, self.slow_down])()
                await self._memory_serves()
            await self._outage()

    async def _change(self) -> None:
        """New values of some flags, or of all; some flags are deleted."""
        if self.chance.random() < 0.1:
            self._feed.say(full(*self._changes(KEYS)))
        else:
            self._feed.say(changes(*self._changes(self.chance.sample(KEYS, self.chance.randint(1, 3)))))

    def _changes(self, keys: Any) -> list[Any]:
        self._version += 1
        self.newest |= {key: self._version if self.chance.random() < 0.9 else None for key in keys}
        return [change(key, self.newest[key], self._version) for key in keys]

    async def _memory_serves(self) -> None:
        """Every read has the newest values as soon as they are applied, whatever the store has."""
        with anyio.fail_after(PATIENCE):
            while {key: self._client.variation_nowait(key, USER, None) for key in KEYS} != self.newest:
                await anyio.sleep(0.005)
            assert await self._client.variation(KEYS[0], USER, None) == self.newest[KEYS[0]]

    async def _outage(self) -> None:
        """The store fails until the client has noticed. After that it is filled in time, whatever was written to it meanwhile."""
        await self.fail()
        for _ in range(self.chance.randint(1, 5)):
            await self._change()
            await self._memory_serves()
        with anyio.fail_after(60):
            while self._client.store_status != StoreStatus(available=False, stale=True):
                await self._change()
                await self._memory_serves()
                await anyio.sleep(0.1)
        await anyio.sleep(self.chance.choice([0, 0.1, 3]))
        await self.spoil()
        await self.mend()
        await self._recovered()
        self.outages += 1

    async def _recovered(self) -> None:
        began = anyio.current_time()
        while self._client.store_status != AVAILABLE or await self.kept() != self.newest:
            waited = anyio.current_time() - began
            assert waited <= REFILL, f"the store is not complete after {waited:.1f} s: {self._client.store_status}"
            await anyio.sleep(0.02)
        self.slowest = max(self.slowest, anyio.current_time() - began)

    async def kept(self) -> dict[str, object]:
        """The values of the flags in the store; ``None`` for a deleted flag."""
        values: dict[str, object] = {key: None for key in KEYS}  # noqa: C420 -- the type checkers would disagree
        for key, text in (await self.texts()).items():
            flag = None if text in RUBBISH else json.loads(text)
            values[key] = "rubbish" if flag is None else None if flag.get("deleted") else flag["variations"][0]
        return values

    def foreign(self, key: str) -> bytes:
        """A flag that another SDK wrote, older or newer than the client's."""
        return flag_json(key, -1, self.chance.choice([1, 10**6]), clientSide=True, salt="theirs")

    @abstractmethod
    def store(self) -> Any: ...

    @abstractmethod
    async def texts(self) -> dict[str, bytes]:
        """What the store has, without the proxy."""

    @abstractmethod
    async def spoil(self) -> None:
        """Another program writes to the store: rubbish, another SDK's flags, values of the wrong type, or nothing at all."""

    @abstractmethod
    async def slow_down(self) -> None:
        """Calls take a while, or some fail."""

    @abstractmethod
    async def fail(self) -> None:
        """From now on calls fail."""

    @abstractmethod
    async def mend(self) -> None:
        """Calls work again."""


class _Flaky(MemoryStore):
    """A store that fails from time to time although it reports that it is available, or does not answer for two seconds."""

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self.chance = chance
        self.share = 0.0

    async def _called(self, name: str) -> None:
        if self.hangs or self.chance.random() < self.share:
            await anyio.sleep(2 if self.hangs else 0)
            raise StoreError("no answer")
        await super()._called(name)

    async def is_available(self) -> bool:
        await anyio.sleep(2 if self.hangs else self.delay)
        return self.pretends or (self.fails is None and not self.hangs)


class Scripted(Trial):
    """A scripted store, in virtual time."""

    calm = 6

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[MemoryStore]:
        self._store = _Flaky(self.chance)
        yield self._store

    async def texts(self) -> dict[str, bytes]:
        return {key: item.text for key, item in self._store.items[ObjectKind.FLAG].items()}

    async def spoil(self) -> None:
        flags, key = self._store.items[ObjectKind.FLAG], self.chance.choice((*KEYS, "theirs"))
        match self.chance.randrange(4):
            case 0:
                flags[key] = StoredItem(ObjectKind.FLAG, key, self.chance.choice([0, 10**6]), self.chance.choice(RUBBISH))
            case 1:
                flags[key] = StoredItem(ObjectKind.FLAG, key, 10**6, self.foreign(key))
            case 2:
                flags.clear()
            case _:
                pass

    async def slow_down(self) -> None:
        self._store.delay, self._store.share = self.chance.choice([0, 0.01, 0.5]), self.chance.choice([0, 0.1])

    async def fail(self) -> None:
        store = self._store
        store.pretends = self.chance.random() < 0.3
        match self.chance.randrange(3):
            case 0:
                store.fails = self.chance.choice([OSError("gone"), StoreError("no"), ValueError("WRONGTYPE"), KeyError("x")])
            case 1:
                store.hangs = True
            case _:
                store.share = 1

    async def mend(self) -> None:
        self._store.fails, self._store.hangs, self._store.pretends = None, False, False
        self._store.share = self._store.delay = 0.0


class OnRedis(Trial):
    """A real Redis behind a proxy."""

    calm = 30

    def __init__(self, chance: Random, url: str) -> None:
        super().__init__(chance)
        self._url = url

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[StoreBuilder]:
        async with redis.asyncio.Redis.from_url(self._url) as self._redis, FaultProxy(self._url, seed=1) as self._proxy:
            yield RedisStore(self._proxy.url)

    async def texts(self) -> dict[str, bytes]:
        found: Any = self._redis.hgetall("launchdarkly:features")
        return {key.decode(): text for key, text in (await found).items()}

    async def spoil(self) -> None:
        database: Any = self._redis
        key = self.chance.choice((*KEYS, "theirs"))
        match self.chance.randrange(5):
            case 0:
                await self._put(key, self.chance.choice(RUBBISH))
            case 1:
                await self._put(key, self.foreign(key))
            case 2:
                await database.set("launchdarkly:features", "a text")
            case 3:
                await database.delete("launchdarkly:features", "launchdarkly:$inited")
            case _:
                pass

    async def _put(self, key: str, text: bytes) -> None:
        database: Any = self._redis
        if await database.type("launchdarkly:features") != b"string":
            await database.hset("launchdarkly:features", key, text)

    async def slow_down(self) -> None:
        self._proxy.clear()
        if self.chance.random() < 0.5:
            self._proxy.add(toxics.Latency(latency=0.05))

    async def fail(self) -> None:
        self._proxy.clear()
        trouble = self._proxy.add(self.chance.choice(TROUBLES))
        if isinstance(trouble, toxics.Refuse):
            self._proxy.drop_connections()

    async def mend(self) -> None:
        self._proxy.clear()
        self._proxy.drop_connections()


@pytest.mark.holds("RB-R21")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seeds", batches("R21", 2), ids=str)
async def test_memory_serves_beside_a_scripted_store_that_fails(seeds: range, figures: Figures) -> None:
    await tried(Scripted, seeds, SCRIPTED * len(seeds), figures)


@pytest.mark.holds("RB-R21")
@pytest.mark.timeout(0)
@pytest.mark.real_time
@pytest.mark.slow
@pytest.mark.parametrize("seeds", batches("R21", 2), ids=str)
async def test_memory_serves_beside_a_redis_that_fails(seeds: range, redis_url: str, figures: Figures) -> None:
    await tried(partial(OnRedis, url=redis_url), seeds, len(seeds), figures)


async def tried(make: Callable[[Random], Trial], seeds: range, operations: int, figures: Figures) -> None:
    with replayable(seeds.start, count=len(seeds)) as chance:
        trial = make(chance)
        await trial.run(operations)
    figures.total(f"operations, {type(trial).__name__}", operations)
    figures.total("outages", trial.outages)
    figures.worst(f"filled again, {type(trial).__name__}", trial.slowest, "s")
