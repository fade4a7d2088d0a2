"""What tests of flagd's streams share: a server on a Unix socket, channels to it, and a sleep that takes no time."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, Selector
from aioflags.model.flagd import FlagdFlag
from aioflags.model.result import Update
from aioflags.runtime.cooperative import Cooperative
from aioflags.sources.base import SourceContext
from aioflags.sources.flagd_stream import FlagdStreamOptions, FlagdStreamSource
from aioflags.transport.grpc import FlagdChannel
from aioflags.transport.grpc_settings import GrpcSettings, GrpcTarget
from tests.support.flagd_server import FlagdServer

__all__ = ["CONTEXT", "Line", "line", "read", "shape", "take", "updates"]

CONTEXT = SourceContext()


class Line:
    """A server, its address, and options for sources that connect to it. ``pauses`` has the pauses between streams."""

    def __init__(self, address: str) -> None:
        self.server = FlagdServer()
        self.address = address
        self.pauses: list[float] = []

    async def start(self) -> None:
        """Let the server listen."""
        await self.server.start(self.address)

    def channel(self, **settings: Any) -> FlagdChannel:
        """A channel to the server, with short waits inside gRPC."""
        settings = dict[str, Any](retry_backoff=0.02, retry_backoff_max=0.02, deadline=5) | settings
        return FlagdChannel(GrpcSettings(target=GrpcTarget(name=self.address), **settings), logging.getLogger("aioflags"))

    def options(self, channel: FlagdChannel | None = None, **options: Any) -> FlagdStreamOptions:
        """The options of a stream."""
        return FlagdStreamOptions(channel=channel or self.channel(), **options)

    async def sleep(self, seconds: float) -> None:
        """Note a pause and take no time for it."""
        self.pauses.append(seconds)
        await anyio.lowlevel.checkpoint()

    @property
    def waits(self) -> dict[str, Any]:
        """Pauses without chance that take no time."""
        return {"random": lambda: 0.0, "sleep": self.sleep}


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    """A server that does not listen yet."""
    made = Line(f"unix:{tmp_path / 'flagd.sock'}")
    yield made
    await made.server.stop()


def read(document: str, /, *, static_context: Mapping[str, Any] | None) -> Cooperative[ChangeSet]:
    """A reader of flag sets that understands keys."""
    yield
    keys = json.loads(document)["flags"]
    changes = tuple(Change(ObjectKind.FLAG, key, 0, FlagdFlag(key=key)) for key in keys)
    return ChangeSet(kind=ChangeKind.FULL, changes=changes, persist=False, static_context=static_context)


@asynccontextmanager
async def updates(source: FlagdStreamSource) -> AsyncGenerator[AsyncIterator[Update]]:
    """The updates of a source, which is closed at the end."""
    async with aclosing(source.sync(Selector.none)) as results:
        yield results


async def take(source: FlagdStreamSource, count: int) -> list[Update]:
    """The first updates of a source; fewer if it ends before."""
    taken: list[Update] = []
    with anyio.fail_after(20):
        async with updates(source) as results:
            async for update in results:
                taken.append(update)
                if len(taken) == count:
                    break
    return taken


def shape(taken: list[Update]) -> list[str]:
    """The state of each update, with the kind of its failure."""
    return [update.state if update.error is None else f"{update.state} {update.error.kind}" for update in taken]
