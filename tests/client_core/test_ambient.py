"""The ambient context: which tasks and calls use it, and for how long."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack
from typing import Any

import pytest

from aioflags import Client, Context, current_context, use_context
from aioflags.client_core.fast_path import _INNERMOST
from tests.support.hostile import Lazy

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


# -- blocks of generators


async def streamed(*keys: str) -> AsyncGenerator[str | None, None]:
    """Yields the ambient key inside the blocks of these contexts."""
    with ExitStack() as blocks:
        for key in keys:
            blocks.enter_context(use_context(Context(key)))
        found = current_context()
        yield None if found is None else found.key


@pytest.mark.parametrize("keys", [pytest.param(["anna"], id="one block"), pytest.param(["bert", "anna"], id="two blocks")])
async def test_a_generator_that_another_task_closes_leaves_no_context_behind(keys: list[str]) -> None:
    generator = streamed(*keys)
    with use_context(Context("carl")) as outer:
        assert await anext(generator) == "anna"
        await asyncio.create_task(generator.aclose())
        assert current_context() is outer
    assert current_context() is None


async def test_a_generator_that_is_left_early_leaves_no_context_behind() -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, details: failures.append(details))
    async for key in streamed("anna"):
        assert key == "anna"
        break
    await asyncio.sleep(1)  # the event loop closes the generator in a task of its own
    assert current_context() is None
    assert not failures


def test_a_block_that_is_left_in_another_copy_of_the_variables_ends_there_too() -> None:
    """As in a plain dependency of FastAPI, whose two halves run in different threads."""
    block = use_context(Context("anna"))
    entered, left = contextvars.copy_context(), contextvars.copy_context()
    entered.run(block.__enter__)
    inside = entered.copy()
    with use_context(Context("bert")) as ours:
        left.run(block.__exit__, None, None, None)
        assert current_context() is ours
    assert [each.run(current_context) for each in (entered, left, inside)] == [None] * 3


def test_blocks_of_generators_that_take_turns_end_one_by_one() -> None:
    def stepped(key: str) -> Generator[None, None, None]:
        with use_context(Context(key)):
            yield

    anna, bert = stepped("anna"), stepped("bert")
    next(anna)
    next(bert)
    anna.close()
    assert current_context() == Context("bert")
    bert.close()
    assert current_context() is None


async def test_a_task_that_outlives_the_block_keeps_its_context() -> None:
    proceed = asyncio.Event()

    async def later() -> Context | None:
        await proceed.wait()
        return current_context()

    with use_context(Context("anna")) as anna:
        task = asyncio.create_task(later())
    proceed.set()
    assert await task is anna


def test_an_exception_leaves_the_block_and_keeps_its_cause() -> None:
    with pytest.raises(ZeroDivisionError), use_context(Context("anna")):
        raise ZeroDivisionError
    assert current_context() is None


async def test_a_task_whose_generators_are_closed_by_others_keeps_none_of_their_blocks() -> None:
    async def items() -> AsyncGenerator[None]:
        with use_context(Context("item")):
            yield

    for _ in range(10):
        generator = items()
        await anext(generator)
        await asyncio.create_task(generator.aclose())
    with use_context(Context("anna")):
        outer = _INNERMOST.get().outer
    assert outer is not None
    assert outer.outer is None
    assert not outer.is_over


def test_a_proxy_of_a_context_is_read_once() -> None:
    now = Context("anna")
    proxy: Any = Lazy(lambda: now)
    with use_context(proxy) as context:
        now = Context("bert")
        assert current_context() is context
        assert context.key == "anna"
