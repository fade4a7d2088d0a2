"""FlagdClient in file mode, and clients of a document.

Source: ``flagd.md`` 8.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aioflags import ConfigError, FlagdClient, FlagdConfig, NotReadyError, Status
from aioflags.model.status import ErrorCode
from tests.support.scripted_flagd import Diary, flag


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one flag."""
    path = tmp_path / "flags.json"
    path.write_text(text(a=flag()))
    return path


def text(**flags: Any) -> str:
    return json.dumps({"flags": flags})


OFF = text(a=flag(defaultVariant="off"))


def client_of(path: Path, **options: Any) -> FlagdClient:
    """A client of a file that is checked every 0.1 s."""
    options = {"offline_poll_interval": 0.1} | options
    return FlagdClient(FlagdConfig(resolver="file", offline_flag_source_path=str(path), environment={}, **options))


def rewrite(path: Path) -> None:
    """Another text of the same length, with the time of before."""
    before = path.stat()
    path.write_text(OFF.ljust(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_text(OFF)
    other.replace(path)


def damage(path: Path) -> None:
    path.write_text("{")


def write(path: Path, contents: str) -> None:
    path.write_text(contents)


@pytest.mark.parametrize("change", [pytest.param(rewrite, id="FL-74 rewritten"), pytest.param(replace, id="FL-75 replaced")])
async def test_a_file_is_evaluated_from_the_start_on_and_changes_are_noticed(path: Path, change: Any) -> None:
    async with client_of(path) as client:
        diary = Diary(client)
        assert await client.variation("a", None, False) is True
        change(path)
        await asyncio.sleep(0.2)
        assert await client.variation("a", None, True) is False
        assert diary.shown == ["CONFIGURATION_CHANGED a"]


@pytest.mark.holds("FL-76")
@pytest.mark.parametrize(
    ("harm", "codes"),
    [
        pytest.param(damage, ["STALE PARSE_ERROR", "ERROR GENERAL"], id="not JSON"),
        pytest.param(Path.unlink, ["STALE", "ERROR GENERAL"], id="deleted"),
    ],
)
@pytest.mark.parametrize(
    ("repaired", "changes"),
    [(text(a=flag()), []), (OFF, ["CONFIGURATION_CHANGED a"])],
    ids=["the flags of before", "another flag"],
)
async def test_a_file_that_becomes_invalid_leaves_its_flags(
    path: Path, harm: Callable[[Path], object], codes: list[str], repaired: str, changes: list[str]
) -> None:
    async with client_of(path) as client:
        diary = Diary(client)
        harm(path)
        await client.wait_until(Status.ERROR, 20)
        assert await client.variation("a", None, False) is True
        write(path, repaired)
        await asyncio.sleep(1)
        assert diary.shown == [*codes, "READY", *changes]
        assert diary.times[1] - diary.times[0] == pytest.approx(10, abs=0.01)


async def test_without_grace_a_file_that_becomes_invalid_is_an_error(path: Path) -> None:
    async with client_of(path, retry_grace_period=0) as client:
        diary = Diary(client)
        damage(path)
        await asyncio.sleep(60)
        assert diary.shown == ["ERROR PARSE_ERROR"]


@pytest.mark.holds("FL-77")
@pytest.mark.parametrize(
    ("contents", "code"),
    [
        pytest.param(None, ErrorCode.GENERAL, id="missing"),
        pytest.param("{", ErrorCode.PARSE_ERROR, id="not JSON"),
        pytest.param("[]", ErrorCode.PARSE_ERROR, id="not a flag set"),
    ],
)
async def test_a_start_without_a_usable_file_fails_and_ends_well_when_there_is_one(
    path: Path, contents: str | None, code: ErrorCode
) -> None:
    Path.unlink(path)
    if contents is not None:
        write(path, contents)
    async with client_of(path) as client:
        diary = Diary(client)
        report = client.report
        assert (report.status, report.error and report.error.code) == (Status.ERROR, code)
        with pytest.raises(NotReadyError):
            await client.wait_ready(20)
        write(path, OFF)
        await client.wait_ready(1)
        await asyncio.sleep(1)
        assert await client.variation("a", None, True) is False
        assert diary.shown == ["READY", "CONFIGURATION_CHANGED a"]


async def test_a_file_client_starts_again(path: Path) -> None:
    client = client_of(path)
    for contents in (text(a=flag()), OFF):
        write(path, contents)
        async with client:
            assert await client.variation("a", None, None) is (contents != OFF)


async def test_a_document_is_evaluated_before_and_after_the_start() -> None:
    client = FlagdClient.local({"flags": {"a": flag()}})
    assert client.variation_nowait("a", None, False) is True
    for _ in range(2):
        async with client:
            assert client.status is Status.READY
            assert await client.variation("a", None, False) is True
            assert (await client.flags()).variation("a", False) is True
    assert client.variation_nowait("a", None, False) is True


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param("{", "document: ", id="half a document"),
        pytest.param({"flags": 1}, "document: ", id="flags that are a number"),
        pytest.param({}, "document: ", id="no flags"),
        pytest.param('{"flags": {}}'.encode("utf-16"), "document: line 1, column 1: text that is not UTF-8", id="UTF-16"),
        pytest.param("flags.json", "document: expected a mapping or JSON text; for a file use ", id="the name of a file"),
        pytest.param(Path("flags.json"), "document: expected a mapping or JSON text, got ", id="a path"),
    ],
)
def test_a_document_that_cannot_be_used_is_refused(document: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        FlagdClient.local(document)


@pytest.mark.parametrize("document", ["\ufeff" + OFF, ("\ufeff" + OFF).encode()], ids=["a string", "bytes"])
def test_a_document_may_begin_with_a_byte_order_mark(document: str | bytes) -> None:
    assert FlagdClient.local(document).variation_nowait("a", None, True) is False


class _Counted(FlagdClient):
    """A client that counts its evaluations."""

    def __init__(self, config: FlagdConfig | None = None) -> None:
        super().__init__(config)
        self.count = 0


def test_a_client_of_a_document_is_made_by_the_constructor_of_its_class() -> None:
    client = _Counted.local('{"flags": {}}', FlagdConfig(environment={}, fractional_version=2))
    assert (client.count, client.is_remote) == (0, False)
