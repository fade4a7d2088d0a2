"""DiskStore on a disk that does not answer."""

from __future__ import annotations

import ast
import asyncio
import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags import StoreError
from aioflags.stores import StoredItem
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import amount
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


# -- DiskStore: a write that fails, or that a killed process began, keeps the old file.


class FailingSystem:
    """The ``os`` module. The function ``name`` raises the error ``number``: ``write`` at its second call, others at the first."""

    def __init__(self, name: str, number: int) -> None:
        self._name, self._number, self._calls = name, number, 0

    def __getattr__(self, name: str) -> Any:
        if name != self._name:
            return getattr(os, name)

        def call(*args: Any) -> Any:
            self._calls += 1
            if name == "write" and self._calls == 1:
                return os.write(args[0], args[1][:10])
            raise OSError(self._number, os.strerror(self._number))

        return call


@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param("open", errno.EROFS, id="a read-only file system"),
        pytest.param("open", errno.EACCES, id="a folder of another user"),
        pytest.param("write", errno.ENOSPC, id="a full disk"),
        pytest.param("fsync", errno.EIO, id="a broken disk"),
        pytest.param("replace", errno.EXDEV, id="a move that fails"),
    ],
)
@pytest.mark.holds("RB-R22")
async def test_a_write_that_fails_keeps_the_old_file(path: Path, name: str, number: int) -> None:
    await fill(path)
    newer = StoredItem(FLAG, "a", 2, b'{"version":2}')
    for whole in (True, False):
        store = store_at(path, system=FailingSystem(name, number))
        with pytest.raises(OSError, match=os.strerror(number)):
            await (store.replace({FLAG: {"a": newer}}) if whole else store.upsert([newer]))
        assert (await store_at(path).load())[FLAG] == {"a": ITEM}
        assert other_files(path) == []


@pytest.mark.real_time
async def test_a_write_over_a_system_limit_keeps_the_old_file(path: Path) -> None:
    """A real one: the process may write no file of more than 100 kB."""
    await fill(path)
    program = f"""
import asyncio, resource, signal
from aioflags.stores import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
item = StoredItem(ObjectKind.FLAG, "a", 2, b"x" * 1_000_000)
asyncio.run(DiskStore({str(path)!r}).build(StoreContext(environment="a" * 64)).replace({{ObjectKind.FLAG: {{"a": item}}}}))
"""
    ran = await anyio.run_process([sys.executable, "-c", program], check=False)
    assert b"OSError: [Errno 27] File too large" in ran.stderr
    assert (await store_at(path).load())[FLAG] == {"a": ITEM}
    assert other_files(path) == []


FULL_AND_LOCKED = """
import asyncio, errno, os, subprocess, sys
from aioflags.stores import *

folder = sys.argv[1]
store = DiskStore(folder + "/flags").build(StoreContext(environment="a" * 64))
FLAG = ObjectKind.FLAG


def flags(version, text):
    return {FLAG: {"a": StoredItem(FLAG, "a", version, text)}}


async def refused(number, items):
    try:
        await store.replace(items)
    except OSError as error:
        assert error.errno == number, error
    else:
        raise AssertionError("it was written")
    assert (await store.load())[FLAG] == old[FLAG]
    assert os.listdir(folder) == ["flags"]


async def main():
    await store.replace(old)
    await refused(errno.ENOSPC, flags(2, b"x" * 1_000_000))
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    await refused(errno.EROFS, flags(3, b'{"key":"a","version":3}'))


old = flags(1, b'{"key":"a","version":1}')
asyncio.run(main())
"""
"""Runs on its own disk: fills it, and then makes it read-only."""


@pytest.mark.real_time
@pytest.mark.holds("RB-R22")
def test_a_real_full_disk_and_a_real_read_only_disk_keep_the_old_file(tmp_path: Path) -> None:
    apart = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "mount -t tmpfs tmpfs /mnt"], check=False).returncode:
        pytest.skip("this system does not let a process mount a disk")
    program = 'mount -t tmpfs -o size=256k tmpfs "$0" && exec "$1" -c "$2" "$0"'
    ran = subprocess.run([*apart, program, str(tmp_path), sys.executable, FULL_AND_LOCKED], capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.holds("RB-R22")
def test_a_writer_that_is_killed_leaves_the_old_file_or_the_new_one(path: Path, figures: Figures) -> None:
    kills = amount("R22")
    command = [sys.executable, "-m", "tests.support.killed_writer", str(path), str(kills)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert ran.returncode == 0, ran.stderr
    outcomes: dict[str, int] = ast.literal_eval(ran.stdout)
    assert sum(outcomes.values()) == kills
    assert min(outcomes["the old one"], outcomes["the new one"]) > kills / 10
    figures.total("kills", kills)


OLD, YOUNG = "0123456789abcdef", "fedcba9876543210"
"""Parts of the names of temporary files."""


async def test_old_temporary_files_of_killed_processes_are_removed(path: Path) -> None:
    old, young = path.with_name(f".{path.name}.{OLD}.tmp"), path.with_name(f".{path.name}.{YOUNG}.tmp")
    for left in (old, young):
        left.touch()
    os.utime(old, (1000, 1000))
    await fill(path)
    assert other_files(path) == [young.name]


@pytest.mark.parametrize("name", ["a**b", "*", "[a-z]", "?"])
async def test_a_file_name_is_not_used_as_a_glob_pattern(tmp_path: Path, name: str) -> None:
    path, others = tmp_path / name, tmp_path / f".x.{OLD}.tmp"
    own = path.with_name(f".{name}.{OLD}.tmp")
    for left in (own, others):
        left.touch()
        os.utime(left, (1000, 1000))
    await fill(path)
    assert (await store_at(path).load())[FLAG] == {"a": ITEM}
    assert other_files(path) == [others.name]


async def test_a_cancelled_write_does_not_undo_a_later_one(path: Path) -> None:
    store = store_at(path)
    newer = StoredItem(FLAG, "a", 2, b'{"version":2}')
    with anyio.move_on_after(0):
        await store.replace({FLAG: {"a": ITEM}})
    await store.replace({FLAG: {"a": newer}})
    assert (await store.load())[FLAG] == {"a": newer}
