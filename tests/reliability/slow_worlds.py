"""Worlds whose service takes a while for each answer, with a client that is not started, and what must hold at its close."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from aioflags import BigSegments, Events, LifecycleError, MobileEvents
from aioflags.hooks import EvaluationCall, Hook
from tests.reliability.kinds import value_of
from tests.reliability.worlds import ANN, KEYS, Fdv2, Flagd, FlagdRpc, HttpWorld, Mobile, World
from tests.support.scripted_clients import all_tasks, seconds
from tests.support.scripted_memberships import ScriptedMemberships

KINDS: Final[dict[str, Callable[[], World]]] = {
    "server": Fdv2,
    "mobile": Mobile,
    "flagd in-process": Flagd,
    "flagd rpc": FlagdRpc,
}
CLOSE_TIMEOUT: Final = 2.0
EVENTS: Final = 100
"""The capacity for events."""


class PassingHook(Hook):
    """Waits before each evaluation that can wait."""

    name = "passing"

    async def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, Any]) -> Mapping[str, Any]:
        await asyncio.sleep(0.01)
        return data


def world_of(kind: str, delay: float = 0.01, **options: Any) -> World:
    """A world whose flags have the value 1. ``delay``: seconds of each answer by HTTP, and of each part of one."""
    world = KINDS[kind]()
    options = {"close_timeout": CLOSE_TIMEOUT, "hooks": [PassingHook()], **options}
    if isinstance(world, HttpWorld):
        world.network.delay = lambda: delay
        make = MobileEvents if kind == "mobile" else Events
        options["events"] = make(flush_interval=60, events_max_pending=EVENTS)
    if kind == "server":
        options["big_segments"] = BigSegments(store=ScriptedMemberships())
    world.commit(dict.fromkeys(KEYS, 1))
    world.client = world.make_client(**options)
    return world


async def is_alive_or_closed(world: World) -> None:
    """Fails if the client is neither usable nor closed. Closes it, which must leave nothing."""
    try:
        await world.client.start(5)
    except LifecycleError:
        assert world.client.report.source_state == "OFF"
    else:
        await world.client.wait_ready(5)
        world.commit({KEYS[0]: 2})
        await world.until_converged(60)
        assert await value_of(world.client, KEYS[0], ANN) == 2
    began = seconds()
    await world.client.aclose()
    assert seconds() - began <= CLOSE_TIMEOUT + 0.05
    assert world.client.report.source_state == "OFF"
    await value_of(world.client, KEYS[0], ANN)
    assert all_tasks() == set()
