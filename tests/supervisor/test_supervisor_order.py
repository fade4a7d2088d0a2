"""Supervisor with scripted sources: the order of reports, of sources and of the close, stopped sources, and errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from aioflags.model.change import FallbackDirective, Selector, Update
from aioflags.model.defaults import MAX_SOURCE_CLOSE
from aioflags.model.status import FailureKind, SourceState
from aioflags.sources.base import SourceContext
from aioflags.supervisor.rotation import FallbackState, SourceOptions
from aioflags.supervisor.supervisor import Supervisor
from tests.supervisor.source_cases import GOOD, INTERRUPTED, OFF, SILENT, VALID
from tests.support.scripted_sources import DIRECTIVE, HANG, Script, World, basis, data, down, failure, off, valid

# -- errors in a status


@pytest.mark.parametrize(
    ("initializers", "synchronizers", "kind", "status"),
    [
        pytest.param([[failure(401)], [failure(503)]], [], FailureKind.ERROR_RESPONSE, 503, id="DS-64 the last initializer"),
        pytest.param([[basis(None)]], [], FailureKind.UNKNOWN, 0, id="initializers without data"),
        pytest.param([], [[off(401)]], FailureKind.ERROR_RESPONSE, 401, id="DS-75 the refusal"),
        pytest.param([], [[off(401)], [off(403)]], FailureKind.ERROR_RESPONSE, 403, id="DS-76 the last refusal"),
        pytest.param([], [[]], FailureKind.UNKNOWN, 0, id="DS-78 an end without a result"),
        pytest.param([], [[Update(state=OFF, directive=None)]], FailureKind.UNKNOWN, 0, id="OFF without an error"),
        pytest.param(
            [], [[down(503, DIRECTIVE)]], FailureKind.ERROR_RESPONSE, 503, id="FB-24 the error that came with the directive"
        ),
        pytest.param([], [[off(500, DIRECTIVE)]], FailureKind.ERROR_RESPONSE, 500, id="DS-101 OFF that came with the directive"),
        pytest.param([], [[down(), valid(1, DIRECTIVE)]], FailureKind.ERROR_RESPONSE, 503, id="FB-24 the last error before it"),
    ],
)
async def test_off_has_the_error_of(
    world: World, initializers: list[Script], synchronizers: list[Script], kind: FailureKind, status: int
) -> None:
    await world.run(
        initializers=[world.source("I", script) for script in initializers],
        synchronizers=[world.source("S", script) for script in synchronizers],
    )
    last = world.reports[-1]
    assert last.state is OFF
    assert last.error is not None
    assert (last.error.kind, last.error.status_code) == (kind, status)


@pytest.mark.holds("FB-24")
async def test_off_has_no_error_if_there_was_none(world: World) -> None:
    await world.run(synchronizers=[world.source("S1", [valid(1, DIRECTIVE)])])
    assert (world.reports[-1].state, world.last_error) == (OFF, None)


@pytest.mark.holds("DS-65")
async def test_the_error_of_an_initializer_stays_when_a_synchronizer_delivers(world: World) -> None:
    async with world.running(initializers=[world.source("I1", [failure(404)])], synchronizers=[world.source("S1", GOOD)]):
        await anyio.sleep(1)
        assert world.last_error is not None
        assert world.last_error.status_code == 404


# -- order


@pytest.mark.holds("DS-92")
@pytest.mark.parametrize(
    ("parts", "state"),
    [
        pytest.param({"initializers": ["I1"]}, VALID, id="an initializer delivered"),
        pytest.param({"synchronizers": ["S1"]}, VALID, id="a synchronizer delivered"),
        pytest.param({}, VALID, id="nothing to wait for"),
        pytest.param({"synchronizers": ["S2"]}, OFF, id="every source was refused"),
    ],
)
async def test_the_status_is_reported_before_waiters_wake(world: World, parts: dict[str, list[str]], state: SourceState) -> None:
    scripts: dict[str, Script] = {"I1": [basis(1)], "S1": GOOD, "S2": [off(401)]}
    async with world.running(**{part: [world.source(name, scripts[name]) for name in names] for part, names in parts.items()}):
        await anyio.sleep(1)
        events = [entry.detail.state if entry.what == "reported" else entry.what for entry in world.journal]
        assert events[events.index("ready") - 1] is state


async def test_one_result_is_reported_in_order(world: World) -> None:
    first = Update(state=VALID, change_set=data(1), environment_id="env", directive=DIRECTIVE)
    async with world.running(synchronizers=[world.source("S1", [first, HANG])], fallback=world.source("F1", SILENT)):
        await anyio.sleep(1)
    order = [entry.what for entry in world.journal]
    assert order == [
        *("built", "opened", "yielded", "environment", "origin", "reported", "ready", "closed"),
        *("built", "opened", "closed"),
    ]


@pytest.mark.holds("DS-87", "FB-15")
@pytest.mark.parametrize(
    ("script", "fallback"),
    [
        pytest.param([off(401)], "S2", id="then the next synchronizer"),
        pytest.param([valid(1, DIRECTIVE)], "F1", id="then the fallback"),
    ],
)
async def test_a_source_is_closed_before_the_next_is_built(world: World, script: Script, fallback: str) -> None:
    slow = world.source("S1", script, closing=0.5)
    other = world.source("S2", GOOD)
    async with world.running(synchronizers=[slow, other], fallback=world.source("F1", GOOD)):
        await anyio.sleep(5)
        assert world.times("S1", "closed") == world.times(fallback, "built") == world.times(fallback, "opened") == [0.5]


@pytest.mark.holds("FB-18", "FB-15")
async def test_the_data_of_a_directive_are_served_while_their_source_closes(world: World) -> None:
    slow = world.source("I1", [basis(1, directive=DIRECTIVE)], closing=0.5)
    async with world.running(initializers=[slow], fallback=world.source("F1", SILENT)):
        await anyio.sleep(1)
        assert (world.ready_at, world.states, world.served) == (0, [VALID], 1)
        assert world.times("I1", "closed") == world.times("F1", "built") == [0.5]


async def test_a_source_that_does_not_close_delays_the_next_by_a_second(world: World) -> None:
    slow = world.source("S1", [off(401)], closing=3600)
    async with world.running(synchronizers=[slow, world.source("S2", GOOD)]):
        await anyio.sleep(5)
        assert world.times("S2") == [1]


@pytest.mark.holds("DS-77")
async def test_after_a_builder_that_raises_the_next_source_runs(world: World) -> None:
    sources = [world.source("S1", build=OSError("no such host")), world.source("S2", GOOD)]
    async with world.running(synchronizers=sources):
        await anyio.sleep(3600)
        assert (world.opened, world.served, world.states) == (["S2"], 1, [INTERRUPTED, VALID])
        assert world.times("S1", "built") == [0]


# -- the end


@pytest.mark.holds("DS-66", "DS-124")
@pytest.mark.parametrize(
    ("initializers", "synchronizers", "recovery"),
    [
        pytest.param([[5, basis(1)]], [GOOD], "never", id="while an initializer runs"),
        pytest.param([], [[5, valid(1)]], "never", id="while a synchronizer runs"),
        pytest.param([], [[down(500, FallbackDirective(ttl=60, origin="header"))]], "ttl", id="while a directive holds"),
    ],
)
async def test_nothing_happens_after_a_cancellation(
    world: World, initializers: list[Script], synchronizers: list[Script], recovery: str
) -> None:
    async with world.running(
        initializers=[world.source("I", script) for script in initializers],
        synchronizers=[world.source("S", script) for script in synchronizers],
        recovery=recovery,
    ):
        await anyio.sleep(2)
        entries = len(world.journal)
    assert world.now == 2
    await anyio.sleep(86_400)
    assert {entry.what for entry in world.journal[entries:]} <= {"closed"}
    assert world.served is None


@pytest.mark.holds("DS-93")
async def test_after_off_nothing_runs_and_nothing_is_reported(world: World) -> None:
    await world.run(synchronizers=[world.source("S1", [valid(1), off(401), valid(2), HANG])])
    entries = len(world.journal)
    assert world.states[-1] is OFF
    await anyio.sleep(86_400)
    assert (len(world.journal), world.served) == (entries, 1)


# -- stop


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
