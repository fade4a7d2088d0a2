"""Fixtures of the tests of the scoreboard."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Hostile data are logged thousands of times: none of that is kept."""
    caplog.set_level(logging.CRITICAL)
