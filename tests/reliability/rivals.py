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
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final, TypeAlias

import aioflags
from aioflags.devserver import ServerState, create_app, serve
from aioflags.testing import FaultProxy, toxics
from tests.benchmarks.columns.base import imported
from tests.reliability.rival_clients import PATTERN_FLAG, VALUE_FLAG

Row: TypeAlias = dict[str, str]

PEERS: Final = {"AsyncLDClient": ("ldclient", "launchdarkly-server-sdk")}
FLAGD_PEERS: Final = {"FlagdProvider": ("openfeature.contrib.provider.flagd", "openfeature-provider-flagd")}
LIMIT: Final = 60.0
"""Seconds after which a client counts as stuck."""


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


async def _recovery(column: str, fault: toxics.Toxic | None, seconds: float) -> str:
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
        return f"{max(0.0, await client.until(2) - over):.2f} s"


async def _attempts(column: str, fault: toxics.Toxic, seconds: float) -> str:
    """Connections a minute while nothing but the fault answers."""
    async with _service(column) as (proxy, _, address), _client(column, "follow", address()) as client:
        await client.until(1)
        proxy.add(fault)
        proxy.drop_connections()
        before = proxy.accepted
        await asyncio.sleep(seconds)
        return f"{(proxy.accepted - before) * 60 / seconds:.0f}"


async def _bounds(column: str, fault: toxics.Toxic, what: str) -> str:
    """How long the start, limited to a second, or the close afterwards takes."""
    async with _service(column) as (proxy, _, address):
        proxy.add(fault)
        async with _client(column, "bounds", address()) as client:
            start = (await client.line())["start"]
            return f"{start if what == 'start' else await client.close():.2f} s"


async def _load(column: str, flags: int) -> str:
    """How long loading flags holds the event loop."""
    document = {"flagValues": {f"flag-{number}": f"value {number} " + "x" * 1000 for number in range(flags)}}
    async with serve(create_app(ServerState.of(document))) as server, _client(column, "load", server.url) as client:
        return f"{(await client.line())['held'] * 1000:.0f} ms"


async def _pattern(column: str) -> str:
    """How long an evaluation with a pattern of exponential time takes."""
    async with _service(column) as (_, _put, address), _client(column, "pattern", address()) as client:
        return f"{(await client.line())['evaluation'] * 1000:.2f} ms"


def _rows(columns: list[str], outage: float) -> dict[str, Callable[[str], Any]]:
    rows: dict[str, Callable[[str], Any]] = {
        "R4: newest flags after a reset": lambda column: _recovery(column, None, 0),
        "R4: after a second without a server": lambda column: _recovery(column, toxics.Refuse(), 1),
        f"R4: after an outage of {outage:g} s": lambda column: _recovery(column, toxics.Refuse(), outage),
        "R5: connections a minute, accepted and closed": lambda column: _attempts(column, toxics.LimitData(bytes=0), outage),
        "R10: start within 1 s, refused connections": lambda column: _bounds(column, toxics.Refuse(), "start"),
        "R10: start within 1 s, a silent server": lambda column: _bounds(column, toxics.BlackHole(), "start"),
        "R11: close, refused connections": lambda column: _bounds(column, toxics.Refuse(), "close"),
        "R11: close, a silent server": lambda column: _bounds(column, toxics.BlackHole(), "close"),
    }
    if "aioflags" in columns:
        rows |= {
            "R5: connections a minute, status 503": lambda column: _attempts(column, toxics.WrongStatus(status=503), outage),
            "R7: loop held by 5,000 flags of 1 kB": lambda column: _load(column, 5_000),
            "R17: evaluation of ^(a+)+$ for 25 characters": _pattern,
        }
    return rows


async def _table(columns: list[str], outage: float) -> None:
    print(f"| line | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, measure in _rows(columns, outage).items():
        cells: list[str] = []
        for column in columns:
            try:
                cells.append(await measure(column))
            except TimeoutError:
                cells.append(f"more than {LIMIT:.0f} s")
            except (ValueError, KeyError, OSError) as error:
                cells.append(f"failed: {type(error).__name__}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
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
