"""Watching files that people, editors and Kubernetes change, with and without reports of the operating system."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import anyio
import pytest

from aioflags.sources.base import closing
from aioflags.sources.file import Files, Texts, follow

Edits = AsyncGenerator[Texts | OSError, None]


def texts(result: Texts | OSError | None) -> list[bytes]:
    assert isinstance(result, tuple), result
    return [text for _, text in result]


async def read(path: Path) -> Files:
    files = Files([path])
    await asyncio.to_thread(files.read)
    return files


# -- ways to edit


def rewrite(path: Path) -> None:
    path.write_bytes(b"new")


def replace(path: Path) -> None:
    path.with_suffix(".tmp").write_bytes(b"new")
    path.with_suffix(".tmp").replace(path)


def write_anew(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"new")


def keep_the_time(path: Path) -> None:
    times = path.stat()
    path.write_bytes(b"new")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def swap_the_link(path: Path) -> None:
    """What Kubernetes does to a ConfigMap: a new folder, one rename, and the old folder is gone."""
    volume = path.parent
    folder = volume / "..2026_02"
    folder.mkdir()
    (folder / path.name).write_bytes(b"new")
    (volume / "..data_tmp").symlink_to(folder.name)
    (volume / "..data_tmp").replace(volume / "..data")
    (volume / "..2026_01" / path.name).unlink()
    (volume / "..2026_01").rmdir()


def remove(path: Path) -> None:
    path.unlink()


def restore(path: Path) -> None:
    path.write_bytes(b"old")


EDITS = [rewrite, replace, write_anew, keep_the_time, swap_the_link]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file in a volume as Kubernetes mounts it."""
    folder = tmp_path / "..2026_01"
    folder.mkdir()
    (folder / "flags.json").write_bytes(b"old")
    (tmp_path / "..data").symlink_to(folder.name)
    (tmp_path / "flags.json").symlink_to("..data/flags.json")
    return tmp_path / "flags.json"


@pytest.mark.parametrize("edit", EDITS)
async def test_every_kind_of_edit_is_noticed_by_polling(file: Path, edit: Callable[[Path], None]) -> None:
    files = await read(file)
    async with closing(follow(files, notified=False)) as edits:
        edit(file)
        assert texts(await anext(edits)) == [b"new"]


@pytest.mark.real_time
@pytest.mark.parametrize("edit", EDITS)
async def test_every_kind_of_edit_is_reported_before_the_next_poll(file: Path, edit: Callable[[Path], None]) -> None:
    files = await read(file)
    async with closing(follow(files, interval=60)) as edits:
        with anyio.fail_after(50):
            await until_announced(edits, file)
            edit(file)
            while texts(await anext(edits)) != [b"new"]:
                pass


class CountedFiles(Files):
    looks = 0

    async def look_in_time(self) -> Texts | None:
        self.looks += 1
        return await super().look_in_time()


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_write_to_another_file_in_the_folder_is_ignored(file: Path) -> None:
    files, log = CountedFiles([file]), file.with_name("app.log")
    log.write_text("the first line\n")
    await asyncio.to_thread(files.read)
    async with closing(follow(files, interval=60)) as edits:
        with anyio.fail_after(50):
            await until_announced(edits, file)
            coming = asyncio.ensure_future(anext(edits))
            before = -1
            while files.looks != before:  # until what the last edit set off is over
                before = files.looks
                await asyncio.sleep(1)
            for _ in range(20):
                with log.open("a") as lines:
                    lines.write("another line\n")
                await asyncio.sleep(0.05)
            assert files.looks == before
            await asyncio.to_thread(rewrite, file)
            assert texts(await coming) == [b"new"]


async def until_announced(edits: Edits, path: Path) -> None:
    """Edits until one is seen: from then on the folder is watched."""
    coming = asyncio.ensure_future(anext(edits))
    number = 0
    while not coming.done():
        number += 1
        await asyncio.to_thread(path.write_text, f"edit {number}")
        await asyncio.wait([coming], timeout=0.5)


@pytest.mark.real_time
async def test_a_swapped_link_in_another_folder_is_noticed_by_polling(tmp_path: Path) -> None:
    for release in ("1", "2"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "flags.json").write_text(f"release {release}")
    (tmp_path / "current").symlink_to("1")
    files = await read(tmp_path / "current" / "flags.json")
    async with closing(follow(files, interval=0.2)) as edits:
        coming = asyncio.ensure_future(anext(edits))
        await asyncio.sleep(0.1)
        (tmp_path / "next").symlink_to("2")
        (tmp_path / "next").replace(tmp_path / "current")
        with anyio.fail_after(30):
            assert texts(await coming) == [b"release 2"]


@pytest.mark.real_time
async def test_a_folder_that_is_created_later_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "later" / "flags.json"
    async with closing(follow(Files([path]), interval=0.05)) as edits:
        with anyio.fail_after(30):
            assert isinstance(await anext(edits), FileNotFoundError)
            path.parent.mkdir()
            path.write_bytes(b"new")
            assert texts(await anext(edits)) == [b"new"]


async def test_a_file_is_read_when_it_stops_changing(file: Path) -> None:
    files = await read(file)

    async def write_in_pieces() -> None:
        for size in range(1, 10):
            await asyncio.to_thread(file.write_bytes, b"0123456789"[:size])
            await anyio.sleep(0.09)

    async with closing(follow(files, notified=False)) as edits, anyio.create_task_group() as tasks:
        await anyio.sleep(0.95)
        tasks.start_soon(write_in_pieces)
        assert texts(await anext(edits)) == [b"012345678"]


async def test_a_file_that_keeps_changing_is_read_as_it_is(file: Path) -> None:
    files = await read(file)

    async def write_for_ever() -> None:
        for number in range(10_000):
            await asyncio.to_thread(file.write_bytes, str(number).encode())
            await anyio.sleep(0.05)

    async with closing(follow(files, notified=False)) as edits, anyio.create_task_group() as tasks:
        tasks.start_soon(write_for_ever)
        with anyio.fail_after(5):
            assert texts(await anext(edits)) != [b"old"]
        tasks.cancel_scope.cancel()


async def test_a_file_that_is_missing_for_a_moment_is_not_an_error(file: Path) -> None:
    files = await read(file)
    async with closing(follow(files, notified=False)) as edits:
        coming = asyncio.ensure_future(anext(edits))
        await anyio.sleep(0.95)
        remove(file)
        await anyio.sleep(0.1)
        rewrite(file)
        assert texts(await coming) == [b"new"]


async def test_an_error_is_reported_once_and_each_recovery(file: Path) -> None:
    files = await read(file)
    async with closing(follow(files, notified=False)) as edits:
        remove(file)
        assert isinstance(await anext(edits), FileNotFoundError)
        again = asyncio.ensure_future(anext(edits))
        await anyio.sleep(30)
        assert not again.done()
        restore(file)
        assert texts(await again) == [b"old"]


def test_an_old_file_with_its_old_time_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_bytes(b"old")
    os.utime(path, (1, 1))
    files = Files([path])
    files.read()
    path.write_bytes(b"new")
    os.utime(path, (1, 1))
    assert files.look() is None


def later(path: Path) -> None:
    path.write_bytes(b"new")
    os.utime(path, ns=(OLD, OLD + 1))


def longer(path: Path) -> None:
    path.write_bytes(b"longer")
    os.utime(path, ns=(OLD, OLD))


def another_file(path: Path) -> None:
    replace(path)
    os.utime(path, ns=(OLD, OLD))


OLD = 10**18
"""Nanoseconds: a time in 2001. A file with a new time is read at every look, whatever else differs."""


@pytest.mark.holds("FL-74", "FL-75")
@pytest.mark.parametrize(
    ("edit", "contents"),
    [
        pytest.param(later, b"new", id="another time"),
        pytest.param(longer, b"longer", id="another size"),
        pytest.param(another_file, b"new", id="another identity"),
    ],
)
def test_an_old_file_is_read_again_if_it_has(tmp_path: Path, edit: Callable[[Path], None], contents: bytes) -> None:
    path = tmp_path / "flags.json"
    path.write_bytes(b"old")
    os.utime(path, ns=(OLD, OLD))
    files = Files([path])
    files.read()
    assert files.look() is None
    edit(path)
    assert texts(files.look()) == [contents]


def test_an_edit_of_one_of_several_files_yields_them_all(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"old")
    files = Files(paths)
    assert texts(files.look()) == [b"old", b"old"]
    assert files.look() is None
    rewrite(paths[1])
    assert texts(files.look()) == [b"old", b"new"]


WITHOUT_WATCHFILES = """
import asyncio, sys
from pathlib import Path
sys.modules["watchfiles"] = None
from aioflags.sources.file import Files, follow

async def main():
    files = Files([Path(sys.argv[1])])
    files.read()
    Path(sys.argv[1]).write_text("new")
    async for texts in follow(files, interval=0.05):
        print(texts[0][1].decode())
        break

asyncio.run(main())
"""


@pytest.mark.real_time
def test_without_the_extra_files_are_polled(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text("old")
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_WATCHFILES, str(path)], capture_output=True, text=True, check=True, timeout=150
    )
    assert ended.stdout == "new\n"
