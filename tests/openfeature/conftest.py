"""Shared by the tests of the provider: OpenFeature's API is reset after each test."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from openfeature import api


@pytest.fixture(autouse=True)
def _clean_api() -> Iterator[None]:
    """Removes providers, handlers, hooks and contexts."""
    yield
    api.shutdown()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Handlers wait for it. It opens at the end of the test."""
    gate = threading.Event()
    yield gate
    gate.set()
