"""DiskStore: one file that is written completely or not at all, and not used if it cannot be trusted."""

# ruff: noqa: ASYNC240 -- the files of these tests are small, so blocking the loop does no harm

from __future__ import annotations

import ast
import asyncio
import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from aioflags import Client, Config, ConfigError, DataSystem, StoreError, StoreStatus
from aioflags.model.change import ObjectKind
from aioflags.stores import DiskStore, Store, StoreContext, StoredItem
from tests.support.canaries import secretive
from tests.support.feed import Feed, change, changes, full
from tests.support.store_clients import beside, started

FLAG = ObjectKind.FLAG
USER = secretive("user-123")
CONTEXT = StoreContext(environment="a" * 64)
OTHER = StoreContext(environment="b" * 64)
ITEM = StoredItem(FLAG, "a", 1, b'{"key":"a","version":1}')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags"


def on(path: Path, context: StoreContext = CONTEXT, system: Any = None) -> Store:
    return DiskStore(path, _system=system).build(context)


async def fill(path: Path, item: StoredItem = ITEM) -> None:
    await on(path).replace({FLAG: {item.key: item}})


def left_over(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir() if file != path)


async def test_another_process_can_read_the_file(path: Path) -> None:
    await fill(path)
    again = on(path)
    assert await again.initialized()
    assert (await again.load())[FLAG] == {"a": ITEM}
    assert path.stat().st_mode & 0o777 == 0o600
    assert left_over(path) == []


# -- what is not ours


async def foreign_environment(path: Path) -> None:
    await on(path, OTHER).replace({FLAG: {"a": ITEM}})


async def foreign_head(path: Path) -> None:
    await fill(path)
    name = path.read_bytes().split(b" ")[1]
    await foreign_environment(path)
    path.write_bytes(path.read_bytes().replace(path.read_bytes().split(b" ")[1], name))


async def cut(path: Path) -> None:
    await fill(path)
    path.write_bytes(path.read_bytes()[:-1])


async def grown(path: Path) -> None:
    await fill(path)
    path.write_bytes(path.read_bytes() + b"\x00")


async def empty(path: Path) -> None:
    path.touch(mode=0o600)


async def another_format(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_text("aioflags-flags-2 and what may come", encoding="utf-8")


async def link(path: Path) -> None:
    await fill(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


async def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


async def folder(path: Path) -> None:
    path.mkdir()


async def pipe(path: Path) -> None:
    os.mkfifo(path)


async def open_to_others(path: Path) -> None:
    await fill(path)
    path.chmod(0o666)


async def of_another_user(path: Path) -> None:
    await fill(path)
    try:
        os.chown(path, os.geteuid() + 12345, -1)
    except PermissionError:
        pytest.skip("only root gives files away")


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        pytest.param(foreign_environment, "another environment", id="of another environment"),
        pytest.param(foreign_head, "damaged", id="of another environment, with the first line replaced"),
        pytest.param(cut, "damaged", id="a byte too short"),
        pytest.param(grown, "damaged", id="a byte too long"),
        pytest.param(empty, "not a file of flags", id="empty"),
        pytest.param(another_format, "not a file of flags that this release can read", id="of a later release"),
        pytest.param(link, "is a link", id="a link"),
        pytest.param(dangling, "is a link", id="a link to nowhere"),
        pytest.param(folder, "is not a regular file", id="a folder"),
        pytest.param(pipe, "is not a regular file", id="a pipe"),
        pytest.param(open_to_others, "can be written to by others", id="writable by others"),
        pytest.param(of_another_user, "belongs to user", id="owned by another user"),
    ],
)
@pytest.mark.holds("RB-R22")
async def test_a_file_is_not_used_if_it_is(
    path: Path, prepare: Callable[[Path], Any], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    await prepare(path)
    store = on(path)
    assert not await store.initialized()
    assert problem in caplog.text
    with pytest.raises(StoreError, match=problem):
        await store.load()
    with pytest.raises(StoreError, match=problem):
        await store.upsert([ITEM])


async def test_an_unusable_file_is_logged_once_for_each_reason(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = on(path)
    for prepare, lines in [(cut, 1), (cut, 1), (foreign_environment, 2), (fill, 2), (foreign_environment, 3)]:
        path.unlink(missing_ok=True)
        await prepare(path)
        for _ in range(3):
            assert await store.initialized() is (prepare is fill)
        assert caplog.text.count("the file of flag data is not used") == lines


@pytest.mark.parametrize("prepare", [link, dangling, folder, pipe, open_to_others, of_another_user])
async def test_a_file_of_another_kind_or_user_is_not_overwritten(path: Path, prepare: Callable[[Path], Any]) -> None:
    await prepare(path)
    before = path.lstat()
    with pytest.raises(StoreError):
        await on(path).replace({})
    assert path.lstat() == before


@pytest.mark.parametrize("prepare", [foreign_environment, cut, empty, another_format])
async def test_an_unusable_file_of_this_user_is_overwritten(path: Path, prepare: Callable[[Path], Any]) -> None:
    await prepare(path)
    await fill(path)
    assert await on(path).initialized()


async def test_every_flipped_bit_is_noticed(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await fill(path)
    good = path.read_bytes()
    for place in range(len(good) * 8):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bad)
        assert not await on(path).initialized(), f"bit {place}"
    path.write_bytes(good)
    assert await on(path).initialized()


# -- what can go wrong with a write


class Failing:
    """The system, whose ``name`` fails with ``number``; at its second call, if it writes."""

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
        store = on(path, system=Failing(name, number))
        with pytest.raises(OSError, match=os.strerror(number)):
            await (store.replace({FLAG: {"a": newer}}) if whole else store.upsert([newer]))
        assert (await on(path).load())[FLAG] == {"a": ITEM}
        assert left_over(path) == []


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
    assert (await on(path).load())[FLAG] == {"a": ITEM}
    assert left_over(path) == []


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


@pytest.mark.real_time
@pytest.mark.holds("RB-R22")
def test_a_writer_killed_300_times_leaves_the_old_file_or_the_new_one(path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.killed_writer", str(path), "300"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert ran.returncode == 0, ran.stderr
    outcomes: dict[str, int] = ast.literal_eval(ran.stdout)
    assert sum(outcomes.values()) == 300
    assert min(outcomes["the old one"], outcomes["the new one"]) > 30


async def test_old_temporary_files_of_killed_processes_are_removed(path: Path) -> None:
    old, young = path.with_name(f".{path.name}.0123.tmp"), path.with_name(f".{path.name}.4567.tmp")
    for left in (old, young):
        left.touch()
    os.utime(old, (1000, 1000))
    await fill(path)
    assert left_over(path) == [young.name]


@pytest.mark.parametrize("name", ["a**b", "*", "[a-z]", "?"])
async def test_a_file_name_is_not_used_as_a_glob_pattern(tmp_path: Path, name: str) -> None:
    path, others = tmp_path / name, tmp_path / ".x.0123.tmp"
    own = path.with_name(f".{name}.0123.tmp")
    for left in (own, others):
        left.touch()
        os.utime(left, (1000, 1000))
    await fill(path)
    assert (await on(path).load())[FLAG] == {"a": ITEM}
    assert left_over(path) == [others.name]


async def test_a_write_that_was_given_up_does_not_undo_a_later_one(path: Path) -> None:
    store = on(path)
    newer = StoredItem(FLAG, "a", 2, b'{"version":2}')
    with anyio.move_on_after(0):
        await store.replace({FLAG: {"a": ITEM}})
    await store.replace({FLAG: {"a": newer}})
    assert (await store.load())[FLAG] == {"a": newer}


# -- a disk that hangs


class Hanging:
    """The system, whose ``fsync`` waits until it is released."""

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


@pytest.mark.real_time
async def test_a_disk_that_hangs_has_one_call_and_refuses_others_at_once(path: Path) -> None:
    await fill(path)
    hanging: Any = Hanging()
    store = on(path, system=hanging)
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
async def test_a_call_that_was_given_up_a_moment_ago_is_waited_for(path: Path) -> None:
    """An evaluation that reads the file is cancelled. The next one must not fail because of it."""
    hanging: Any = Hanging()
    store: Any = on(path, system=hanging)
    slow = asyncio.ensure_future(store.replace({FLAG: {"a": StoredItem(FLAG, "a", 2, b'{"version":2}')}}))
    with anyio.fail_after(60):
        while not hanging.begun:
            await anyio.sleep(0.001)
    slow.cancel()
    store._thread._started_at = asyncio.get_running_loop().time()  # however slow the machine is, the call is new
    asyncio.get_running_loop().call_later(0.01, hanging.released.set)
    await store.replace({FLAG: {"a": ITEM}})
    assert (await on(path).load())[FLAG] == {"a": ITEM}
    assert left_over(path) == []


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


async def test_a_change_of_the_written_file_is_noticed(path: Path) -> None:
    store = on(path)
    await store.replace({FLAG: {"a": ITEM}})
    assert await store.initialized()
    path.unlink()
    assert not await store.initialized()
    await store.upsert([ITEM])
    assert not await store.initialized()
    await fill(path)
    assert await store.initialized()
    assert (await store.load())[FLAG] == {"a": ITEM}


# -- with a client


async def test_a_removed_file_is_written_again_soon(path: Path) -> None:
    feed = Feed()
    feed.say(full(a=1, b=1))
    async with started(beside(feed, DiskStore(path))):
        await anyio.sleep(10)
        path.unlink()
        await anyio.sleep(6)
        assert version_of_a(path) == 1


async def test_a_client_starts_with_the_file_of_another_client(path: Path) -> None:
    feed = Feed()
    feed.say(full(a="first"))
    async with started(beside(feed, DiskStore(path))):
        feed.say(changes(change("a", "second", 2), change("b", 1)))
    async with started(beside(Feed(), DiskStore(path))) as client:
        assert client.is_initialized
        assert (await client.flags(USER)).all() == {"a": "second", "b": 1}


async def test_a_file_of_another_key_or_service_is_not_used(path: Path) -> None:
    feed = Feed()
    feed.say(full(a="first"))
    async with started(beside(feed, DiskStore(path))):
        pass
    config = beside(Feed(), DiskStore(path))
    async with Client("another-key", config) as client:
        assert (await client.variation_detail("a", USER, "")).reason.error_kind == "CLIENT_NOT_READY"


async def test_changes_are_collected_for_a_second_before_a_write(path: Path) -> None:
    feed = Feed()
    feed.say(full(a=0))
    writes: list[str] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            writes.append(name)
            return getattr(os, name)

    counting: Any = Counting()
    async with started(beside(feed, DiskStore(path, _system=counting))):
        for version in range(2, 102):
            feed.say(changes(change("a", version, version)))
            await anyio.sleep(0.1)
    assert 10 <= writes.count("replace") <= 13
    assert version_of_a(path) == 101


def version_of_a(path: Path) -> int:
    """The version of flag ``a`` in a file, of whichever environment."""
    _, items = msgspec.msgpack.decode(path.read_bytes().partition(b"\n")[2])
    return next(int(version) for _, key, version, _ in items if key == "a")


async def test_a_missing_folder_is_an_outage_until_it_exists(tmp_path: Path) -> None:
    path, feed = tmp_path / "later" / "flags", Feed()
    feed.say(full(a=1))
    async with started(beside(feed, DiskStore(path))) as client:
        assert client.store_status == StoreStatus(available=False, stale=True)
        assert await client.variation("a", USER, 0) == 1
        path.parent.mkdir()
        await anyio.sleep(1)
        assert client.store_status == StoreStatus(available=True, stale=False)
        assert version_of_a(path) == 1


def nothing_there(folder: Path) -> None:
    """As it is."""


def a_file_there(folder: Path) -> None:
    folder.write_text("text")


def a_loose_link_there(folder: Path) -> None:
    folder.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        pytest.param(nothing_there, "the folder {} does not exist", id="nothing"),
        pytest.param(a_file_there, "{} is not a folder", id="a file"),
        pytest.param(a_loose_link_there, "{} is not a folder", id="a link that leads nowhere"),
    ],
)
@pytest.mark.parametrize("mode", ["read_write", "read_only"])
async def test_a_missing_folder_is_reported_before_the_first_write(
    mode: str, prepare: Callable[[Path], object], problem: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, feed = tmp_path / "missing" / "flags", Feed()
    prepare(path.parent)
    async with started(beside(feed, DiskStore(path), mode=mode)) as client:
        assert client.store_status == StoreStatus(available=False, stale=True)
    messages = [record.getMessage() for record in caplog.records if "store" in record.getMessage()]
    assert "is not called until it is available again" in messages[0]
    assert messages[0].endswith(problem.format(path.parent))
    assert "tmp'" not in caplog.text


async def test_a_client_without_sources_reports_a_missing_folder(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "flags"
    async with Client("", Config(start_wait=1, data_system=DataSystem.daemon(DiskStore(path)))) as client:
        assert client.status.status == "ERROR"
        assert client.status.last_error is not None
        assert client.status.last_error.message == f"the store of flag data failed: the folder {path.parent} does not exist"


async def test_the_next_write_reports_a_removed_folder(path: Path) -> None:
    store = on(path.parent / "gone" / "flags")
    for write in (store.replace({FLAG: {"a": ITEM}}), store.upsert([ITEM])):
        with pytest.raises(StoreError, match=f"^the folder {path.parent / 'gone'} does not exist$"):
            await write


async def test_a_client_without_sources_reports_an_unusable_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await foreign_environment(path)
    async with started(beside(Feed(), DiskStore(path), mode="read_only")) as client:
        assert not client.is_initialized
    async with Client("", Config(start_wait=1, data_system=DataSystem.daemon(DiskStore(path)))) as client:
        assert client.status.last_error is not None
        assert "another environment" in client.status.last_error.message


@pytest.mark.parametrize("path", ["", None, 5, b""])
def test_a_value_that_is_not_a_path_is_refused(path: Any) -> None:
    with pytest.raises(ConfigError, match="path: expected the path of a file"):
        DiskStore(path)


def test_a_relative_path_is_made_absolute_at_once() -> None:
    assert DiskStore("flags").path == Path.cwd() / "flags"


@pytest.mark.parametrize("prepare", [link, folder, pipe, open_to_others])
async def test_a_store_is_not_available_if_its_file_is_refused(path: Path, prepare: Callable[[Path], Any]) -> None:
    """Otherwise a client would report the store as available while every write fails."""
    await prepare(path)
    with pytest.raises(StoreError):
        await on(path).is_available()
