"""Supervisor.stop: sources that were told to end report nothing, whatever they still return."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from aioflags.model.change import Selector, Update
from aioflags.model.defaults import MAX_SOURCE_CLOSE
from aioflags.model.status import SourceState
from aioflags.sources.base import SourceContext
from aioflags.supervisor.rotation import FallbackState, SourceOptions
from aioflags.supervisor.supervisor import Supervisor
from tests.support.scripted_sources import DIRECTIVE, World, down, off, valid


class Stubborn:
    """A source that yields ``result`` when it is cancelled, after ``closing`` seconds in which it cannot be cancelled."""

    name = "stubborn"

    def __init__(self, result: Update, closing: float = 0) -> None:
        self._result, self._closing = result, closing

    def build(self, context: SourceContext, /) -> Stubborn:
        return self

    async def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        yield valid(1)
        with suppress(BaseException):
            await anyio.sleep_forever()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self._closing)
        yield self._result


async def stopped(world: World, source: Stubborn) -> tuple[list[str], FallbackState]:
    """What was reported and passed on after the stop, and the state of the fallback."""
    calls: list[str] = []
    before = 0
    fallback = FallbackState()
    supervisor = Supervisor(
        SourceOptions(synchronizers=[source]),
        SourceContext(),
        world,
        fallback,
        on_ready=lambda: calls.append("ready"),
        on_applied=lambda _change_set, _snapshot: calls.append("applied"),
        on_result=lambda _name, _result: calls.append("result"),
    )
    async with anyio.create_task_group() as group:
        group.start_soon(supervisor.run)
        await anyio.sleep(1)
        assert (calls, world.served) == (["ready", "applied", "result"], 1)
        before = len(world.journal)
        calls.clear()
        await supervisor.stop()
    return [*calls, *(entry.what for entry in world.journal[before:])], fallback


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(valid(2), id="data"),
        pytest.param(valid(), id="a state"),
        pytest.param(down(), id="a failure"),
        pytest.param(off(), id="its end"),
        pytest.param(Update(state=SourceState.VALID, directive=None, environment_id="env"), id="the environment"),
    ],
)
async def test_nothing_is_reported_after_a_stop(world: World, result: Any) -> None:
    assert (await stopped(world, Stubborn(result)))[0] == []
    assert world.served == 1


async def test_a_directive_counts_even_after_a_stop(world: World) -> None:
    reported, fallback = await stopped(world, Stubborn(valid(directive=DIRECTIVE)))
    assert (reported, fallback.directive) == ([], DIRECTIVE)


async def test_a_source_that_does_not_close_is_abandoned(world: World, caplog: pytest.LogCaptureFixture) -> None:
    start = anyio.current_time()
    assert (await stopped(world, Stubborn(valid(2), closing=60)))[0] == []
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f"did not close within {MAX_SOURCE_CLOSE:g} s" in caplog.text
    assert anyio.current_time() == start + 61


@pytest.mark.parametrize("after", [0, 1], ids=["before its first step", "while it runs"])
async def test_a_stop_returns_when_the_run_has_ended(world: World, after: float) -> None:
    supervisor = Supervisor(SourceOptions(synchronizers=[Stubborn(valid(2))]), SourceContext(), world, FallbackState())
    async with anyio.create_task_group() as group:
        group.start_soon(supervisor.run)
        if after:
            await anyio.sleep(after)
        await supervisor.stop()
        assert supervisor.ended.is_set()
