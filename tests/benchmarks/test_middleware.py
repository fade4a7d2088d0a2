"""The cost of flags for a request, measured in a separate process, without test tools."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.middleware import MOST

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.real_time
@pytest.mark.speed
def test_the_cost_of_flags_for_a_request_is_within_the_limit() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.middleware"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found = re.search(r": ([\d.]+) microseconds a request", ran.stdout)
    assert found is not None
    assert 0 < float(found[1]) < MOST, ran.stdout
