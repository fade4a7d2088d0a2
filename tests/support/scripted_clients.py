"""Clients with a scripted synchronizer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from aioflags import Client, Config, DataSystem, ErrorInfo
from aioflags.model.status import FailureKind, SourceState
from aioflags.sources import MemorySource, Selector, SourceContext, Update, from_function
from tests.support.canaries import secretive

USER = secretive("u")
REFUSED = ErrorInfo(kind=FailureKind.ERROR_RESPONSE, message="the key was refused", time=1.0, status_code=401)
Sync = Callable[[SourceContext, Callable[[], Selector]], AsyncGenerator[Update, None]]


def client_of(sync: Sync, **options: Any) -> Client:
    """A client whose only source is a synchronizer."""
    return Client("", Config(data_system=DataSystem.custom(synchronizers=[from_function("scripted", sync)]), **options))


def data_after(seconds: float) -> Sync:
    """A synchronizer that delivers a flag and stays."""

    async def sync(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        await asyncio.sleep(seconds)
        yield Update(state=SourceState.VALID, directive=None, change_set=MemorySource({"f": 1}).change_set())
        await asyncio.Event().wait()

    return sync


async def refused(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
    await asyncio.sleep(0.1)
    yield Update(state=SourceState.OFF, directive=None, error=REFUSED)


def seconds() -> float:
    """The time of the event loop."""
    return asyncio.get_running_loop().time()


def all_tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {current} if (current := asyncio.current_task()) else set()


async def cancel_root_before_its_first_step(starting: asyncio.Task[Any]) -> None:
    """Cancels the client's task before its first step."""
    others = all_tasks()
    while not (roots := all_tasks() - others - {starting}):
        await asyncio.sleep(0)
    for root in roots:
        root.cancel()
