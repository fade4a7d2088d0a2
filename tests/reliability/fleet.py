"""One process of a fleet: ``python -m tests.reliability.fleet KIND ADDRESS SLOW_ADDRESS CLIENTS`` runs clients until its standard
input closes, a fifth of them by the slow address.

Flag ``fleet`` is an object: its ``version``, the time of its change, and whether the delay of this change counts. The process
prints a line of JSON when all its clients have a version. On the line ``idle`` it begins to measure its CPU time, and on the
line ``done`` it prints that. On the line ``delays`` it prints the delays since the last such line. ``time.monotonic`` is the same
clock in all processes of a machine.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from contextlib import AsyncExitStack
from typing import Any, Final

import anyio

from aioflags import Context, Http, MobileClient
from tests.reliability.kinds import AnyClient, make_client, value_now

FLAG: Final = "fleet"
_ANN: Final = Context("ann")
_SLOW_SHARE: Final = 0.2


class _Fleet:
    def __init__(self, count: int) -> None:
        self._versions = [0] * count
        self._reported = 0
        self.delays: list[float] = []

    async def follow(self, number: int, client: AnyClient) -> None:
        following = client.changes(FLAG) if isinstance(client, MobileClient) else client.changes(FLAG, _ANN)
        async with following as changes:
            self._saw(number, value_now(client, FLAG, _ANN, {}), is_change=False)
            async for change in changes:
                self._saw(number, change.new_value, is_change=True)

    def _saw(self, number: int, value: Any, *, is_change: bool) -> None:
        if not value:
            return
        if is_change and value["counts"]:
            self.delays.append(time.monotonic() - value["time"])
        self._versions[number] = value["version"]
        if (oldest := min(self._versions)) > self._reported:
            self._reported = oldest
            _print({"version": oldest, "time": time.monotonic()})


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


async def main(kind: str, address: str, slow_address: str, count: int) -> None:
    """Run ``count`` clients of a server."""
    fleet, tls = _Fleet(count), ssl.create_default_context()
    async with AsyncExitStack() as stack, anyio.create_task_group() as following:

        async def start(number: int) -> None:
            uri = slow_address if number < count * _SLOW_SHARE else address
            client = make_client(kind, uri, _ANN, http=Http(ssl_context=tls), flush_interval=0)
            await stack.enter_async_context(client)
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
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
