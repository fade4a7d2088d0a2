"""Worlds: each kind of client with its server, in one event loop and in virtual time, and a history of what is served.

A world changes flags, resets connections, stops and starts its server, and reads from its client.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any, ClassVar, Final

import anyio

from aioflags import Client, Config, Context, DataSystem, Events, FlagdClient, MobileClient
from aioflags.devserver import ServerState, create_app, read_objects
from aioflags.events.options import MobileEvents
from aioflags.mobile.config import MobileConfig
from aioflags.model.change import ObjectKind
from tests.reliability.history import History, Listener, Reads, Value
from tests.reliability.kinds import value_now, values_now
from tests.support.canaries import KEY
from tests.support.scripted_flagd import READY, ScriptedFlagd, changed, flag, flags, value
from tests.support.simulated_network import SimulatedNetwork

ANN: Final = Context("ann")
KEYS: Final = tuple("abcdefgh")
"""The flags."""
HEARTBEAT: Final = 120.0
"""In seconds, as LaunchDarkly's service does."""


class World(ABC):
    """A server, and one client of it. Make it in the test: it reads the loop's clock."""

    is_atomic: ClassVar[bool] = True
    """Whether the client applies whole change sets."""
    evaluates_itself: ClassVar[bool] = True
    """Whether the client has the flags, so that any thread can evaluate them."""
    slowest: ClassVar[float] = 31.0
    """Seconds after a fault until the newest flags are there: 30 between two attempts, one for the attempt itself."""

    def __init__(self) -> None:
        self.history: History = History()
        self.reads: Reads = Reads(self.history, type(self).__name__, is_atomic=self.is_atomic)
        self.client: Any = None
        self.listeners: list[Listener] = []
        self._loop = asyncio.get_running_loop()

    def commit(self, changes: Mapping[str, Value]) -> None:
        """Serve a change set: ``None`` deletes a flag."""
        self.history.commit(changes)
        self._serve(changes)

    def change(self, chance: Random, number: int, most: int = len(KEYS)) -> None:
        """Serve a change set of at most so many flags, whose value is used once. One in ten flags is deleted."""
        keys = chance.sample(KEYS, chance.randint(1, most))
        self.commit({key: number if chance.random() < 0.9 else None for key in keys})

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncGenerator[None, None]:
        """A client until the block ends, with listeners for the changes of some flags."""
        self.client = self.make_client(**options)
        async with self.client:
            followed = KEYS[:3] if self.evaluates_itself else ()
            tasks = [asyncio.create_task(self._listen(key)) for key in followed]
            yield
        await asyncio.gather(*tasks)  # an iterator ends when its client closes

    async def _listen(self, key: str) -> None:
        context = () if isinstance(self.client, MobileClient) else (ANN,)
        async with self.client.changes(key, *context) as changes:
            listener = Listener(self.history, key, self.values().get(key))
            self.listeners.append(listener)
            async for change in changes:
                listener.changed(change.old_value, change.new_value)

    async def read(self) -> None:
        """Read all flags at once and one flag alone, and check both. A client whose server evaluates reads each flag alone."""
        self.read_now()

    def read_now(self) -> None:
        """The same from any thread, for a client that has the flags."""
        begun = self.reads.begin()
        self.reads.see(self.values(), begun)
        begun = self.reads.begin()
        self.reads.see({KEYS[0]: value_now(self.client, KEYS[0], ANN, None)}, begun)

    def values(self) -> dict[str, Any]:
        """The values of all flags, of one snapshot."""
        return values_now(self.client, KEYS, ANN)

    async def has_converged(self) -> bool:
        """Whether the client has the newest values of all flags."""
        return self.reads.converged(self.values())

    async def until_converged(self, limit: float) -> float:
        """Wait until the client has the newest values; returns the seconds. Raises an error after ``limit`` seconds."""
        began = self._loop.time()
        while not await self.has_converged():
            waited = self._loop.time() - began
            assert waited <= limit, f"no newest flags after {waited:.1f} s: {self.client.report}"
            await anyio.sleep(0.01)
        return self._loop.time() - began

    def check(self) -> None:
        """Check everything that was read, and that the listeners of a client that has converged know the newest values."""
        for listener in self.listeners:
            listener.ended()
        self.history.check()

    @property
    @abstractmethod
    def attempts(self) -> list[float]:
        """The times when the client tried to get flags."""

    @abstractmethod
    def reset(self) -> None:
        """Break all connections."""

    @abstractmethod
    def silence(self) -> None:
        """Let all connections be half open: nothing arrives on them, not even their end. New ones work."""

    @abstractmethod
    def stop(self) -> None:
        """Break all connections, and refuse new ones."""

    @abstractmethod
    def start(self) -> None:
        """Accept connections again."""

    @abstractmethod
    def make_client(self, **options: Any) -> Any:
        """A client that is not started."""

    @abstractmethod
    def _serve(self, changes: Mapping[str, Value]) -> None: ...


# -- LaunchDarkly's protocols


class HttpWorld(World):
    """The embedded server on a simulated network."""

    def __init__(self) -> None:
        super().__init__()
        self.state: ServerState = ServerState()
        self.network: SimulatedNetwork = SimulatedNetwork(create_app(self.state, allowed_hosts=["*"], heartbeat=HEARTBEAT))

    def make_client(self, **options: Any) -> Any:
        settings: dict[str, Any] = {"data_system": self._system(), "events": Events(send_events=False), **options}
        return Client(KEY, Config(http=self.network.http(), **settings))

    def _system(self) -> DataSystem:
        return DataSystem.default()

    def _serve(self, changes: Mapping[str, Value]) -> None:
        names = [(ObjectKind.FLAG, key) for key, value in changes.items() if value is None]
        kept = {name: written for name, written in self._written().items() if name not in names}
        values = {key: value for key, value in changes.items() if value is not None}
        self.state.replace({**kept, **read_objects({"flagValues": values})})

    def _written(self) -> dict[tuple[ObjectKind, str], Mapping[str, Any]]:
        return {(ObjectKind.FLAG, key): written for key, written in self.state.document()["flags"].items()}

    @property
    def attempts(self) -> list[float]:
        return self.network.attempts

    def reset(self) -> None:
        self.network.reset()

    def silence(self) -> None:
        self.network.silence()

    def stop(self) -> None:
        self.network.stop()

    def start(self) -> None:
        self.network.start()


class Fdv2(HttpWorld):
    """The server-side client with its default data system."""


class Fdv2Poll(HttpWorld):
    def _system(self) -> DataSystem:
        return DataSystem.polling()


class Fdv1(HttpWorld):
    is_atomic = False  # a patch of FDv1 has one flag

    def _system(self) -> DataSystem:
        return DataSystem.fdv1()


class Fdv1Poll(HttpWorld):
    def _system(self) -> DataSystem:
        return DataSystem.fdv1(stream=False)


class Mobile(HttpWorld):
    slowest = 331.0  # after an outage it may poll for a while, every 300 s

    def make_client(self, **options: Any) -> Any:
        settings: dict[str, Any] = {"events": MobileEvents(send_events=False), **options}
        return MobileClient(KEY, ANN, MobileConfig(http=self.network.http(), **settings))


# -- flagd


class _FlagdWorld(World):
    """A scripted flagd."""

    resolver: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.flagd: ScriptedFlagd = ScriptedFlagd([[]])

    def make_client(self, **options: Any) -> FlagdClient:
        return self.flagd.client(self.resolver, **options)

    @property
    def attempts(self) -> list[float]:
        return self.flagd.opened

    def reset(self) -> None:
        self.flagd.stop()
        self.flagd.start()

    def silence(self) -> None:
        self.flagd.silence()

    def stop(self) -> None:
        self.flagd.stop()

    def start(self) -> None:
        self.flagd.start()


class Flagd(_FlagdWorld):
    """In-process mode."""

    resolver = "in-process"

    def _serve(self, changes: Mapping[str, Value]) -> None:
        newest = {key: value for key, value in self.history.newest.items() if value is not None}
        message = flags(**{key: flag(variants={"on": value}) for key, value in newest.items()})
        self.flagd.scripts = [[message]]
        self.flagd.send(message)


class FlagdRpc(_FlagdWorld):
    """The server evaluates: each value comes with a call of its own, or from the cache."""

    resolver = "rpc"
    is_atomic = False
    evaluates_itself = False

    def __init__(self) -> None:
        super().__init__()
        self.flagd.scripts = [[READY]]

    def _serve(self, changes: Mapping[str, Value]) -> None:
        for key, newest in changes.items():
            self.flagd.answers.pop(key, None)
            if newest is not None:
                self.flagd.answers[key] = value(newest)
        self.flagd.send(changed(*changes))

    async def read(self) -> None:
        for key in KEYS:
            begun = self.reads.begin()
            detail = await self.client.variation_detail(key, ANN, None)
            if detail.reason.kind != "ERROR":
                self.reads.see({key: detail.value}, begun)

    async def has_converged(self) -> bool:
        return self.reads.converged({key: await self.client.variation(key, ANN, None) for key in KEYS})


WORLDS: Final[tuple[Callable[[], World], ...]] = (Fdv2, Fdv2Poll, Fdv1, Fdv1Poll, Mobile, Flagd, FlagdRpc)
