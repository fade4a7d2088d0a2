"""R30: 200 clients of a kind in four processes, a server that restarts, and a slow network for a fifth of the clients.

All clients get each change at once, so that the speed of the machine counts: the smoke form has half as many clients.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags.testing import FaultProxy
from aioflags.testing.toxics import Latency
from tests.reliability.fleet import FLAG
from tests.reliability.kinds import KINDS, address_of, make_server
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import FORM, Form, amount
from tests.support.slowness import slowness

PROCESSES, CLIENTS = 4, 25 if FORM is Form.SMOKE else 50
LONGEST_DELAY, LONGEST_RECOVERY, MOST_IDLE = 0.25, 5.0, 0.001
"""Seconds of 99 in 100 changes, seconds after a restart, and the share of a processor that an idle client uses."""
LONGEST_RECOVERY_OF_FLAGD = 5.5
"""As in R4: a client of a flagd opens a stream again after ``retry_backoff_max``, 5 s."""
LATENCY, JITTER = 0.06, 0.04
"""In seconds, of the slow network, in each direction."""
BETWEEN_RESTARTS = 65
"""Seconds. After a connection of less than a minute a client waits longer before it connects again."""
AWAY, IDLE, BETWEEN_CHANGES, SHORTEST_RUN = 0.5, 3.0, 0.5, 6
TRIES = 3


class FleetProcess:
    """One process of clients, and what it printed."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.printed: dict[str, Any] = {"version": 0}
        self._news = asyncio.Event()

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.printed |= json.loads(line)
            self._news.set()

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def until(self, name: str, value: int = 0) -> Any:
        """What it printed under ``name``, once that is at least ``value``."""
        while name not in self.printed or (value and self.printed[name] < value):
            self._news.clear()
            await self._news.wait()
        return self.printed[name]


class Fleet:
    """The server, a slow network before it, and the processes."""

    def __init__(self, kind: str) -> None:
        self.server = make_server(kind)
        self.version = 0
        self.processes: list[FleetProcess] = []
        self._kind = kind

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        self.change(counts=False)
        async with self.server, FaultProxy(address_of(self.server)) as slow, self._processes(slow):
            for stream in ("upstream", "downstream"):
                slow.add(Latency(latency=LATENCY, jitter=JITTER, stream=stream))
            yield

    @asynccontextmanager
    async def _processes(self, slow: FaultProxy) -> AsyncGenerator[None, None]:
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        arguments = [self._kind, address_of(self.server), slow.url, str(CLIENTS)]
        command = [sys.executable, "-m", "tests.reliability.fleet", *arguments]
        readers: list[asyncio.Task[None]] = []
        for _ in range(PROCESSES):
            process = FleetProcess(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=2**24, env=env))
            self.processes.append(process)
            readers.append(asyncio.create_task(process.read()))
        try:
            yield
        finally:
            for each in self.processes:
                if each.process.stdin is not None:
                    each.process.stdin.close()
            with anyio.move_on_after(20):
                await asyncio.gather(*readers)
            for each in self.processes:
                if each.process.returncode is None:
                    each.process.kill()
                await each.process.wait()

    def change(self, *, counts: bool) -> None:
        """Change the flag."""
        self.version += 1
        self.server.set(FLAG, {"version": self.version, "time": time.monotonic(), "counts": counts})

    async def until_converged(self, limit: float) -> float:
        """The seconds until every client has the newest version."""
        began = time.monotonic()
        async with asyncio.timeout(limit):
            for process in self.processes:
                await process.until("version", self.version)
        return time.monotonic() - began

    async def idle(self) -> float:
        """The share of a processor that an idle client uses."""
        for process in self.processes:
            process.send("idle")
        await asyncio.sleep(IDLE)
        for process in self.processes:
            process.send("done")
        shares: list[float] = [await process.until("idle") for process in self.processes]
        return max(shares)

    async def delays(self, seconds: float) -> list[float]:
        """Change the flag for so long. Returns the delay of each change to each client, sorted."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.change(counts=True)
            await asyncio.sleep(BETWEEN_CHANGES)
        await self.until_converged(LONGEST_RECOVERY)
        for process in self.processes:
            process.printed.pop("delays", None)
            process.send("delays")
        return sorted(chain.from_iterable([await process.until("delays") for process in self.processes]))

    async def restarted(self) -> float:
        """Restart the server, and change the flag meanwhile. Returns the seconds until every client has the change."""
        await self.server.stop()
        await asyncio.sleep(AWAY)
        self.change(counts=False)
        await self.server.start()
        return await self.until_converged(4 * LONGEST_RECOVERY)


@pytest.mark.holds("RB-R30")
@pytest.mark.real_time
@pytest.mark.speed
@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_fleet_follows_its_server_through_restarts(kind: str, figures: Figures) -> None:
    fleet, longest = Fleet(kind), LONGEST_DELAY * slowness()
    percentile, recoveries = f"99th percentile of delays, {kind}", list[float]()
    async with fleet.running():
        await fleet.until_converged(60)
        idle = await fleet.idle()
        ends = time.monotonic() + max(amount("R30") - IDLE, SHORTEST_RUN)

        async def delays() -> dict[str, float]:
            found = await fleet.delays(max(min(BETWEEN_RESTARTS, ends - time.monotonic()), SHORTEST_RUN))
            figures.total("changes seen", len(found))
            return {percentile: found[len(found) * 99 // 100]}

        while not recoveries or time.monotonic() < ends:
            await figures.least({percentile: longest}, delays, rounds=TRIES)
            recoveries.append(await fleet.restarted())
    figures.worst(f"after a restart, {kind}", max(recoveries), "s")
    figures.worst(f"processor time of an idle client, {kind}", 100 * idle, "%")
    assert max(recoveries) <= (LONGEST_RECOVERY_OF_FLAGD if kind == "flagd" else LONGEST_RECOVERY)
    assert idle <= MOST_IDLE
