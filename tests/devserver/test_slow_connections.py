"""R27: ``aioflags serve`` beside hundreds of connections that waste its time: others are served, and it ends the wasteful ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import httpx
import pytest

from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import FORM, Form

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.slow,
    pytest.mark.speed,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory and descriptors are read from /proc"),
]

CONNECTIONS: Final = 500
SECONDS: Final = {Form.SMOKE: 2, Form.QUICK: 20, Form.FULL: 75}[FORM]
"""How long the server is attacked. In full form every connection reaches its limit, the longest of which is a minute."""
BOUND: Final = 5.0
"""Seconds that an answer to another client may take. 0.1 s are usual, 1.2 s were seen beside ten other programs."""
MEMORY: Final = 200
"""MB by which the server may grow: the answers that are not read take 42 MB."""
SOON: Final = 60.0

UNREAD: Final = "an answer that is not read"
HOST: Final = b"Host: 127.0.0.1\r\n"
SLOW: Final[dict[str, tuple[bytes, bytes]]] = {
    "nothing": (b"", b""),
    "a header, byte by byte": (b"GET /sdk/poll HTTP/1.1\r\n" + HOST + b"X-Slow: ", b"x"),
    "a body, byte by byte": (b"POST /bulk HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n", b" "),
    "endless chunks": (b"POST /bulk HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "idle after an answer": (b"GET /sdk/nothing HTTP/1.1\r\n" + HOST + b"\r\n", b""),
    UNREAD: (b"GET /sdk/poll HTTP/1.1\r\n" + HOST + b"\r\n", b"G"),
}
"""What a connection sends at first, and then each second."""


class Server:
    """The command in its process."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process, self.url = process, url
        self.port = int(url.rpartition(":")[2])

    def resident(self) -> float:
        """Its memory in MB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))) / 1024

    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())


@asynccontextmanager
async def aioflags_serve(folder: Path) -> AsyncGenerator[Server]:
    flags = folder / "flags.json"
    flags.write_text(json.dumps({"flagValues": {"a": "x" * 500_000}}))
    command = [sys.executable, "-m", "aioflags", "serve", str(flags), "--port", "0", "--json"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        yield Server(process, json.loads(await asyncio.wait_for(process.stdout.readline(), SOON))["url"])
    finally:
        process.terminate()
        printed = await asyncio.wait_for(process.stderr.read(), SOON)
        assert await asyncio.wait_for(process.wait(), SOON) == 0
    assert b"Traceback" not in printed, printed.decode()


async def waste(server: Server, kind: str) -> float:
    """A connection of that kind until the server closes it, at most until this task is cancelled. Returns how long that took."""
    head, each_second = SLOW[kind]
    loop, began = asyncio.get_running_loop(), time.monotonic()
    with socket.socket() as connection, contextlib.suppress(ConnectionError):
        connection.setblocking(False)
        # A small buffer, so that most of an unread answer stays with the server.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(connection, ("127.0.0.1", server.port))
        await loop.sock_sendall(connection, head)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    if kind == UNREAD:
                        await asyncio.sleep(1)
                    elif not await loop.sock_recv(connection, 4096):
                        break
            await loop.sock_sendall(connection, each_second)
    return time.monotonic() - began


@pytest.mark.holds("RB-R27")
@pytest.mark.timeout(300)
async def test_others_are_served_beside_500_slow_connections(tmp_path: Path, figures: Figures) -> None:
    async with aioflags_serve(tmp_path) as server, httpx.AsyncClient(timeout=SOON) as others:

        async def served() -> float:
            began = time.monotonic()
            answer = await others.get(f"{server.url}/sdk/latest-all")
            assert answer.status_code == 200
            assert len(answer.json()["flags"]["a"]["variations"][0]) == 500_000
            return time.monotonic() - began

        await served()
        memory, descriptors = server.resident(), server.descriptors()
        slowest, highest, ends = 0.0, 0.0, dict.fromkeys(SLOW, 0.0)

        async def attack(kind: str) -> None:
            ends[kind] = max(ends[kind], await waste(server, kind))

        async with anyio.create_task_group() as attackers:
            for number in range(CONNECTIONS):
                attackers.start_soon(attack, list(SLOW)[number % len(SLOW)])
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                slowest = max(slowest, await served())
                highest = max(highest, server.resident() - memory)
                await asyncio.sleep(0.02)
            attackers.cancel_scope.cancel()
        print({kind: round(seconds, 1) for kind, seconds in ends.items()})
        figures.total("slow connections", CONNECTIONS)
        figures.worst("slowest answer beside them", slowest, "s")
        figures.worst("memory beside them", highest, "MB")
        assert slowest <= BOUND
        assert highest <= MEMORY
        if FORM is Form.FULL:
            assert {kind for kind, seconds in ends.items() if not seconds} == set()
        with anyio.fail_after(SOON):
            while server.descriptors() > descriptors:
                await asyncio.sleep(0.05)
        assert await served() <= BOUND
