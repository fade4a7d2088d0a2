"""What tests of flagd's streams share: a server on a Unix socket, and channels to it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags.model.change import Selector, Update
from aioflags.sources.base import SourceContext
from aioflags.sources.flagd_stream import FlagdStreamOptions, FlagdStreamSource
from aioflags.transport.grpc import FlagdChannel
from tests.support.flagd_parts import grpc_settings, stream_options
from tests.support.flagd_server import FlagdServer

__all__ = ["CONTEXT", "Line", "line", "shape", "take", "updates"]

CONTEXT = SourceContext()


class Line:
    """A server, its address, and options for sources that connect to it."""

    def __init__(self, address: str) -> None:
        self.server = FlagdServer()
        self.address = address

    async def start(self) -> None:
        """Let the server listen."""
        await self.server.start(self.address)

    def channel(self, **settings: Any) -> FlagdChannel:
        """A channel to the server, with short waits inside gRPC."""
        settings = dict[str, Any](retry_backoff=0.02, retry_backoff_max=0.02, deadline=5) | settings
        return FlagdChannel(grpc_settings(self.address, **settings), logging.getLogger("aioflags"))

    def options(self, channel: FlagdChannel | None = None, **options: Any) -> FlagdStreamOptions:
        """The options of a stream, with a short pause before it is opened again."""
        options = dict[str, Any](pause=0.005) | options
        return stream_options(channel or self.channel(), **options)


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    """A server that does not listen yet."""
    made = Line(f"unix:{tmp_path / 'flagd.sock'}")
    yield made
    await made.server.stop()


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
