"""What the plugin costs a project that has aioflags installed and uses none of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.real_time

MOST_SECONDS = 0.005

PROGRAM = """
import json, sys, time
import pytest
before, began = set(sys.modules), time.process_time()
import aioflags.testing.plugin
import aioflags.testing.fixtures
took = time.process_time() - began
print(json.dumps([took, sorted(set(sys.modules) - before)]))
"""


def loaded() -> tuple[float, list[str]]:
    """Seconds of the processor, and the modules, that loading the plugin takes after pytest."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    took, modules = json.loads(ran.stdout)
    return took, modules


def test_it_loads_next_to_nothing() -> None:
    _, modules = loaded()
    assert modules == [
        "aioflags",
        "aioflags.runtime",
        "aioflags.runtime.lazy",
        "aioflags.testing",
        "aioflags.testing.fixtures",
        "aioflags.testing.plugin",
    ]


@pytest.mark.speed
def test_that_takes_no_time_to_speak_of() -> None:
    # Another try where something else disturbed it: a machine that is busy has cold caches, too.
    assert any(loaded()[0] < MOST_SECONDS for _ in range(20))
