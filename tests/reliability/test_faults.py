"""R2: clients behind a proxy that breaks their connections, one seeded fault after another, on real sockets.

A reader of each client checks all that it reads against the history of the server. After the last fault every client must get the
newest values in the time that the recovery may take.
"""

from __future__ import annotations

import asyncio
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any, ClassVar, Final

import anyio
import pytest

from aioflags import Context, DataSystem, Events, FlagdClient, FlagdConfig
from aioflags.events.options import MobileEvents
from aioflags.testing import FakeFlagd, FaultProxy, FlagsService, Schedule, ScheduledFault, toxics
from tests.reliability.history import History, Reads
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import amount, batches, seeds
from tests.support.fast_time import FastTimeLoop

pytestmark = pytest.mark.real_time

ANN: Final = Context("ann")
KEYS: Final = tuple("abcdefgh")
CLIENTS: Final = 3
"""Clients behind one proxy."""
LONGEST_RECOVERY: Final = 60.0
"""Seconds: 25 s for headers that never arrive, a pause of 30 s, and some for the attempt itself on a busy machine."""
LONGEST_SILENCE: Final = 310.0
"""Seconds: only its read timeout, of 300 s, tells a client that an open stream is half open. The pause after it is short."""
STATUSES: Final = (206, 400, 408, 429, *range(500, 512), 520, 599)
"""Statuses after which a client tries again at once. The others stop it for minutes: see :data:`REFUSALS`."""
REFUSALS: Final = tuple(status for status in range(401, 432) if status not in STATUSES)
"""Statuses after which a client waits for 5 minutes, and longer each time."""
LONGEST_REFUSAL: Final = 700.0
"""Seconds: two pauses, since a request may be refused once more after the first."""


class World(ABC):
    """A server, a proxy in front of it, and clients of one kind behind that."""

    kinds: ClassVar[tuple[type[toxics.Toxic], ...]] = (*toxics.TCP, *toxics.HTTP)
    is_atomic: ClassVar[bool] = True
    speed: ClassVar[float] = 10
    longest: ClassVar[tuple[float, float, float]] = (2, 15, 2)
    """Seconds that most faults may last, one in ten faults, and the pauses."""

    def __init__(self) -> None:
        self.history: History = History()

    def commit(self, chance: Random) -> None:
        """Serve new values of some flags. Each value is used once."""
        number = self.history.version + 1
        keys = chance.sample(KEYS, chance.randint(1, len(KEYS))) if number > 1 else KEYS
        changes = {key: f"{key}{number}" for key in keys}
        self.history.commit(changes)
        self._serve(changes)

    @asynccontextmanager
    async def running(self, seed: int) -> AsyncGenerator[tuple[FaultProxy, list[Any]], None]:
        """The proxy and the clients."""
        async with AsyncExitStack() as stack:
            upstream = await self._start_server(stack)
            self.commit(Random(seed))
            proxy = await stack.enter_async_context(FaultProxy(upstream, seed=seed))
            clients = [self._client(proxy) for _ in range(CLIENTS)]
            for client in clients:
                await stack.enter_async_context(client)
            yield proxy, clients

    async def values(self, client: Any) -> dict[str, object]:
        """The values of a client; without those that it does not have."""
        found = client.flags_nowait(ANN).all()
        return {key: found.get(key) for key in KEYS}

    @abstractmethod
    async def _start_server(self, stack: AsyncExitStack) -> str: ...

    @abstractmethod
    def _serve(self, changes: dict[str, str]) -> None: ...

    @abstractmethod
    def _client(self, proxy: FaultProxy) -> Any: ...


class _Service(World):
    system: ClassVar[DataSystem] = DataSystem.default()

    async def _start_server(self, stack: AsyncExitStack) -> str:
        self.service = await stack.enter_async_context(FlagsService())
        return self.service.url

    def _serve(self, changes: dict[str, str]) -> None:
        self.service.replace({"flagValues": self.history.newest})

    def _client(self, proxy: FaultProxy) -> Any:
        events = Events(send_events=False, diagnostic_opt_out=True)
        return self.service.client(url=proxy.url, data_system=self.system, events=events)


class Fdv2(_Service):
    """The default data system, which falls back from streams to polls."""


class Fdv1(_Service):
    is_atomic = False  # a patch has one flag
    system = DataSystem.fdv1()


class Mobile(_Service):
    def _client(self, proxy: FaultProxy) -> Any:
        return self.service.mobile_client(ANN, url=proxy.url, events=MobileEvents(send_events=False, diagnostic_opt_out=True))

    async def values(self, client: Any) -> dict[str, object]:
        found = client.all()
        return {key: found.get(key) for key in KEYS}


class Flagd(World):
    """In-process mode."""

    kinds = toxics.TCP
    speed = 1  # gRPC has a clock of its own
    longest = (1, 4, 0.5)

    async def _start_server(self, stack: AsyncExitStack) -> str:
        self.flagd = await stack.enter_async_context(FakeFlagd())
        return f"127.0.0.1:{self.flagd.sync_port}"

    def _serve(self, changes: dict[str, str]) -> None:
        flags = {
            key: {"state": "ENABLED", "variants": {"on": value}, "defaultVariant": "on"}
            for key, value in self.history.newest.items()
        }
        self.flagd.replace({"flags": flags})

    def _client(self, proxy: FaultProxy) -> Any:
        return FlagdClient(self._config(proxy))

    def _config(self, proxy: FaultProxy) -> FlagdConfig:
        return FlagdConfig(resolver="in-process", host=proxy.host, port=proxy.port, keep_alive_time=1)


class FlagdRpc(Flagd):
    """The server evaluates."""

    is_atomic = False

    async def _start_server(self, stack: AsyncExitStack) -> str:
        await super()._start_server(stack)
        return f"127.0.0.1:{self.flagd.port}"

    def _config(self, proxy: FaultProxy) -> FlagdConfig:
        return FlagdConfig(resolver="rpc", host=proxy.host, port=proxy.port, keep_alive_time=1)

    async def values(self, client: Any) -> dict[str, object]:
        details = {key: await client.variation_detail(key, ANN, None) for key in KEYS}
        return {key: detail.value for key, detail in details.items() if detail.reason.kind != "ERROR"}


WORLDS: Final[tuple[type[World], ...]] = (Fdv2, Fdv1, Mobile, Flagd, FlagdRpc)
PARTS: Final = [*batches("R2", len(WORLDS)), *[range(0)] * len(WORLDS)][: len(WORLDS)]
"""The seeds of each kind of client."""


@pytest.mark.holds("RB-R2")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("world", WORLDS)
def test_clients_survive_faults(world: type[World], figures: Figures) -> None:
    part = PARTS[WORLDS.index(world)]
    if not part:
        pytest.skip("no faults for this kind of client")
    log: list[ScheduledFault] = []
    tried = world()
    try:
        with asyncio.Runner(loop_factory=lambda: FastTimeLoop(world.speed)) as runner:
            slowest = runner.run(campaign(tried, part, log))
    except BaseException as error:
        every = seeds("R2")
        error.add_note("\n".join(map(str, log[-10:])))
        command = f"AIOFLAGS_SEED={every.start} AIOFLAGS_SEEDS={len(every)} pytest tests/reliability/test_faults.py"
        error.add_note(f"replay: {command} -k {world.__name__}")
        raise
    figures.total("faults", len(part))
    figures.total("reads", tried.history.reads)
    figures.worst("slowest recovery after the last fault", slowest, "s")


@pytest.mark.holds("RB-R2")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("status", REFUSALS[:: max(1, len(REFUSALS) * 40 // amount("R2"))])
@pytest.mark.parametrize("world", [Fdv2, Fdv1])  # a mobile client makes no further attempt until its next identify
def test_clients_recover_from_a_refusal(world: type[World], status: int, figures: Figures) -> None:
    with asyncio.Runner(loop_factory=lambda: FastTimeLoop(10 * world.speed)) as runner:
        runner.run(refusal(world(), status))
    figures.total("faults", 1)


async def refusal(world: World, status: int) -> None:
    """Every request is refused until all clients were; then they get the newest values."""
    async with world.running(status) as (proxy, clients):
        begun = [(client, Reads(world.history)) for client in clients]
        await until_converged(world, begun, LONGEST_REFUSAL)
        proxy.add(toxics.WrongStatus(status=status))
        with anyio.fail_after(LONGEST_REFUSAL):  # time is so fast here that a busy machine takes most of it
            for client in clients:
                while (error := client.report.last_error) is None or error.status_code != status:
                    await anyio.sleep(1)
        world.commit(Random(status))
        proxy.clear()
        await until_converged(world, begun, LONGEST_REFUSAL)


async def campaign(world: World, part: range, log: list[ScheduledFault]) -> float:
    """Injects one fault for each seed. Returns how long the slowest client needed after the last one."""
    chance = Random(part.start)
    async with world.running(part.start) as (proxy, clients):
        reads = [Reads(world.history, f"client {number}", is_atomic=world.is_atomic) for number in range(CLIENTS)]
        begun = list(zip(clients, reads, strict=True))
        await until_converged(world, begun)
        tasks = [asyncio.create_task(read_on(world, client, read)) for client, read in begun]
        tasks.append(asyncio.create_task(change_on(world, chance)))
        for fault in faults(world, part):
            log.append(fault)
            proxy.add(fault.toxic)
            await anyio.sleep(fault.lasts)
            proxy.remove(fault.toxic)
            await anyio.sleep(fault.pause)
            world.history.check()
        proxy.clear()
        tasks[-1].cancel()
        is_silent = any(isinstance(fault.toxic, toxics.HalfOpen) for fault in log)
        slowest = await until_converged(world, begun, LONGEST_SILENCE if is_silent else LONGEST_RECOVERY)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert [task.exception() for task in tasks if not task.cancelled()] == []
    world.history.check()
    return slowest


def faults(world: World, part: range) -> Iterator[ScheduledFault]:
    """A fault for each seed. One in ten lasts long enough for the time limits of clients."""
    for seed in part:
        most, some, pause = world.longest
        fault = next(iter(Schedule(seed, world.kinds, lasts=(0.02, some if seed % 10 == 0 else most), pause=(0, pause))))
        if isinstance(fault.toxic, toxics.WrongStatus):
            fault = dataclasses.replace(fault, toxic=toxics.WrongStatus(status=STATUSES[seed % len(STATUSES)]))
        yield fault


async def read_on(world: World, client: Any, reads: Reads) -> None:
    """Read until cancelled."""
    while True:
        begun = reads.begin()
        reads.see(await world.values(client), begun)
        await anyio.sleep(0.05)


async def change_on(world: World, chance: Random) -> None:
    """Change flags until cancelled."""
    while True:
        world.commit(chance)
        await anyio.sleep(chance.choice((0, 0.01, 0.3, 1)))


async def until_converged(world: World, clients: list[tuple[Any, Reads]], limit: float = LONGEST_RECOVERY) -> float:
    """Wait until all clients have the newest values. Returns the seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for client, reads in clients:
        while not reads.converged(await world.values(client)):
            waited = loop.time() - began
            assert waited <= limit, f"{waited:.1f} s after the last fault: {client.report}"
            await anyio.sleep(0.02)
    return loop.time() - began
