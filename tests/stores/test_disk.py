"""DiskStore: the file, and the files that it does not use."""

# ruff: noqa: ASYNC240 -- the files of these tests are small, so blocking the loop does no harm

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from aioflags import Client, Config, ConfigError, DataSystem, StoreError, StoreStatus
from aioflags.stores import DiskStore
from tests.stores.disk_files import FLAG, ITEM, fill, foreign_environment, other_files, store_at, written
from tests.support.canaries import secretive
from tests.support.feed import Feed, change, changes, full
from tests.support.store_clients import beside, started


async def test_another_process_can_read_the_file(path: Path) -> None:
    await fill(path)
    again = store_at(path)
    assert await again.initialized()
    assert (await again.load())[FLAG] == {"a": ITEM}
    assert path.stat().st_mode & 0o777 == 0o600
    assert other_files(path) == []


# -- files that are not used


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
    store = store_at(path)
    assert not await store.initialized()
    assert problem in caplog.text
    with pytest.raises(StoreError, match=problem):
        await store.load()
    with pytest.raises(StoreError, match=problem):
        await store.upsert([ITEM])


async def test_an_unusable_file_is_logged_once_for_each_reason(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = store_at(path)
    for prepare, lines in [(cut, 1), (cut, 1), (foreign_environment, 2), (fill, 2), (foreign_environment, 3)]:
        path.unlink(missing_ok=True)
        await prepare(path)
        for _ in range(3):
            assert await store.initialized() is (prepare is fill)
        assert caplog.text.count("the file of flag data is not used") == lines


@pytest.mark.parametrize("prepare", [link, dangling, folder, pipe, open_to_others, of_another_user])
async def test_a_file_of_another_kind_or_user_is_not_overwritten(path: Path, prepare: Callable[[Path], Any]) -> None:
    await prepare(path)
    before = written(path)
    with pytest.raises(StoreError):
        await store_at(path).replace({})
    assert written(path) == before


@pytest.mark.parametrize("prepare", [foreign_environment, cut, empty, another_format])
async def test_an_unusable_file_of_this_user_is_overwritten(path: Path, prepare: Callable[[Path], Any]) -> None:
    await prepare(path)
    await fill(path)
    assert await store_at(path).initialized()


@pytest.mark.slow
async def test_a_file_with_a_flipped_bit_is_not_used(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await fill(path)
    good = path.read_bytes()
    for place in range(len(good) * 8):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bad)
        assert not await store_at(path).initialized(), f"bit {place}"
    path.write_bytes(good)
    assert await store_at(path).initialized()


# -- a disk that hangs


async def test_a_change_of_the_written_file_is_noticed(path: Path) -> None:
    store = store_at(path)
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


async def test_the_next_write_reports_a_removed_folder(path: Path) -> None:
    store = store_at(path.parent / "gone" / "flags")
    for write in (store.replace({FLAG: {"a": ITEM}}), store.upsert([ITEM])):
        with pytest.raises(StoreError, match=f"^the folder {path.parent / 'gone'} does not exist$"):
            await write


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
        await store_at(path).is_available()


# -- DiskStore in a client: shared files, the time of writes, and missing folders.

USER = secretive("user-123")


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
    """Creates nothing."""


def a_file_there(folder: Path) -> None:
    folder.write_text("text")


def a_dangling_link_there(folder: Path) -> None:
    folder.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        pytest.param(nothing_there, "the folder {} does not exist", id="nothing"),
        pytest.param(a_file_there, "{} is not a folder", id="a file"),
        pytest.param(a_dangling_link_there, "{} is not a folder", id="a link that leads nowhere"),
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
        assert client.status == "ERROR"
        assert client.report.last_error is not None
        assert client.report.last_error.message == f"the store of flag data failed: the folder {path.parent} does not exist"


async def test_a_client_without_sources_reports_an_unusable_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await foreign_environment(path)
    async with started(beside(Feed(), DiskStore(path), mode="read_only")) as client:
        assert not client.is_initialized
    async with Client("", Config(start_wait=1, data_system=DataSystem.daemon(DiskStore(path)))) as client:
        assert client.report.last_error is not None
        assert "another environment" in client.report.last_error.message
