"""Shared by the tests of the provider: OpenFeature's API is reset after each test."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from openfeature import api


@pytest.fixture(autouse=True)
def _clean_api() -> Iterator[None]:
    """Removes providers, handlers, hooks and contexts. No thread is left, except those of OpenFeature, the event loop and gRPC."""
    before = set(threading.enumerate())
    yield
    api.shutdown()
    for thread in set(threading.enumerate()) - before:
        if not thread.name.startswith(("openfeature-event-handler", "asyncio_")) and "_poll_wrapper" not in thread.name:
            thread.join(5)
            assert not thread.is_alive(), thread


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Handlers wait for it. It opens at the end of the test."""
    gate = threading.Event()
    yield gate
    gate.set()
