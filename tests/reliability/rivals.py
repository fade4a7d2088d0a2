"""``python -m tests.reliability.rivals [OUTAGE]``: lines of the scoreboard for other SDKs, beside aioflags, as a table in Markdown.

AsyncLDClient and flagd's own provider are measured if they are installed. All faults are real ones, between two processes, made by
:class:`aioflags.testing.FaultProxy`. ``OUTAGE``: the length of the outages in which attempts are counted, 20 s by default.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import platform
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import aioflags
from aioflags.devserver import ServerState, create_app, serve
from aioflags.testing import FaultProxy, toxics
from tests.benchmarks.columns.base import imported
from tests.reliability.rival_clients import PATTERN_FLAG, VALUE_FLAG

PEERS: Final = {"AsyncLDClient": ("ldclient", "launchdarkly-server-sdk")}
FLAGD_PEERS: Final = {"FlagdProvider": ("openfeature.contrib.provider.flagd", "openfeature-provider-flagd")}
LIMIT: Final = 60.0
"""Seconds after which a client counts as stuck."""
REPEATS: Final = 5
"""How often, at the same time, what depends on the next attempt of a client is measured: when that comes is chance."""


class _Child:
    """A client in its process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def line(self, limit: float = LIMIT) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(limit):
            text = await self._process.stdout.readline()
        parsed: dict[str, Any] = json.loads(text)
        return parsed

    async def until(self, value: int) -> float:
        """The time at which the client had the value."""
        async with asyncio.timeout(LIMIT):
            while (line := await self.line()).get("value") != value:
                pass
        return float(line["at"])

    async def close(self) -> float:
        """How long the close takes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(LIMIT):
            while "close" not in (line := await self.line()):
                pass
        return float(line["close"])


@asynccontextmanager
async def _client(column: str, job: str, address: str) -> AsyncGenerator[_Child]:
    command = [sys.executable, "-m", "tests.reliability.rival_clients", column, job, address]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        yield _Child(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def _service(column: str) -> AsyncGenerator[tuple[FaultProxy, Callable[[int], None], Callable[[], str]]]:
    """A proxy in front of a service, what sets the value of the flag, and the address for clients."""
    if column in {"FlagdClient", "FlagdProvider"}:
        fake: Any = imported("aioflags.testing").FakeFlagd  # needs grpc
        async with fake.running({"flags": {}}) as flagd, FaultProxy(f"127.0.0.1:{flagd.sync_port}") as proxy:
            flagd.set(VALUE_FLAG, 1)
            yield proxy, lambda value: flagd.set(VALUE_FLAG, value), lambda: str(proxy.port)
        return
    clause = {"attribute": "text", "op": "matches", "values": ["^(a+)+$"]}
    pattern = {"on": True, "variations": [0, 1], "fallthrough": {"variation": 0}, "offVariation": 0}
    pattern |= {"key": PATTERN_FLAG, "version": 1, "salt": "", "rules": [{"id": "r", "variation": 1, "clauses": [clause]}]}
    state = ServerState.of({"flags": {PATTERN_FLAG: pattern}, "flagValues": {VALUE_FLAG: 1}})

    def put(value: int) -> None:
        state.put(VALUE_FLAG, {**state.document()["flags"][VALUE_FLAG], "variations": [value]})

    async with serve(create_app(state)) as server, FaultProxy(server.url) as proxy:
        yield proxy, put, lambda: proxy.url


# -- rows


@dataclass(frozen=True)
class _Row:
    """``measure`` takes a column and returns a number. ``repeats``: how often, at the same time, because chance decides."""

    name: str
    measure: Callable[[str], Coroutine[None, None, float]]
    unit: str = "s"
    repeats: int = 1

    async def cell(self, column: str) -> str:
        """The median, and with repeats the lowest and the highest."""
        try:
            found = sorted(await asyncio.gather(*(self.measure(column) for _ in range(self.repeats))))
        except TimeoutError:
            return f"more than {LIMIT:.0f} s"
        except (ValueError, KeyError, OSError) as error:
            return f"failed: {type(error).__name__}"
        digits = 0 if self.unit in {"", "ms"} and found[0] >= 1 else 2
        median = f"{statistics.median(found):.{digits}f} {self.unit}".rstrip()
        return f"{median} ({found[0]:.{digits}f} to {found[-1]:.{digits}f})" if self.repeats > 1 else median


async def _recovery(column: str, fault: toxics.Toxic | None, seconds: float) -> float:
    """Seconds from the end of a fault to a value that was set during it."""
    async with _service(column) as (proxy, put, address), _client(column, "follow", address()) as client:
        await client.until(1)
        if fault is not None:
            proxy.add(fault)
        proxy.drop_connections()
        put(2)
        await asyncio.sleep(seconds)
        proxy.clear()
        over = time.monotonic()
        return max(0.0, await client.until(2) - over)


async def _attempts(column: str, fault: toxics.Toxic, seconds: float) -> float:
    """Connections a minute while nothing but the fault answers."""
    async with _service(column) as (proxy, _, address), _client(column, "follow", address()) as client:
        await client.until(1)
        proxy.add(fault)
        proxy.drop_connections()
        before = proxy.accepted
        await asyncio.sleep(seconds)
        return (proxy.accepted - before) * 60 / seconds


async def _bounds(column: str, fault: toxics.Toxic, what: str) -> float:
    """How many seconds the start, limited to one, or the close afterwards takes."""
    async with _service(column) as (proxy, _, address):
        proxy.add(fault)
        async with _client(column, "bounds", address()) as client:
            start = float((await client.line())["start"])
            return start if what == "start" else await client.close()


async def _load(column: str, flags: int) -> float:
    """How many milliseconds loading flags holds the event loop."""
    document = {"flagValues": {f"flag-{number}": f"value {number} " + "x" * 1000 for number in range(flags)}}
    async with serve(create_app(ServerState.of(document))) as server, _client(column, "load", server.url) as client:
        return float((await client.line())["held"]) * 1000


async def _pattern(column: str) -> float:
    """How many milliseconds an evaluation with a pattern of exponential time takes."""
    async with _service(column) as (_, _put, address), _client(column, "pattern", address()) as client:
        return float((await client.line())["evaluation"]) * 1000


def _rows(columns: list[str], outage: float) -> list[_Row]:
    refused, silent, closed = toxics.Refuse(), toxics.BlackHole(), toxics.LimitData(bytes=0)
    rows = [
        _Row("R4: newest flags after a reset", partial(_recovery, fault=None, seconds=0), repeats=REPEATS),
        _Row("R4: after a second without a server", partial(_recovery, fault=refused, seconds=1), repeats=REPEATS),
        _Row(f"R4: after an outage of {outage:g} s", partial(_recovery, fault=refused, seconds=outage), repeats=REPEATS),
        _Row("R5: connections a minute, accepted and closed", partial(_attempts, fault=closed, seconds=outage), "", REPEATS),
        _Row("R10: start within 1 s, refused connections", partial(_bounds, fault=refused, what="start")),
        _Row("R10: start within 1 s, a silent server", partial(_bounds, fault=silent, what="start")),
        _Row("R11: close, refused connections", partial(_bounds, fault=refused, what="close")),
        _Row("R11: close, a silent server", partial(_bounds, fault=silent, what="close")),
    ]
    if "aioflags" in columns:
        unavailable = toxics.WrongStatus(status=503)
        rows += [
            _Row("R5: connections a minute, status 503", partial(_attempts, fault=unavailable, seconds=outage), "", REPEATS),
            _Row("R7: loop held by 5,000 flags of 1 kB", partial(_load, flags=5_000), "ms"),
            _Row("R17: evaluation of ^(a+)+$ for 25 characters", _pattern, "ms"),
        ]
    return rows


async def _table(columns: list[str], outage: float) -> None:
    print(f"| line | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for row in _rows(columns, outage):
        print(f"| {row.name} | {' | '.join([await row.cell(column) for column in columns])} |", flush=True)
    print(flush=True)


def _installed(peers: dict[str, tuple[str, str]]) -> dict[str, str]:
    """The peers that can be imported, with name and version of their package."""
    found: dict[str, str] = {}
    for column, (module, package) in peers.items():
        with contextlib.suppress(ModuleNotFoundError):
            if importlib.util.find_spec(module) is not None:
                found[column] = f"{package} {version(package)}"
    return found


async def main(outage: float) -> None:
    """Print both tables."""
    service, flagd = _installed(PEERS), _installed(FLAGD_PEERS)
    versions = [f"aioflags {aioflags.__version__}", *service.values(), *flagd.values(), f"CPython {platform.python_version()}"]
    print(f"{datetime.now(UTC):%Y-%m-%d}, {', '.join(versions)}\n")
    await _table(["aioflags", *service], outage)
    if importlib.util.find_spec("grpc") is not None:
        await _table(["FlagdClient", *flagd], outage)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0))
