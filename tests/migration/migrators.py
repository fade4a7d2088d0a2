"""Two systems, a migration flag between them, and the events that a migrator sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aioflags import Client
from aioflags.migration import Migrator, Origin, ReadOrder, Stage
from tests.support.canaries import secretive
from tests.support.events import ClientWithEvents, client_with_events

USER = secretive("anna")
STAGES = [stage.value for stage in Stage]
OLD, NEW = Origin.OLD, Origin.NEW
every_order = pytest.mark.parametrize("order", ReadOrder)


def document(stage: str, **more: object) -> dict[str, Any]:
    """The flag of a migration at a stage, and flags that are not for migrations."""
    at = STAGES.index(stage)
    return {
        "flags": {
            "move": {"on": True, "version": 7, "variations": STAGES, "fallthrough": {"variation": at}, **more},
            "word": {"on": True, "version": 7, "variations": ["sideways"], "fallthrough": {"variation": 0}},
            "number": {"on": True, "version": 7, "variations": [3], "fallthrough": {"variation": 0}},
            "off": {"on": False, "version": 7, "variations": STAGES},
        }
    }


class Systems:
    """Both systems: they record each call and return the scripted results after some seconds."""

    def __init__(self, answers: Mapping[str, object] | None = None, *, seconds: tuple[float, float] = (1, 2)) -> None:
        self.answers = answers or {}
        self.seconds = dict(zip(Origin, seconds, strict=True))
        self.log: list[str] = []

    async def _answer(self, origin: Origin, payload: object) -> Any:
        self.log.append(f"{origin.value} {payload}")
        await asyncio.sleep(self.seconds[origin])
        match self.answers.get(origin.value, f"from {origin.value}"):
            case Exception() as error:
                raise error
            case answer:
                return answer

    async def old(self, payload: object) -> Any:
        return await self._answer(OLD, payload)

    async def new(self, payload: object) -> Any:
        return await self._answer(NEW, payload)

    def migrator(self, client: Client, **options: Any) -> Migrator[object, Any, Any]:
        functions: dict[str, Any] = {"read_old": self.old, "read_new": self.new, "write_old": self.old, "write_new": self.new}
        return Migrator(client, **functions, **options)


@asynccontextmanager
async def migrating(stage: str, **more: object) -> AsyncGenerator[ClientWithEvents, None]:
    async with client_with_events(document(stage, **more)) as sending:
        yield sending


async def ops(sending: ClientWithEvents) -> list[dict[str, Any]]:
    """The migration events that were sent."""
    return [record for record in await sending.payload() if record["kind"] == "migration_op"]


async def measured(sending: ClientWithEvents) -> dict[str, Any]:
    """The measurements of the single event: name → values, or the whole measurement if it has no values."""
    (op,) = await ops(sending)
    return {
        each["key"]: each.get("values", {name: it for name, it in each.items() if name != "key"}) for each in op["measurements"]
    }


def same(deciding: object, other: object) -> bool:
    return deciding == other


def now() -> float:
    return asyncio.get_running_loop().time()
