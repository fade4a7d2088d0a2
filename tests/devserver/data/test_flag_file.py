"""A served flag file is edited in the ways that people and tools edit files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from aioflags import Client, Config
from aioflags.devserver import Endpoint, FlagFile, ServerState, create_app, read_objects, saver, serve, watch
from aioflags.model.change import ObjectKind
from tests.support.canaries import KEY, WATCH

pytestmark = pytest.mark.real_time

ONE = '{"flagValues": {"a": 1}}'
TWO = '{"flagValues": {"a": 2, "b": 3}}'


class Watched:
    """A file, the state that follows it, and the reported lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = FlagFile(path)
        self.state = ServerState(self.file.read())
        self._send_line, self._lines = anyio.create_memory_object_stream[str](100)

    def report(self, line: str) -> None:
        self._send_line.send_nowait(line)

    async def reported(self) -> str:
        with anyio.fail_after(60):
            return await self._lines.receive()

    @property
    def flags(self) -> set[str]:
        return {flag.key for flag in self.state.live(ObjectKind.FLAG)}

    def close(self) -> None:
        self._send_line.close()
        self._lines.close()


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    path = tmp_path / "flags.json"
    path.write_text(ONE)
    watched = await asyncio.to_thread(Watched, path)
    watching = asyncio.create_task(watch(watched.file, watched.state, watched.report))
    yield watched
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    watched.close()


def rewrite(path: Path) -> None:
    path.write_text(TWO)


def replace(path: Path) -> None:
    path.with_suffix(".new").write_text(TWO)
    path.with_suffix(".new").replace(path)


@pytest.mark.slow
@pytest.mark.parametrize("edit", [rewrite, replace])
async def test_an_edit_is_served(watched: Watched, edit: Callable[[Path], None]) -> None:
    edit(watched.path)
    assert await watched.reported() == f"{watched.path} read again: served now"
    assert watched.flags == {"a", "b"}
    assert watched.state.version == 2


@pytest.mark.slow
async def test_an_edit_of_the_file_that_replaces_other_edits_names_them(watched: Watched) -> None:
    watched.state.write(read_objects({"flagValues": {"a": 5, "c": 6}}))
    watched.path.write_text(TWO)
    assert await watched.reported() == f"{watched.path}: it replaces edits that were not saved: a, c"
    assert await watched.reported() == f"{watched.path} read again: served now"
    watched.path.write_text(ONE)
    assert await watched.reported() == f"{watched.path} read again: served now"


async def test_a_saved_edit_is_not_replaced(watched: Watched) -> None:
    watched.state.write(read_objects({"flagValues": {"a": 5}}))
    await saver(watched.path, watched.state)()
    assert await watched.reported() == f"{watched.path} read again: nothing changed"


@pytest.mark.slow
async def test_a_rewrite_that_changes_no_flag_changes_no_version(watched: Watched) -> None:
    watched.path.write_text(ONE + "\n")
    assert await watched.reported() == f"{watched.path} read again: nothing changed"
    assert watched.state.version == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "place"),
    [
        pytest.param('{"flagValues":\n {"a": 2', "line 2, column 9: the JSON ends too early", id="half written"),
        pytest.param('{"flags": {"a": {"on": 1}}}', "flags.a.on: expected boolean or null, got number", id="of the wrong type"),
    ],
)
async def test_a_mistake_is_reported_and_the_last_data_stays(watched: Watched, mistake: str, place: str) -> None:
    watched.path.write_text(mistake)
    assert await watched.reported() == f"{watched.path}: {place}; serving the data before this mistake"
    assert watched.flags == {"a"}
    watched.path.write_text(TWO)
    assert await watched.reported() == f"{watched.path} read again: served now"


@pytest.mark.slow
async def test_lint_warnings_are_reported_after_an_edit_is_served(watched: Watched) -> None:
    flags = {f"f{number:02}": {"on": True, "variations": [1], "fallthrough": {"variation": 9}} for number in range(22)}
    watched.path.write_text(json.dumps({"flags": flags}))
    assert await watched.reported() == f"{watched.path} read again: served now"
    assert watched.flags == set(flags)
    warnings = [await watched.reported() for _ in range(21)]
    assert warnings[0].startswith(f"error: {watched.path}:1:")
    assert 'flags.f00.fallthrough.variation: "f00" has no variation 9' in warnings[0]
    assert warnings[-1] == f"and 2 more: aioflags lint {watched.path}"


@pytest.mark.slow
async def test_a_deleted_file_is_reported_once_and_its_data_stays(watched: Watched) -> None:
    watched.path.unlink()
    assert await watched.reported() == f"{watched.path}: No such file or directory; serving what was in it"
    (watched.path.parent / "another file").write_text("and a reason to look again")
    assert watched.flags == {"a"}
    watched.path.write_text(TWO)
    assert await watched.reported() == f"{watched.path} read again: served now"


async def test_yaml_is_served(tmp_path: Path) -> None:
    path = tmp_path / "flags.yaml"
    path.write_text("flagValues: {a: 1}")
    watched = await asyncio.to_thread(Watched, path)
    assert watched.flags == {"a"}
    watched.close()


@pytest.mark.slow
async def test_a_client_gets_only_the_flags_that_differ(watched: Watched) -> None:
    watched.path.write_text(TWO)
    await watched.reported()
    async with serve(WATCH.app(create_app(watched.state))) as service:
        config = Config(base_uri=service.url, stream_uri=service.url, events_uri=service.url)
        async with Client(KEY, config) as client:
            await client.wait_ready(10)
            await watched.state.until(lambda: watched.state.open_streams[Endpoint.STREAM] == 1)
            with client.changes() as changes, anyio.fail_after(60):
                for document, changed in (({"a": 2, "b": 4}, "b"), ({"a": 5, "b": 4}, "a"), ({"a": 2, "b": 4}, "a")):
                    watched.path.write_text(json.dumps({"flagValues": document}))
                    assert (await anext(changes)).key == changed
