"""How long a start from a file takes, and how long a store blocks the event loop: CPU time, without garbage collection."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import pytest

from aioflags import Client, Context
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.protocol.definitions import read_definition
from aioflags.stores import DiskStore, RedisStore, Store, StoreContext, StoredItem
from tests.benchmarks.flagset import thousand
from tests.benchmarks.formats import launchdarkly
from tests.support.canaries import KEY
from tests.support.feed import Feed
from tests.support.store_clients import beside

pytestmark = [pytest.mark.real_time, pytest.mark.speed]

MOST = 2.5
"""Times the standard library's reading. That is 50 ms where it takes 20."""
LONGEST = 0.015
"""Seconds of CPU time for which a store may block the event loop."""


async def test_loading_5000_flags_takes_little_more_time_than_reading_json(tmp_path: Path) -> None:
    thousand_flags: dict[str, Any] = launchdarkly.document(thousand())["flags"]
    flags = {f"{n}-{key}": {**flag, "key": f"{n}-{key}"} for n in range(5) for key, flag in thousand_flags.items()}
    texts = [json.dumps(flag).encode() for flag in flags.values()]
    puts = [Change(ObjectKind.FLAG, key, 1, read_definition(ObjectKind.FLAG, text)) for key, text in zip(flags, texts, strict=True)]
    feed = Feed()
    feed.say(ChangeSet(kind=ChangeKind.FULL, changes=tuple(puts)))
    async with Client(KEY, beside(feed, DiskStore(tmp_path / "flags"))):
        with anyio.fail_after(60):
            while not (tmp_path / "flags").exists():
                await anyio.sleep(0.01)
    assert len(texts) == 5000
    times = [await beside_json(tmp_path / "flags", texts) for _ in range(9)]
    print("start beside json.loads: " + ", ".join(f"{times:.2f}" for times in sorted(times)))
    assert median(times) <= MOST


async def beside_json(path: Path, texts: Sequence[bytes]) -> float:
    """How many times as long as reading ``texts`` takes, a start from ``path`` took just after it.

    Both in one breath, since a processor is not always equally fast.
    """
    client = Client(KEY, beside(Feed(), DiskStore(path)))
    with no_garbage():
        began = time.process_time()
        for text in texts:
            json.loads(text)
        read = time.process_time()
        await client.start(0)
        await client.variation("0-plain", Context("user-123"), False)
        started = time.process_time()
    assert client.is_initialized
    await client.aclose()
    return (started - read) / (read - began)


async def test_10000_flags_are_written_to_redis_and_read_in_slices(redis_url: str) -> None:
    store: Store = RedisStore(redis_url, timeout=60).build(StoreContext(environment="an environment"))
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
    """The longest time for which the event loop was blocked."""
    turns: list[float] = []

    async def look() -> None:
        while True:
            turns.append(time.thread_time())
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    with no_garbage():
        await call()
    looking.cancel()
    return max(later - earlier for earlier, later in pairwise(turns))


@contextmanager
def no_garbage() -> Generator[None]:
    """Collected before, and not in between: how much there is depends on what ran before."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
