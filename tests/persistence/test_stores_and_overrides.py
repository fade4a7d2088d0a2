"""A client with a store and overrides: the store has the service's data alone, and overrides win over what it returns."""

from __future__ import annotations

import logging

import anyio
import pytest

from aioflags import Client
from tests.support.feed import Feed, change, changes, full
from tests.support.memory_store import MemoryStore
from tests.support.overridden_clients import override
from tests.support.store_clients import A_MOMENT, FLAG, USER, beside, daemon, holding, kept, put, started


@pytest.mark.holds("DS-159")
async def test_overrides_are_not_written_to_the_store() -> None:
    feed, store = Feed(), MemoryStore()
    async with started(beside(feed, store)) as client:
        await override(client, a="override", mine="override")
        feed.say(full(a=1, b=1))
        await anyio.sleep(A_MOMENT)
        assert kept(store) == {"a": 1, "b": 1}
        feed.say(changes(change("a", 2, 2)))
        await anyio.sleep(A_MOMENT)
        await override(client, b="override")
        await anyio.sleep(A_MOMENT)
        assert kept(store) == {"a": 2, "b": 1}
        # A store that lost its data gets the whole newest snapshot.
        store.items[FLAG].clear()
        store.marker = False
        await anyio.sleep(3600)
        assert kept(store) == {"a": 2, "b": 1}
        assert await client.variation("b", USER, "") == "override"


@pytest.mark.holds("DS-159")
@pytest.mark.parametrize("cache", ["off", "ttl", "infinite"])
async def test_an_override_wins_over_what_the_store_has(cache: str) -> None:
    store = holding(marker=False, a="stored", b="stored")
    async with Client("", daemon(store, cache=cache, cache_ttl=1)) as client:
        await override(client, a="override", mine="override")
        for _ in range(2):
            assert [await client.variation(key, USER, "") for key in ("a", "b", "mine")] == ["override", "stored", "override"]
            assert (await client.flags(USER)).all() == {"a": "override", "b": "stored", "mine": "override"}
            await anyio.sleep(2)
        await override(client)
        assert [await client.variation(key, USER, "") for key in ("a", "mine")] == ["stored", ""]


async def test_the_prerequisites_of_an_override_are_looked_up_in_the_store() -> None:
    store = holding(marker=False, a="stored")
    needs = {"on": True, "variations": [False, True], "fallthrough": {"variation": 1}, "offVariation": 0}
    async with Client("", daemon(store, cache="off")) as client:
        await override(client, {"flags": {"mine": {**needs, "prerequisites": [{"key": "a", "variation": 0}]}}})
        assert await client.variation("mine", USER, None) is True
        put(store, "a", "off", 2, on=False)
        assert await client.variation("mine", USER, None) is False
        await override(client, {"flagValues": {"a": "override"}})
        store.calls.clear()
        assert await client.variation("a", USER, None) == "override"
        assert "get" not in store.calls


async def test_an_override_is_served_while_the_store_fails() -> None:
    store = holding(a="stored")
    store.fails = OSError("refused")
    async with Client("", daemon(store)) as client:
        await override(client, a="override")
        assert await client.variation("a", USER, "default") == "override"
        assert await client.variation("b", USER, "default") == "default"


async def test_overrides_do_not_hide_that_the_store_is_empty(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    store = holding(marker=False)
    async with Client("", daemon(store, cache_ttl=1)) as client:
        caplog.clear()
        await override(client, mine="override")
        put(store, "a", "first")
        assert await client.variation("a", USER, "") == "first"


async def test_unchanged_data_beside_overrides_are_not_published_again() -> None:
    async with Client("", daemon(holding(a=1), cache_ttl=1)) as client:
        await override(client, a=2)
        before = client._core.holder.snapshot
        await anyio.sleep(10)
        assert client._core.holder.snapshot is before
