"""DiskStore on a disk that does not answer."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags import StoreError
from aioflags.stores import StoredItem
from tests.stores.disk_files import FLAG, ITEM, fill, other_files, store_at


class HangingSystem:
    """The ``os`` module. ``fsync`` waits until ``released`` is set."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.begun = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, descriptor: int) -> None:
        self.begun += 1
        self.released.wait(30)
        os.fsync(descriptor)


AT_ONCE = 20
"""Cycles of the event loop: their number does not depend on the load of the machine."""


def threads() -> int:
    """The number of threads that wait for a disk."""
    return sum(thread.name == "aioflags-disk" for thread in threading.enumerate())


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_disk_that_hangs_gets_one_call_and_others_fail_at_once(path: Path) -> None:
    await fill(path)
    hanging: Any = HangingSystem()
    store = store_at(path, system=hanging)
    newer, newest = StoredItem(FLAG, "a", 2, b'{"version":2}'), StoredItem(FLAG, "a", 3, b'{"version":3}')
    with anyio.move_on_after(0.1) as given_up:
        await store.replace({FLAG: {"a": newer}})
    assert given_up.cancelled_caught
    with pytest.raises(StoreError, match="has not answered an earlier call"):
        await store.is_available()  # the first call waits until the hanging one is old
    for _ in range(5):
        for call in (store.replace({}), store.upsert([newest]), store.initialized(), store.load(), store.is_available()):
            calling = asyncio.ensure_future(call)
            for _ in range(AT_ONCE):
                await asyncio.sleep(0)
            assert calling.done()
            with pytest.raises(StoreError, match="has not answered an earlier call"):
                await calling
    assert hanging.begun == 1
    assert threads() == 1
    hanging.released.set()
    with anyio.fail_after(60):
        while threads():
            await anyio.sleep(0.01)
    await store.upsert([newest])
    assert await store.is_available()
    assert (await store.load())[FLAG] == {"a": newest}


@pytest.mark.real_time
async def test_a_call_waits_for_a_call_that_was_cancelled_a_moment_ago(path: Path) -> None:
    """An evaluation that reads the file is cancelled. The next one must not fail because of it."""
    hanging: Any = HangingSystem()
    store: Any = store_at(path, system=hanging)
    slow = asyncio.ensure_future(store.replace({FLAG: {"a": StoredItem(FLAG, "a", 2, b'{"version":2}')}}))
    with anyio.fail_after(60):
        while not hanging.begun:
            await anyio.sleep(0.001)
    slow.cancel()
    store._disk._thread._started_at = asyncio.get_running_loop().time()  # however slow the machine is, the call is new
    asyncio.get_running_loop().call_later(0.01, hanging.released.set)
    await store.replace({FLAG: {"a": ITEM}})
    assert (await store_at(path).load())[FLAG] == {"a": ITEM}
    assert other_files(path) == []


HANGS_AT_THE_END = """
import asyncio, os, sys, time
from aioflags.stores import *

class System:
    def __getattr__(self, name):
        return getattr(os, name)
    def fsync(self, descriptor):
        time.sleep(3600)

async def main():
    store = DiskStore(sys.argv[1], _system=System()).build(StoreContext(environment="a" * 64))
    for _ in range(2):
        try:
            await asyncio.wait_for(store.replace({}), 0.2)
        except (TimeoutError, StoreError):
            print("given up")
    await store.aclose()

asyncio.run(main())
"""


@pytest.mark.real_time
def test_the_program_ends_although_the_disk_hangs(path: Path) -> None:
    command = [sys.executable, "-c", HANGS_AT_THE_END, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert (ran.stdout, ran.stderr) == ("given up\ngiven up\n", "")
