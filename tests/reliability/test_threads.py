"""R24: threads that evaluate while flags change see whole change sets in order; tasks see their own overrides alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

from aioflags import Client, Context, FlagdClient, FlagdConfig, MobileClient
from aioflags.testing import FlagsService, MemoryClient, MemoryMobileClient, overrides
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import amount
from tests.support.scripted_clients import all_tasks

if TYPE_CHECKING:
    from aioflags.testing import FakeFlagd

THREADS: Final = 64
PAUSE: Final = 0.005
"""Between two rounds of a thread. Without it, the event loop would wait for 64 threads at each of its steps."""
TASKS: Final = 5_000
KEYS: Final = [f"flag-{number}" for number in range(20)]
ANNA: Final = Context("anna")

AnyClient: TypeAlias = Client | MobileClient | FlagdClient
Read: TypeAlias = Callable[[], Mapping[str, Any]]
"""The values of all flags at one moment."""


@pytest.fixture
def server(kind: str, request: pytest.FixtureRequest) -> FlagsService | FakeFlagd:
    """What a client of this kind talks to."""
    if kind == "flagd":
        pytest.importorskip("grpc", reason="there is no grpcio for this interpreter")
    server: FlagsService | FakeFlagd = request.getfixturevalue("fake_flagd" if kind == "flagd" else "flags_service")
    return server


@asynccontextmanager
async def served(kind: str, server: FlagsService | FakeFlagd) -> AsyncGenerator[tuple[AnyClient, Read]]:
    """A client of a server that :func:`change` changes."""
    client: Client | FlagdClient
    if not isinstance(server, FlagsService):
        client = FlagdClient(FlagdConfig(resolver="in-process", port=server.sync_port, environment={}))
    elif kind == "mobile":
        async with server.mobile_client(ANNA) as mobile:
            yield mobile, mobile.all
        return
    else:
        client = server.client()
    async with client:

        def read() -> Mapping[str, Any]:
            flags = client.flags_nowait(ANNA)
            return {key: flags.variation(key, -1) for key in KEYS}

        yield client, read


def change(server: FlagsService | FakeFlagd, version: int) -> None:
    """All flags get this value, in one change set."""
    if isinstance(server, FlagsService):
        server.replace({"flagValues": dict.fromkeys(KEYS, version)})
    else:
        flag = {"state": "ENABLED", "variants": {"only": version}, "defaultVariant": "only"}
        server.replace({"flags": dict.fromkeys(KEYS, flag)})


class Reader(threading.Thread):
    """Evaluates until it is told to stop. ``wrong`` has what must not happen."""

    def __init__(self, client: AnyClient, read: Read, stopped: threading.Event) -> None:
        super().__init__(name="reader")
        self._client, self._read, self._stopped = client, read, stopped
        self.reads = 0
        self.wrong: list[object] = []

    def run(self) -> None:
        """One evaluation of all flags, and one of each, again and again."""
        newest = 0
        try:
            while not self._stopped.wait(PAUSE) and not self.wrong:
                values = set(self._read().values())
                if len(values) != 1:
                    self.wrong.append(f"torn: {values}")
                for key in KEYS:
                    value = self._one(key)
                    if value < newest:
                        self.wrong.append(f"older: {value} after {newest}")
                    newest = value
                self.reads += 1 + len(KEYS)
        except BaseException as error:  # noqa: BLE001 -- whatever an evaluation raises
            self.wrong.append(error)

    def _one(self, key: str) -> int:
        if isinstance(self._client, MobileClient):
            return self._client.variation(key, -1)
        return self._client.variation_nowait(key, ANNA, -1)


@pytest.mark.holds("RB-R24")
@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["server", "mobile", "flagd"])
async def test_threads_read_whole_change_sets_in_order(kind: str, server: FlagsService | FakeFlagd, figures: Figures) -> None:
    change(server, 1)
    async with served(kind, server) as (client, read):
        stopped = threading.Event()
        readers = [Reader(client, read, stopped) for _ in range(THREADS)]
        for reader in readers:
            reader.start()
        end = asyncio.get_running_loop().time() + amount("R24")
        version = 1
        try:
            while asyncio.get_running_loop().time() < end:
                version += 1
                change(server, version)
                await asyncio.sleep(0.02)
            async with asyncio.timeout(60):
                while set(read().values()) != {version}:
                    await asyncio.sleep(0.02)
        finally:
            stopped.set()
            for reader in readers:
                await asyncio.to_thread(reader.join)
    assert [reader.wrong for reader in readers if reader.wrong] == []
    assert all(reader.reads for reader in readers)
    figures.total("evaluations in threads", sum(reader.reads for reader in readers))
    figures.total("change sets", version)


@pytest.mark.holds("RB-R24")
async def test_tasks_see_their_own_overrides_alone(figures: Figures) -> None:
    async with MemoryClient({"flagValues": {"f": -1}}) as client, MemoryMobileClient({"flagValues": {"f": -1}}) as mobile:

        async def read(number: int) -> None:
            mine = -1 if number % 10 == 0 else number
            with overrides({} if mine == -1 else {"f": number}):
                for _ in range(3):
                    assert client.variation_nowait("f", ANNA, -2) == mine
                    assert mobile.variation("f", -2) == mine
                    await asyncio.sleep(number % 7)
                    assert await client.variation("f", ANNA, -2) == mine
                    assert client.flags_nowait(ANNA).variation("f", -2) == mine

        async with asyncio.TaskGroup() as tasks:
            for number in range(TASKS):
                tasks.create_task(read(number))
        assert client.variation_nowait("f", ANNA, -2) == -1
    assert all_tasks() == set()
    figures.total("tasks with overrides", TASKS)
