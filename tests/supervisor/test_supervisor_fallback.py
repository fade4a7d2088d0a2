"""Supervisor after a fallback directive: a restart, and the recovery after the time of the directive."""

from __future__ import annotations

import logging
import math

import anyio
import pytest

from aioflags.model.change import FallbackDirective
from aioflags.model.status import SourceState
from tests.supervisor.source_cases import INTERRUPTED, OFF, SILENT, VALID
from tests.support.scripted_sources import DIRECTIVE, HANG, Script, World, basis, down, failure, off, valid

# -- a restart after a directive


@pytest.mark.holds("FB-26")
@pytest.mark.parametrize(
    "script",
    [
        pytest.param([valid(1, DIRECTIVE), HANG], id="a directive that was obeyed"),
        pytest.param([valid(1), DIRECTIVE, HANG], id="a directive that was latched at the close"),
    ],
)
async def test_a_restarted_client_stays_on_fdv1(world: World, script: Script) -> None:
    parts = {"initializers": [world.source("I1", [failure()])], "synchronizers": [world.source("S1", script)]}
    async with world.running(**parts, fallback=world.source("F1", SILENT)):
        await anyio.sleep(1)
    assert world.fallback_state.is_on_fdv1
    world.journal.clear()
    async with world.running(**parts, fallback=world.source("F1", [valid(2), HANG])):
        await anyio.sleep(86_400)
        assert (world.opened, world.served) == (["F1"], 2)


@pytest.mark.holds("FB-26")
async def test_a_restarted_client_without_a_fallback_reports_off(world: World) -> None:
    sources = [world.source("S1", [valid(1, DIRECTIVE), HANG])]
    await world.run(synchronizers=sources)
    world.journal.clear()
    await world.run(synchronizers=sources)
    assert (world.opened, world.states, world.ready_at) == ([], [OFF], 0)


# -- recovery after the time of the directive


def ttl(seconds: float | None) -> FallbackDirective:
    return FallbackDirective(ttl=seconds, origin="header")


@pytest.mark.holds("DS-122")
@pytest.mark.parametrize(
    ("seconds", "returns"),
    [
        pytest.param(60, 60, id="60 s"),
        pytest.param(0, 2700, id="0 s"),
        pytest.param(-5, 2700, id="-5 s"),
        pytest.param(7200, 2700, id="7200 s"),
        pytest.param(None, 2700, id="no time"),
    ],
)
async def test_fdv2_runs_again_after(world: World, seconds: float | None, returns: float) -> None:
    first = world.source("S1", [valid(1, ttl(seconds)), HANG], [valid(3), HANG])
    fallback = world.source("F1", [valid(2, selector=False), HANG])
    async with world.running(
        initializers=[world.source("I1", [failure()])],
        synchronizers=[first, world.source("S2", SILENT)],
        fallback=fallback,
        recovery="ttl",
    ):
        await anyio.sleep(returns - 1)
        assert (world.opened, world.served) == (["I1", "S1", "F1"], 2)
        await anyio.sleep(2)
        assert (world.opened, world.served) == (["I1", "S1", "F1", "S1"], 3)
        assert world.times("S1") == [0, returns]
        assert [entry.detail.state for entry in world.journal if entry.what == "opened"][-1] == "", "there is no basis to send"
        assert not world.fallback_state.is_on_fdv1


@pytest.mark.holds("DS-123")
@pytest.mark.parametrize(
    ("fallback", "states", "ready"),
    [
        pytest.param([off(401)], [INTERRUPTED, VALID], 0, id="FDv1 is refused"),
        pytest.param([], [INTERRUPTED, VALID], 0, id="FDv1 ends"),
        pytest.param([valid(2), 5, ValueError("bug")], [INTERRUPTED, VALID, INTERRUPTED, VALID], 0, id="FDv1 fails later"),
        pytest.param(None, [INTERRUPTED, VALID], 0, id="there is no FDv1"),
    ],
)
async def test_fdv2_runs_again_although(world: World, fallback: Script | None, states: list[SourceState], ready: float) -> None:
    first = world.source("S1", [off(500, ttl(60)), HANG], [valid(3), HANG])
    fdv1 = None if fallback is None else world.source("F1", fallback)
    async with world.running(synchronizers=[first], fallback=fdv1, recovery="ttl"):
        await anyio.sleep(61)
        assert world.times("S1") == [0, 60]
        assert (world.served, world.states, world.ready_at) == (3, states, ready)


async def test_a_second_directive_after_the_recovery_sets_a_new_deadline(world: World) -> None:
    first = world.source("S1", [down(500, ttl(60)), HANG], [down(500, ttl(100)), HANG], [valid(3), HANG])
    fallback = world.source("F1", [valid(2, ttl(5)), 30, valid(2, ttl(5)), HANG])
    async with world.running(synchronizers=[first], fallback=fallback, recovery="ttl"):
        await anyio.sleep(200)
        assert world.times("S1") == [0, 60, 160]
        assert world.times("F1") == [0, 60]


async def test_a_deadline_survives_a_restart(world: World) -> None:
    first = world.source("S1", [down(500, ttl(60)), HANG], [valid(3), HANG])
    parts = {"synchronizers": [first], "fallback": world.source("F1", SILENT), "recovery": "ttl"}
    async with world.running(**parts):
        await anyio.sleep(20)
    async with world.running(**parts):
        await anyio.sleep(50)
        assert world.times("S1") == [0, 60]


async def test_a_deadline_may_pass_while_the_client_is_closed(world: World) -> None:
    first = world.source("S1", [down(500, ttl(60)), HANG], [valid(3), HANG])
    parts = {"synchronizers": [first], "fallback": world.source("F1", SILENT), "recovery": "ttl"}
    async with world.running(**parts):
        await anyio.sleep(20)
    await anyio.sleep(80)
    async with world.running(**parts):
        await anyio.sleep(1)
        assert world.opened == ["S1", "F1", "S1"]
        assert not world.fallback_state.is_on_fdv1


async def test_by_default_the_time_of_a_directive_is_ignored(world: World) -> None:
    async with world.running(synchronizers=[world.source("S1", [valid(1, ttl(60)), HANG])], fallback=world.source("F1", SILENT)):
        await anyio.sleep(86_400)
        assert world.opened == ["S1", "F1"]
        assert world.fallback_state.until == math.inf


# -- the log


@pytest.mark.holds("FB-34")
@pytest.mark.parametrize(
    ("fallback", "recovery", "action"),
    [
        pytest.param(True, "never", "switching to FDv1 polling", id="with a fallback"),
        pytest.param(False, "never", "flag updates stop: no FDv1 fallback is configured", id="without one"),
        pytest.param(True, "ttl", "switching to FDv1 polling; FDv2 again in 60 s", id="for a time"),
    ],
)
async def test_a_directive_is_logged(
    world: World, fallback: bool, recovery: str, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "aioflags")
    async with world.running(
        synchronizers=[world.source("S1", [valid(1, ttl(60)), HANG])],
        fallback=world.source("F1", [valid(2, DIRECTIVE), HANG]) if fallback else None,
        recovery=recovery,
    ):
        await anyio.sleep(5)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["S1 received a fallback directive (header): leaving FDv2 for FDv1", action]


async def test_a_client_that_left_fdv2_before_the_start_runs_other_initializers(world: World) -> None:
    world.fallback_state.start(DIRECTIVE, until=math.inf)
    async with world.running(
        initializers=[world.source("I1", [basis(1)])],
        fdv1_initializers=[world.source("I2", [basis(2, selector=False)])],
        synchronizers=[world.source("S1", [valid(1), HANG])],
        fallback=world.source("F1", [1, valid(3), HANG]),
    ):
        await anyio.sleep(0.5)
        assert (world.opened, world.served) == (["I2", "F1"], 2)
        await anyio.sleep(1)
        assert world.served == 3
