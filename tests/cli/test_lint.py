"""``aioflags lint``: its three output formats, and its exit status."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import Result

from aioflags.cli.commands import commands
from tests.cli.program import without, written
from tests.support.cli_runner import CliRunner

BAD = '{"flags": {"a": {"onn": true, "offVariation": 1}}}'


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["lint", *arguments])


@pytest.fixture
def bad(tmp_path: Path) -> str:
    return str(written(tmp_path / "bad.json", BAD))


@pytest.fixture
def good(tmp_path: Path) -> str:
    return str(written(tmp_path / "good.yaml", "flagValues: {b: 1}"))


def test_each_finding_is_one_line_of_text(bad: str) -> None:
    ended = run(bad)
    assert ended.exit_code == 1
    assert ended.stdout.splitlines() == [
        f'{bad}:1:18: flags.a.onn: unknown property; did you mean "on"? [unknown-property]',
        f'{bad}:1:31: flags.a.offVariation: "a" has no variation 1: it has none [variation-out-of-range]',
    ]
    assert ended.stderr == "2 findings\n"


def test_each_finding_is_one_json_object(bad: str) -> None:
    ended = run("--json", bad)
    assert ended.exit_code == 1
    assert json.loads(ended.stdout.splitlines()[0]) == {
        "rule": "unknown-property",
        "level": "warning",
        "message": "unknown property",
        "suggestion": 'did you mean "on"?',
        "file": bad,
        "path": "flags.a.onn",
        "line": 1,
        "column": 18,
    }
    assert ended.stderr == ""


def test_findings_can_be_printed_as_sarif(bad: str) -> None:
    ended = run("--sarif", bad)
    assert ended.exit_code == 1
    assert [result["ruleId"] for result in json.loads(ended.stdout)["runs"][0]["results"]] == [
        "unknown-property",
        "variation-out-of-range",
    ]


@pytest.mark.parametrize(("form", "stdout"), [([], ""), (["--json"], "")])
def test_without_findings_the_output_is_empty_and_the_status_is_0(good: str, form: list[str], stdout: str) -> None:
    ended = run(*form, good)
    assert (ended.exit_code, ended.stdout) == (0, stdout)


def test_a_note_does_not_fail(tmp_path: Path) -> None:
    path = written(tmp_path / "flags.json", '{"flagValues": {"sample-rate": 0.25}}')
    ran = run(str(path))
    assert (ran.exit_code, ran.stderr) == (0, "no findings, 1 note\n")
    assert "[fraction]" in ran.stdout


def test_one_finding_is_counted_in_the_singular(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text("[]")
    assert run(str(tmp_path / "f.json")).stderr == "1 finding\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "Missing argument", id="no file"),
        pytest.param(["{good}", "absent.json"], "absent.json: No such file or directory", id="a missing file"),
        pytest.param(["--json", "--sarif", "{good}"], "cannot be used together", id="two forms at once"),
    ],
)
def test_a_mistake_in_the_call_is_one_message(good: str, arguments: list[str], message: str) -> None:
    ended = run(*(argument.format(good=good) for argument in arguments))
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert message in ended.stderr
    assert "no findings" not in ended.stderr


@pytest.mark.parametrize("form", ["", "--json", "--sarif"])
def test_a_missing_file_does_not_hide_the_findings_in_the_others(bad: str, form: str) -> None:
    ended = run(*filter(None, [form]), "absent.json", bad)
    assert (ended.exit_code, "variation-out-of-range" in ended.stdout) == (2, True)
    assert ended.stderr.startswith("aioflags: absent.json: No such file or directory\n")


@pytest.mark.real_time
def test_without_its_extra_yaml_is_a_mistake_in_the_call(good: str) -> None:
    ended = subprocess.run([*without("yaml"), "lint", good], capture_output=True, text=True, check=False, timeout=150)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == 'aioflags: reading YAML needs PyYAML: pip install "aioflags[yaml]"\n'
