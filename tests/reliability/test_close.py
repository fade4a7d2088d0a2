"""R11: random clients, with services, stores, hooks, plugins and handlers that hang or raise, close in time and leave nothing."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import pytest

from aioflags import Client, DataSystem, EvaluationDetail, EventKind, Hook, LifecycleError, MobileClient, Status
from aioflags.hooks import EvaluationCall
from aioflags.plugins import AnyPlugin
from tests.reliability.kinds import AnyClient, value_of
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import batches, replayable
from tests.reliability.slow_worlds import CLOSE_TIMEOUT, EVENTS, KINDS, world_of
from tests.reliability.worlds import ANN, KEYS, World
from tests.support.device_storages import ScriptedStorage
from tests.support.interruptions import WAYS, interrupted
from tests.support.leaks import held, until_ended_on_the_loop
from tests.support.memory_store import MemoryStore
from tests.support.scripted_clients import seconds
from tests.support.scripted_http import HANG

TOO_LONG: Final = 3600.0


class RaisingHook(Hook):
    """Raises in each stage."""

    name = "raising"

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ValueError("before")

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, Any], detail: EvaluationDetail[Any]
    ) -> Mapping[str, Any]:
        raise ValueError("after")


class HangingHook(Hook):
    """Never ends its first stage."""

    name = "hanging"

    async def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, Any]) -> Mapping[str, Any]:
        await asyncio.sleep(TOO_LONG)
        return data


class BadPlugin(AnyPlugin):
    """Its registration hangs or raises."""

    name = "bad"

    def __init__(self, *, hangs: bool) -> None:
        self.hangs = hangs

    async def register(self, client: object, environment: object) -> None:
        if self.hangs:
            await asyncio.sleep(TOO_LONG)
        raise ValueError("register")


async def hang(_: object) -> None:
    """A handler that does not end."""
    await asyncio.sleep(TOO_LONG)


async def fail(_: object) -> None:
    """A handler that raises."""
    raise ValueError("handler")


def any_world(kind: str, chance: random.Random) -> World:
    """A client with some of what may hinder its close."""
    options: dict[str, Any] = {}
    if chance.random() < 0.3:
        options["hooks"] = [chance.choice([RaisingHook, HangingHook])()]
    if chance.random() < 0.3:
        options["plugins"] = [BadPlugin(hangs=chance.random() < 0.5)]
    if kind == "server" and chance.random() < 0.3:
        store = MemoryStore()
        store.hangs, store.fails = chance.choice([(True, None), (False, OSError("gone"))])
        options["data_system"] = DataSystem.persistent_store(store)
    if kind == "mobile" and chance.random() < 0.3:
        options["storage"] = chance.choice([ScriptedStorage(delay=TOO_LONG), ScriptedStorage(failure=OSError("gone"))])
    world = world_of(kind, chance.choice([0, 0.01, 1, HANG]), **options)
    for handler in chance.sample([hang, fail], chance.randrange(3)):
        world.client.on_status(chance.choice(list(Status)), handler)
        world.client.on_event(chance.choice([None, *EventKind]), handler)
    return world


async def live(world: World, chance: random.Random) -> None:
    """Starts the client, or not, and uses it for a while."""
    if chance.random() < 0.1:
        return
    starting = asyncio.create_task(world.client.start(chance.choice([0, 1, 5])))
    await asyncio.sleep(chance.choice([0, 0.005, 0.5, 3, 10]))
    readers = [asyncio.create_task(value_of(world.client, KEYS[0], ANN)) for _ in range(chance.randrange(3))]
    if chance.random() < 0.5:
        world.commit(dict.fromkeys(KEYS, 2))
    for _ in range(chance.choice([0, 1, 2 * EVENTS])):
        if isinstance(world.client, MobileClient):
            world.client.track("event")
        elif isinstance(world.client, Client):
            world.client.track("event", ANN)
    await asyncio.sleep(chance.choice([0, 0.01]))
    for reader in readers:
        reader.cancel()
    await asyncio.wait({starting, *readers}, timeout=0)


async def close_at_once(client: AnyClient, _: random.Random) -> None:
    await client.aclose()


async def close_twice(client: AnyClient, _: random.Random) -> None:
    await client.aclose()
    await client.aclose()


async def close_concurrently(client: AnyClient, _: random.Random) -> None:
    await asyncio.gather(client.aclose(), client.aclose(), client.aclose())


async def cancel_and_close(client: AnyClient, chance: random.Random) -> None:
    await interrupted(client.aclose(), chance.randrange(1, 6), chance.choice(WAYS))
    await client.aclose()


ENDS: Final[list[Callable[[AnyClient, random.Random], Coroutine[Any, Any, None]]]] = [
    close_at_once,
    close_twice,
    close_concurrently,
    cancel_and_close,
]


@pytest.mark.holds("RB-R11")
@pytest.mark.parametrize("seeds", batches("R11"), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
async def test_a_close_ends_in_time_and_leaves_nothing(seeds: range, figures: Figures) -> None:
    before = held()
    for seed in seeds:
        kind = list(KINDS)[seed % len(KINDS)]
        with replayable(seed) as chance:
            world = any_world(kind, chance)
            await live(world, chance)
            end, began = chance.choice(ENDS), seconds()
            await end(world.client, chance)
            took = seconds() - began
            await asyncio.sleep(0.01)  # calls of the client's users end now
            assert took <= CLOSE_TIMEOUT + 0.05, f"{kind}, {end.__name__}: {took:g} s"
            assert await until_ended_on_the_loop(before) == [], f"{kind}, {end.__name__}"
            assert world.client.report.source_state == "OFF"
            with pytest.raises(LifecycleError) if not kind.startswith("flagd") else contextlib.nullcontext():
                await world.client.start(0)
            await world.client.aclose()
            assert await until_ended_on_the_loop(before) == []
        figures.total("clients closed", 1)
        figures.worst("slowest close, with a limit of 2 s", took, "s of virtual time")
