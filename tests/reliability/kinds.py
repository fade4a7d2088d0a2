"""The three kinds of clients, each with its server, which runs in this event loop or in a process of its own.

``python -m tests.reliability.kinds KIND FLAGS CHANGES`` prints the address of a server of so many flags, and serves until its
standard input closes. So many times a second it changes a flag; if it does so at all, it cuts all connections every two seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from aioflags import Client, Config, Context, Events, FlagdClient, FlagdConfig, Http, MobileClient, MobileConfig, MobileEvents
from aioflags.devserver.data.flagd_flags import constant_flagd_flag
from aioflags.testing import FakeFlagd, FlagsService

__all__ = ["KINDS", "AnyClient", "AnyServer", "address_of", "make_client", "make_server", "running_server", "value_now"]

KINDS: Final = ("server", "mobile", "flagd")
START_WAIT: Final = 30.0
"""In seconds. Many clients start at once."""
SECONDS_BETWEEN_CUTS: Final = 2.0
_ROOT: Final = Path(__file__).parents[2]

AnyClient: TypeAlias = Client | MobileClient | FlagdClient
AnyServer: TypeAlias = FlagsService | FakeFlagd


def make_client(kind: str, address: str, context: Context, *, http: Http | None = None, flush_interval: float = 2) -> AnyClient:
    """A client that is not started. ``context`` is for the mobile one. ``flush_interval``: of events; 0 sends none."""
    if kind == "flagd":
        port = urlsplit(address).port
        return FlagdClient(FlagdConfig(resolver="in-process", port=port, deadline=START_WAIT, environment={}))
    options: dict[str, Any] = {
        "base_uri": address,
        "stream_uri": address,
        "events_uri": address,
        "http": http or Http(),
        "start_wait": START_WAIT,
    }
    events: dict[str, Any] = {"send_events": flush_interval > 0, "flush_interval": flush_interval or 1}
    if kind == "mobile":
        return MobileClient("mob-kinds", context, MobileConfig(events=MobileEvents(**events), **options))
    return Client("sdk-kinds", Config(events=Events(**events), **options))


def value_now(client: AnyClient, key: str, context: Context, default: Any) -> Any:
    """The value of a flag, without waiting. A mobile client has its own context."""
    if isinstance(client, MobileClient):
        return client.variation(key, default)
    return client.variation_nowait(key, context, default)


def make_server(kind: str, flags: int = 0) -> AnyServer:
    """A server that is not started, with flags ``flag-0`` and so on, whose value is 0."""
    keys = [f"flag-{number}" for number in range(flags)]
    if kind == "flagd":
        return FakeFlagd({"flags": {key: constant_flagd_flag(0) for key in keys}})
    return FlagsService({"flagValues": dict.fromkeys(keys, 0)})


def address_of(server: AnyServer) -> str:
    """Its URL, for all kinds of clients."""
    return server.url if isinstance(server, FlagsService) else f"http://{server.host}:{server.sync_port}"


@contextmanager
def running_server(kind: str, flags: int, changes_a_second: int = 0) -> Generator[str]:
    """The address of a server in a process of its own, until the block ends."""
    command = [sys.executable, "-m", "tests.reliability.kinds", kind, str(flags), str(changes_a_second)]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True, cwd=_ROOT) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


async def main(kind: str, flags: int, changes_a_second: int) -> None:
    """Serve until standard input closes."""
    async with make_server(kind, flags) as server:
        print(address_of(server), flush=True)
        until_closed = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        for change in itertools.count(1):
            await asyncio.wait([until_closed], timeout=1 / changes_a_second if changes_a_second else None)
            if until_closed.done():
                return
            server.set(f"flag-{change % flags}", change)
            if change % round(changes_a_second * SECONDS_BETWEEN_CUTS) == 0:
                server.drop_connections()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
