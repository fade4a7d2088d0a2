"""``aioflags doctor``: findings as lines and as JSON, and the exit status."""

from __future__ import annotations

import json

import pytest
from click.testing import Result

from aioflags.cli.commands import commands
from tests.support.canaries import KEY, WATCH
from tests.support.cli_runner import CliRunner

pytestmark = pytest.mark.real_time

NOWHERE = {f"LAUNCHDARKLY_{part}_URI": "http://127.0.0.1:1" for part in ("BASE", "STREAM", "EVENTS")} | {"no_proxy": "*"}


def run(*arguments: str, **environment: str) -> Result:
    unset = dict.fromkeys(("LAUNCHDARKLY_SDK_KEY", "LD_SDK_KEY", "LAUNCHDARKLY_MOBILE_KEY", "LD_MOBILE_KEY", "AIOFLAGS_OFFLINE"))
    result = CliRunner(env={**unset, **NOWHERE, **environment}).invoke(commands, ["doctor", *arguments])
    WATCH.text("aioflags doctor", result.output)
    return result


def test_a_problem_is_printed_with_its_remedy_and_sets_status_1() -> None:
    result = run(LAUNCHDARKLY_SDK_KEY=KEY)
    lines = result.output.splitlines()
    assert lines[:2] == [
        "ok       key: the SDK key is set, and has only valid characters",
        "ok       base_uri route: http://127.0.0.1:1, without a proxy",
    ]
    assert lines[2].startswith("PROBLEM  base_uri connection: no connection for 127.0.0.1")
    assert lines[3].startswith("         no server listens there: is the port right")
    assert result.exit_code == 1


def test_a_mobile_key_is_checked_with_the_option() -> None:
    mobile = {"LAUNCHDARKLY_MOBILE_KEY": "mob-canary"}
    assert run("--mobile", **mobile).output.startswith("ok       key: the mobile key is set")
    assert "use --mobile to check a MobileClient" in run(**mobile).output
    assert "LAUNCHDARKLY_MOBILE_KEY" in run(LAUNCHDARKLY_SDK_KEY="mob-canary").output
    assert run("--mobile", "--flagd").exit_code == 2


def test_a_problem_can_be_printed_as_json() -> None:
    result = run("--json")
    first = json.loads(result.stdout.splitlines()[0])
    assert first == {
        "name": "key",
        "grade": "problem",
        "text": "the SDK key is missing",
        "advice": "set LAUNCHDARKLY_SDK_KEY to a server-side SDK key",
    }
    assert result.exit_code == 1


def test_an_invalid_address_is_reported_with_the_name_of_its_variable() -> None:
    result = run(LAUNCHDARKLY_BASE_URI="127.0.0.1:8765")
    assert result.stderr.startswith("aioflags: LAUNCHDARKLY_BASE_URI: expected an address that starts with http:// or https://")
    assert result.exit_code == 2


def test_an_invalid_variable_is_reported_by_name() -> None:
    result = run(AIOFLAGS_OFFLINE="perhaps")
    assert result.stderr.startswith("aioflags: AIOFLAGS_OFFLINE: expected one of")
    assert result.exit_code == 2
