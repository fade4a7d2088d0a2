"""A scripted world for every test of the supervisor that asks for one."""

from __future__ import annotations

import pytest

from tests.support.scripted_sources import World


@pytest.fixture
def world() -> World:
    return World()
