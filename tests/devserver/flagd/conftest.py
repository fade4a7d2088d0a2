"""Clients of the gRPC services, for tests with a fixture ``server``."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from aioflags.devserver.flagd.server import RunningFlagd
from tests.devserver.flagd.flagd_client import FlagdRpc, connected


@pytest.fixture
async def rpc(server: RunningFlagd) -> AsyncGenerator[FlagdRpc, None]:
    async with connected(f"127.0.0.1:{server.port}") as client:
        yield client


@pytest.fixture
async def sync(server: RunningFlagd) -> AsyncGenerator[FlagdRpc, None]:
    async with connected(f"127.0.0.1:{server.sync_port}") as client:
        yield client
