"""Processes that are frozen between two calls, or end: clocks, timers, and connections on real sockets."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import Context as VariableContext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVarTuple

import pytest

from aioflags import Client, Config, Status
from aioflags.sources.base import PollOnDemand
from aioflags.testing.virtual_time import VirtualTimeLoop
from tests.integration.one_shot_clients import FDV1, FLAGS, USER, one_shot
from tests.support.canaries import KEY
from tests.support.scripted_http import Answer, Service, payload, poll_body

Ts = TypeVarTuple("Ts")


# -- the clocks of a process that was frozen


async def test_a_frozen_process_uses_the_clock_that_moved_further() -> None:
    wall = 0.0
    demand = PollOnDemand(wall_clock=lambda: wall)
    polls = 0

    async def poll() -> None:
        nonlocal polls
        demand.poll_started()
        while True:
            polls += 1
            await demand.wait_for_request(30)

    polling = asyncio.create_task(poll())
    await demand.request()
    await asyncio.sleep(0)
    await demand.request()
    assert polls == 1
    wall += 3600
    await demand.request()
    assert polls == 2
    wall -= 7200
    await asyncio.sleep(30)
    await demand.request()
    assert polls == 3
    polling.cancel()


# -- timers


class Counting(asyncio.SelectorEventLoop):
    """Records its timers."""

    def __init__(self) -> None:
        self.timers: list[asyncio.TimerHandle] = []
        super().__init__()

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: VariableContext | None = None
    ) -> asyncio.TimerHandle:
        self.timers.append(super().call_at(when, callback, *args, context=context))
        return self.timers[-1]


class CountingVirtual(Counting, VirtualTimeLoop):
    """The same in virtual time."""


def waiting() -> list[asyncio.TimerHandle]:
    """The timers of the loop with a finite deadline. ``sleep_forever`` has an infinite one."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Counting)
    assert loop.timers
    return [timer for timer in loop.timers if not timer.cancelled() and loop.time() < timer.when() < math.inf]


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        pytest.param([FLAGS], Status.READY, id="with flags"),
        pytest.param([Answer(503)], Status.ERROR, id="without"),
        pytest.param([FLAGS.directed(), FDV1], Status.READY, id="on FDv1"),
        pytest.param([Answer(429, {"Retry-After": "60"})], Status.ERROR, id="with Retry-After"),
    ],
)
def test_an_idle_client_has_no_timer(answers: list[Answer], state: Status) -> None:
    async def idle() -> None:
        async with one_shot(Service(*answers)) as client:
            client.track("a", USER)
            await client.flush_and_wait(1)
            await client.refresh()
            assert client.status is state
            assert waiting() == []

    with asyncio.Runner(loop_factory=CountingVirtual) as runner:
        runner.run(idle())


# -- on real sockets


@contextmanager
def a_service(*, takes: bool = True) -> Generator[tuple[str, list[str]]]:
    """A flag service in a thread: its address, and the paths of its requests. Without ``takes`` it does not answer events."""
    asked: list[str] = []
    answering = threading.Event()
    if takes:
        answering.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.answer(200, poll_body(*payload("f", state="s1")))

        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            answering.wait()
            self.answer(202, b"")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        answering.set()
        server.shutdown()
        server.server_close()


@pytest.mark.real_time
def test_a_loop_that_runs_again_serves_the_next_call(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def handle(client: Client) -> int:
        await client.start()
        await client.refresh()
        answer: int = await client.variation("f", USER, 0)
        assert await client.flush_and_wait(1)
        assert waiting() == []
        return answer

    with a_service() as (url, asked), asyncio.Runner(loop_factory=Counting) as runner:
        client = Client(KEY, Config(base_uri=url, stream_uri=url, events_uri=url).one_shot(deadline=120))
        for _ in range(3):
            assert runner.run(handle(client)) == 1
            time.sleep(0.05)  # frozen: the loop does not run
        assert asked == ["/sdk/poll", "/bulk", "/bulk", "/bulk"]
        runner.run(client.aclose())
    assert client.stats.evaluations_sent == 3
    messages = [record.getMessage() for record in caplog.records if record.name == "aioflags"]
    assert messages == ["polling is receiving flag updates", "started: READY, 1 flag from polling", "closed"]


@pytest.mark.real_time
def test_a_program_ends_if_the_service_never_accepts_the_last_events() -> None:
    async def run(url: str) -> Client:
        async with Client(KEY, Config(base_uri=url, stream_uri=url, events_uri=url).one_shot(deadline=1)) as client:
            client.track("a", USER)
        return client

    with a_service(takes=False) as (url, _):
        client = asyncio.run(run(url))
    assert client.stats.events_dropped == client.stats.events_recorded == 2
