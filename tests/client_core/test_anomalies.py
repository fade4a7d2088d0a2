"""The twelve anomalies of ``openfeature.md`` 3.2: a naive core has each of them, and that of aioflags has none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.naive_core import Core, NaiveCore, RealCore
from tests.support.status_clients import settle

Scenario = Callable[[Core], Awaitable[bool]]


async def nothing() -> None:
    """A start that works."""


def noting(seen: list[str]) -> Callable[[str], Awaitable[None]]:
    async def handler(event: str) -> None:
        seen.append(event)

    return handler


async def synthetic_overwrite(core: Core) -> bool:
    """The connection dies during the start."""

    async def dies() -> None:
        await core.emit("ERROR")

    await core.start(dies)
    return core.status != "ERROR"


async def duplicate_ready(core: Core) -> bool:
    seen: list[str] = []

    async def reports_ready() -> None:
        await core.emit("READY")

    await core.on_event(noting(seen))
    await core.start(reports_ready)
    await settle()
    return seen != ["READY"]


async def lost_early_event(core: Core) -> bool:
    await core.emit("FATAL")
    await core.start(nothing)
    return core.status != "FATAL"


async def stale_write(core: Core) -> bool:
    seen: list[str] = []
    await core.start(nothing)
    await core.on_event(noting(seen))
    await asyncio.gather(core.emit("STALE", pause=2), core.emit("READY", pause=1))
    await settle()
    return seen[-1] != core.status


async def late_handler_twice(core: Core) -> bool:
    seen: list[str] = []
    await core.start(nothing)
    await core.emit("STALE")
    await asyncio.gather(core.on_status("READY", noting(seen)), core.emit("READY"))
    await settle()
    return seen != ["READY"]


async def stale_replay(core: Core) -> bool:
    seen: list[str] = []
    await core.start(nothing)
    await asyncio.gather(core.follow(noting(seen)), core.emit("STALE"))
    await settle()
    return seen[-1] != "STALE"


async def check_then_act(core: Core) -> bool:
    await core.start(nothing)
    await core.emit("READY")
    evaluation, _ = await asyncio.gather(core.evaluate(), core.emit("FATAL"))
    return evaluation not in {(True, True), (False, False)}


async def interleaved_handlers(core: Core) -> bool:
    running, overlaps = set[str](), list[str]()

    async def slow(event: str) -> None:
        overlaps.extend(running)
        running.add(event)
        await asyncio.sleep(1)
        running.remove(event)

    await core.start(nothing)
    await core.on_event(slow)
    await core.emit("STALE")
    await core.emit("READY")
    await asyncio.sleep(5)
    return bool(overlaps)


async def blocked_by_a_handler(core: Core) -> bool:
    async def slow(event: str) -> None:
        await asyncio.sleep(10)

    loop = asyncio.get_running_loop()
    await core.start(nothing)
    await core.on_event(slow)
    began = loop.time()
    await core.emit("STALE")
    await core.emit("READY")
    return loop.time() - began > 1


async def waiting_in_vain(core: Core) -> bool:
    await core.start(nothing)
    await core.emit("READY")
    identifying = asyncio.ensure_future(core.identify())
    await settle()
    came = await core.wait_ready(60)
    await identifying
    return not came


async def an_event_is_not_a_status(core: Core) -> bool:
    """An aggregate goes on although one of its sources has failed."""
    seen: list[str] = []
    await core.start(nothing)
    await core.emit("READY")
    await core.on_event(noting(seen))
    await core.inner_fatal()
    derived = seen[-1] if seen else "READY"
    return (derived, core.status) != ("READY", "READY")


async def life_after_death(core: Core) -> bool:
    await core.start(nothing)
    await core.shutdown()
    await core.emit("READY")
    return core.status != "NOT_READY"


SCENARIOS = [
    pytest.param(synthetic_overwrite, id="OF-A1"),
    pytest.param(duplicate_ready, id="OF-A2"),
    pytest.param(lost_early_event, id="OF-A3"),
    pytest.param(stale_write, id="OF-A4"),
    pytest.param(late_handler_twice, id="OF-A5"),
    pytest.param(stale_replay, id="OF-A6"),
    pytest.param(check_then_act, id="OF-A7"),
    pytest.param(interleaved_handlers, id="OF-A8"),
    pytest.param(blocked_by_a_handler, id="OF-A9"),
    pytest.param(waiting_in_vain, id="OF-A10"),
    pytest.param(an_event_is_not_a_status, id="OF-A11"),
    pytest.param(life_after_death, id="OF-A12"),
]


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_naive_core_has_the_anomaly(scenario: Scenario) -> None:
    assert await scenario(NaiveCore(runs_in_lock=scenario is blocked_by_a_handler))
    await asyncio.sleep(100)


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_core_of_aioflags_does_not_have_the_anomaly(scenario: Scenario) -> None:
    core = RealCore()
    assert not await scenario(core)
    await core.client.aclose()
