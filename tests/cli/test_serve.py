"""``aioflags serve`` as a process: clients read from it, its file is edited, commands are typed, it is interrupted."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aioflags.cli.commands import commands
from tests.cli.program import AIOFLAGS, written
from tests.support.cli_runner import CliRunner

pytestmark = pytest.mark.real_time

ASK: Any = {"trust_env": False, "timeout": 150}
FLAGD = '{"flags": {"a": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"}}}'
FREE = ["--flagd-port", "0", "--flagd-sync-port", "0", "--flagd-ofrep-port", "0"]


class Server:
    """The process, and the lines that it prints."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*AIOFLAGS, "serve", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.stdin, self._stdout = self._process.stdin, self._process.stdout
        self.url = self.line_after("Serving ").rsplit(" ", 1)[1]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.__exit__(None, None, None)

    def line_after(self, start: str) -> str:
        for line in self._stdout:
            if line.startswith(start):
                return line.rstrip()
        raise AssertionError(f"not printed: {start!r}")

    def type(self, line: str) -> None:
        print(line, file=self.stdin, flush=True)

    def flag(self) -> object:
        return httpx.get(f"{self.url}/sdk/latest-all", **ASK).json()["flags"]["a"]["on"]

    def stop(self, number: signal.Signals) -> tuple[int, str, str]:
        """The exit status, the text on standard output that was not read yet, and the text on standard error."""
        self._process.send_signal(number)
        stdout, stderr = self._process.communicate(timeout=150)
        return self._process.returncode, stdout, stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "flags.json", '{"flags": {"a": {"on": true}}}')


@pytest.fixture
def flagd_file(tmp_path: Path) -> Path:
    return written(tmp_path / "flagd.json", FLAGD)


@pytest.fixture
def server(file: Path) -> Iterator[Server]:
    with Server(str(file), "--port", "0") as server:
        yield server


def test_the_server_serves_the_file_and_its_edits(server: Server, file: Path) -> None:
    assert server.flag() is True
    server.type("flip a")
    assert server.line_after("a is") == "a is off now"
    assert server.flag() is False
    file.write_text('{"flags": {"a": {"on": true, "invented": 1}}}')
    server.line_after(f"{file} read again")
    assert server.flag() is True
    file.write_text('{"flags": {"a": {"on": ')
    assert "line 1, column 24" in server.line_after(f"{file}: ")
    assert server.flag() is True


def test_the_directive_can_be_typed(server: Server) -> None:
    assert "X-LD-FD-Fallback" not in httpx.get(f"{server.url}/sdk/poll", **ASK).headers
    server.type("directive on 60")
    server.line_after("FDv2 directs")
    assert httpx.get(f"{server.url}/sdk/poll", **ASK).headers["X-LD-FD-Fallback-TTL"] == "60"


def test_the_directive_can_be_on_from_the_start(file: Path) -> None:
    with Server(str(file), "--port", "0", "--directive") as server:
        assert httpx.get(f"{server.url}/sdk/poll", **ASK).headers["X-LD-FD-Fallback"] == "true"


def test_the_server_prints_how_to_connect_and_no_prompt_into_a_pipe(server: Server) -> None:
    addresses = f'base_uri="{server.url}", stream_uri="{server.url}", events_uri="{server.url}"'
    assert server.line_after("  Client(") == f'  Client("any-key", Config({addresses}))'
    assert server.line_after("  MobileClient(") == f'  MobileClient("any-key", Context("user-123"), MobileConfig({addresses}))'
    exported = [server.line_after("  export ") for _ in range(5)]
    assert exported == [
        *(f"  export LAUNCHDARKLY_{name}_KEY=any-key" for name in ("SDK", "MOBILE")),
        *(f"  export LAUNCHDARKLY_{name}_URI={server.url}" for name in ("BASE", "STREAM", "EVENTS")),
    ]
    assert server.line_after("Save ").endswith("flags.json, and clients see it. Ctrl-C ends.")


def test_the_address_of_the_page_is_printed_with_a_new_token(server: Server, file: Path) -> None:
    page = server.line_after("Its page").rpartition(" ")[2]
    address, _, token = page.partition("#token=")
    assert "aioflags" in httpx.get(address, **ASK).text
    key = {"Authorization": f"Bearer {token}"}
    assert httpx.post(f"{server.url}/control/flip", json={"flag": "a"}, headers=key, **ASK).json() == {"on": False}
    assert httpx.post(f"{server.url}/control/flip", json={"flag": "a"}, **ASK).status_code == 401
    assert json.loads(file.read_text())["flags"]["a"]["on"] is True
    assert httpx.post(f"{server.url}/control/save", headers=key, **ASK).json() == {"saved": str(file)}
    assert json.loads(file.read_text())["flags"]["a"]["on"] is False
    with Server(str(file), "--port", "0") as another:
        assert token not in another.line_after("Its page")


def test_a_scenario_runs_from_the_start(file: Path, tmp_path: Path) -> None:
    script = written(
        tmp_path / "outage.json", '{"steps": [{"flip": "a"}, {"fault": {"kind": "status", "status": 500}}, {"flip": "missing"}]}'
    )
    with Server(str(file), "--port", "0", "--scenario", str(script)) as server:
        assert server.line_after("scenario: ") == "scenario: flip a"
        assert server.line_after("scenario: ") == "scenario: status (status 500)"
        assert server.line_after("scenario: ") == "scenario: there is no flag 'missing'; the remaining steps are skipped"
        assert httpx.get(f"{server.url}/sdk/poll", **ASK).status_code == 500


def test_findings_of_lint_are_printed_and_the_file_is_served(file: Path) -> None:
    file.write_text('{"flags": {"a": {"on": true, "variations": [1], "fallthrough": {"variation": 9}}}}')
    with Server(str(file), "--port", "0") as server:
        stderr = server.line_after("error: ")
        assert stderr.startswith(f'error: {file}:1:65: flags.a.fallthrough.variation: "a" has no variation 9')
        assert server.flag() is True


def test_the_server_listens_on_this_machine_only(server: Server) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{server.url}/sdk/poll", headers={"Host": "attacker.example"}, **ASK).status_code == 400


def test_a_server_for_other_machines_warns(file: Path) -> None:
    with Server(str(file), "--port", "0", "--host", "0.0.0.0") as server:
        server.line_after("Warning: every client that can reach 0.0.0.0 can read these flags.")
        assert httpx.get(f"{server.url}/sdk/poll", headers={"Host": "my-laptop.local"}, **ASK).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_with_status_0_while_a_stream_is_open(server: Server, number: signal.Signals) -> None:
    server.line_after("error: ")
    with httpx.stream("GET", f"{server.url}/sdk/stream", **ASK) as stream:
        next(stream.iter_raw())
        assert server.stop(number) == (0, "stopped\n", "")


@pytest.mark.slow
def test_edits_that_were_not_saved_are_named_at_the_end(server: Server, file: Path) -> None:
    server.line_after("error: ")
    server.type("flip a")
    server.line_after("a is off now")
    assert server.stop(signal.SIGTERM) == (0, f"stopped; edits that were not saved to {file} are lost: a\n", "")


def test_a_signal_removes_the_unix_socket(flagd_file: Path) -> None:
    socket_path = flagd_file.with_suffix(".sock")
    with Server(str(flagd_file), "--port", "0", *FREE, "--flagd-socket", str(socket_path)) as server:
        server.line_after("Save ")
        assert socket_path.exists()
        assert server.stop(signal.SIGTERM)[0] == 0
        assert not socket_path.exists()


def test_the_end_of_the_input_does_not_end_the_server(server: Server) -> None:
    server.stdin.close()
    assert server.flag() is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["{file}.absent"], "{file}.absent: No such file or directory", id="a missing file"),
        pytest.param(["{file}", "--port", "70000"], "70000 is not in the range", id="a port out of range"),
        pytest.param(
            ["{file}", "--scenario", "{mistaken}"],
            "{mistaken}: flags: unknown property: expected one of steps",
            id="a file that is not a scenario",
        ),
        pytest.param(["{mistaken}"], "{mistaken}: flags.a.on: expected boolean", id="a file with a mistake"),
        *(
            pytest.param(
                ["{file}", option, "0"], f"{option} needs --flagd, because {{file}} has LaunchDarkly's format", id=f"only {option}"
            )
            for option in ("--flagd-port", "--flagd-sync-port", "--flagd-ofrep-port", "--flagd-socket")
        ),
        pytest.param(
            ["{flagd}", "--no-flagd", "--flagd-port", "0"],
            "--flagd-port cannot be used with --no-flagd",
            id="a port of flagd, and no flagd",
        ),
        pytest.param(
            ["{file}", "--flagd", "--flagd-context", "{{}}"],
            "--flagd-context needs flags in flagd's format; {file} has LaunchDarkly's",
            id="a static context for LaunchDarkly's format",
        ),
        pytest.param(
            ["{file}", "--flagd", "--flagd-fractional", "3"],
            "--flagd-fractional needs flags in flagd's format; {file} has LaunchDarkly's",
            id="a version of fractional for LaunchDarkly's format",
        ),
        pytest.param(
            ["{flagd}", "--directive"],
            "--directive needs flags in LaunchDarkly's format; {flagd} has flagd's",
            id="a directive for flagd's format",
        ),
        pytest.param(["{none}", "--flagd"], '{none}: missing required property "flags"', id="flagd without the section of flags"),
        pytest.param(
            ["{flagd}", "--flagd-context", "{{"],
            "aioflags: --flagd-context: the JSON ends too early\n",
            id="a static context that is incomplete JSON",
        ),
        pytest.param(
            ["{flagd}", "--flagd-context", "[]"],
            "aioflags: --flagd-context: expected object, got array\n",
            id="a static context that is not an object",
        ),
    ],
)
def test_a_mistake_is_one_message(file: Path, flagd_file: Path, arguments: list[str], message: str) -> None:
    none, mistaken = file.with_suffix(".none"), file.with_suffix(".mistaken")
    none.write_text("{}")
    mistaken.write_text('{"flags": {"a": {"on": 1}}}')
    names = {"file": file, "flagd": flagd_file, "none": none, "mistaken": mistaken}
    ended = CliRunner().invoke(commands, ["serve", *(argument.format(**names) for argument in arguments)])
    assert ended.exit_code == 2
    assert message.format(**names) in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("file_name", "arguments", "message"),
    [
        pytest.param(
            "file",
            ["--port", "{taken}"],
            "port {taken} of 127.0.0.1 is in use; --port 0 chooses a free port\n",
            id="a port that is in use",
        ),
        pytest.param(
            "file",
            ["--host", "192.0.2.1"],
            "cannot listen on 192.0.2.1, port 8765: Cannot assign requested address\n",
            id="an address of another machine",
        ),
        pytest.param(
            "flagd_file",
            ["--port", "0", *FREE, "--flagd-sync-port", "{taken}"],
            "port {taken} of 127.0.0.1 is in use; --flagd-",
            id="a port of flagd that is in use",
        ),
    ],
)
def test_an_address_that_cannot_be_used_is_one_message(
    request: pytest.FixtureRequest, file_name: str, arguments: list[str], message: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        words = [argument.format(taken=taken) for argument in arguments]
        command = [*AIOFLAGS, "serve", str(request.getfixturevalue(file_name)), *words]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"aioflags: {message.format(taken=taken)}")
    assert ended.stdout == "", "an address was printed that does not serve"


def ofrep(url: str) -> Any:
    return httpx.post(f"{url}/ofrep/v1/evaluate/flags/a", json={"context": {"targetingKey": "u"}}, **ASK).json().get("value")


def test_a_file_in_flagds_format_is_served_to_flagds_clients(flagd_file: Path) -> None:
    path, socket_path = flagd_file, flagd_file.with_suffix(".sock")
    with Server(str(path), "--port", "0", *FREE, "--flagd-socket", str(socket_path)) as server:
        url = server.line_after("OFREP: ").removeprefix("OFREP: ")
        line = server.line_after("flagd: rpc")
        assert re.fullmatch(r"flagd: rpc on port \d+, in-process on port \d+", line)
        assert server.line_after("flagd: both") == f"flagd: both on unix:{socket_path}"
        connect = f'  FlagdClient(FlagdConfig(resolver="in-process", port={line.rpartition(" ")[2]}))'
        assert server.line_after("  FlagdClient") == connect
        assert (ofrep(url), ofrep(server.url)) == (True, True)
        server.type("flip a")
        assert server.line_after("a is") == "a is off now"
        assert ofrep(url) is None
        path.write_text(FLAGD.replace('"on"}', '"off"}'))
        server.line_after(f"{path} read again")
        assert ofrep(url) is False
        path.write_text('{"flags": {"a": {"on": true}}}')
        assert "cannot change to LaunchDarkly's" in server.line_after(str(path))


def test_a_file_in_launchdarklys_format_is_served_to_flagds_clients_on_request(file: Path) -> None:
    with Server(str(file), "--port", "0", "--flagd", *FREE) as server:
        assert server.line_after("flagd: rpc")
        assert server.flag() is True


@pytest.mark.slow
def test_a_file_without_flags_has_flagds_format_on_request(tmp_path: Path) -> None:
    path = written(tmp_path / "flags.json", '{"flags": {}}')
    with Server(str(path), "--port", "0", "--flagd", *FREE) as server:
        server.line_after("Save ")
        for text, value in ((FLAGD, True), ('{"flags": {}, "metadata": {"flagSetId": "shop"}}', None), (FLAGD, True)):
            path.write_text(text)
            assert server.line_after(str(path)) == f"{path} read again: served now"
            assert ofrep(server.url) is value


CONTEXT_RULE = '"targeting": {"var": "wanted"}, "defaultVariant"'
FRACTIONAL_RULE = '"targeting": {"fractional": [["on", 1], ["off", 1]]}, "defaultVariant"'


@pytest.mark.parametrize(
    ("rule", "arguments", "value"),
    [
        pytest.param(CONTEXT_RULE, ["--no-flagd", "--flagd-context", '{"wanted": "off"}'], False, id="OFREP on the main port"),
        pytest.param(CONTEXT_RULE, [*FREE, "--flagd-context", '{"wanted": "off"}'], False, id="a static context"),
        pytest.param(FRACTIONAL_RULE, [*FREE, "--flagd-fractional", "2"], True, id="the old version of fractional"),
        pytest.param(FRACTIONAL_RULE, FREE, False, id="the newest version of fractional"),
    ],
)
def test_rules_of_flagd_are_evaluated_with(flagd_file: Path, rule: str, arguments: list[str], value: bool) -> None:
    flagd_file.write_text(FLAGD.replace('"defaultVariant"', rule))
    with Server(str(flagd_file), "--port", "0", *arguments) as server:
        server.line_after("Save ")
        assert ofrep(server.url) is value


def test_without_the_extra_only_ofrep_is_served(flagd_file: Path) -> None:
    program = "import sys; sys.modules['grpc'] = None; from aioflags.cli.main import main; main()"
    command = [sys.executable, "-c", program, "serve", str(flagd_file), "--port", "0", *FREE]
    missing = """flagd's gRPC services need grpcio: pip install "aioflags[flagd]\""""
    ran = subprocess.run([*command, "--flagd"], capture_output=True, text=True, timeout=150, check=False)
    assert (ran.returncode, ran.stderr.strip()) == (2, f"aioflags: {missing}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        lines = [next(process.stdout).rstrip() for _ in range(7)]
        process.kill()
    assert lines[6] == f'  FlagdClient(FlagdConfig(resolver="ofrep", ofrep_base_url="{lines[2].removeprefix("OFREP: ")}"))'
    assert lines[3] == f"flagd's gRPC services are off: {missing}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("document", "arguments", "named"),
    [
        pytest.param('{"flagValues": {"a": 1}}', [], {"url", "pageUrl"}, id="LaunchDarkly's format"),
        pytest.param(FLAGD, FREE, {"url", "pageUrl", "ofrepUrl", "flagdPort", "flagdSyncPort"}, id="flagd's format"),
        pytest.param(
            FLAGD,
            [*FREE, "--flagd-socket", "{socket}"],
            {"url", "pageUrl", "ofrepUrl", "flagdPort", "flagdSyncPort", "flagdSocket"},
            id="a Unix socket",
        ),
    ],
)
def test_the_addresses_are_one_line_of_json_on_request(
    tmp_path: Path, document: str, arguments: list[str], named: set[str]
) -> None:
    path = written(tmp_path / "flags.json", document)
    words = [argument.format(socket=tmp_path / "flagd.sock") for argument in arguments]
    command = [*AIOFLAGS, "serve", str(path), "--port", "0", "--json", *words]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        addresses = json.loads(process.stdout.readline())
        assert {name for name, address in addresses.items() if address is not None} == named
        assert httpx.get(addresses["pageUrl"], **ASK).status_code == 200
        for name in ("flagdPort", "flagdSyncPort"):
            if name in named:
                socket.create_connection(("127.0.0.1", addresses[name])).close()
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=150)
    assert stdout == ""
    assert stderr.endswith("stopped\n")
