"""How long a start from a file takes, in the processor's time, beside what the standard library needs to read the same JSON."""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags import Client, Context
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.protocol.definitions import read_definition
from aioflags.stores import DiskStore
from tests.benchmarks.flagset import thousand
from tests.benchmarks.formats import launchdarkly
from tests.canaries import KEY
from tests.feed import Feed
from tests.test_persistence import beside

MOST = 2.5
"""Times the standard library's reading. That is 50 ms where it takes 20."""


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
