"""The program as a whole: its version, its help, missing packages, closed streams and interruptions."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from aioflags.runtime.version import __version__
from tests.cli.program import AIOFLAGS, without, written

pytestmark = pytest.mark.real_time

LINE = b'{"key": "a", "context": {"key": "x"}}\n'


def run(*command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=150)
    return subprocess.CompletedProcess(command, ended.returncode, ended.stdout.decode(), ended.stderr.decode())


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(written(tmp_path / "flags.json", '{"flagValues": {"a": 1}}'))


def test_the_version_is_printed() -> None:
    assert run(*AIOFLAGS, "--version").stdout == f"aioflags {__version__}\n"


def test_the_help_lists_every_command() -> None:
    ended = run(*AIOFLAGS, "--help")
    assert ended.returncode == 0
    for command in ("codegen", "demo", "doctor", "evaluate", "explain", "lint", "serve", "watch"):
        assert f"  {command} " in ended.stdout


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["evaluate", "--nonsense"]])
def test_an_unknown_command_or_option_is_reported(arguments: list[str]) -> None:
    ended = run(*AIOFLAGS, *arguments)
    assert ended.returncode == 2
    assert "nonsense" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_the_cli_extra_one_line_names_the_extra_to_install() -> None:
    ended = run(*without("click"), "--version")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == 'aioflags: the command line needs click: pip install "aioflags[cli]"\n'


@pytest.mark.parametrize(
    ("command", "package", "extra"), [("demo", "rich", "cli"), ("demo", "uvicorn", "demo"), ("serve", "starlette", "demo")]
)
def test_a_command_without_its_extra_names_the_extra_to_install(command: str, package: str, extra: str, file: str) -> None:
    ended = run(*without(package), command, "--some", "option")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f'aioflags: {command} needs {package}: pip install "aioflags[{extra}]"\n'
    assert run(*without(package), "--help").returncode == 0
    assert run(*without(package), "evaluate", file, "a", "--context", '{"key": "x"}').returncode == 0


def test_a_reader_that_closes_the_pipe_causes_no_error(file: str) -> None:
    with subprocess.Popen(
        [*AIOFLAGS, "evaluate", file, "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(LINE)
        process.stdin.flush()
        assert b'"value":1' in process.stdout.readline()
        process.stdout.close()
        process.stdin.write(LINE * 3)
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=150) == 141


@pytest.mark.parametrize("redirection", [">&-", "<&-", "2>&-"])
def test_a_stream_that_is_closed_from_the_start_causes_no_error(file: str, redirection: str) -> None:
    command = f"{shlex.join([*AIOFLAGS, 'evaluate', file, '--batch'])} {redirection}"
    ended = run("/bin/sh", "-c", command, stdin=LINE)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert bool(ended.stdout) == (redirection == "2>&-")


def test_an_interruption_ends_the_program_without_a_traceback(file: str) -> None:
    with subprocess.Popen(
        [*AIOFLAGS, "evaluate", file, "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(LINE)
        process.stdin.flush()
        process.stdout.readline()
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=150)
        assert b"Traceback" not in stderr
        assert process.returncode == 1
