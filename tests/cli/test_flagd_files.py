"""Commands that read flags take files in flagd's format."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import Result

from aioflags import Context
from aioflags.cli.commands import commands
from aioflags.cli.flag_data import data_of
from tests.cli.program import AIOFLAGS, written
from tests.support.cli_runner import CliRunner

FLAGS = {
    "flags": {
        "banner": {
            "state": "ENABLED",
            "variants": {"plain": "P", "bright": "B"},
            "defaultVariant": "plain",
            "targeting": {"if": [{"==": [{"var": "plan"}, "pro"]}, "bright", None]},
        },
        "off": {"state": "DISABLED", "variants": {"on": True}, "defaultVariant": "on"},
    }
}
YAML = "flags:\n  banner:\n    state: ENABLED\n    variants: {plain: P}\n    defaultVariant: plain\n"


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(written(tmp_path / "flags.json", json.dumps(FLAGS)))


def run(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(commands, arguments, input=stdin)


@pytest.mark.parametrize(
    ("key", "context", "result"),
    [
        pytest.param(
            "banner",
            {"targetingKey": "anna", "plan": "pro"},
            {"value": "B", "variant": "bright", "reason": {"kind": "TARGETING_MATCH"}},
            id="a rule that matches",
        ),
        pytest.param(
            "banner",
            {"targetingKey": 0, "plan": "pro"},
            {"value": "B", "variant": "bright", "reason": {"kind": "TARGETING_MATCH"}},
            id="a targeting key that is not text",
        ),
        pytest.param("banner", {}, {"value": "P", "variant": "plain", "reason": {"kind": "DEFAULT"}}, id="no targeting key"),
        pytest.param("off", {}, {"value": None, "variant": None, "reason": {"kind": "DISABLED"}}, id="a flag that is disabled"),
    ],
)
def test_a_flag_is_evaluated(file: str, key: str, context: dict[str, Any], result: dict[str, Any]) -> None:
    ran = run("evaluate", file, key, "--context", json.dumps(context))
    assert (ran.exit_code, json.loads(ran.stdout)) == (0, result)


@pytest.fixture
def rollout(tmp_path: Path) -> str:
    path = tmp_path / "rollout.json"
    rule = {"fractional": [["on", 1], ["off", 1]]}
    path.write_text(json.dumps({"flags": {"f": {"state": "ENABLED", "variants": {"on": 1, "off": 0}, "targeting": rule}}}))
    return str(path)


BY_VERSION = [("2", 0), ("3", 1)]
"""The value for the key "e"."""


@pytest.mark.parametrize(("version", "value"), BY_VERSION)
def test_fractional_is_evaluated_with_the_version(rollout: str, version: str, value: int) -> None:
    ran = run("evaluate", rollout, "f", "--context", '{"targetingKey": "e"}', "--flagd-fractional", version)
    assert (ran.exit_code, json.loads(ran.stdout)["value"]) == (0, value)


@pytest.mark.parametrize(("version", "value"), BY_VERSION)
def test_fractional_is_explained_with_the_version(rollout: str, version: str, value: int) -> None:
    ran = run("explain", rollout, "f", "--context", '{"targetingKey": "e"}', "--flagd-fractional", version)
    assert ran.stdout.startswith(f"f is {value}:"), ran.output
    assert f"of 2, by version {version} of fractional" in ran.stdout


@pytest.mark.parametrize(("version", "value"), BY_VERSION)
def test_a_watched_client_has_the_version_of_fractional(rollout: str, version: str, value: int) -> None:
    data, _ = data_of([rollout], is_live=False, is_flagd=False, fractional=2 if version == "2" else 3)

    async def evaluate() -> int:
        async with data.client() as client:
            return await client.variation("f", Context("e"), -1)

    assert anyio.run(evaluate) == value


NEEDS_FORMAT = "--flagd-fractional needs flags in flagd's format; {file} has LaunchDarkly's"


@pytest.mark.parametrize(
    ("arguments", "resolver", "message"),
    [
        pytest.param(["evaluate", "{file}", "f", "--context", "{}"], "file", NEEDS_FORMAT, id="evaluate, LaunchDarkly's format"),
        pytest.param(["explain", "{file}", "f", "--context", "{}"], "file", NEEDS_FORMAT, id="explain, LaunchDarkly's format"),
        pytest.param(["watch", "{file}"], "file", NEEDS_FORMAT, id="watch, LaunchDarkly's format"),
        pytest.param(["watch", "--live"], "file", "--flagd-fractional is for flags of flagd, and cannot", id="watch --live"),
        pytest.param(["doctor"], "file", "--flagd-fractional needs --flagd", id="doctor without --flagd"),
        pytest.param(["doctor", "--flagd"], "rpc", "with rpc the server evaluates the flags", id="doctor, rpc"),
        pytest.param(["watch", "--flagd"], "ofrep", "with ofrep the server evaluates the flags", id="watch, OFREP"),
    ],
)
def test_a_version_of_fractional_without_an_effect_is_refused(
    tmp_path: Path, arguments: list[str], resolver: str, message: str
) -> None:
    path = written(tmp_path / "flags.json", '{"flagValues": {"f": 1}}')
    words = [word.format(file=path) if word == "{file}" else word for word in arguments]
    ran = CliRunner(env={"FLAGD_RESOLVER": resolver}).invoke(commands, [*words, "--flagd-fractional", "2"])
    assert (ran.exit_code, ran.stdout, message.format(file=path) in ran.stderr) == (2, "", True), ran.output


def test_doctor_prints_the_version_of_fractional(rollout: str) -> None:
    environment = {"FLAGD_RESOLVER": "file", "FLAGD_OFFLINE_FLAG_SOURCE_PATH": rollout}
    ran = CliRunner(env=environment).invoke(commands, ["doctor", "--flagd", "--flagd-fractional", "2"])
    assert (ran.exit_code, ran.stdout.splitlines()[0].endswith(", version 2 of fractional")) == (0, True), ran.output


def test_flags_are_evaluated_line_by_line(file: str) -> None:
    line = json.dumps({"key": "banner", "context": {"plan": "pro"}}).encode()
    ran = run("evaluate", file, "--batch", stdin=line + b"\n")
    assert json.loads(ran.stdout)["value"] == "B"


def test_a_yaml_file_is_evaluated(tmp_path: Path) -> None:
    path = written(tmp_path / "flags.yaml", YAML)
    assert json.loads(run("evaluate", str(path), "banner", "--context", "{}").stdout)["value"] == "P"


@pytest.mark.parametrize(
    ("key", "status", "words"),
    [
        pytest.param("banner", 0, 'the targeting rule gives "bright"', id="a flag with a value"),
        pytest.param("off", 1, "the flag is disabled", id="a flag that gives the default"),
    ],
)
def test_a_flag_is_explained(file: str, key: str, status: int, words: str) -> None:
    ran = run("explain", file, key, "--context", '{"targetingKey": "anna", "plan": "pro"}')
    assert (ran.exit_code, words in ran.stdout) == (status, True), ran.output


def test_changes_of_a_file_are_watched(file: str) -> None:
    ran = run("watch", file, "--for", "0.2", "--json", "--context", '{"plan": "pro"}')
    assert '"READY"' in ran.stdout, ran.output


@pytest.mark.real_time
def test_an_edit_of_a_watched_file_is_noticed_before_flagds_clients_would(file: str) -> None:
    command = [*AIOFLAGS, "watch", file, "banner", "--for", "4", "--json", "--context", "{}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        before = sorted(process.stdout.readline() for _ in range(2))
        assert '"value":"P"' in before[0]
        Path(file).write_text(json.dumps(FLAGS).replace('"plain": "P"', '"plain": "Q"'))
        assert json.loads(process.stdout.readline()) == {"flag": "banner", "value": "Q", "before": "P"}
        process.kill()


@pytest.fixture
def mistaken(tmp_path: Path) -> str:
    return str(written(tmp_path / "flags.json", json.dumps(FLAGS).replace('"defaultVariant": "plain"', '"defaultVariant": "x"')))


def test_a_mistake_in_a_watched_flag_is_logged_once(mistaken: str, caplog: pytest.LogCaptureFixture) -> None:
    run("watch", mistaken, "--for", "0.2")
    assert caplog.messages.count("flag banner has the default variant 'x', which does not exist") == 1


@pytest.mark.parametrize("command", ["evaluate", "explain"])
def test_mistakes_in_other_flags_are_not_printed(mistaken: str, command: str, caplog: pytest.LogCaptureFixture) -> None:
    ran = run(command, mistaken, "off", "--context", "{}")
    assert (ran.stderr, caplog.messages) == ("", [])


def test_a_mistake_in_an_evaluated_flag_is_printed(mistaken: str) -> None:
    line = json.dumps({"key": "banner", "context": {}}).encode()
    problem = "flag banner: the default variant 'x' does not exist"
    assert run("evaluate", mistaken, "banner", "--context", "{}").stderr == f"aioflags: {problem}\n"
    assert run("evaluate", mistaken, "--batch", stdin=line).stderr == f"aioflags: line 1: {problem}\n"


@pytest.mark.parametrize("command", ["evaluate", "explain", "watch"])
@pytest.mark.parametrize(
    ("context", "example"),
    [
        pytest.param('{"kind": "user", "key": "anna"}', '{"targetingKey": "anna"}', id="of one kind"),
        pytest.param('{"kind": "multi", "user": {"key": "anna"}}', '{"targetingKey": "user-123"}', id="of several kinds"),
    ],
)
def test_a_context_of_launchdarkly_is_refused(file: str, command: str, context: str, example: str) -> None:
    ran = run(command, file, "banner", "--context", context)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "this is a context for flags of LaunchDarkly" in ran.stderr
    assert ran.stderr.rstrip().endswith(f"for example '{example}'")


def test_a_line_with_a_context_of_launchdarkly_is_an_error(file: str) -> None:
    ran = run("evaluate", file, "--batch", stdin=b'{"key": "banner", "context": {"kind": "user", "key": "anna"}}')
    assert (ran.exit_code, ran.stderr) == (2, "")
    assert json.loads(ran.stdout)["error"].startswith("line 1: context: this is a context for flags of LaunchDarkly")


@pytest.mark.parametrize("context", ['{"kind": "car"}', '{"targetingKey": "anna", "kind": "car", "key": "k"}'])
def test_attributes_with_the_names_of_launchdarkly_are_accepted(file: str, context: str) -> None:
    ran = run("evaluate", file, "banner", "--context", context)
    assert (ran.exit_code, json.loads(ran.stdout)["value"]) == (0, "P")


@pytest.mark.parametrize("command", ["evaluate", "explain", "watch"])
@pytest.mark.parametrize(
    ("context", "example"),
    [
        pytest.param("anna", '{"targetingKey": "anna"}', id="a word"),
        pytest.param("{", '{"targetingKey": "user-123"}', id="incomplete JSON"),
    ],
)
def test_the_example_of_a_context_is_one_for_flagd(file: str, command: str, context: str, example: str) -> None:
    ran = run(command, file, "banner", "--context", context)
    assert (ran.exit_code, ran.stderr.rstrip().endswith(f"for example '{example}'")) == (2, True), ran.stderr


def test_a_document_that_is_no_flag_set_is_refused_with_the_place(tmp_path: Path) -> None:
    path = written(tmp_path / "flags.json", '{"$evaluators": [], "flags": {}}')
    ran = run("evaluate", str(path), "banner", "--context", "{}")
    assert (ran.exit_code, "$evaluators" in ran.stderr) == (2, True)
