"""Names that the tests of the pytest plugin share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Project = Callable[..., pytest.RunResult]
"""Runs the tests of a project: the fixture ``project``."""
AUTOMATIC = "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
