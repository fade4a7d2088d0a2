"""FlagdFile: what clients read from a flagd file at the start and after changes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags.model.change import ChangeKind, ChangeSet, Update
from aioflags.model.flagd import FlagdFlag
from aioflags.model.status import ErrorCode, FailureKind, SourceState
from aioflags.sources.base import SourceContext
from aioflags.sources.flagd_file import FlagdFile
from tests.support.edited_files import make_fifo, make_folder, make_huge, remove, write, writing
from tests.support.scripted_http import updates_of

Updates = AsyncGenerator[Update, None]


def flags(*keys: str, default: str = "on") -> dict[str, Any]:
    return {"flags": {key: {"state": "ENABLED", "variants": {"on": 1, "off": 0}, "defaultVariant": default} for key in keys}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "flags.json", flags("a"))


@asynccontextmanager
async def following(path: Path, **options: Any) -> AsyncGenerator[Updates, None]:
    async with updates_of(FlagdFile(path, **{"interval": 5.0, "deadline": 0.5, **options}).build(SourceContext())) as updates:
        yield updates


def served(update: Update) -> dict[str, str | None]:
    """The default variants by flag key."""
    assert update.state is SourceState.VALID, update
    assert update.change_set is not None
    assert update.change_set.kind is ChangeKind.FULL
    definitions = [change.definition for change in update.change_set.changes]
    return {flag.key: flag.default_variant for flag in definitions if isinstance(flag, FlagdFlag)}


def failure(update: Update) -> tuple[FailureKind, ErrorCode | None, str]:
    assert (update.state, update.change_set) == (SourceState.INTERRUPTED, None)
    assert update.error is not None
    return update.error.kind, update.error.code, update.error.message


# -- at the start


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("flags.json", json.dumps(flags("a")), id="JSON"),
        pytest.param("flags", json.dumps(flags("a")), id="JSON without a suffix"),
        pytest.param("flags.json", "\ufeff" + json.dumps(flags("a")), id="JSON with a byte order mark"),
        pytest.param(
            "flags.YAML", 'flags:\n  a: {state: ENABLED, variants: {"on": 1, "off": 0}, defaultVariant: "on"}\n', id="YAML"
        ),
        pytest.param("flags.yml", json.dumps(flags("a")), id="JSON is YAML"),
    ],
)
@pytest.mark.holds("FL-74")
async def test_a_file_is_read_at_the_start(tmp_path: Path, name: str, text: str) -> None:
    async with following(write(tmp_path / name, text)) as updates:
        assert served(await anext(updates)) == {"a": "on"}


@pytest.mark.holds("FL-77")
async def test_a_missing_file_is_a_failure_until_it_appears(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    async with following(path) as updates:
        start = anyio.current_time()
        assert failure(await anext(updates)) == (FailureKind.UNKNOWN, ErrorCode.GENERAL, f"{path}: No such file or directory")
        assert anyio.current_time() - start < 0.5
        write(path, flags("a"))
        assert served(await anext(updates)) == {"a": "on"}
        assert anyio.current_time() - start == pytest.approx(5, abs=0.2)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("flags.json", "[]", "expected", id="not an object"),
        pytest.param("flags.json", '{"flags": 1}', "flags", id="no flags"),
        pytest.param("flags.json", '{"flags": {', "", id="half a document"),
        pytest.param("flags.yaml", "flags: [", "line 2, column 1: ", id="half a YAML document"),
        pytest.param("flags.yaml", "- a", "expected object, got array", id="a list in YAML"),
    ],
)
async def test_an_invalid_file_is_a_failure_with_the_file_and_the_mistake(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = write(tmp_path / name, text)
    async with following(path) as updates:
        kind, code, problem = failure(await anext(updates))
        assert (kind, code) == (FailureKind.INVALID_DATA, ErrorCode.PARSE_ERROR)
        assert problem.startswith(f"{path}: ")
        assert message in problem
        write(path, "flags: {}" if "yaml" in name else '{"flags": {}}')
        assert served(await anext(updates)) == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(make_fifo, "expected a regular file, got a FIFO", id="a FIFO"),
        pytest.param(make_folder, "Is a directory", id="a folder"),
        pytest.param(make_huge, "larger than 536870912 bytes", id="a huge file"),
    ],
)
async def test_what_is_not_a_file_of_flags_is_refused(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "flags.json"
    await asyncio.to_thread(make, path)
    async with following(path) as updates:
        assert failure(await anext(updates)) == (FailureKind.UNKNOWN, ErrorCode.GENERAL, f"{path}: {message}")


@pytest.mark.real_time
async def test_a_first_read_that_takes_too_long_is_a_failure(tmp_path: Path, file: Path) -> None:
    builder = FlagdFile(file, deadline=0.2, interval=0.3)
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang() -> None:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

    # The thread of the source is busy, as with a network drive that does not answer.
    busy = asyncio.ensure_future(builder._thread.run(hang))
    await asyncio.sleep(0)
    async with updates_of(builder.build(SourceContext())) as updates:
        assert failure(await anext(updates))[1:] == (ErrorCode.GENERAL, f"{file}: not read within 0.2 s")
        release.set()
        assert served(await anext(updates)) == {"a": "on"}
    await busy


# -- changes


CHANGED = flags("a", default="off")


def replace(path: Path) -> None:
    write(path.with_suffix(".tmp"), CHANGED).replace(path)


def replace_with_the_same_time(path: Path) -> None:
    before, other = path.stat(), write(path.with_suffix(".tmp"), CHANGED)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(writing(CHANGED), id="FL-74 rewritten"),
        pytest.param(replace, id="FL-75 replaced"),
        pytest.param(replace_with_the_same_time, id="FL-75 replaced by a file with the same time"),
    ],
)
async def test_a_change_is_noticed_at_the_next_check(file: Path, change: Callable[[Path], None]) -> None:
    os.utime(file, (1, 1))  # a file with a new time would be read at every check
    async with following(file) as updates:
        assert served(await anext(updates)) == {"a": "on"}
        start = anyio.current_time()
        await anyio.sleep(0.5)
        change(file)
        assert served(await anext(updates)) == {"a": "off"}
        assert anyio.current_time() - start == pytest.approx(5, abs=0.2)


async def test_the_same_contents_are_no_news(file: Path) -> None:
    async with following(file) as updates:
        await anext(updates)
        write(file, flags("a"))
        with anyio.move_on_after(100):
            await anext(updates)
            raise AssertionError("an update without a change")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(writing("{"), id="it is invalid"),
        pytest.param(remove, id="it is gone"),
        pytest.param(make_folder, id="a folder is in its place"),
    ],
)
@pytest.mark.holds("FL-76")
async def test_a_file_that_becomes_unusable_interrupts_once_until_it_is_good_again(
    file: Path, change: Callable[[Path], None]
) -> None:
    async with following(file) as updates:
        assert served(await anext(updates)) == {"a": "on"}
        change(file)
        assert failure(await anext(updates))[2].startswith(f"{file}: ")
        waiting = asyncio.ensure_future(anext(updates))
        await anyio.sleep(60)
        assert not waiting.done()
        remove(file)
        write(file, flags("a"))
        # Also the same contents as before: only then the client knows that they are current.
        good = await waiting
        assert (good.state, good.change_set) == (SourceState.VALID, ChangeSet.unchanged())


async def test_each_failure_is_reported(file: Path) -> None:
    async with following(file) as updates:
        await anext(updates)
        write(file, "{")
        assert failure(await anext(updates))[1] is ErrorCode.PARSE_ERROR
        remove(file)
        assert failure(await anext(updates))[1] is ErrorCode.GENERAL
        write(file, "{")
        assert failure(await anext(updates))[1] is ErrorCode.PARSE_ERROR


@pytest.mark.parametrize("when", ["at the start", "later"])
async def test_a_file_that_is_still_being_written_is_read_again(file: Path, when: str) -> None:
    async def write_the_rest() -> None:
        await anyio.sleep(0.05 if when == "at the start" else 5.05)
        await asyncio.to_thread(write, file, flags("a", "b"))

    async with following(file) as updates, anyio.create_task_group() as tasks:
        if when == "later":
            await anext(updates)
        write(file, '{"flags": {"a"')
        tasks.start_soon(write_the_rest)
        assert served(await anext(updates)) == {"a": "on", "b": "on"}


# -- the interval


@pytest.mark.parametrize("deadline", [0, 0.05, 10])
@pytest.mark.holds("FL-78")
async def test_checks_follow_the_interval_whatever_the_deadline_is(file: Path, deadline: float) -> None:
    times: list[float] = []
    async with following(file, interval=0.1, deadline=deadline) as updates:
        for key in "abcde":
            assert served(await anext(updates)) == {key: "on"}
            times.append(anyio.current_time())
            write(file, flags(chr(ord(key) + 1)))
    # In virtual time a thread takes a few steps of 10 ms at most.
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx([0.1] * 4, abs=0.03)


async def test_a_closed_source_does_not_read_its_file(file: Path) -> None:
    async with following(file) as updates:
        await anext(updates)
    remove(file)
    with pytest.raises(StopAsyncIteration):
        await anext(updates)


async def test_the_program_may_change_its_working_directory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    async with following(Path(file.name)) as updates:
        await anext(updates)
        monkeypatch.chdir("/")
        write(file, CHANGED)
        assert served(await anext(updates)) == {"a": "off"}


# -- options


def test_the_repr_has_the_path() -> None:
    assert repr(FlagdFile("/a/flags.json", interval=1, deadline=1)) == "FlagdFile('/a/flags.json')"
