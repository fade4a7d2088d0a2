"""FileSource: what clients read from files at the start and after edits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags import Client, Config, ConfigError, DataSystem, SourceState, Status
from aioflags.model.change import Basis, ChangeKind, ChangeSet, FetchFailure, ObjectKind, Selector, Update
from aioflags.model.flag import FlagDefinition
from aioflags.model.status import FailureKind
from aioflags.sources import FileSource, SourceContext
from aioflags.sources.base import closing
from tests.support.canaries import secretive
from tests.support.edited_files import make_folder, remove, values, write

USER = secretive("u")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "flags.json", values(a=1))


def source(*paths: Path, **options: Any) -> FileSource:
    return FileSource(*paths, notified=False, **options)


async def fetched(*paths: Path) -> Basis | FetchFailure:
    (result,) = [result async for result in source(*paths).build(SourceContext()).fetch(Selector.none)]
    return result


@asynccontextmanager
async def following(builder: FileSource) -> AsyncGenerator[AsyncGenerator[Update, None], None]:
    async with closing(builder.build(SourceContext()).sync(Selector.none)) as updates:
        yield updates


def served(result: Basis | Update | FetchFailure) -> dict[str, Any]:
    """The first variation of each flag of a full set."""
    assert not isinstance(result, FetchFailure), result
    assert isinstance(result.change_set, ChangeSet), result
    assert result.change_set.kind is ChangeKind.FULL
    flags = [change.definition for change in result.change_set.changes]
    return {flag.key: (flag.variations or (None,))[0] for flag in flags if isinstance(flag, FlagDefinition)}


def versions(update: Update) -> dict[str, int]:
    assert update.change_set is not None
    return {change.key: change.version for change in update.change_set.changes}


# -- at the start


@pytest.mark.holds("DS-62")
async def test_a_file_as_the_only_source_makes_a_client_ready(file: Path) -> None:
    async with Client("", Config(data_system=DataSystem.custom(initializers=[FileSource(file)]))) as client:
        assert client.status is Status.READY
        assert client.report.source_state is SourceState.VALID
        assert await client.variation("a", USER, 0) == 1


@pytest.mark.holds("DS-144")
async def test_two_files_are_one_data_set_and_a_key_in_both_is_an_error(file: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "more.json", {"flagValues": {"b": 2}, "segments": {"a": {}}})
    result = await fetched(file, other)
    assert isinstance(result, Basis)
    assert [(change.kind, change.key) for change in result.change_set.changes] == [
        (ObjectKind.FLAG, "a"),
        (ObjectKind.FLAG, "b"),
        (ObjectKind.SEGMENT, "a"),
    ]
    assert not result.change_set.selector.is_defined
    assert not result.change_set.persist
    write(other, {"flags": {"a": {}}})
    failed = await fetched(file, other)
    assert isinstance(failed, FetchFailure)
    assert failed.error.kind is FailureKind.INVALID_DATA
    assert failed.error.message == f'{other}: flag "a" is in {file}, too'


async def test_a_json_and_a_yaml_file_are_one_data_set(file: Path, tmp_path: Path) -> None:
    yaml = write(tmp_path / "flags.yaml", "flags:\n  b: {on: false, offVariation: 0, variations: [off]}\n")
    assert served(await fetched(file, yaml)) == {"a": 1, "b": "off"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("flags.json", "{", "line 1, column 2: the JSON ends too early", id="half a document"),
        pytest.param("flags.json", '{"flags": []}', "flags: expected object, got array", id="a section of the wrong type"),
        pytest.param("flags.yml", "flags: {a: {on: 1}}", "flags.a.on: expected boolean or null, got number", id="YAML"),
        pytest.param("flags.yml", "flags: [", "line 2, column 1: did not find expected node content", id="half a YAML document"),
        pytest.param("flags.json", None, "No such file or directory", id="no file"),
    ],
)
async def test_an_invalid_file_is_a_failure_with_the_place_of_the_mistake(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        write(path, content)
    failed = await fetched(path)
    assert isinstance(failed, FetchFailure)
    assert (failed.error.kind, failed.error.message) == (FailureKind.INVALID_DATA, f"{path}: {message}")
    async with following(source(path)) as updates:
        (last,) = [update async for update in updates]
        assert (last.state, last.error and last.error.message) == (SourceState.OFF, f"{path}: {message}")


async def test_a_file_that_is_still_being_written_is_read_again(file: Path) -> None:
    write(file, '{"flagValues": {"a"')

    async def write_the_rest() -> None:
        await anyio.sleep(0.05)
        await asyncio.to_thread(write, file, values(a="whole"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write_the_rest)
        assert served(await fetched(file)) == {"a": "whole"}


# -- as it is edited


@pytest.mark.holds("DS-145")
async def test_an_invalid_edit_interrupts_and_a_valid_one_recovers(file: Path) -> None:
    async with following(source(file)) as updates:
        first = await anext(updates)
        assert (first.state, served(first)) == (SourceState.VALID, {"a": 1})
        write(file, '{"flagValues": ')
        broken = await anext(updates)
        assert (broken.state, broken.change_set) == (SourceState.INTERRUPTED, None)
        assert broken.error is not None
        assert broken.error.kind is FailureKind.INVALID_DATA
        write(file, values(a=2))
        mended = await anext(updates)
        assert (mended.state, served(mended)) == (SourceState.VALID, {"a": 2})


async def test_a_client_keeps_the_data_from_before_an_invalid_edit(file: Path) -> None:
    async with Client("", Config(data_system=DataSystem.custom(synchronizers=[source(file)]))) as client:
        reports = client.reports()
        assert (await anext(reports)).status is Status.READY
        write(file, '{"flagValues": ')
        assert (await anext(reports)).status is Status.STALE
        assert await client.variation("a", USER, 0) == 1
        write(file, values(a=2))
        assert (await anext(reports)).status is Status.READY
        assert await client.variation("a", USER, 0) == 2


async def test_only_flags_that_differ_are_reported_as_changes(file: Path) -> None:
    write(file, {"flags": {"gated": {"prerequisites": [{"key": "a", "variation": 0}]}}, "flagValues": {"a": 1, "b": 1, "gone": 1}})
    async with Client("", Config(data_system=DataSystem.custom(synchronizers=[source(file)]))) as client:
        with client.changes() as changes:
            write(
                file,
                {
                    "flags": {"gated": {"prerequisites": [{"key": "a", "variation": 0}]}},
                    "flagValues": {"b": 1, "a": True, "new": 1},
                },
            )
            assert [(await anext(changes)).key for _ in range(4)] == ["a", "gated", "gone", "new"]
            write(
                file,
                {
                    "flags": {"gated": {"prerequisites": [{"key": "a", "variation": 0}]}},
                    "flagValues": {"a": True, "b": 2, "new": 1},
                },
            )
            assert (await anext(changes)).key == "b"


async def test_versions_grow_across_the_runs_of_a_source(file: Path) -> None:
    builder = source(file)
    write(file, values(a=1, b=1))
    async with following(builder) as updates:
        assert versions(await anext(updates)) == {"a": 1, "b": 1}
        write(file, values(a=2, b=1))
        assert versions(await anext(updates)) == {"a": 2, "b": 1}
    write(file, values(a=3, b=1))
    async with following(builder) as updates:
        assert versions(await anext(updates)) == {"a": 3, "b": 1}


async def test_rewriting_the_same_contents_yields_no_update(file: Path) -> None:
    async with following(source(file)) as updates:
        await anext(updates)
        write(file, values(a=1))
        waiting = asyncio.ensure_future(anext(updates))
        await anyio.sleep(30)
        assert not waiting.done()
        write(file, values(a=2))
        assert served(await waiting) == {"a": 2}


async def test_a_missing_file_keeps_its_last_contents_until_it_is_back(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with following(source(file)) as updates:
        await anext(updates)
        remove(file)
        waiting = asyncio.ensure_future(anext(updates))
        with caplog.at_level(logging.WARNING):
            await anyio.sleep(30)
        assert caplog.messages == [f"{file}: the file is gone; serving its last contents"]
        assert not waiting.done()
        write(file, values(a=2))
        assert served(await waiting) == {"a": 2}


async def test_an_unreadable_file_interrupts_and_recovers(file: Path) -> None:
    async with following(source(file)) as updates:
        await anext(updates)
        make_folder(file)
        broken = await anext(updates)
        assert (broken.state, broken.error and broken.error.message) == (SourceState.INTERRUPTED, f"{file}: Is a directory")
        remove(file)
        write(file, values(a=1))
        assert served(await anext(updates)) == {"a": 1}


async def test_a_closed_source_does_not_read_its_file(file: Path) -> None:
    async with following(source(file)) as updates:
        await anext(updates)
    remove(file)
    with pytest.raises(StopAsyncIteration):
        await anext(updates)


async def test_the_program_may_change_its_working_directory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    async with following(source(Path(file.name))) as updates:
        await anext(updates)
        monkeypatch.chdir("/")
        write(file, values(a=2))
        assert served(await anext(updates)) == {"a": 2}


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        pytest.param([], {}, "paths: expected at least one file", id="no path"),
        pytest.param([b"flags.json"], {}, "paths: expected str or PathLike, got bytes", id="bytes as a path"),
        pytest.param(["a"], {"interval": "1"}, "interval: expected int or float, got str", id="an interval that is not a number"),
        pytest.param(["a"], {"notified": 1}, "notified: expected bool, got int", id="a switch that is not a boolean"),
    ],
)
def test_an_invalid_option_is_refused(paths: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FileSource(*paths, **options)


def test_the_repr_has_the_paths(tmp_path: Path) -> None:
    assert repr(FileSource(tmp_path / "a.json", "/b.yaml")) == f"FileSource('{tmp_path}/a.json', '/b.yaml')"
