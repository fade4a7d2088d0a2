"""A server for the tests of faults."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aioflags.devserver import ServerState, create_app, serve
from tests.devserver.faulty_server import DOCUMENT, FaultyServer


@pytest.fixture
async def server() -> AsyncIterator[FaultyServer]:
    state = ServerState.of(DOCUMENT)
    async with serve(create_app(state)) as serving:
        yield FaultyServer(state, serving)
    state.faults.lift_all()
