"""R23: worker processes of every start method have a client that works, made before or after the fork."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

import pytest

from aioflags.testing import FakeFlagd, FlagsService
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
async def test_every_worker_sees_a_change_soon_after_its_start(
    method: str, kind: str, flags_service: FlagsService, fake_flagd: FakeFlagd, figures: Figures
) -> None:
    server, address = (fake_flagd, str(fake_flagd.sync_port)) if kind == "flagd" else (flags_service, flags_service.url)
    assert await failures(method, kind, address, WORKERS, server) == 0
    figures.total("workers", WORKERS)


@pytest.mark.holds("RB-R23")
@pytest.mark.parametrize("kind", ["server", "mobile"])
async def test_every_fork_of_a_process_under_load_sees_a_change(kind: str, flags_service: FlagsService, figures: Figures) -> None:
    assert await failures("fork under load", kind, flags_service.url, amount("R23"), flags_service) == 0
    figures.total("forks under load", amount("R23"))


async def failures(method: str, kind: str, address: str, count: int, server: FlagsService | FakeFlagd) -> int:
    """How many workers failed. The flag changes all the time."""
    server.set("f", 0)
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.reliability.workers", method, kind, address, str(count), cwd=ROOT
    )
    ended = asyncio.create_task(program.wait())
    for number in itertools.count(1):
        server.set("f", number)
        if (await asyncio.wait({ended}, timeout=0.1))[0]:
            break
    return ended.result()
