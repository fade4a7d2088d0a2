"""Configurations of a supervisor as scripts, and what each leads to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import anyio

from aioflags.model.status import SourceState
from aioflags.supervisor.policy import SERVER, Policy
from tests.support.scripted_sources import HANG, Script, World, valid

VALID, INTERRUPTED, OFF = SourceState.VALID, SourceState.INTERRUPTED, SourceState.OFF
GOOD: Script = [valid(1), HANG]
SILENT: Script = [HANG]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A configuration as scripts: ``initializers`` I1, I2, … and ``synchronizers`` S1, S2, … with one script or several.

    After ``wait`` seconds: ``opened`` names the sources that ran, with the seconds at which they started; ``served`` is
    the version of the data, ``states`` what was reported, and ``ready`` when waiters woke.
    """

    initializers: Sequence[Script] = ()
    synchronizers: Sequence[Script | list[Script]] = ()
    fallback: Script | None = None
    recovery: Literal["never", "ttl"] = "never"
    policy: Policy = SERVER
    wait: float = 0.5
    opened: Sequence[tuple[str, float]] = ()
    served: int | None = 1
    states: Sequence[SourceState] = field(default=(VALID,))
    ready: float | None = 0


def scripts(script: Script | list[Script]) -> list[Script]:
    """A list of scripts, one for each run; a single script is used for every run."""
    lists: list[Script] = [inner for inner in script if isinstance(inner, list)]
    return lists or [script]


async def check_case(world: World, case: Case) -> None:
    """Run the sources, and compare what happened with the case."""
    async with world.running(
        initializers=[world.source(f"I{n}", script) for n, script in enumerate(case.initializers, 1)],
        synchronizers=[world.source(f"S{n}", *scripts(script)) for n, script in enumerate(case.synchronizers, 1)],
        fallback=None if case.fallback is None else world.source("F1", case.fallback),
        recovery=case.recovery,
        policy=case.policy,
    ):
        await anyio.sleep(case.wait + 0.25)
        assert [(entry.name, entry.time) for entry in world.journal if entry.what == "opened"] == list(case.opened)
        assert world.served == case.served
        assert world.states == list(case.states)
        assert world.ready_at == case.ready
    assert world.most_live <= 1
