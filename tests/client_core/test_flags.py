"""Flags: the flags of one context, pinned to the data of one moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from aioflags import Client, Config, Context, DataSystem, Flags, use_context
from aioflags.sources import MemorySource
from tests.support.client_flags import DOCUMENT, USER


async def test_pinned_flags_see_one_snapshot() -> None:
    source = MemorySource({"f": 1})
    async with Client("", Config(data_system=DataSystem.custom(synchronizers=[source]))) as client:
        flags = await client.flags(USER)
        with client.changes() as changes:
            source.update(source.flag("f").value_for_all(2))
            await anext(changes)
        assert flags.variation("f", 0) == 1
        assert flags.all() == {"f": 1}
        assert await client.variation("f", USER, 0) == 2
        assert flags.context == USER


def test_the_repr_of_flags_shows_their_number_but_not_the_context() -> None:
    client = Client.local({"flagValues": {"a": 1, "b": 2}})
    assert repr(client.flags_nowait(Context("anna"))) == "<Flags, 2 of a client that is NOT_READY>"


def test_flags_are_made_by_a_client() -> None:
    assert isinstance(Client.local(DOCUMENT).flags_nowait(USER), Flags)


async def test_flags_pinned_without_a_context_ignore_a_later_ambient_one() -> None:
    async with Client.local(DOCUMENT) as client:
        flags = await client.flags()
        with use_context(USER):
            assert flags.variation("checkout", False) is False
            assert flags.variation_detail("checkout", False).reason.error_kind == "USER_NOT_SPECIFIED"
            assert flags.all() == {}
        assert flags.context is None


async def all_of_pinned(client: Client) -> object:
    return (await client.flags(USER)).all()


async def states(client: Client) -> object:
    return await client.all_flags_state(USER)


@pytest.mark.parametrize("evaluate_all", [all_of_pinned, states])
@pytest.mark.parametrize("when", ["before the start", "before the change", "after the change, on older data"])
async def test_data_that_arrives_after_all_flags_were_evaluated_is_compiled_already(
    evaluate_all: Callable[[Client], Awaitable[object]], when: str
) -> None:
    source = MemorySource({"f": 1, "g": 2})
    client = Client("", Config(data_system=DataSystem.custom(synchronizers=[source])))
    if when == "before the start":
        await evaluate_all(client)
    async with client:
        older = await client.flags(USER)
        with client.changes() as changes:
            if when == "before the change":
                await evaluate_all(client)
            if when == "after the change, on older data":
                source.set("g", 3)
                await anext(changes)
                older.all()
            source.set("f", 2)
            await anext(changes)
        newest = (await client.flags(USER))._snapshot
        assert newest.direct_flags.keys() == {"f", "g"}
