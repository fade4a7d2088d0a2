"""FileStorage and DeviceStorage: what a device keeps, in files, behind calls that fail in time."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags.errors import ConfigError, StoreError
from aioflags.model.defaults import MAX_RESPONSE_BYTES
from aioflags.stores.disk import DiskStore
from aioflags.stores.files import read_own
from aioflags.stores.storage import DeviceStorage, FileStorage, ListedStorage, MemoryStorage, Storage
from tests.stores.disk_files import other_files, written
from tests.stores.test_hanging_disk import FailingSystem, HangingSystem
from tests.support.device_storages import ScriptedStorage, device_storage
from tests.support.edited_files import make_fifo, make_folder, rewriting

# ruff: noqa: ASYNC240 -- the files of these tests are small, so blocking the loop does no harm


NAMESPACE = "aioflags_device"
VALUES = {"key": "text"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "folder"


@pytest.fixture
async def path(folder: Path) -> Path:
    """The file of the namespace, written by another storage."""
    await FileStorage(folder).set(NAMESPACE, VALUES)
    return folder / NAMESPACE


async def test_another_storage_reads_the_file(path: Path) -> None:
    assert await FileStorage(path.parent).get(NAMESPACE, "key") == "text"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert other_files(path) == []


async def test_a_write_of_what_is_there_writes_nothing(path: Path) -> None:
    before = written(path)
    storage = FileStorage(path.parent)
    await storage.set(NAMESPACE, VALUES)
    await storage.remove(NAMESPACE, ["missing"])
    assert written(path) == before


async def test_a_change_by_another_storage_is_kept(path: Path) -> None:
    one, two = FileStorage(path.parent), FileStorage(path.parent)
    await one.set(NAMESPACE, {"one": "1"})
    await two.set(NAMESPACE, {"two": "2"})
    assert [await one.get(NAMESPACE, key) for key in ("key", "one", "two")] == ["text", "1", "2"]


@pytest.mark.real_time
async def test_storages_of_one_folder_take_turns(path: Path) -> None:
    """Also on two event loops: otherwise one write would undo the other."""

    async def write(name: str) -> None:
        storage = FileStorage(path.parent)
        for number in range(5):
            await storage.set(NAMESPACE, {f"{name}{number}": name})

    names = [f"t{number}_" for number in range(4)]
    await asyncio.gather(*(asyncio.to_thread(asyncio.run, write(name)) for name in names))
    storage = FileStorage(path.parent)
    assert [await storage.get(NAMESPACE, f"{name}{number}") for name in names for number in range(5)] == [
        n for n in names for _ in range(5)
    ]


# -- contents that cannot be used


def exchanged(path: Path) -> None:
    """The file of another namespace under the name of this one."""
    asyncio.run(FileStorage(path.parent).set("aioflags_env_other", VALUES))
    path.with_name("aioflags_env_other").replace(path)


def huge(path: Path) -> None:
    os.truncate(path, MAX_RESPONSE_BYTES + 1)  # on Linux it takes no space


UNUSABLE = [
    pytest.param(rewriting(lambda data: data[:-1]), "is damaged", id="a byte too short"),
    pytest.param(rewriting(lambda data: data[:30]), "is damaged", id="cut in the first line"),
    pytest.param(rewriting(lambda data: data + b" "), "is damaged", id="a byte too long"),
    pytest.param(rewriting(lambda data: data.replace(b"text", b"TEXT")), "is damaged", id="changed in place"),
    pytest.param(rewriting(lambda _: b"\x00\xff" * 100), "is not a file of values", id="not text"),
    pytest.param(rewriting(lambda _: b""), "is not a file of values", id="empty"),
    pytest.param(
        rewriting(lambda data: data.replace(b"aioflags-storage-1", b"aioflags-storage-2")),
        "is not a file of values that this release can read",
        id="of a later release",
    ),
    pytest.param(huge, f"{NAMESPACE} has 67,108,865 bytes, more than 67,108,864", id="too large"),
    pytest.param(exchanged, "has the values of another namespace", id="of another namespace"),
]


@pytest.mark.parametrize(("spoil", "problem"), UNUSABLE)
async def test_a_file_counts_as_missing_if_it_is(
    path: Path, spoil: Callable[[Path], None], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    await anyio.to_thread.run_sync(spoil, path)
    storage = FileStorage(path.parent)
    for _ in range(3):
        assert await storage.get(NAMESPACE, "key") is None
    (line,) = caplog.messages
    assert problem in line


@pytest.mark.parametrize(("spoil", "problem"), UNUSABLE)
async def test_a_write_replaces_a_file_that_is(path: Path, spoil: Callable[[Path], None], problem: str) -> None:
    await anyio.to_thread.run_sync(spoil, path)
    await FileStorage(path.parent).set(NAMESPACE, {"new": problem})
    assert await FileStorage(path.parent).get(NAMESPACE, "new") == problem
    assert await FileStorage(path.parent).get(NAMESPACE, "key") is None


# -- files that are refused


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def open_to_others(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        pytest.param(link, "is a link", id="a link"),
        pytest.param(make_fifo, "is not a regular file", id="a pipe"),
        pytest.param(make_folder, "is not a regular file", id="a folder"),
        pytest.param(open_to_others, "can be written to by others", id="writable by others"),
    ],
)
async def test_a_file_is_neither_read_nor_written_if_it_is(path: Path, spoil: Callable[[Path], None], problem: str) -> None:
    spoil(path)
    before = written(path)
    storage = FileStorage(path.parent)
    with pytest.raises(StoreError, match=problem):
        await storage.get(NAMESPACE, "key")
    with pytest.raises(StoreError, match=problem):
        await storage.set(NAMESPACE, {"key": "new"})
    assert written(path) == before


@pytest.mark.parametrize("namespace", ["", "../up", "a/b", "a.b", "a b", "ä", "x" * 101])
async def test_a_namespace_that_is_not_a_plain_name_is_refused(folder: Path, namespace: str) -> None:
    with pytest.raises(StoreError, match="namespace: only the characters"):
        await FileStorage(folder).set(namespace, VALUES)
    assert list(folder.iterdir()) == []


# -- a disk that fails


async def test_a_write_that_fails_keeps_the_old_values(path: Path) -> None:
    full: Any = FailingSystem("write", errno.ENOSPC)
    storage = FileStorage(path.parent, _system=full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        await storage.set(NAMESPACE, {"key": "new" * 10})
    assert await storage.get(NAMESPACE, "key") == "text"
    assert other_files(path) == []


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_disk_that_hangs_gets_one_call_and_others_fail(path: Path) -> None:
    hanging: Any = HangingSystem()
    storage = FileStorage(path.parent, _system=hanging)
    with anyio.move_on_after(0.1) as given_up:
        await storage.set(NAMESPACE, {"key": "new"})
    assert given_up.cancelled_caught
    for _ in range(3):
        with pytest.raises(StoreError, match="the disk has not answered an earlier call"):
            await storage.get(NAMESPACE, "key")
    assert hanging.begun == 1
    hanging.released.set()
    with anyio.fail_after(60):
        while any(thread.name == "aioflags-disk" for thread in threading.enumerate()):
            await anyio.sleep(0.01)
    assert await storage.get(NAMESPACE, "key") == "new"


# -- a folder that cannot be used


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param("file", "cannot be made: FileExistsError", id="a file"),
        pytest.param("file/below", "cannot be made: NotADirectoryError", id="below a file"),
        pytest.param("/proc/aioflags", "cannot be made: ", id="where no folder can be made"),
        pytest.param("a\0b", "cannot be made: ", id="a path with a null"),
    ],
)
async def test_values_are_in_memory_if_the_folder_is(
    tmp_path: Path, name: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    storage = FileStorage(tmp_path / name)
    await storage.set(NAMESPACE, {"one": "1", "two": "2"})
    await storage.remove(NAMESPACE, ["one"])
    assert [await storage.get(NAMESPACE, key) for key in ("one", "two")] == [None, "2"]
    await storage.clear(NAMESPACE)
    assert await storage.get(NAMESPACE, "two") is None
    (line,) = caplog.messages
    assert line.startswith("values are kept in memory only, because the folder")
    assert problem in line


async def test_a_folder_that_is_lost_later_is_an_error(path: Path) -> None:
    storage = FileStorage(path.parent)
    assert await storage.get(NAMESPACE, "key") == "text"
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(StoreError, match="does not exist"):
        await storage.set(NAMESPACE, VALUES)


@pytest.mark.parametrize("folder", ["", None, 5, b""])
def test_a_value_that_is_not_a_path_is_refused(folder: Any) -> None:
    with pytest.raises(ConfigError, match="folder: expected the path of a folder"):
        FileStorage(folder)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        pytest.param("~/folder", "{home}/folder", id="the home directory"),
        pytest.param("folder/~", "{here}/folder/~", id="a folder with that name"),
    ],
)
def test_a_leading_tilde_is_the_home_directory(given: str, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = Path(used.format(home=tmp_path, here=Path.cwd()))
    assert (FileStorage(given).folder, DiskStore(given).path) == (expected, expected)


def test_the_home_directory_of_an_unknown_user_is_refused() -> None:
    for make in (FileStorage, DiskStore):
        with pytest.raises(ConfigError, match="home directory"):
            make("~no-such-user-here/folder")


def test_a_link_is_refused_also_where_the_system_has_no_flag_for_that(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"text")
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(StoreError, match="is a link"):
        read_own(tmp_path / "link", 100, no_follow=0)
    assert read_own(tmp_path / "target", 100, no_follow=0) == b"text"
    assert read_own(tmp_path / "absent", 100, no_follow=0) is None


# -- DeviceStorage: a storage that fails, hangs or answers nonsense


Call = Callable[[DeviceStorage], Awaitable[object]]
GET: Call = lambda device: device.get("a", "key")  # noqa: E731 -- a row of the tables
SET: Call = lambda device: device.set("a", {"key": "text"})  # noqa: E731 -- as above
REMOVE: Call = lambda device: device.remove("a", ["key"])  # noqa: E731 -- as above
CLEAR: Call = lambda device: device.clear("a")  # noqa: E731 -- as above
CALLS = [
    pytest.param(GET, id="get"),
    pytest.param(SET, id="set"),
    pytest.param(REMOVE, id="remove"),
    pytest.param(CLEAR, id="clear"),
]


async def test_calls_reach_the_storage() -> None:
    storage = ScriptedStorage()
    device = device_storage(storage)
    await SET(device)
    assert await GET(device) == "text"
    await REMOVE(device)
    assert await GET(device) is None
    await CLEAR(device)
    assert storage.calls == ["set key", "get key", "remove key", "get key", "clear"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        pytest.param(OSError("full\nup"), r"OSError: full\\nup", id="an exception"),
        pytest.param(StoreError("it is a link"), "it is a link", id="a StoreError"),
        pytest.param(asyncio.CancelledError(), "StrayCancellationError", id="a cancellation of its own"),
    ],
)
async def test_a_failure_is_a_store_error(
    call: Call, failure: BaseException, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoreError, match=f"^{reason}"):
        await call(device_storage(ScriptedStorage(failure=failure)))
    (line,) = caplog.messages
    assert line.startswith("the storage of the device failed (")


@pytest.mark.parametrize(("call", "limit"), [(GET, 2), (SET, 10), (REMOVE, 10), (CLEAR, 10)])
async def test_a_call_that_hangs_is_given_up_and_the_next_ones_fail_at_once_for_half_a_minute(call: Call, limit: float) -> None:
    storage = ScriptedStorage(delay=3600)
    device = device_storage(storage)
    began = anyio.current_time()
    for _ in range(3):
        with pytest.raises(StoreError, match="no answer within"):
            await call(device)
        assert anyio.current_time() == began + limit
    assert len(storage.calls) == 1
    storage.delay = 0
    await anyio.sleep(30)
    await call(device)
    assert len(storage.calls) == 2


@pytest.mark.parametrize("text", [b"bytes", 5, ["text"]])
async def test_a_value_that_is_not_text_is_a_failure(text: Any) -> None:
    storage = ScriptedStorage()
    await storage.set("a", {"key": text})
    with pytest.raises(StoreError, match=f"get returned {type(text).__name__}"):
        await GET(device_storage(storage))


async def test_failures_are_logged_once_until_a_write_works_again(caplog: pytest.LogCaptureFixture) -> None:
    storage = ScriptedStorage()
    device = device_storage(storage)

    async def attempt(call: Call, failure: Exception | None) -> None:
        storage.failure = failure
        try:
            await call(device)
        except StoreError:
            assert failure is not None

    full = OSError("full")
    for call, failure, lines in [(SET, full, 1), (GET, None, 1), (SET, full, 1), (SET, None, 1), (GET, full, 2), (SET, full, 2)]:
        await attempt(call, failure)
        assert len(caplog.messages) == lines


# -- What every storage of a device does.


@pytest.fixture(params=["memory", "files"])
def storage(request: pytest.FixtureRequest, path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else FileStorage(path.parent / "new" / "folder")


async def test_a_new_storage_is_empty(storage: Storage) -> None:
    assert await storage.get("a", "key") is None
    await storage.remove("a", ["key"])
    await storage.clear("a")
    assert await storage.get("a", "key") is None


@pytest.mark.parametrize("text", ["", "{}", "line\nline", "Ä\u2028🏁", "x" * 300_000])
async def test_a_text_is_read_as_it_was_written(storage: Storage, text: str) -> None:
    await storage.set("a", {"other": "o", "key": text})
    assert (await storage.get("a", "key"), await storage.get("a", "other")) == (text, "o")


async def test_a_write_keeps_the_other_keys_and_namespaces(storage: Storage) -> None:
    await storage.set("a", {"one": "1", "two": "2"})
    await storage.set("b", {"one": "b"})
    await storage.set("a", {"two": "new", "three": "3"})
    assert [await storage.get("a", key) for key in ("one", "two", "three")] == ["1", "new", "3"]
    assert await storage.get("b", "one") == "b"


async def test_only_the_given_keys_are_removed(storage: Storage) -> None:
    await storage.set("a", {"one": "1", "two": "2", "three": "3"})
    await storage.remove("a", iter(["one", "three", "missing"]))
    assert [await storage.get("a", key) for key in ("one", "two", "three")] == [None, "2", None]


async def test_the_keys_of_a_namespace_are_listed(storage: ListedStorage) -> None:
    assert await storage.list_keys("a") == []
    await storage.set("a", {"one": "1", "two": "2"})
    await storage.set("b", {"other": "b"})
    await storage.remove("a", ["one"])
    assert await storage.list_keys("a") == ["two"]


async def test_only_the_given_namespace_is_cleared(storage: Storage) -> None:
    await storage.set("a", {"one": "1"})
    await storage.set("b", {"one": "b"})
    await storage.clear("a")
    assert (await storage.get("a", "one"), await storage.get("b", "one")) == (None, "b")
