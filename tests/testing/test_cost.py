"""The cost of the plugin for a project that has aioflags installed and does not use it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.slowness import slowness

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
    """Seconds of processor time that loading the plugin takes after pytest, and the modules that it loads."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    took, modules = json.loads(ran.stdout)
    return took, modules


def test_the_plugin_loads_only_these_modules() -> None:
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
def test_the_plugin_loads_within_the_limit_of_time() -> None:
    # It tries again, because other processes may disturb a measurement: a busy machine has cold caches.
    assert any(loaded()[0] < MOST_SECONDS * slowness() for _ in range(20))
