"""The examples and the blocks of the README run and print what they show."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import httpx
import pytest

from aioflags import Client, Config, Context
from aioflags.devserver import ServerState, create_app, serve
from aioflags.devserver.data.history import read_objects
from aioflags.testing import FakeFlagd
from tests.support.canaries import KEY, WATCH

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.real_time

_COMING = ["the new checkout", "because of rule 0", "all flags: {'new-checkout': True, 'greeting': 'hello'}", "greeting: welcome"]
PRINTS = {
    "flag_server.py": [
        "listening: rpc on port ",
        "rpc: #000 (STATIC)",
        "in-process: #000 (STATIC)",
        "ofrep: #000 (STATIC)",
        "changed: #fff (STATIC)",
        "one fault: #888 (ERROR)",
        "over: #fff (STATIC)",
    ],
    "flagd_demo.py": [
        "connected: READY, new-checkout is True (TARGETING_MATCH)",
        "flag disabled: READY, new-checkout is False (DISABLED)",
        "flagd stopped: STALE, new-checkout is False (DISABLED)",
        "flagd is back: READY, new-checkout is True (TARGETING_MATCH)",
    ],
    "flagd_file.py": [
        "user-123: good morning (formal, DEFAULT)",
        "anna: hi (casual, TARGETING_MATCH)",
        "greeting changed: welcome",
    ],
    "ldclient_after.py": _COMING,
    "ldclient_before.py": _COMING,
    "quickstart.py": ["the new checkout"],
    "own_source.py": [
        "now: hello",
        "then: welcome",
        "a mistake: flags.json: line 1, column 22: ",
        "still: welcome",
    ],
    "own_store.py": ["from the service: hello", "from the store: hello", "which is STALE"],
}
LOGS = {"flag_server.py": ["503"], "own_source.py": ["flags.json"], "own_store.py": ["flag data"]}
"""Text in each line that an example logs: Python prints warnings if logging is not configured."""

SERVICES = {
    "flagd_fastapi_app.py": ("uvicorn", "flagd_fastapi_app:app", "--port"),
    "fastapi_app.py": ("uvicorn", "fastapi_app:app", "--port"),
    "litestar_app.py": ("uvicorn", "litestar_app:app", "--port"),
    "django_app.py": ("uvicorn", "django_app:application", "--port"),
    "aiohttp_app.py": ("aiohttp.web", "aiohttp_app:main", "-P"),
}


@pytest.fixture
async def connected() -> AsyncIterator[Any]:
    """``Client``, as the README calls it, for a service on this machine."""
    async with serve(WATCH.app(create_app(ServerState.of({"flagValues": {"new-checkout": True}})))) as service:
        yield partial(Client, config=Config(base_uri=service.url, stream_uri=service.url, events_uri=service.url))


async def run(block: str, names: dict[str, Any]) -> None:
    """Runs a block that may await at its top level."""
    code: CodeType = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await FunctionType(code, names)()


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_runs_and_prints_what_it_shows(name: str) -> None:
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert len(lines) == len(PRINTS[name])
    for line, start in zip(lines, PRINTS[name], strict=True):
        assert line.startswith(start)
    logged, expected = ran.stderr.splitlines(), LOGS.get(name, [])
    assert len(logged) == len(expected), ran.stderr
    for line, part in zip(logged, expected, strict=True):
        assert part in line


def test_each_example_is_run_or_has_tests_of_its_own() -> None:
    examples = {path.name for path in EXAMPLES.glob("*.py")}
    tested = {name for name in examples if f"test_{name}" in examples}
    assert {name for name in examples if not name.startswith("test_")} == {
        *PRINTS,
        *SERVICES,
        "mobile_dashboard.py",
        "one_shot.py",
        "worker.py",
    }
    assert tested == {*SERVICES, "mobile_dashboard.py"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_file_that_a_docstring_names_is_in_the_folder(name: str) -> None:
    docstring = ast.get_docstring(ast.parse((EXAMPLES / name).read_text(encoding="utf-8"))) or ""
    named = re.findall(r"[\w/-]+\.(?:json|md)", docstring)
    assert [file for file in named if not (ROOT / file).exists() and not (EXAMPLES / file).exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_runs_with_the_command_in_its_docstring(name: str, unused_tcp_port: int) -> None:
    port = str(unused_tcp_port)
    flags = ServerState.of({"flagValues": {"new-checkout": True}})
    async with serve(WATCH.app(create_app(flags))) as service, FakeFlagd() as flagd:
        flagd.set("new-checkout", True)
        places = dict.fromkeys(("LAUNCHDARKLY_BASE_URI", "LAUNCHDARKLY_STREAM_URI"), service.url)
        places |= {"FLAGD_HOST": flagd.host, "FLAGD_SYNC_PORT": str(flagd.sync_port)}
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *SERVICES[name], port),
            env={**os.environ, **places, "LAUNCHDARKLY_SDK_KEY": KEY, "PYTHONPATH": str(ROOT)},
            cwd=EXAMPLES,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
                while not await is_ready(http):
                    assert running.returncode is None
                    await asyncio.sleep(0.05)
                assert "the new checkout" in (await http.get("/checkout")).text
        finally:
            running.terminate()
            await running.wait()


async def test_the_worker_follows_its_flag_until_it_is_stopped() -> None:
    flags = ServerState.of({"flagValues": {"batch-size": 20}})
    async with serve(WATCH.app(create_app(flags))) as service:
        places = {f"LAUNCHDARKLY_{place}_URI": service.url for place in ("BASE", "STREAM", "EVENTS")}
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(EXAMPLES / "worker.py")),
            env={**os.environ, **places, "LAUNCHDARKLY_SDK_KEY": KEY, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert running.stdout is not None
        assert await running.stdout.readline() == b"a batch of 20\n"
        flags.replace(read_objects({"flagValues": {"batch-size": 30}}))
        while (line := await running.stdout.readline()) != b"from 20 to 30\n":
            assert line == b"a batch of 20\n"
        running.terminate()
        _, log = await running.communicate()
        assert running.returncode == 0
        assert b"Traceback" not in log
        WATCH.text("log of the worker", log)
        assert log.endswith(b"INFO:aioflags:closed\n")


@pytest.mark.parametrize(
    ("is_there", "prints"),
    [
        pytest.param(True, "a batch of 20\n2 events sent, 0 lost\n", id="with the service"),
        pytest.param(False, "a batch of 10\n0 events sent, 2 lost\n", id="without the service"),
    ],
)
async def test_the_script_evaluates_once_and_ends_at_once(is_there: bool, prints: str, unused_tcp_port: int) -> None:
    state = ServerState.of({"flagValues": {"batch-size": 20}})
    async with serve(WATCH.app(create_app(state))) as service:
        url = service.url if is_there else f"http://127.0.0.1:{unused_tcp_port}"
        places = {f"LAUNCHDARKLY_{place}_URI": url for place in ("BASE", "STREAM", "EVENTS")}
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(EXAMPLES / "one_shot.py")),
            env={**os.environ, **places, "LAUNCHDARKLY_SDK_KEY": KEY, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert running.stdout is not None
        began = asyncio.get_running_loop().time()
        first, last = await running.stdout.readline(), await running.stdout.readline()
        ended = asyncio.get_running_loop().time()
        await running.wait()
        # A wait for a connection without an answer would take five seconds or more.
        # A busy machine is as slow at the end of the script as it was at the beginning.
        assert asyncio.get_running_loop().time() - ended < 4 + (ended - began)
        assert (first + last).decode() == prints
        assert running.returncode == 0
        assert running.stderr is not None
        WATCH.text("output of the script", first, last, await running.stderr.read())


async def test_the_dashboard_follows_flags_and_keys_in_a_terminal() -> None:
    state = ServerState.of({"flagValues": {"theme": "dark"}})
    terminal, other_end = os.openpty()
    async with serve(WATCH.app(create_app(state))) as service:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(EXAMPLES / "mobile_dashboard.py"), service.url),
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120", "LINES": "30"},
            stdin=other_end,
            stdout=other_end,
            stderr=other_end,
        )
        os.close(other_end)
        shown = bytearray()

        async def until(text: bytes) -> None:
            """Wait until the terminal shows the text."""
            while text not in shown:
                shown.extend(await asyncio.to_thread(os.read, terminal, 65536))
            shown.clear()

        try:
            await until(b"'dark'")
            state.replace(read_objects({"flagValues": {"theme": "light"}}))
            await until(b"'light'")
            os.write(terminal, b"u")
            await until(b"user ben")
            os.write(terminal, b"o")
            await until(b"SET_OFFLINE")
            os.write(terminal, b"q")
            with suppress(OSError):  # the terminal has no other end any more
                await until(b"never shown")
            assert await running.wait() == 0
        finally:
            if running.returncode is None:
                running.kill()
                await running.wait()
            os.close(terminal)


async def is_ready(http: httpx.AsyncClient) -> bool:
    """Whether a readiness probe succeeds."""
    try:
        return (await http.get("/ready")).status_code == 200
    except httpx.TransportError:
        return False


def test_the_readme_opens_with_the_quickstart() -> None:
    assert BLOCKS[0] == (EXAMPLES / "quickstart.py").read_text(encoding="utf-8")
    assert len(BLOCKS[0].splitlines()) < 20


async def test_the_same_lines_work_with_a_key(connected: Any, capsys: pytest.CaptureFixture[str]) -> None:
    await run(BLOCKS[1], {"Client": connected, "Context": Context})
    assert capsys.readouterr().out == "the new checkout\n"
    body = "\n".join(line.strip() for line in BLOCKS[1].splitlines()[1:])
    assert body in "\n".join(line.strip() for line in BLOCKS[0].splitlines())


async def test_each_kind_of_evaluation_works(connected: Any) -> None:
    async with connected("sdk-your-key") as client:
        names: dict[str, Any] = {"client": client, "Context": Context}
        await run(BLOCKS[2], names)
    assert names["detail"].value is True


def test_every_block_is_run() -> None:
    assert len(BLOCKS) == 3
