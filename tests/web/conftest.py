"""The flag and the client of the tests of integrations."""

from __future__ import annotations

import pytest

from aioflags import Client, Config, DataSystem
from aioflags.sources import MemorySource


@pytest.fixture
def source() -> MemorySource:
    """A flag for a colour, which is red for Anna."""
    flags = MemorySource()
    flags.update(flags.flag("colour").variations("blue", "red").fallthrough_variation(0).variation_for_user("anna", 1))
    return flags


@pytest.fixture
def client(source: MemorySource) -> Client:
    """A client that has not started, for one run of an application."""
    return Client("", Config(data_system=DataSystem.custom(synchronizers=[source])))
