"""Every command when its output is full, closed or without a reader, or lacks a character."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from aioflags.cli.commands import commands
from aioflags.cli.main import _guarded
from tests.cli.program import AIOFLAGS

pytestmark = [pytest.mark.real_time, pytest.mark.slow]

CONTEXT = '{"kind": "user", "key": "Zoë"}'
FILE = '{"flagValues": {"été€ж": "Ünïcode€ж"}}'
EVERY = {
    "--version": ["--version"],
    "--help": ["--help"],
    "codegen": ["codegen", "flags.json"],
    "demo": ["demo"],
    "doctor": ["doctor"],
    "evaluate": ["evaluate", "flags.json", "été€ж", "--context", CONTEXT],
    "evaluate --help": ["evaluate", "--help"],
    "explain": ["explain", "flags.json", "été€ж", "--context", CONTEXT],
    "lint": ["lint", "wrong.json"],
    "override set": ["override", "set", "flags.json", "été€ж", '"Ünïcode€ж"'],
    "override list": ["override", "list", "flags.json"],
    "override clear": ["override", "clear", "flags.json", "été€ж"],
    "serve": ["serve", "flags.json", "--port", "0"],
    "watch": ["watch", "flags.json", "été€ж", "--context", CONTEXT, "--for", "2"],
}
PRINTS_DATA = ("codegen", "evaluate", "explain", "lint", "override set", "override list", "watch")
IN_LATIN_1 = [(name, "latin-1") for name in PRINTS_DATA]
FULL = Path("/dev/full")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flags.json").write_text(FILE)
    (tmp_path / "wrong.json").write_text('{"flags": {"Ünïcode€ж": {"on": 1}}}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAUNCHDARKLY_SDK_KEY", "sdk-key")
    monkeypatch.setenv("LAUNCHDARKLY_BASE_URI", "http://127.0.0.1:9")


def run(name: str, stdout: int, stderr: int = subprocess.PIPE, program: tuple[str, ...] = AIOFLAGS) -> tuple[int, str]:
    ended = subprocess.run(
        [*program, *EVERY[name]], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, check=False, timeout=150
    )
    return ended.returncode, (ended.stderr or b"").decode()


def without_reader() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def test_the_cases_are_all_commands() -> None:
    context = commands.make_context("aioflags", ["lint"])
    assert {name.split()[0] for name in EVERY} == {*commands.list_commands(context), "--version", "--help"}


@pytest.mark.parametrize("name", EVERY)
def test_a_command_whose_reader_is_gone_ends_quietly(name: str) -> None:
    writer = without_reader()
    assert run(name, writer) == (141, "")
    os.close(writer)


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("name", EVERY)
def test_a_command_names_the_device_that_is_full(name: str) -> None:
    with FULL.open("w") as full:
        assert run(name, full.fileno()) == (1, "aioflags: standard output (/dev/full): No space left on device\n")


def everything_of(reader: int) -> bytes:
    with os.fdopen(reader, "rb") as stream:
        return stream.read()


@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("raises", [True, False], ids=["standard output", "standard error"])
def test_a_pipe_that_does_not_wait_gets_all_of_a_long_output(raises: bool, buffering: int) -> None:
    text = "a line\n" * 500_000
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with ThreadPoolExecutor(1) as threads:
        written = threads.submit(everything_of, reader)
        with io.TextIOWrapper(os.fdopen(writer, "wb", buffering)) as pipe, _guarded(pipe, raises=raises) as stream:
            stream.write(text)
        assert written.result() == text.encode()


def test_the_module_does_the_same() -> None:
    writer = without_reader()
    assert run("lint", writer, program=(sys.executable, "-m", "aioflags")) == (141, "")
    os.close(writer)


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_standard_error_cannot_write_is_dropped(unbuffered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with FULL.open("w") as full:
        assert subprocess.run([*AIOFLAGS, "lint", "flags.json"], stderr=full, check=False, timeout=150).returncode == 0
        assert run("lint", full.fileno(), full.fileno())[0] == 1


@pytest.mark.parametrize(("name", "encoding"), [*IN_LATIN_1, ("lint", "ascii"), ("codegen", "ascii")])
def test_a_character_that_the_encoding_lacks_is_utf8_or_an_escape(
    name: str, encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    with Path("output").open("w") as output:
        status, stderr = run(name, output.fileno())
    assert status == (1 if name == "lint" else 0)
    assert "Traceback" not in stderr
    output_bytes = (tmp_path / "output").read_bytes()
    as_utf8, as_escape = "Ünïcode€ж".encode(), "Ünïcode€ж".encode("latin-1", "backslashreplace")
    assert (as_utf8 in output_bytes) or (encoding == "latin-1" and as_escape in output_bytes)
    if name == "codegen":
        compile(output_bytes, "flags.py", "exec")


def test_a_server_goes_on_after_its_terminal_was_closed() -> None:
    terminal, side = pty.openpty()
    with subprocess.Popen([*AIOFLAGS, *EVERY["serve"]], stdin=subprocess.DEVNULL, stdout=side, stderr=side) as server:
        os.close(side)
        text = b""
        while not (found := re.search(rb"Serving .* on (\S+)\r\n[^$]*Ctrl-C ends", text)):
            text += os.read(terminal, 4096)
        os.close(terminal)
        url = found[1].decode()
        Path("flags.json").write_text('{"flagValues": {"b": 2}}')
        while "b" not in httpx.get(f"{url}/sdk/latest-all", trust_env=False).json()["flags"]:
            assert server.poll() is None
        server.terminate()
        assert server.wait(timeout=150) == 0
