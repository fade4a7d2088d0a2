"""A soak: a client in a process of its own, beside a server that changes flags and cuts connections, for as long as you like.

``python -m tests.reliability.soak KIND ADDRESS SECONDS`` runs a client of a kind and prints a line of JSON for each
:class:`Sample`. :func:`soak` runs the server, too.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final

import msgspec

from aioflags import Context, MobileClient
from tests.benchmarks.footprint import own_memory
from tests.reliability.kinds import AnyClient, make_client, running_server

FLAGS: Final = 100
CHANGES_A_SECOND: Final = 20
CONTEXTS_A_SECOND: Final = 200
IDENTIFIES_A_SECOND: Final = 2
_TICKS: Final = 20
"""How often a second the client works."""


class Sample(msgspec.Struct, frozen=True):
    """What a process holds at one moment. ``at`` is in seconds since the start, ``memory`` bytes of its own.

    Pages of files do not count: the system takes and returns them as it likes.
    """

    at: float
    memory: int
    blocks: int
    descriptors: int
    tasks: int
    timers: int
    threads: int
    evaluations: int
    reconnects: int


def slope(samples: Iterable[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs: single steps of the allocator do not move it."""
    pairs = itertools.combinations(samples, 2)
    return statistics.median([(later - earlier) / (end - begin) for (begin, earlier), (end, later) in pairs])


def soak(kind: str, seconds: float) -> list[Sample]:
    """Runs a server and a client of that kind in two processes."""
    with running_server(kind, FLAGS, CHANGES_A_SECOND) as address:
        command = [sys.executable, "-m", "tests.reliability.soak", kind, address, str(seconds)]
        ran = subprocess.run(command, stdout=PIPE, text=True, cwd=Path(__file__).parents[2], check=True)
    return [msgspec.json.decode(line, type=Sample) for line in ran.stdout.splitlines()]


def _person(number: int) -> Context:
    return Context(f"person-{number}", attributes={"email": f"{number}@example.com"})


async def _work(client: AnyClient, round_number: int) -> int:
    """One round of work, with contexts that were never seen before. Returns the number of evaluations."""
    contexts = CONTEXTS_A_SECOND // _TICKS
    if isinstance(client, MobileClient):
        if round_number % (_TICKS // IDENTIFIES_A_SECOND) == 0:
            await client.identify(_person(round_number), timeout=5)
        for number in range(contexts):
            client.variation(f"flag-{number}", -1)
        client.track("round", {"number": round_number})
    else:
        for number in range(contexts):
            await client.variation(f"flag-{number}", _person(round_number * contexts + number), -1)
    return contexts


async def _run_client(kind: str, address: str, seconds: float) -> None:
    logging.disable()
    loop, evaluations, reconnects = asyncio.get_running_loop(), 0, 0
    async with make_client(kind, address, _person(0)) as client:
        began, before = loop.time(), client.status
        next_sample = interval = max(0.5, seconds / 720)
        for round_number in itertools.count(1):
            evaluations += await _work(client, round_number)
            status = client.status
            reconnects += status is not before and status.value == "READY"
            before, now = status, loop.time() - began
            if now >= next_sample:
                next_sample += interval
                gc.collect()
                print(msgspec.json.encode(_sample(now, evaluations, reconnects)).decode(), flush=True)
            if now >= seconds:
                return
            await asyncio.sleep(max(0.0, began + round_number / _TICKS - loop.time()))


def _sample(at: float, evaluations: int, reconnects: int) -> Sample:
    loop: Any = asyncio.get_running_loop()
    return Sample(
        at=round(at, 2),
        memory=own_memory(),
        blocks=sys.getallocatedblocks(),
        descriptors=sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1,
        tasks=len(asyncio.all_tasks()),
        timers=sum(not handle.cancelled() for handle in loop._scheduled),  # asyncio shows its timers nowhere else
        threads=threading.active_count(),
        evaluations=evaluations,
        reconnects=reconnects,
    )


if __name__ == "__main__":
    asyncio.run(_run_client(sys.argv[1], sys.argv[2], float(sys.argv[3])))
