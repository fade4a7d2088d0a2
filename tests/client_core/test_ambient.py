"""The ambient context: which tasks and calls use it, and for how long."""

from __future__ import annotations

import asyncio

from aioflags import Client, Context, current_context, use_context

DOCUMENT = {
    "flags": {
        "who": {
            "on": True,
            "variations": ["somebody else", "anna"],
            "fallthrough": {"variation": 0},
            "targets": [{"variation": 1, "values": ["anna"]}],
        }
    }
}


def test_the_ambient_context_lasts_as_long_as_its_block_and_blocks_nest() -> None:
    anna, bert = Context("anna"), Context("bert")
    assert current_context() is None
    with use_context(anna):
        assert current_context() is anna
        with use_context(bert) as inner:
            assert current_context() is inner is bert
        assert current_context() is anna
    assert current_context() is None


async def test_every_evaluation_method_uses_the_ambient_context_if_none_is_passed() -> None:
    async with Client.local(DOCUMENT) as client:
        with use_context(Context("anna")):
            assert await client.variation("who", default="") == "anna"
            assert client.variation_nowait("who", default="") == "anna"
            assert (await client.variation_detail("who", default="")).value == "anna"
            assert client.variation_detail_nowait("who", default="").value == "anna"
            assert (await client.flags()).variation("who", "") == "anna"
            assert (await client.all_flags_state()).to_values_map() == {"who": "anna"}
            assert await client.variation("who", Context("bert"), "") == "somebody else"
        detail = await client.variation_detail("who", default="none")
        assert detail.value == "none"
        assert detail.reason.error_kind == "USER_NOT_SPECIFIED"


async def test_tasks_do_not_see_the_ambient_contexts_of_each_other() -> None:
    async def ask(key: str, other: asyncio.Event, own: asyncio.Event) -> str | None:
        with use_context(Context(key)):
            own.set()
            await other.wait()
            found = current_context()
            return found.key if found else None

    one, two = asyncio.Event(), asyncio.Event()
    found = await asyncio.gather(ask("anna", one, two), ask("bert", two, one))
    assert list(found) == ["anna", "bert"]


async def test_flags_pinned_inside_a_block_keep_their_context_outside() -> None:
    async with Client.local(DOCUMENT) as client:
        with use_context(Context("anna")):
            flags = await client.flags()
        assert flags.variation("who", "") == "anna"
