"""The three kinds of clients, each with its server, which runs in this event loop or in a process of its own.

``python -m tests.reliability.kinds KIND FLAGS CHANGES`` prints the address of a server of so many flags, and serves until its
standard input closes. So many times a second it changes a flag; if it does so at all, it cuts all connections every two seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from aioflags import Client, Config, Context, Events, FlagdClient, FlagdConfig, MobileClient, MobileConfig, MobileEvents
from aioflags.devserver.data.flagd_flags import constant_flagd_flag
from aioflags.testing import FlagsService

if TYPE_CHECKING:
    from aioflags.testing import FakeFlagd  # cannot be imported without grpcio, which has no build for free-threaded interpreters

KINDS: Final = ("server", "mobile", "flagd")
START_WAIT: Final = 30.0
"""In seconds. Many clients start at once."""
SECONDS_BETWEEN_CUTS: Final = 2.0
_ROOT: Final = Path(__file__).parents[2]

AnyClient: TypeAlias = Client | MobileClient | FlagdClient
AnyServer: TypeAlias = "FlagsService | FakeFlagd"


def make_client(kind: str, address: str, context: Context, *, flush_interval: float = 2, **options: Any) -> AnyClient:
    """A client that is not started. ``context`` is for the mobile one. ``flush_interval``: of events; 0 sends none."""
    if kind == "flagd":
        options = {"resolver": "in-process", "deadline": START_WAIT, **options}
        return FlagdClient(FlagdConfig(port=urlsplit(address).port, environment={}, **options))
    options = {"base_uri": address, "stream_uri": address, "events_uri": address, "start_wait": START_WAIT, **options}
    events: dict[str, Any] = {"send_events": flush_interval > 0, "flush_interval": flush_interval or 1}
    if kind == "mobile":
        return MobileClient("mob-kinds", context, MobileConfig(events=MobileEvents(**events), **options))
    return Client("sdk-kinds", Config(events=Events(**events), **options))


def value_now(client: AnyClient, key: str, context: Context, default: Any) -> Any:
    """The value of a flag, without waiting. A mobile client has its own context."""
    if isinstance(client, MobileClient):
        return client.variation(key, default)
    return client.variation_nowait(key, context, default)


def values_now(client: AnyClient, keys: Iterable[str], context: Context) -> dict[str, Any]:
    """The values of these flags at one moment, without waiting; ``None`` for a flag that does not exist."""
    found = client.all() if isinstance(client, MobileClient) else client.flags_nowait(context).all()
    return {key: found.get(key) for key in keys}


async def value_of(client: AnyClient, key: str, context: Context, default: Any = None) -> Any:
    """The value of a flag, by the call that may wait, where there is one."""
    if isinstance(client, MobileClient):
        return client.variation(key, default)
    return await client.variation(key, context, default)


def make_server(kind: str, flags: int = 0) -> AnyServer:
    """A server that is not started, with flags ``flag-0`` and so on, whose value is 0."""
    values = {f"flag-{number}": 0 for number in range(flags)}
    if kind == "flagd":
        from aioflags.testing import FakeFlagd

        return FakeFlagd(_flagd_document(values))
    return FlagsService({"flagValues": values})


def serve(server: AnyServer, values: Mapping[str, Any]) -> None:
    """Replace all flags by flags with these values, in one change set."""
    server.replace({"flagValues": values} if isinstance(server, FlagsService) else _flagd_document(values))


def _flagd_document(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"flags": {key: constant_flagd_flag(value) for key, value in values.items()}}


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
