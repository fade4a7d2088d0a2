"""``aioflags serve`` as a process: read by clients, edited, commanded, ended."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.program import AIOFLAGS

pytestmark = pytest.mark.real_time

ASK: Any = {"trust_env": False, "timeout": 150}


class Server:
    """The process, and what it says line by line."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*AIOFLAGS, "serve", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.stdin, self._stdout = self._process.stdin, self._process.stdout
        self.url = self.says("Serving ").rsplit(" ", 1)[1]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.__exit__(None, None, None)

    def says(self, start: str) -> str:
        for line in self._stdout:
            if line.startswith(start):
                return line.rstrip()
        raise AssertionError(f"it never said {start!r}")

    def type(self, line: str) -> None:
        print(line, file=self.stdin, flush=True)

    def flag(self) -> object:
        return httpx.get(f"{self.url}/sdk/latest-all", **ASK).json()["flags"]["a"]["on"]

    def interrupt(self) -> tuple[int, str]:
        """Its exit status, and what it complained of."""
        self._process.send_signal(signal.SIGINT)
        _, said = self._process.communicate(timeout=150)
        return self._process.returncode, said


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flags.json"
    path.write_text('{"flags": {"a": {"on": true}}}')
    return path


@pytest.fixture
def server(file: Path) -> Iterator[Server]:
    with Server(str(file), "--port", "0") as server:
        yield server


def test_it_serves_the_file_and_what_becomes_of_it(server: Server, file: Path) -> None:
    assert server.flag() is True
    server.type("flip a")
    assert server.says("a is") == "a is off now"
    assert server.flag() is False
    file.write_text('{"flags": {"a": {"on": true, "invented": 1}}}')
    server.says(f"{file} read again")
    assert server.flag() is True
    file.write_text('{"flags": {"a": {"on": ')
    assert "line 1, column 24" in server.says(f"{file}: ")
    assert server.flag() is True


def test_the_directive_can_be_typed(server: Server) -> None:
    assert "X-LD-FD-Fallback" not in httpx.get(f"{server.url}/sdk/poll", **ASK).headers
    server.type("directive on 60")
    server.says("FDv2 directs")
    assert httpx.get(f"{server.url}/sdk/poll", **ASK).headers["X-LD-FD-Fallback-TTL"] == "60"


def test_the_directive_can_be_there_from_the_start(file: Path) -> None:
    with Server(str(file), "--port", "0", "--directive") as server:
        assert httpx.get(f"{server.url}/sdk/poll", **ASK).headers["X-LD-FD-Fallback"] == "true"


def test_it_says_how_to_connect_and_invites_nobody_to_type_into_a_pipe(server: Server) -> None:
    exported = [server.says("  export ") for _ in range(4)]
    assert exported == [
        "  export LAUNCHDARKLY_SDK_KEY=any-key",
        *(f"  export LAUNCHDARKLY_{name}_URI={server.url}" for name in ("BASE", "STREAM", "EVENTS")),
    ]
    assert server.says("Save ").endswith("flags.json, and clients see it. Ctrl-C ends.")


def test_its_page_is_one_click_away_and_its_token_is_new_every_time(server: Server, file: Path) -> None:
    page = server.says("Its page").rpartition(" ")[2]
    address, _, token = page.partition("#token=")
    assert "aioflags" in httpx.get(address, **ASK).text
    key = {"Authorization": f"Bearer {token}"}
    assert httpx.post(f"{server.url}/control/flip", json={"flag": "a"}, headers=key, **ASK).json() == {"on": False}
    assert httpx.post(f"{server.url}/control/flip", json={"flag": "a"}, **ASK).status_code == 401
    assert json.loads(file.read_text())["flags"]["a"]["on"] is True
    assert httpx.post(f"{server.url}/control/save", headers=key, **ASK).json() == {"saved": str(file)}
    assert json.loads(file.read_text())["flags"]["a"]["on"] is False
    with Server(str(file), "--port", "0") as another:
        assert token not in another.says("Its page")


def test_a_scenario_is_played_from_the_start(file: Path, tmp_path: Path) -> None:
    script = tmp_path / "outage.json"
    script.write_text('{"steps": [{"flip": "a"}, {"fault": {"kind": "status", "status": 500}}, {"flip": "nobody"}]}')
    with Server(str(file), "--port", "0", "--scenario", str(script)) as server:
        assert server.says("scenario: ") == "scenario: flip a"
        assert server.says("scenario: ") == "scenario: status (status 500)"
        assert server.says("scenario: ") == "scenario: there is no flag 'nobody'; the remaining steps are skipped"
        assert httpx.get(f"{server.url}/sdk/poll", **ASK).status_code == 500


def test_what_lint_finds_is_told_and_served(file: Path) -> None:
    file.write_text('{"flags": {"a": {"on": true, "variations": [1], "fallthrough": {"variation": 9}}}}')
    with Server(str(file), "--port", "0") as server:
        said = server.says("error: ")
        assert said.startswith(f'error: {file}:1:65: flags.a.fallthrough.variation: "a" has no variation 9')
        assert server.flag() is True


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{server.url}/sdk/poll", headers={"Host": "attacker.example"}, **ASK).status_code == 400


def test_a_server_for_others_warns(file: Path) -> None:
    with Server(str(file), "--port", "0", "--host", "0.0.0.0") as server:
        server.says("Warning: every client that can reach 0.0.0.0 can read these flags.")
        assert httpx.get(f"{server.url}/sdk/poll", headers={"Host": "my-laptop.local"}, **ASK).status_code == 200


def test_ctrl_c_ends_it_well_with_a_stream_open(server: Server) -> None:
    with httpx.stream("GET", f"{server.url}/sdk/stream", **ASK) as stream:
        next(stream.iter_raw())
        assert server.interrupt() == (0, "")


def test_an_input_that_ends_does_not_end_it(server: Server) -> None:
    server.stdin.close()
    assert server.flag() is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ["{file}", "--port", "{taken}"],
            "aioflags: port {taken} of 127.0.0.1 is in use; --port 0 chooses a free port\n",
            id="a port that is taken",
        ),
        pytest.param(
            ["{file}", "--host", "192.0.2.1"],
            "aioflags: cannot listen on 192.0.2.1, port 8765: Cannot assign requested address\n",
            id="an address of another machine",
        ),
        pytest.param(["{file}.absent"], "{file}.absent: No such file or directory", id="no such file"),
        pytest.param(["{file}", "--port", "70000"], "70000 is not in the range", id="no such port"),
        pytest.param(
            ["{file}", "--scenario", "{mistaken}"], "{mistaken}: flags: unknown property: expected one of steps", id="no scenario"
        ),
        pytest.param(["{mistaken}"], "{mistaken}: flags.a.on: expected boolean", id="a file with a mistake"),
    ],
)
def test_a_mistake_is_one_message(file: Path, arguments: list[str], message: str) -> None:
    mistaken = file.with_suffix(".mistaken")
    mistaken.write_text('{"flags": {"a": {"on": 1}}}')
    with socket.create_server(("127.0.0.1", 0)) as listener:
        names = {"file": file, "mistaken": mistaken, "taken": listener.getsockname()[1]}
        command = [*AIOFLAGS, "serve", *(argument.format(**names) for argument in arguments)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    assert ended.returncode == 2
    assert message.format(**names) in ended.stderr
    assert "Traceback" not in ended.stderr
