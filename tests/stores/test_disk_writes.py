"""DiskStore: a write that fails, or that a killed process began, keeps the old file."""

from __future__ import annotations

import ast
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags.stores import StoredItem
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import amount
from tests.stores.disk_files import FLAG, ITEM, fill, other_files, store_at


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
