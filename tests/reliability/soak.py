"""A soak: a client in a process of its own, beside a server that changes flags and cuts connections, for as long as you like.

``python -m tests.reliability.soak client KIND ADDRESS SECONDS`` prints a line of JSON for each :class:`Sample`;
``python -m tests.reliability.soak server KIND`` prints the address and serves until its standard input closes. The kinds are
``server``, ``mobile`` and ``flagd``. :func:`soak` runs both.
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
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Final, Protocol

import msgspec

from aioflags import Client, Config, Context, Events, FlagdClient, FlagdConfig, MobileClient, MobileConfig, MobileEvents
from aioflags.devserver import ServerState, create_app, serve
from aioflags.testing.flagd import FakeFlagd
from tests.benchmarks.footprint import own_memory

__all__ = ["KINDS", "Sample", "slope", "soak"]

KINDS: Final = ("server", "mobile", "flagd")
FLAGS: Final = 100
CHANGES_A_SECOND: Final = 20
CONTEXTS_A_SECOND: Final = 200
SECONDS_BETWEEN_CUTS: Final = 2.0
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
    command = [sys.executable, "-m", "tests.reliability.soak"]
    root = Path(__file__).parents[2]
    with Popen([*command, "server", kind], stdin=PIPE, stdout=PIPE, text=True, cwd=root) as server:
        assert server.stdin
        assert server.stdout
        try:
            address = server.stdout.readline().strip()
            ran = subprocess.run([*command, "client", kind, address, str(seconds)], stdout=PIPE, text=True, cwd=root, check=True)
        finally:
            server.stdin.close()
    return [msgspec.json.decode(line, type=Sample) for line in ran.stdout.splitlines()]


# -- the server


class _Server(Protocol):
    def drop_connections(self) -> int: ...


@asynccontextmanager
async def _serving(kind: str) -> AsyncGenerator[tuple[str, ServerState, _Server]]:
    if kind == "flagd":
        async with FakeFlagd.running({"flags": {}}) as flagd:
            for number in range(FLAGS):
                flagd.set(f"flag-{number}", 0)
            yield f"{flagd.sync_port}", flagd.state, flagd
    else:
        state = ServerState.of({"flagValues": {f"flag-{number}": 0 for number in range(FLAGS)}})
        async with serve(create_app(state)) as server:
            yield server.url, state, server


async def _run_server(kind: str) -> None:
    async with _serving(kind) as (address, state, server):
        print(address, flush=True)
        until_closed = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        documents = state.document()["flags"]
        for change in itertools.count(1):
            key = f"flag-{change % FLAGS}"
            flag = dict(documents[key])
            flag["variations" if kind != "flagd" else "variants"] = _variations(kind, change)
            state.put(key, flag)
            if change % round(CHANGES_A_SECOND * SECONDS_BETWEEN_CUTS) == 0:
                server.drop_connections()
            await asyncio.wait([until_closed], timeout=1 / CHANGES_A_SECOND)
            if until_closed.done():
                return


def _variations(kind: str, value: int) -> Any:
    return [value] if kind != "flagd" else {"value": value}


# -- the client


class _Work(Protocol):
    """One round of work: contexts that were never seen before."""

    async def __call__(self, round_number: int) -> int:
        """Returns the number of evaluations."""
        ...


@asynccontextmanager
async def _client(kind: str, address: str) -> AsyncGenerator[tuple[Any, _Work]]:
    contexts = CONTEXTS_A_SECOND // _TICKS

    def person(number: int) -> Context:
        return Context(f"person-{number}", attributes={"email": f"{number}@example.com"})

    if kind == "mobile":
        options = MobileConfig(base_uri=address, stream_uri=address, events_uri=address, events=MobileEvents(flush_interval=2))
        async with MobileClient("mob-soak", person(0), options) as mobile:

            async def as_one_person(round_number: int) -> int:
                if round_number % (_TICKS // IDENTIFIES_A_SECOND) == 0:
                    await mobile.identify(person(round_number), timeout=5)
                for number in range(contexts):
                    mobile.variation(f"flag-{number}", -1)
                mobile.track("round", {"number": round_number})
                return contexts

            yield mobile, as_one_person
        return
    client: Client | FlagdClient
    if kind == "flagd":
        client = FlagdClient(FlagdConfig(resolver="in-process", port=int(address)))
    else:
        client = Client(
            "sdk-soak", Config(base_uri=address, stream_uri=address, events_uri=address, events=Events(flush_interval=2))
        )
    async with client:

        async def as_many_people(round_number: int) -> int:
            for number in range(contexts):
                await client.variation(f"flag-{number}", person(round_number * contexts + number), -1)
            return contexts

        yield client, as_many_people


async def _run_client(kind: str, address: str, seconds: float) -> None:
    logging.disable()
    loop, evaluations, reconnects = asyncio.get_running_loop(), 0, 0
    async with AsyncExitStack() as stack:
        client, work = await stack.enter_async_context(_client(kind, address))
        began, before = loop.time(), client.status.status
        next_sample = interval = max(0.5, seconds / 720)
        for round_number in itertools.count(1):
            evaluations += await work(round_number)
            status = client.status.status
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


def main(arguments: Sequence[str]) -> None:
    """The two programs."""
    match arguments:
        case ["server", kind]:
            asyncio.run(_run_server(kind))
        case ["client", kind, address, seconds]:
            asyncio.run(_run_client(kind, address, float(seconds)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
