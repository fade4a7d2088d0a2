"""The reprs of what changes, and the mapping and the version that read like Python's own."""

from __future__ import annotations

from typing import Any

import pytest

import aioflags
from aioflags import Client, Context
from aioflags.runtime.version import __version__
from aioflags.testing import MemoryClient

USER = Context("anna")
FLAGS: dict[str, Any] = {"flagValues": {"a": 1, "b": ["x"], "c": None}}


async def test_changes_show_how_many_wait() -> None:
    async with MemoryClient() as client:
        flags, values = client.changes(), client.changes("a", USER)
        assert (repr(flags), repr(values)) == ("<FlagChanges, 0 waiting>", "<ValueChanges, 0 waiting>")
        client.set("a", 1)
        client.set("b", 2)
        assert (repr(flags), repr(values)) == ("<FlagChanges, 2 waiting>", "<ValueChanges, 1 waiting>")
        flags.close()
        assert repr(flags) == "<FlagChanges, ended, 0 waiting>"


async def test_reports_show_whether_one_waits() -> None:
    async with MemoryClient() as client:
        reports = client.reports()
        assert repr(reports) == "<LatestIterator, 1 waiting>"
        await anext(reports)
        assert repr(reports) == "<LatestIterator, 0 waiting>"
    assert repr(reports) == "<LatestIterator, ended, 1 waiting>"


async def test_a_state_shows_how_many_flags_it_has() -> None:
    async with Client.local(FLAGS) as client:
        assert repr(await client.all_flags_state(USER)) == "<FlagsState, 3 flags>"
        assert repr(await client.all_flags_state(Context(""))) == "<FlagsState, not valid>"


async def test_a_state_is_read_like_a_mapping() -> None:
    async with Client.local(FLAGS) as client:
        state = await client.all_flags_state(USER)
        nothing = await client.all_flags_state(Context(""))
    assert (state["a"], state["b"], state["c"]) == (1, ["x"], None)
    assert sorted(state) == ["a", "b", "c"]
    assert "a" in state
    assert "d" not in state
    with pytest.raises(KeyError, match="d"):
        state["d"]
    state["b"].append("y")
    assert state["b"] == ["x"]
    assert list(nothing) == []
    with pytest.raises(KeyError):
        nothing["a"]


async def test_a_client_shows_its_class_and_status() -> None:
    async with MemoryClient() as client, Client.local({}) as local:
        assert repr(client) == "<MemoryClient READY, source VALID>"
        assert repr(local) == "<Client READY, source VALID>"


def test_the_version_is_a_name_of_the_package() -> None:
    assert aioflags.__version__ == __version__
