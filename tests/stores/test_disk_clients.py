"""DiskStore in a client: shared files, the time of writes, and missing folders."""

# ruff: noqa: ASYNC240 -- the files of these tests are small, so blocking the loop does no harm

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from aioflags import Client, Config, DataSystem, StoreStatus
from aioflags.stores import DiskStore
from tests.stores.disk_files import foreign_environment
from tests.support.canaries import secretive
from tests.support.feed import Feed, change, changes, full
from tests.support.store_clients import beside, started

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
