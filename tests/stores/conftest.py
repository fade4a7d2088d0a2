"""Fixtures for the tests of stores: the path of a file, and stores that are closed after the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from aioflags.stores import Store, StoreBuilder, StoreContext

Build: TypeAlias = Callable[[StoreBuilder], Store]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a file that does not exist, in an empty folder."""
    return tmp_path / "flags"


@pytest.fixture
async def build() -> AsyncIterator[Build]:
    """Builds stores, which are closed after the test."""
    async with AsyncExitStack() as stack:

        def built(builder: StoreBuilder) -> Store:
            store = builder.build(StoreContext(environment="an environment"))
            stack.push_async_callback(store.aclose)
            return store

        yield built
