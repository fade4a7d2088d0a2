"""A client without sources, started: the test reports the facts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.status_clients import StatusClient


@pytest.fixture
async def client() -> AsyncIterator[StatusClient]:
    async with asyncio.timeout(1000):
        client = StatusClient(start_wait=1000)
        await client.start(0)
        yield client
        await client.aclose()
