"""A client of any SDK in a process of its own: ``python -m tests.reliability.rival_clients COLUMN JOB ADDRESS``.

It prints lines of JSON for :mod:`tests.reliability.rivals`, and ends when its standard input closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from functools import partial
from typing import Any, Final

from aioflags import Client, Config, Context, Events
from tests.benchmarks.columns.base import imported
from tests.benchmarks.timing import LoopWatch

VALUE_FLAG: Final = "value"
PATTERN_FLAG: Final = "pattern"
SUBJECT: Final = "a" * 24 + "!"
"""A text for which ``^(a+)+$`` takes ``re`` about a second."""


class _Aioflags:
    """``Client`` with its default data system."""

    def __init__(self, address: str) -> None:
        uris: dict[str, Any] = {"base_uri": address, "stream_uri": address, "events_uri": address}
        self.client: Any = Client("sdk-rival", Config(**uris, events=Events(send_events=False)))
        self.context: Any = Context("ann", attributes={"text": SUBJECT})

    async def start(self, wait: float) -> None:
        await self.client.start(wait)

    async def value(self, key: str) -> object:
        return await self.client.variation(key, self.context, 0)

    async def close(self) -> None:
        await self.client.aclose()


class _AsyncLDClient(_Aioflags):
    """``AsyncLDClient`` with its default data system, FDv1 by stream."""

    def __init__(self, address: str) -> None:
        uris = {"base_uri": address, "stream_uri": address, "events_uri": address}
        make = imported("ldclient.async_config").AsyncConfig
        self.config = make("sdk-rival", **uris, send_events=False, diagnostic_opt_out=True)
        self.make = imported("ldclient.async_client").AsyncLDClient  # here, because programs import it before their loop runs
        self.context = imported("ldclient").Context.builder("ann").set("text", SUBJECT).build()

    async def start(self, wait: float) -> None:
        self.client = self.make(self.config)  # it has to be made on the running loop
        await self.client.start(wait)

    async def close(self) -> None:
        await self.client.close()


class _FlagdClient(_Aioflags):
    """``FlagdClient`` in process."""

    def __init__(self, address: str) -> None:
        package = imported("aioflags")  # its client for flagd needs grpc
        self.client = package.FlagdClient(package.FlagdConfig(resolver="in-process", port=int(address), environment={}))
        self.context = Context("ann")


class _FlagdProvider(_Aioflags):
    """flagd's own provider in process, without OpenFeature's SDK. Its calls block, so it starts and stops in a thread."""

    def __init__(self, address: str) -> None:
        flagd = imported("openfeature.contrib.provider.flagd")
        kind = imported("openfeature.contrib.provider.flagd.config").ResolverType.IN_PROCESS
        self.make: Any = partial(flagd.FlagdProvider, resolver_type=kind, host="localhost", port=int(address))
        self.context = imported("openfeature.evaluation_context").EvaluationContext("ann")

    async def start(self, wait: float) -> None:
        self.client = self.make(deadline_ms=round(wait * 1000))
        await asyncio.to_thread(self.client.initialize, self.context)

    async def value(self, key: str) -> object:
        return self.client.resolve_integer_details(key, 0, self.context).value

    async def close(self) -> None:
        await asyncio.to_thread(self.client.shutdown)


COLUMNS: Final[dict[str, type[_Aioflags]]] = {
    "aioflags": _Aioflags,
    "AsyncLDClient": _AsyncLDClient,
    "FlagdClient": _FlagdClient,
    "FlagdProvider": _FlagdProvider,
}


def _print(**line: object) -> None:
    print(json.dumps(line), flush=True)


async def _timed(call: Any) -> float:
    """How long a call takes, whether it succeeds or raises."""
    began = time.perf_counter()
    with contextlib.suppress(Exception):  # a start that failed may raise: its time counts
        await call
    return time.perf_counter() - began


async def main(column: str, job: str, address: str) -> None:
    """Run one job: ``bounds``, ``follow``, ``load`` or ``pattern``."""
    logging.disable()
    subject = COLUMNS[column](address)
    async with LoopWatch() as watch:
        started = await _timed(subject.start(1 if job == "bounds" else 10))
    if job == "pattern":
        await subject.value(PATTERN_FLAG)
        _print(evaluation=await _timed(subject.value(PATTERN_FLAG)))
    else:
        _print(start=started, held=watch.longest)
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    last: object = None
    while job == "follow" and not ended.done():
        with contextlib.suppress(Exception):
            if (value := await subject.value(VALUE_FLAG)) != last:
                last = value
                _print(value=value, at=time.monotonic())
        await asyncio.sleep(0.005)
    await ended
    _print(close=await _timed(subject.close()))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
