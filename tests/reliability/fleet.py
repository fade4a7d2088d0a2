"""One process of a fleet: ``python -m tests.reliability.fleet URL CLIENTS`` runs clients until its standard input closes.

Flag ``fleet`` is an object: its ``version``, the time of its change, and whether the delay of this change counts. The process
prints a line of JSON when all its clients have a version. On the line ``idle`` it begins to measure its CPU time, and on the
line ``done`` it prints that. On the line ``delays`` it prints the delays since the last such line. ``time.monotonic`` is the same
clock in all processes of a machine.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import anyio
import httpx

from aioflags import Client, Config, Context, Events
from aioflags.transport.settings import Http

__all__ = ["FLAG"]

FLAG: Final = "fleet"
_ANN: Final = Context("ann")
_SLOW_SHARE: Final = 0.2
_LATENCY: Final = (0.02, 0.1)


class _SlowTransport(httpx.AsyncHTTPTransport):
    """A network on which each request and each part of a response takes up to a tenth of a second."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(random.uniform(*_LATENCY))
        response = await super().handle_async_request(request)
        response.stream = _SlowStream(response.stream)
        return response


class _SlowStream(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            await asyncio.sleep(random.uniform(*_LATENCY))
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def _slow_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=_SlowTransport(verify=False), timeout=httpx.Timeout(10, read=300), trust_env=False)


class _Fleet:
    def __init__(self, count: int) -> None:
        self._versions = [0] * count
        self._reported = 0
        self.delays: list[float] = []

    async def follow(self, number: int, client: Client) -> None:
        async with client.changes(FLAG, _ANN) as changes:
            self._saw(number, client.variation_nowait(FLAG, _ANN, None), is_change=False)
            async for change in changes:
                self._saw(number, change.new_value, is_change=True)

    def _saw(self, number: int, value: Any, *, is_change: bool) -> None:
        if value is None:
            return
        if is_change and value["counts"]:
            self.delays.append(time.monotonic() - value["time"])
        self._versions[number] = value["version"]
        if (oldest := min(self._versions)) > self._reported:
            self._reported = oldest
            _print({"version": oldest, "time": time.monotonic()})


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


async def main(url: str, count: int) -> None:
    """Run ``count`` clients of the server at ``url``."""
    fleet, tls = _Fleet(count), ssl.create_default_context()
    async with AsyncExitStack() as stack, anyio.create_task_group() as following:

        async def start(number: int) -> None:
            http = Http(client_factory=_slow_client) if number < count * _SLOW_SHARE else Http(ssl_context=tls)
            config = Config(base_uri=url, stream_uri=url, events_uri=url, events=Events(send_events=False), http=http)
            client = await stack.enter_async_context(Client("sdk-fleet", config))
            following.start_soon(fleet.follow, number, client)

        await asyncio.gather(*map(start, range(count)))
        lines = anyio.wrap_file(sys.stdin)
        began, used = time.monotonic(), time.process_time()
        while line := (await lines.readline()).strip():
            if line == "idle":
                began, used = time.monotonic(), time.process_time()
            elif line == "done":
                _print({"idle": (time.process_time() - used) / (time.monotonic() - began) / count})
            else:
                _print({"delays": fleet.delays})
                fleet.delays = []
        following.cancel_scope.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
