"""Findings in SARIF."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.cli.lint import sarif
from aioflags.runtime.version import __version__
from aioflags.tools.lint import RULES, lint


def results(name: str, text: bytes) -> list[Any]:
    (run,) = sarif(lint([(name, text)]))["runs"]
    found: list[Any] = run["results"]
    return found


def test_a_finding_is_a_result_of_a_rule() -> None:
    (result,) = results("my flags.json", b'{"flags": {"a": {"onn": 1}}}')
    assert result == {
        "ruleId": "unknown-property",
        "ruleIndex": list(RULES).index("unknown-property"),
        "level": "warning",
        "message": {"text": 'unknown property; did you mean "on"?'},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": "my%20flags.json"}, "region": {"startLine": 1, "startColumn": 18}},
                "logicalLocations": [{"fullyQualifiedName": "flags.a.onn"}],
            }
        ],
    }


def test_the_tool_has_its_name_version_and_rules() -> None:
    log = sarif([])
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert (log["version"], driver["name"], driver["version"], run["results"]) == ("2.1.0", "aioflags", __version__, [])
    assert [rule["id"] for rule in driver["rules"]] == list(RULES)
    assert driver["rules"][0] == {
        "id": "syntax",
        "shortDescription": {"text": "The text is not valid JSON or YAML."},
        "defaultConfiguration": {"level": "error"},
    }


@pytest.mark.parametrize(("name", "uri"), [("/etc/flags.json", "file:///etc/flags.json"), ("a/é.json", "a/%C3%A9.json")])
def test_a_file_is_a_uri(name: str, uri: str) -> None:
    (result,) = results(name, b"[]")
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri


def test_a_finding_without_a_line_has_no_region() -> None:
    (result,) = results("f.json", b'{"flags":' * 100_000)
    assert result["locations"] == [{"physicalLocation": {"artifactLocation": {"uri": "f.json"}}}]
