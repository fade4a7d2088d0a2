"""R23: worker processes of every start method have a client that works, made before or after the fork."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

import pytest

from tests.reliability.kinds import address_of, make_server
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import FORM, Form, amount

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork"),
]

WORKERS = 2 if FORM is Form.SMOKE else 8
ROOT = Path(__file__).parents[2]
METHODS = {
    "server": ("fork", "fork after start", "spawn", "forkserver"),
    "mobile": ("fork", "fork after start") if FORM is Form.SMOKE else ("fork", "fork after start", "spawn", "forkserver"),
    "flagd": ("fork",) if FORM is Form.SMOKE else ("fork", "spawn", "forkserver"),
}
"""gRPC cannot be used in the child of a fork after it was connected: see tests/flagd/test_client_fork.py."""
SETUPS = [pytest.param(method, kind, id=f"{kind}, {method}") for kind, methods in METHODS.items() for method in methods]


@pytest.mark.holds("RB-R23")
@pytest.mark.parametrize(("method", "kind"), SETUPS)
async def test_every_worker_sees_a_change_soon_after_its_start(method: str, kind: str, figures: Figures) -> None:
    assert await failures(method, kind, WORKERS) == 0
    figures.total("workers", WORKERS)


@pytest.mark.holds("RB-R23")
@pytest.mark.parametrize("kind", ["server", "mobile"])
async def test_every_fork_of_a_process_under_load_sees_a_change(kind: str, figures: Figures) -> None:
    assert await failures("fork under load", kind, amount("R23")) == 0
    figures.total("forks under load", amount("R23"))


async def failures(method: str, kind: str, count: int) -> int:
    """How many workers failed. The flag changes all the time."""
    async with make_server(kind) as server:
        server.set("f", 0)
        arguments = ("-m", "tests.reliability.workers", method, kind, address_of(server), str(count))
        program = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT)
        ended = asyncio.create_task(program.wait())
        for number in itertools.count(1):
            server.set("f", number)
            if (await asyncio.wait({ended}, timeout=0.1))[0]:
                break
    return ended.result()
