"""Clients where they cannot work: handed to another process, or started without asyncio."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from aioflags import Client, Config, Context, FlagdClient, MobileClient, MobileConfig
from aioflags.errors import LifecycleError

CLIENTS = [
    pytest.param(lambda: Client("sdk-key", Config(offline=True)), id="server-side"),
    pytest.param(lambda: MobileClient("mob-key", Context("u"), MobileConfig(offline=True)), id="mobile"),
    pytest.param(FlagdClient, id="flagd"),
]


@pytest.mark.parametrize("make", CLIENTS)
@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_client_is_not_copied_to_another_process(make: Callable[[], Any], duplicate: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"^\w*Client objects cannot be pickled or copied: make one in each process$"):
        duplicate(make())


@pytest.mark.parametrize("make", CLIENTS)
def test_a_start_without_asyncio_names_asyncio(make: Callable[[], Any]) -> None:
    """As under trio, which drives the coroutine without an event loop of asyncio."""
    with pytest.raises(LifecycleError, match=r"needs the event loop of asyncio.*trio"):
        make().start().send(None)
