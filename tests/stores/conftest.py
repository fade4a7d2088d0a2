"""A path for the tests of DiskStore."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a file that does not exist, in an empty folder."""
    return tmp_path / "flags"
