"""Each rule of ``docs/reference/guarantees`` has a test whose id has its number, unless the rule waits for a part."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NUMBER = r"(?:DS|FB|EVT|EV|CS|RB|FL|OF|S|F)-[A-Z]?\d+"
RULE = re.compile(rf"^- ({NUMBER})(?: \(waits for ([^)]+)\))?: \S", re.MULTILINE)


def rules(pages: Iterable[str]) -> dict[str, str | None]:
    """Number of each rule → what it waits for, or ``None``."""
    found: dict[str, str | None] = {}
    for page in pages:
        for number, waits_for in RULE.findall(page):
            assert number not in found, f"{number} stands twice in the guarantees"
            found[number] = waits_for or None
    return found


def numbers(test_ids: Iterable[str]) -> set[str]:
    """The numbers in the brackets of test ids."""
    return {number for test_id in test_ids for number in re.findall(rf"(?<!\w){NUMBER}(?!\w)", test_id.partition("[")[2])}


@pytest.fixture(scope="module")
def written() -> dict[str, str | None]:
    return rules(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "reference" / "guarantees").glob("*.md")))


@pytest.fixture(scope="module")
def carried() -> set[str]:
    """The numbers in the ids of the whole suite, whichever part of it runs now."""
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "tests"]
    ran = subprocess.run(collect, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:]
    return numbers(ran.stdout.splitlines())


@pytest.mark.parametrize(
    ("prefix", "last"),
    [
        pytest.param("DS-", 166, id="the data system's scenarios"),
        pytest.param("FB-", 34, id="the directive"),
        pytest.param("EV-E", 182, id="evaluation"),
        pytest.param("CS-C", 26, id="the client"),
        pytest.param("CS-O", 33, id="the client's options"),
        pytest.param("EVT-V", 11, id="redaction"),
        pytest.param("EVT-W", 26, id="events"),
        pytest.param("EVT-D", 11, id="diagnostics"),
        pytest.param("S-", 100, id="the client side"),
        pytest.param("F-", 54, id="the directive on the client side"),
        pytest.param("FL-", 83, id="flagd"),
        pytest.param("OF-", 39, id="status and OpenFeature"),
        pytest.param("OF-R", 36, id="the status's requirements"),
        pytest.param("OF-A", 12, id="races of status and events"),
    ],
)
def test_the_numbers_of_rules_have_no_gaps(written: dict[str, str | None], prefix: str, last: int) -> None:
    assert {number for number in written if number.rstrip("0123456789") == prefix} == {f"{prefix}{n}" for n in range(1, last + 1)}


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.timeout(600)
def test_every_rule_has_a_test_or_waits(written: dict[str, str | None], carried: set[str]) -> None:
    assert [number for number, waits_for in written.items() if waits_for is None and number not in carried] == []


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.timeout(600)
def test_every_number_in_an_id_is_written_down(written: dict[str, str | None], carried: set[str]) -> None:
    assert sorted(carried - set(written)) == []


def test_rules_are_list_items_that_start_with_a_number() -> None:
    assert rules(["# DS-1\n- DS-2: Two.\n- DS-3 (waits for hooks): Three.\nsee DS-4: four\n- DS-5:\n- FB-1: One."]) == {
        "DS-2": None,
        "DS-3": "hooks",
        "FB-1": None,
    }


def test_numbers_are_read_from_brackets_only() -> None:
    ids = [
        "tests/a.py::test_DS-1",
        "tests/a.py::test_b[DS-2 FB-3-x]",
        "tests/a.py::test_c[EV-E63 a float]",
        "a.py::test_d[again-DS-4]",
    ]
    assert numbers([*ids, "a.py::test_e[XDS-5 DS-6x]"]) == {"DS-2", "FB-3", "EV-E63", "DS-4"}
