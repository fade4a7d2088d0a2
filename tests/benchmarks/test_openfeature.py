"""T8: the cost of an evaluation through OpenFeature's SDK, measured in a separate process, without test tools."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.openfeature import MOST

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.real_time
@pytest.mark.speed
def test_an_evaluation_through_openfeature_costs_little_more_than_one_that_does_nothing() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.openfeature"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    shares = dict(re.findall(r"^(E\d, \w+): ([\d.]+) times", ran.stdout, re.MULTILINE))
    assert {"E1, plain", "E1, awaited", "E2, plain", "E2, awaited"} <= shares.keys()
    assert {case: share for case, share in shares.items() if case[:2] in {"E1", "E2"} and float(share) > MOST} == {}, ran.stdout
