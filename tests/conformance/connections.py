"""Steps of flagd's provider features: a client, its events, and a connection that is lost."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.conformance.config_options import Options
from tests.conformance.evaluations import Evaluations
from tests.conformance.steps import StepTable

__all__ = ["CHANGING", "CONNECTION_STEPS", "OUTAGE_STEPS", "PACE", "Connected", "FlagOrigin"]

LIMIT: Final = "30000"
"""How many milliseconds a step waits for an event."""

PACE: Final = 10
"""How many seconds of an outage in a feature file are one second here. The client's waits are shorter by the same factor."""

CHANGING: Final = "changing-flag"
"""The flag that the steps modify."""


class FlagOrigin(ABC):
    """Where the client of a case gets its flags from: a server, or a file."""

    @abstractmethod
    async def lose(self) -> None:
        """Stops the server, or removes the file."""

    @abstractmethod
    async def restore(self) -> None:
        """Brings it back."""

    @abstractmethod
    async def change(self) -> None:
        """Serves the other variant of the changing flag."""


@dataclass(kw_only=True)
class Connected(Evaluations, Options):
    """A case with a client that is connected to something."""

    origin: FlagOrigin | None = None
    received: list[tuple[str, Any]] = field(default_factory=list)
    """The events since the last one that a step waited for, each with the keys of its flags."""
    last_change: tuple[str, ...] | None = None
    arrival: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @abstractmethod
    async def connect(self, kind: str) -> None:
        """Starts a client, and sets :attr:`origin`."""

    @abstractmethod
    def observe(self, kind: str, note: Callable[[Any], None]) -> None:
        """Calls ``note`` with the keys of flags for events of this kind; at once for a state that holds."""

    @property
    @abstractmethod
    def is_fatal(self) -> bool:
        """Whether the client has given up."""

    @property
    def known_origin(self) -> FlagOrigin:
        """Where the flags of the case come from."""
        assert self.origin is not None, "nothing is connected"
        return self.origin

    async def close(self) -> None:
        """Cancels what the steps began and no step waited for."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def a_client(world: Connected, kind: str) -> None:
    await world.connect(kind)


def a_handler(world: Connected, kind: str) -> None:
    def note(keys: Any) -> None:
        world.received.append((kind, keys))
        world.arrival.set()

    world.observe(kind, note)


async def an_event(world: Connected, kind: str, limit: str = LIMIT) -> None:
    async with asyncio.timeout(int(limit) / 1000):
        while kind not in (kinds := [name for name, _ in world.received]):
            world.arrival.clear()
            await world.arrival.wait()
    position = kinds.index(kind)
    if kind == "change":
        world.last_change = world.received[position][1]
    del world.received[: position + 1]


async def connection_lost(world: Connected, seconds: str) -> None:
    async def comes_back() -> None:
        await asyncio.sleep(float(seconds) / PACE)
        await world.known_origin.restore()

    await world.known_origin.lose()
    world.tasks.append(asyncio.create_task(comes_back()))


async def flag_modified(world: Connected) -> None:
    await world.known_origin.change()


def flag_is_in_event(world: Connected) -> None:
    assert world.last_change is not None, "the event has no keys"
    assert world.known_flag.key in world.last_change


def client_is_fatal(world: Connected) -> None:
    assert world.is_fatal


CONNECTION_STEPS: Final[StepTable] = {"a {kind} flagd provider": a_client}

OUTAGE_STEPS: Final[StepTable] = {
    "a {kind} event handler": a_handler,
    "the {kind} event handler should have been executed": an_event,
    "the {kind} event handler should have been executed within {limit}ms": an_event,
    "the client should be in fatal state": client_is_fatal,
    "a {kind} event was fired": an_event,
    "the connection is lost for {seconds}s": connection_lost,
    "the flag was modified": flag_modified,
    "the flag should be part of the event payload": flag_is_in_event,
}
