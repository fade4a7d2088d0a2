"""How long a start from a file takes, and how long a store holds the event loop, both in the processor's time."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags import Client, Context
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.protocol.definitions import read_definition
from aioflags.stores import DiskStore, RedisStore, Store, StoreContext, StoredItem
from tests.benchmarks.flagset import thousand
from tests.benchmarks.formats import launchdarkly
from tests.canaries import KEY
from tests.feed import Feed
from tests.test_persistence import beside

MOST = 2.5
"""Times the standard library's reading. That is 50 ms where it takes 20."""
LONGEST = 0.015
"""For how many seconds of the processor's time nobody else gets a turn."""


@pytest.mark.real_time
@pytest.mark.timeout(120)
async def test_five_thousand_flags_are_there_in_little_more_time_than_it_takes_to_read_json(tmp_path: Path) -> None:
    thousand_flags: dict[str, Any] = launchdarkly.document(thousand())["flags"]
    flags = {f"{n}-{key}": {**flag, "key": f"{n}-{key}"} for n in range(5) for key, flag in thousand_flags.items()}
    texts = [json.dumps(flag).encode() for flag in flags.values()]
    puts = [Change(ObjectKind.FLAG, key, 1, read_definition(ObjectKind.FLAG, text)) for key, text in zip(flags, texts, strict=True)]
    feed = Feed()
    feed.say(ChangeSet(kind=ChangeKind.FULL, changes=tuple(puts)))
    async with Client(KEY, beside(feed, DiskStore(tmp_path / "flags"))):
        with anyio.fail_after(20):
            while not (tmp_path / "flags").exists():
                await anyio.sleep(0.01)
    starts, readings = [], []
    for _ in range(7):
        gc.collect()
        began = time.process_time()
        for text in texts:
            json.loads(text)
        readings.append(time.process_time() - began)
        client = Client(KEY, beside(Feed(), DiskStore(tmp_path / "flags")))
        began = time.process_time()
        await client.start(0)
        await client.variation("0-plain", Context("user-123"), False)
        starts.append(time.process_time() - began)
        assert client.is_initialized
        await client.aclose()
    assert len(texts) == 5000
    print(f"start {min(starts) * 1000:.1f} ms, json.loads {min(readings) * 1000:.1f} ms")
    assert min(starts) <= MOST * min(readings)


@pytest.mark.real_time
@pytest.mark.timeout(120)
async def test_ten_thousand_flags_are_written_to_redis_and_read_again_in_slices(redis_url: str) -> None:
    store: Store = RedisStore(redis_url).build(StoreContext(environment="an environment"))
    thousand_flags: dict[str, Any] = launchdarkly.document(thousand())["flags"]
    named = {f"{n}-{key}": {**flag, "key": f"{n}-{key}"} for n in range(10) for key, flag in thousand_flags.items()}
    texts = {key: json.dumps(flag).encode() for key, flag in named.items()}
    flags = {key: StoredItem(ObjectKind.FLAG, key, 1, text) for key, text in texts.items()}
    some = [StoredItem(ObjectKind.FLAG, key, 2, text) for key, text in list(texts.items())[:1000]]
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "replace": lambda: store.replace({ObjectKind.FLAG: flags}),
        "load": store.load,
        "upsert": lambda: store.upsert(some),
    }
    for name, call in calls.items():
        longest = min([await held(call) for _ in range(5)])
        print(f"{name}: {longest * 1000:.1f} ms at a time")
        assert longest < LONGEST
    await store.aclose()


async def held(call: Callable[[], Awaitable[object]]) -> float:
    """For how long, at most, nobody else had a turn."""
    turns: list[float] = []

    async def look() -> None:
        while True:
            turns.append(time.thread_time())
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    gc.collect()
    gc.disable()
    try:
        await call()
    finally:
        gc.enable()
        looking.cancel()
    return max(later - earlier for earlier, later in pairwise(turns))
