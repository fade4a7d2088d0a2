"""``aioflags explain``: the reason for a value, from a file and from a service, and the messages for mistakes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from aioflags.cli.commands import commands
from aioflags.devserver import ServerState, create_app, serve
from tests.cli.program import AIOFLAGS, written
from tests.support.canaries import KEY, WATCH
from tests.support.cli_runner import CliRunner

pytestmark = pytest.mark.real_time

DOCUMENT = {
    "flags": {
        "release": {
            "on": True,
            "variations": ["old", "new"],
            "offVariation": 0,
            "fallthrough": {"variation": 0},
            "targets": [{"variation": 1, "values": ["ann"]}],
        }
    },
}
ANN = '{"kind": "user", "key": "ann"}'


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(written(tmp_path / "flags.json", json.dumps(DOCUMENT)))


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner(env={"LAUNCHDARKLY_SDK_KEY": None, "LD_SDK_KEY": None, **environment}).invoke(
        commands, ["explain", *arguments]
    )


def test_a_flag_in_a_file_is_explained_line_by_line(file: str) -> None:
    result = run(file, "release", "--context", ANN)
    assert result.output.splitlines() == [
        'release is "new": TARGET_MATCH, variation 1',
        "- the flag is on",
        '- user "ann" is a target of variation 1',
        "data from file flags.json, 0 s ago; the client is READY, its source VALID",
    ]
    assert result.exit_code == 0


def test_an_explanation_can_be_printed_as_json(file: str) -> None:
    result = run(file, "release", "--context", '{"key": "ann"}', "--json")
    found = json.loads(result.stdout)
    assert (found["value"], found["variationIndex"], found["reason"]) == ("new", 1, {"kind": "TARGET_MATCH"})
    assert [step["kind"] for step in found["steps"]] == ["on", "targets"]
    assert found["origin"]["source"] == "file flags.json"


def test_a_flag_without_a_value_ends_with_status_1(file: str) -> None:
    result = run(file, "relaese", "--context", ANN)
    assert 'there is no flag "relaese" among 1; did you mean "release"?' in result.output
    assert result.exit_code == 1


async def test_live_explains_with_the_data_of_the_service() -> None:
    async with serve(WATCH.app(create_app(ServerState.of(DOCUMENT)))) as serving:
        found = await explained_live(serving.url)
    assert found["value"] == "new"
    assert found["origin"]["status"] == "READY"


@pytest.mark.slow
async def test_a_service_that_cannot_be_reached_is_reported_with_its_address(unused_tcp_port: int) -> None:
    found = await explained_live(f"http://127.0.0.1:{unused_tcp_port}")
    assert found["reason"]["errorKind"] == "CLIENT_NOT_READY"
    assert "ConnectError" in found["origin"]["lastError"]


async def explained_live(url: str) -> Any:
    environment = {"LAUNCHDARKLY_SDK_KEY": KEY, "LAUNCHDARKLY_BASE_URI": url, "LAUNCHDARKLY_STREAM_URI": url}
    program = await asyncio.create_subprocess_exec(
        *(*AIOFLAGS, "explain", "--live", "release", "--context", ANN, "--json"),
        env={**os.environ, **environment, "no_proxy": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await program.communicate()
    WATCH.text("aioflags explain", output, errors)
    return json.loads(output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "expected a FILE, or --live", id="no arguments"),
        pytest.param(["{file}"], "expected one KEY, got 0", id="no key"),
        pytest.param(["{file}", "a", "b"], "expected one KEY, got 2", id="two keys"),
        pytest.param(["{file}", "k\udcff"], "the KEY k\\udcff is not valid UTF-8", id="bytes of another encoding"),
        pytest.param(["--live", "k\udcff"], "the KEY k\\udcff is not valid UTF-8", id="bytes of another encoding for the service"),
        pytest.param(["--live", "a"], "no SDK key: set the environment variable LAUNCHDARKLY_SDK_KEY", id="no SDK key"),
        pytest.param(["{file}.absent", "a"], ".absent: No such file or directory", id="a missing file"),
    ],
)
def test_a_mistake_in_the_call_is_one_message(file: str, arguments: list[str], message: str) -> None:
    result = run(*(argument.replace("{file}", file) for argument in arguments), "--context", ANN)
    assert message in result.stderr
    assert (result.stdout, result.exit_code) == ("", 2)


@pytest.mark.parametrize("variable", ["LAUNCHDARKLY_SDK_KEY", "LAUNCHDARKLY_MOBILE_KEY"])
def test_a_mobile_key_is_refused_because_it_gets_no_flags(variable: str) -> None:
    result = run("--live", "release", "--context", ANN, **{variable: "mob-key"})
    assert "a mobile key gets values, without the flags: set LAUNCHDARKLY_SDK_KEY to an SDK key (sdk-…)" in result.stderr
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("context", "message"),
    [
        pytest.param("{x", "--context: byte 2: ", id="not JSON"),
        pytest.param("[]", "--context: expected object, got array", id="not an object"),
        pytest.param('{"kind": "user"}', "--context: ", id="no key"),
    ],
)
def test_an_invalid_context_is_refused(file: str, context: str, message: str) -> None:
    result = run(file, "release", "--context", context)
    assert message in result.stderr
    assert (result.stdout, result.exit_code) == ("", 2)


def test_a_lost_attribute_of_a_legacy_user_is_reported(file: str) -> None:
    result = run(file, "release", "--context", '{"key": "ann", "plan": "pro"}')
    assert result.stderr.startswith('aioflags: "plan" is ignored: a context without "kind" is a legacy user')
    assert result.exit_code == 0


def test_a_mistake_in_the_file_is_reported_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path / "flags.json", '{"flag": {}}')
    result = run(str(path), "a", "--context", ANN)
    assert result.stderr.startswith(f"aioflags: {path}: flag: unknown property")
    assert result.exit_code == 2


def test_an_invalid_variable_is_reported_by_name() -> None:
    result = run("--live", "a", "--context", ANN, LAUNCHDARKLY_SDK_KEY="k", AIOFLAGS_OFFLINE="perhaps")
    assert "AIOFLAGS_OFFLINE: expected one of" in result.stderr
    assert result.exit_code == 2
