"""Runs what a page shows: its named blocks as files in a folder, and its commands as processes of the flags service.

A block whose first line is ``# shop.py`` is that file. A program gets the service's addresses from the environment, as
``Client.from_env`` reads them.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import httpx

from aioflags.testing import FlagsService
from tests.support.canaries import KEY

__all__ = ["PATIENCE", "PAUSE", "Program", "Recipe", "page", "tracked", "until_tracked"]

_HOW_TO: Final = Path(__file__).parents[2] / "docs" / "how-to"
_NAMED: Final = re.compile(r"^```python\n(# (\w[\w.]*\.py)\n.*?)^```", re.MULTILINE | re.DOTALL)
_UWSGI: Final = "import pyuwsgi, sys; sys.exit(pyuwsgi.run(sys.argv[1:]))"
"""What the command ``uwsgi`` of the package ``pyuwsgi`` does."""
PATIENCE: Final = 60.0
"""Seconds for the start of processes, and for their end. Only a test that hangs takes as long."""
PAUSE: Final = 0.2
"""Seconds between two questions that are asked until the answer is another. The service keeps the newest 200 events only."""


def page(name: str) -> str:
    """The text of a guide."""
    return (_HOW_TO / name).read_text(encoding="utf-8")


class Program:
    """A running command. ``stop`` may be called while its processes have ended or hang; it kills what is left."""

    def __init__(self, process: Process, log: Path) -> None:
        self.process: Final = process
        self._log: Final = log

    async def answer(self, line: str) -> list[str]:
        """The words of the line that the program prints after it was given this one."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        return await self.printed()

    async def printed(self) -> list[str]:
        """The words of the next line that it prints."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self.process.stdout.readline()
        assert line.split(), (line, self.process.returncode, self.log)
        return line.decode().split()

    async def end(self, number: int | None = signal.SIGTERM) -> None:
        """End it by a signal, or by the end of its input: it succeeds, without a traceback, and leaves no process."""
        if number is not None:
            self.process.send_signal(number)
        elif self.process.stdin is not None:
            self.process.stdin.close()
        async with asyncio.timeout(PATIENCE):
            assert await self.process.wait() == 0, self.log
            while self._is_left():  # a process that helped its children ends a moment after the others
                await asyncio.sleep(0.02)
        assert not re.search("Traceback|unclosed|never awaited|dropped", self.log), self.log

    def kill(self) -> None:
        """End what is left of it."""
        if self._is_left():
            os.killpg(self.process.pid, signal.SIGKILL)

    @property
    def log(self) -> str:
        """What it has written to its standard error."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _is_left(self) -> bool:
        """Whether a process of its group runs. One that ended, and that its parent never asked about, does not count."""
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, group, *_ = status.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(group) == self.process.pid and state != "Z":
                return True
        return False


class Recipe:
    """The files of one or more pages in a folder, and the service that its programs use."""

    def __init__(self, folder: Path, service: FlagsService, *pages: str) -> None:
        self.folder: Final = folder
        self.service: Final = service
        for text in map(page, pages):
            for block, name in _NAMED.findall(text):
                (folder / name).write_text(block, encoding="utf-8")

    @asynccontextmanager
    async def running(self, *command: str, python: str = sys.executable, **environment: str) -> AsyncGenerator[Program]:
        """A Python program in a process group of its own: ``-m gunicorn ...``, ``report.py``."""
        places = {f"LAUNCHDARKLY_{place}_URI": self.service.url for place in ("BASE", "STREAM", "EVENTS")}
        # Unbuffered, print writes a line in two parts, between which another process may write.
        log = self.folder / f"{len(list(self.folder.glob('*.log')))}.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(python, *command),
                cwd=self.folder,
                env={**os.environ, **places, "LAUNCHDARKLY_SDK_KEY": KEY, "PYTHONUNBUFFERED": "", **environment},
                stdin=PIPE,
                stdout=PIPE,
                stderr=errors,
                start_new_session=True,
            )
        program = Program(process, log)
        reaped = asyncio.create_task(process.wait())
        try:
            yield program
        finally:
            program.kill()
            await reaped
            if process.stdin is not None:
                process.stdin.close()
            process._transport.close()  # type: ignore[attr-defined]  # its pipes, also those that nothing read

    @asynccontextmanager
    async def serving(self, command: str, port: int) -> AsyncGenerator[tuple[Program, httpx.AsyncClient]]:
        """A server that is started by a command of a page, and a client of it. It answers already."""
        server, *options = command.split()
        bind = {"uvicorn": ["--port", f"{port}"], "uwsgi": ["--http", f"127.0.0.1:{port}"]}
        address = bind.get(server, ["-b", f"127.0.0.1:{port}"])
        # Without connections that are kept, so that the next request may reach another process.
        limits = httpx.Limits(max_keepalive_connections=0)
        http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, limits=limits, timeout=10)
        launch = ("-c", _UWSGI) if server == "uwsgi" else ("-m", server)
        async with self.running(*launch, *options, *address) as program, http:
            async with asyncio.timeout(PATIENCE):
                while not await _answers(http):
                    assert program.process.returncode is None, program.log
                    await asyncio.sleep(PAUSE)
            yield program, http


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/", params={"user": "nobody-yet"})).status_code == 200
    except httpx.TransportError:
        return False


def tracked(service: FlagsService) -> list[str]:
    """The users of the custom events that arrived, in order."""
    events = (event.json for event in service.state.events.newest if event.kind == "custom")
    keys = [event.get("contextKeys") or {event["context"]["kind"]: event["context"]["key"]} for event in events if event]
    return sorted(key for each in keys for key in each.values())


async def until_tracked(service: FlagsService, users: list[str]) -> None:
    """Wait until the event of each of these users arrived. None arrives twice."""
    wanted = sorted(users)
    with anyio.move_on_after(10):
        await service.state.until(lambda: [user for user in tracked(service) if user in users] == wanted)
    events = Counter(event.kind for event in service.state.events.newest)
    assert [user for user in tracked(service) if user in users] == wanted, events
