"""A report without a vulnerability is good only if the packages were checked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.release.audit import judge

GOOD = {"name": "httpx", "version": "0.28.1", "vulns": []}
OURS = {"name": "aioflags", "skip_reason": "not found"}
SKIPPED = {"name": "anyio", "skip_reason": "Dependency not found and could not be audited: anyio (4.16.0)"}
BAD = {
    "name": "h11",
    "version": "0.1",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["0.2"]}, {"id": "PYSEC-2", "fix_versions": []}],
}


@pytest.mark.parametrize(
    ("dependencies", "checked", "problems"),
    [
        pytest.param([GOOD, OURS], 1, [], id="all but this package were checked"),
        pytest.param(
            [GOOD, BAD], 2, ["h11 0.1: PYSEC-1, fixed in 0.2", "h11 0.1: PYSEC-2, fixed in no version"], id="vulnerabilities"
        ),
        pytest.param([GOOD, SKIPPED], 1, ["not checked: anyio"], id="one was not checked"),
        pytest.param(
            [OURS, SKIPPED], 0, ["the vulnerability service was not reachable: none of 2 packages was checked"], id="none"
        ),
        pytest.param(
            [], 0, ["the vulnerability service was not reachable: none of 0 packages was checked"], id="nothing is installed"
        ),
    ],
)
def test_a_report_is_judged(dependencies: list[dict[str, Any]], checked: int, problems: list[str]) -> None:
    outcome = judge(json.dumps({"dependencies": dependencies, "fixes": []}), "No known vulnerabilities found")
    assert (outcome.checked, list(outcome.problems)) == (checked, problems)


@pytest.mark.parametrize("report", ["", "{", "[]", "{}", "null"])
def test_without_a_report_nothing_was_checked(report: str) -> None:
    outcome = judge(report, "Traceback\nConnectionError: refused\n")
    assert outcome.checked == 0
    assert outcome.problems == ("the vulnerability service was not reachable, nothing was checked: ConnectionError: refused",)
