"""``aioflags watch``: the changes of flags and statuses that it prints, from a file and from a service, as text and as JSON."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags import Context
from aioflags.cli.commands import commands
from aioflags.cli.watch import _line, follow
from aioflags.testing import MemoryClient
from tests.cli.program import AIOFLAGS, written
from tests.support.cli_runner import CliRunner

USER = Context("user-123")


@asynccontextmanager
async def following(client: MemoryClient, keys: list[str], context: Context | None) -> AsyncGenerator[Callable[[], Any]]:
    """Follows a client. Each call returns the next change."""
    send, receive = anyio.create_memory_object_stream[dict[str, Any]](100)
    async with anyio.create_task_group() as tasks, send, receive:
        tasks.start_soon(follow, client, keys, context, send.send_nowait)
        yield receive.receive
        tasks.cancel_scope.cancel()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "flags.json", '{"flagValues": {"a": true}}')


READY = {"status": "READY", "sourceState": "VALID", "lastError": None}


async def test_for_a_context_all_values_are_reported_first_and_then_each_change() -> None:
    client = MemoryClient({"flagValues": {"b": 1, "a": True}})
    async with following(client, [], USER) as news:
        reported = [await news() for _ in range(3)]
        assert sorted(map(str, reported)) == sorted(map(str, [{"flag": "a", "value": True}, {"flag": "b", "value": 1}, READY]))
        client.set("a", False)
        assert await news() == {"flag": "a", "value": False, "before": True}
        client.set("a", False)
        client.set("b", 2)
        assert await news() == {"flag": "b", "value": 2, "before": 1}
        client.set("new", None)
        assert await news() == {"flag": "new", "value": None, "before": None}


async def test_only_changes_of_the_named_flags_are_reported() -> None:
    client = MemoryClient({"flagValues": {"a": 1, "b": 1}})
    async with following(client, ["b", "absent"], USER) as news:
        reported = [await news() for _ in range(3)]
        assert {"flag": "b", "value": 1} in reported
        client.set("a", 2)
        client.set("b", 2)
        assert await news() == {"flag": "b", "value": 2, "before": 1}
        client.set("absent", None)
        assert await news() == {"flag": "absent", "value": None, "before": None}


@pytest.mark.parametrize("context", [USER, None])
async def test_an_unknown_key_is_reported_with_the_nearest_key(context: Context | None) -> None:
    client = MemoryClient({"flagValues": {"checkout": 1}})
    async with following(client, ["chekout", "zzz"], context) as news:
        reported = [await news() for _ in range(3)]
        assert {"flag": "chekout", "absent": True, "nearest": "checkout"} in reported
        assert {"flag": "zzz", "absent": True, "nearest": None} in reported


async def test_without_a_context_the_keys_of_changed_flags_are_reported() -> None:
    client = MemoryClient({"flagValues": {"a": 1, "b": 1}})
    async with following(client, ["b"], None) as news:
        assert await news() == READY
        client.set("a", 2)
        client.set("b", 2)
        assert await news() == {"flag": "b"}


async def test_a_status_is_reported_when_it_changes() -> None:
    client = MemoryClient()
    async with following(client, [], None) as news:
        assert await news() == READY
        await client.aclose()
        assert await news() == {"status": "NOT_READY", "sourceState": "OFF", "lastError": None}


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("options", "lines"),
    [
        pytest.param(["--context", '{"key": "x"}'], ['"a" is true', "status READY, source VALID"], id="as text"),
        pytest.param(["--context", '{"key": "x"}', "--json"], [{"flag": "a", "value": True}, READY], id="as JSON"),
        pytest.param([], ["status READY, source VALID"], id="without a context"),
    ],
)
def test_a_file_is_watched_until_ctrl_c(file: Path, options: list[str], lines: list[Any]) -> None:
    command = [*AIOFLAGS, "watch", str(file), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reported = [process.stdout.readline() for _ in lines]
        process.send_signal(signal.SIGINT)
        more, mistakes = process.communicate(timeout=150)
    found = [json.loads(line) if "--json" in options else line.rstrip() for line in reported]
    assert sorted(map(str, found)) == sorted(map(str, lines))
    assert (more, mistakes, process.returncode) == ("", "", 0)


@pytest.mark.real_time
def test_a_file_is_watched_for_a_number_of_seconds(file: Path) -> None:
    result = CliRunner().invoke(commands, ["watch", str(file), "--for", "0.01"])
    assert set(result.stdout.splitlines()) <= {"status READY, source VALID", "status NOT_READY, source INITIALIZING"}
    assert (result.stderr, result.exit_code) == ("", 0)


def test_changes_are_described_in_words() -> None:
    assert _line({"flag": "a", "value": 2, "before": [1]}) == '"a" is 2 now, and was [1]'
    assert _line({"flag": "b", "absent": True, "nearest": None}) == 'unknown flag "b"'
    assert _line({"flag": "b", "absent": True, "nearest": "a"}) == 'unknown flag "b", did you mean "a"?'
    assert _line({"flag": "a\nb"}) == '"a\\nb" has changed'
    assert _line({"status": "STALE", "sourceState": "INTERRUPTED", "lastError": "gone"}).endswith('; last error: "gone"')
    assert _line({**READY, "lastError": "gone"}) == "status READY, source VALID"
