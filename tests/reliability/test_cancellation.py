"""R12: a call that is cancelled wherever it waits leaves a client that works or is closed, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import pytest

from aioflags import Context, NotReadyError, Status
from tests.reliability.kinds import value_of
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import FORM, Form, amount
from tests.reliability.slow_worlds import KINDS, is_alive_or_closed, world_of
from tests.reliability.worlds import ANN, KEYS
from tests.support.interruptions import WAYS, Way, interrupted

Call = Callable[[Any], Awaitable[object]]


async def entered_and_left(client: Any) -> None:
    async with client:
        pass


async def first_change(client: Any) -> None:
    with client.changes() as changes, anyio.move_on_after(5):
        await anext(changes)


async def first_event(client: Any) -> None:
    with anyio.move_on_after(5):
        await anext(client.events())


def evaluating(method: str) -> Call:
    async def evaluate(client: Any) -> object:
        return await getattr(client, method)(KEYS[0], ANN, 0)

    return evaluate


BEFORE_START: Final[dict[str, Call]] = {
    "start": lambda client: client.start(),
    "start without a wait": lambda client: client.start(0),
    "async with": entered_and_left,
    "aclose before the start": lambda client: client.aclose(),
}
STARTED: Final[dict[str, Call]] = {
    "aclose": lambda client: client.aclose(),
    "start again": lambda client: client.start(),
    "wait_ready": lambda client: client.wait_ready(5),
    "wait_until": lambda client: client.wait_until(Status.FATAL, 5),
    "a status": lambda client: anext(client.reports()),
    "an event": first_event,
    "a change": first_change,
}
OF_ALL_EVALUATIONS: Final[dict[str, Call]] = {
    "variation": evaluating("variation"),
    "variation_detail": evaluating("variation_detail"),
    "flags": lambda client: client.flags(ANN),
    "explain": lambda client: client.explain(KEYS[0], ANN),
}
OWN: Final[dict[str, dict[str, Call]]] = {
    "server": {
        **OF_ALL_EVALUATIONS,
        "flush_and_wait": lambda client: client.flush_and_wait(5),
        "refresh": lambda client: client.refresh(5),
        "all_flags_state": lambda client: client.all_flags_state(ANN),
        "migration_variation": lambda client: client.migration_variation(KEYS[0], ANN, "off"),
        "big_segments_status": lambda client: client.big_segments_status(),
    },
    "mobile": {
        "flush_and_wait": lambda client: client.flush_and_wait(5),
        "identify": lambda client: client.identify(Context("ben")),
        "set_connection_mode": lambda client: client.set_connection_mode("streaming"),
    },
    "flagd in-process": OF_ALL_EVALUATIONS,
    "flagd rpc": {name: call for name, call in OF_ALL_EVALUATIONS.items() if name.startswith("variation")},
}
CASES: Final = [
    pytest.param(kind, call, is_started, id=f"{kind}, {name}")
    for kind in KINDS
    for is_started, calls in ((False, BEFORE_START), (True, {**STARTED, **OWN[kind]}))
    for name, call in calls.items()
]


@pytest.mark.holds("RB-R12")
@pytest.mark.parametrize("delay", [0.01] if FORM is Form.SMOKE else [0, 0.01, 1])
@pytest.mark.parametrize("way", WAYS[:1] if FORM is Form.SMOKE else WAYS)
@pytest.mark.parametrize(("kind", "call", "is_started"), CASES)
async def test_a_call_that_is_cancelled_leaves_a_client_that_works_or_is_closed(
    kind: str, call: Call, delay: float, way: Way, is_started: bool, figures: Figures
) -> None:
    async def run(client: Any) -> None:
        with contextlib.suppress(NotReadyError):
            await call(client)

    for number in range(1, amount("R12") + 1):
        world = world_of(kind, delay)
        if is_started:
            await world.client.start()
            await value_of(world.client, KEYS[0], ANN)
        waited = await interrupted(run(world.client), number, way)
        await is_alive_or_closed(world)
        if not waited:
            break
        figures.total("cancelled waits", 1)
