"""Saving the served flags to their file: the format, the atomic replacement, and errors."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from aioflags.devserver import FlagFile, ServerState, saver
from aioflags.errors import ConfigError

pytestmark = pytest.mark.real_time

DOCUMENT: dict[str, Any] = {
    "flags": {"a": {"key": "a", "on": True, "version": 7, "invented": "ü"}, "b": {"key": "b", "on": False}},
    "flagValues": {"size": 20, "nothing": None},
    "segments": {"s": {"key": "s", "included": ["x"]}},
}


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


async def test_a_document_is_saved_as_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    state = ServerState.of(DOCUMENT)
    assert await saver(path, state)() == str(path)
    assert json.loads(path.read_text(encoding="utf-8")) == DOCUMENT
    assert "ü" in path.read_text(encoding="utf-8")
    state.replace(await asyncio.to_thread(lambda: FlagFile(path).read()))
    assert state.version == 1


async def test_edits_are_saved_and_overrides_are_not(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    state = ServerState.of(DOCUMENT)
    state.flip("b")
    state.flip("size")
    state.override("a", "me", 1)
    await saver(path, state)()
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["flags"]["b"] == {"key": "b", "on": True}
    assert written["flags"]["size"]["on"] is False
    assert written["flagValues"] == {"nothing": None}
    assert written["flags"]["a"] == DOCUMENT["flags"]["a"]


async def test_saving_keeps_the_mode_and_a_symbolic_link(tmp_path: Path) -> None:
    path, link = tmp_path / "real.json", tmp_path / "flags.json"
    path.write_text("{}")
    path.chmod(0o640)
    link.symlink_to(path)
    await saver(link, ServerState.of(DOCUMENT))()
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert json.loads(path.read_text(encoding="utf-8")) == DOCUMENT
    assert names(tmp_path) == ["flags.json", "real.json"]


@pytest.mark.parametrize("name", ["flags.yaml", "flags.yml", "flags"])
async def test_a_file_that_may_have_comments_is_not_saved(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(ConfigError, match=r"only \.json files"):
        await saver(path, ServerState.of(DOCUMENT))()
    assert not path.exists()


async def test_saving_into_an_unknown_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await saver(tmp_path / "absent" / "flags.json", ServerState.of(DOCUMENT))()


async def test_a_failed_save_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        await saver(path, ServerState.of(DOCUMENT))()
    assert names(tmp_path) == ["flags.json"]
