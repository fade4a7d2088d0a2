"""Scenarios: decoding with all errors, and playing the steps in order."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import anyio
import pytest

from aioflags.devserver import Endpoint, ServerState, play, read_scenario
from aioflags.errors import ConfigError

DOCUMENT = {"flags": {"a": {"on": True}}}


async def played(steps: list[dict[str, Any]], state: ServerState) -> list[tuple[float, str]]:
    """When each step was done, and which."""
    began = anyio.current_time()
    async with aclosing(play(read_scenario({"steps": steps}), state)) as done:
        return [(round(anyio.current_time() - began, 6), str(step)) async for step in done]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        pytest.param(
            b'{"steps": [{"fautl": {}}]}', 's.json: steps[0].fautl: unknown property, did you mean "fault"?', id="a typo in a step"
        ),
        pytest.param(
            {"steps": [{"fault": {"kind": "rest"}}]},
            's.json: steps[0].fault.kind: "rest" is unknown, did you mean "reset"?',
            id="a typo in a fault",
        ),
        pytest.param(
            {"steps": [{"fault": {"kind": "reset", "tims": 1}}]},
            's.json: steps[0].fault.tims: unknown property, did you mean "times"?',
            id="a typo in a property of a fault",
        ),
        pytest.param({"steps": [{"lift": "resets"}]}, 'lift: "resets" is unknown, did you mean "reset"?', id="a typo in lift"),
        pytest.param({"step": []}, 's.json: step: unknown property, did you mean "steps"?', id="a typo in steps"),
        pytest.param({"steps": [{"after": 1}]}, 'a step needs exactly one of "fault"', id="a step without an action"),
        pytest.param(
            {"steps": [{"flip": "a", "lift": "all"}]}, 'a step needs exactly one of "fault"', id="a step with two actions"
        ),
        pytest.param({"steps": [{"flip": "a", "after": -1}]}, "steps[0].after: expected number >= 0", id="a negative pause"),
        pytest.param(b"{", "s.json: line 1, column 2: the JSON ends too early", id="incomplete JSON"),
    ],
)
def test_a_mistake_in_a_scenario_is_reported(written: object, message: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        read_scenario(written, name="s.json")
    assert message in str(mistake.value)


async def test_steps_are_played_in_order_with_their_pauses() -> None:
    state = ServerState.of(DOCUMENT)
    assert await played([{"flip": "a"}, {"after": 2.5, "flip": "a"}, {"after": 1, "flip": "a"}], state) == [
        (0, "flip a"),
        (2.5, "flip a"),
        (3.5, "flip a"),
    ]
    assert state.version == 4


async def test_the_next_step_waits_for_a_fault_with_a_duration() -> None:
    state = ServerState.of(DOCUMENT)
    steps: list[dict[str, Any]] = [{"fault": {"kind": "silence", "for": 5}}, {"flip": "a"}]
    assert await played(steps, state) == [(5, "silence (for 5 s)"), (5, "flip a")]
    assert state.faults.active == ()


async def test_a_fault_without_an_end_stays_active_until_lifted() -> None:
    state = ServerState.of(DOCUMENT)
    steps: list[dict[str, Any]] = [{"fault": {"kind": "reset"}}, {"fault": {"kind": "close"}}, {"after": 3, "lift": "reset"}]
    assert await played(steps, state) == [(0, "reset"), (0, "close"), (3, "lift reset")]
    assert [injected.fault.kind for injected in state.faults.active] == ["close"]
    assert await played([{"lift": "all"}], state) == [(0, "lift all")]
    assert state.faults.active == ()


async def test_the_next_step_waits_for_a_fault_with_times() -> None:
    state = ServerState.of(DOCUMENT)
    done: list[tuple[float, str]] = []

    async def play_it() -> None:
        done.extend(await played([{"fault": {"kind": "status", "times": 2}}], state))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(play_it)
        for _ in range(2):
            await anyio.sleep(10)
            assert done == []
            state.faults.match_request(Endpoint.POLL)
    assert done == [(20, "status (times 2)")]


async def test_an_unknown_flag_ends_the_scenario() -> None:
    with pytest.raises(ConfigError, match="there is no flag 'unknown'"):
        await played([{"flip": "unknown"}], ServerState.of(DOCUMENT))
