"""R2: clients behind a proxy that breaks their connections, one seeded fault after another, on real sockets.

A reader of each client checks all that it reads against the history of the server. After the last fault every client must get the
newest values in the time that the recovery may take.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import anyio
import pytest

from aioflags import Context, DataSystem
from aioflags.testing import FaultProxy, FlagsService, Schedule, ScheduledFault, toxics
from tests.reliability.history import History, Reads
from tests.reliability.kinds import make_client, make_server, serve, values_now
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


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of client, of ``kinds.KINDS``. ``longest``: seconds that most faults may last, one fault in ten, and the pauses."""

    name: str
    client: str = "server"
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    toxics: tuple[type[toxics.Toxic], ...] = (*toxics.TCP, *toxics.HTTP)
    is_atomic: bool = True
    speed: float = 10
    longest: tuple[float, float, float] = (2, 15, 2)


def flagd(name: str, resolver: str, *, is_atomic: bool) -> Kind:
    """gRPC has a clock of its own, so time is not fast for it."""
    options = {"resolver": resolver, "keep_alive_time": 1}
    return Kind(name=name, client="flagd", options=options, toxics=toxics.TCP, is_atomic=is_atomic, speed=1, longest=(1, 4, 0.5))


FDV2: Final = Kind(name="Fdv2")
"""The default data system, which falls back from streams to polls."""
FDV1: Final = Kind(name="Fdv1", options={"data_system": DataSystem.fdv1()}, is_atomic=False)
"""A patch has one flag."""
KINDS: Final = (
    FDV2,
    FDV1,
    Kind(name="Mobile", client="mobile"),
    flagd("Flagd", "in-process", is_atomic=True),
    flagd("FlagdRpc", "rpc", is_atomic=False),
)


class World:
    """A server, a proxy in front of it, and clients of one kind behind that."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.history: History = History()
        self._server = make_server(kind.client)

    def commit(self, chance: Random) -> None:
        """Serve new values of some flags. Each value is used once."""
        number = self.history.version + 1
        keys = chance.sample(KEYS, chance.randint(1, len(KEYS))) if number > 1 else KEYS
        self.history.commit({key: f"{key}{number}" for key in keys})
        serve(self._server, self.history.newest)

    @asynccontextmanager
    async def running(self, seed: int) -> AsyncGenerator[tuple[FaultProxy, list[Any]], None]:
        """The proxy and the clients."""
        async with AsyncExitStack() as stack:
            server = self._server
            await stack.enter_async_context(server)
            self.commit(Random(seed))
            if isinstance(server, FlagsService):
                upstream = server.url
            else:
                upstream = f"127.0.0.1:{server.port if self.kind.options['resolver'] == 'rpc' else server.sync_port}"
            proxy = await stack.enter_async_context(FaultProxy(upstream, seed=seed))
            address = f"http://{proxy.host}:{proxy.port}"
            clients = [make_client(self.kind.client, address, ANN, flush_interval=0, **self.kind.options) for _ in range(CLIENTS)]
            for client in clients:
                await stack.enter_async_context(client)
            yield proxy, clients

    async def values(self, client: Any) -> dict[str, object]:
        """The values of a client; where the server evaluates, without those that it cannot get."""
        if self.kind.options.get("resolver") != "rpc":
            return values_now(client, KEYS, ANN)
        details = {key: await client.variation_detail(key, ANN, None) for key in KEYS}
        return {key: detail.value for key, detail in details.items() if detail.reason.kind != "ERROR"}


PARTS: Final = [*batches("R2", len(KINDS)), *[range(0)] * len(KINDS)][: len(KINDS)]
"""The seeds of each kind of client."""


@pytest.mark.holds("RB-R2")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_clients_survive_faults(kind: Kind, figures: Figures) -> None:
    part = PARTS[KINDS.index(kind)]
    if not part:
        pytest.skip("no faults for this kind of client")
    log: list[ScheduledFault] = []
    tried = World(kind)
    try:
        with asyncio.Runner(loop_factory=lambda: FastTimeLoop(kind.speed)) as runner:
            runner.run(campaign(tried, part, log, figures))
    except BaseException as error:
        every = seeds("R2")
        error.add_note("\n".join(map(str, log[-10:])))
        command = f"AIOFLAGS_SEED={every.start} AIOFLAGS_SEEDS={len(every)} pytest tests/reliability/test_faults.py"
        error.add_note(f"replay: {command} -k {kind.name}")
        raise
    figures.total("faults", len(part))
    figures.total("reads", tried.history.reads)


@pytest.mark.holds("RB-R2")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("status", REFUSALS[:: max(1, len(REFUSALS) * 40 // amount("R2"))])
@pytest.mark.parametrize("kind", [FDV2, FDV1], ids=lambda kind: kind.name)
def test_clients_recover_from_a_refusal(kind: Kind, status: int, figures: Figures) -> None:
    """A mobile client makes no further attempt until its next identify."""
    with asyncio.Runner(loop_factory=lambda: FastTimeLoop(10 * kind.speed)) as runner:
        runner.run(refusal(World(kind), status))
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


async def campaign(world: World, part: range, log: list[ScheduledFault], figures: Figures) -> None:
    """Injects one fault for each seed, and measures how long the slowest client needs after the last one."""
    chance = Random(part.start)
    async with world.running(part.start) as (proxy, clients):
        reads = [Reads(world.history, f"client {number}", is_atomic=world.kind.is_atomic) for number in range(CLIENTS)]
        begun = list(zip(clients, reads, strict=True))
        await until_converged(world, begun)
        async with anyio.create_task_group() as reading:
            for client, read in begun:
                reading.start_soon(read_on, world, client, read)
            async with anyio.create_task_group() as changing:
                changing.start_soon(change_on, world, chance)
                for fault in faults(world.kind, part):
                    log.append(fault)
                    proxy.add(fault.toxic)
                    await anyio.sleep(fault.lasts)
                    proxy.remove(fault.toxic)
                    await anyio.sleep(fault.pause)
                    world.history.check()
                proxy.clear()
                changing.cancel_scope.cancel()
            is_silent = any(isinstance(fault.toxic, toxics.HalfOpen) for fault in log)
            slowest = await until_converged(world, begun, LONGEST_SILENCE if is_silent else LONGEST_RECOVERY)
            figures.worst("slowest recovery after the last fault", slowest, "s")
            reading.cancel_scope.cancel()
    world.history.check()


def faults(kind: Kind, part: range) -> Iterator[ScheduledFault]:
    """A fault for each seed. One in ten lasts long enough for the time limits of clients."""
    for seed in part:
        most, some, pause = kind.longest
        fault = next(iter(Schedule(seed, kind.toxics, lasts=(0.02, some if seed % 10 == 0 else most), pause=(0, pause))))
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
