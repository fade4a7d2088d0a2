"""Clients of short programs: one start, a few evaluations, one close; in this process and in others."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import Context as VariableContext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVarTuple

import httpx
import pytest

from aioflags import Client, Config, ConfigError, Context, DataSystem, Events, LifecycleError, Status
from aioflags.sources import Fdv1Polling, Polling, Streaming
from aioflags.sources.base import PollOnDemand
from aioflags.stores import DiskStore
from aioflags.testing.virtual_time import VirtualTimeLoop
from tests.support.canaries import KEY
from tests.support.scripted_http import HANG, Answer, Service, flag, intent, payload, poll_body, poll_of

UP_TO_DATE = poll_of(intent("none"))


# -- the options


def test_the_options_of_a_program_that_runs_once() -> None:
    base = Config(application_id="job", events=Events(private_attributes=["email"]), data_system=DataSystem.polling(60))
    config = base.one_shot(deadline=5)
    assert config == replace(
        base,
        data_system=DataSystem.on_demand(60),
        start_wait=2.5,
        close_timeout=2.5,
        events=replace(base.events, flush_interval=None, diagnostic_opt_out=True),
    )


def test_one_shot_keeps_the_store() -> None:
    beside = DataSystem.persistent_store(DiskStore("flags"))
    assert Config(data_system=beside).one_shot().data_system == replace(DataSystem.on_demand(), persistence=beside.persistence)
    alone = DataSystem.daemon(DiskStore("flags"))
    assert Config(data_system=alone).one_shot().data_system == alone


@pytest.mark.parametrize("deadline", ["soon", -1])
def test_an_invalid_deadline_is_refused(deadline: Any) -> None:
    with pytest.raises(ConfigError, match=r"^deadline: expected"):
        Config().one_shot(deadline)


# -- polls


async def test_a_client_that_runs_for_a_day_makes_one_poll() -> None:
    service = Service(FLAGS)
    async with one_shot(service) as client:
        assert client.status is Status.READY
        await asyncio.sleep(86_400)
        assert await client.variation("f", USER, 0) == 1
        assert client.status is Status.READY
    assert paths(service) == ["/sdk/poll"]
    assert service.all_closed


async def test_a_refresh_gets_the_changes() -> None:
    service = Service(FLAGS, UP_TO_DATE, poll_of(*payload("g", state="s2", code="xfer-changes")))
    async with one_shot(service) as client:
        await asyncio.sleep(30)
        assert (await client.refresh()).status is Status.READY
        await asyncio.sleep(30)
        assert await client.variation("g", USER, 0) == 0
        await client.refresh()
        assert await client.variation("g", USER, 0) == 1
    assert service.queries == [{}, {"basis": "s1"}, {"basis": "s1"}]


async def test_a_refresh_within_the_poll_interval_makes_no_poll() -> None:
    service = Service(FLAGS)
    async with one_shot(service, data_system=DataSystem.polling(60)) as client:
        for _ in range(61):
            assert (await client.refresh()).status is Status.READY
            await asyncio.sleep(1)
    assert service.pauses == [60]


async def test_concurrent_refreshes_share_one_poll() -> None:
    service = Service(replace(FLAGS, after=1))
    async with one_shot(service) as client:
        await asyncio.sleep(30)
        began = seconds()
        await asyncio.gather(*(client.refresh() for _ in range(9)))
        assert seconds() - began == 1
    assert len(service.requests) == 2


async def test_a_refresh_before_the_first_answer_waits_for_it() -> None:
    service = Service(replace(FLAGS, after=1))
    async with one_shot(service, deadline=4) as client:
        pass
    client = one_shot(service)
    assert (await client.start(0)).status is Status.NOT_READY
    assert (await client.refresh()).status is Status.READY
    await client.aclose()
    assert len(service.requests) == 2


async def test_an_answer_after_the_time_limit_of_a_refresh_is_applied() -> None:
    service = Service(FLAGS, replace(poll_of(*payload("g", code="xfer-changes")), after=9))
    async with one_shot(service) as client:
        await asyncio.sleep(30)
        began = seconds()
        await client.refresh()
        await client.refresh(1)
        assert seconds() - began == 3
        await asyncio.sleep(7)
        assert await client.variation("g", USER, 0) == 1
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(Answer(503), id="a service error"),
        pytest.param(Answer(after=httpx.ConnectError("refused")), id="a refused connection"),
        pytest.param(Answer(200, {}, [b"{oops"]), id="an invalid body"),
    ],
)
async def test_after_a_failed_start_a_refresh_polls_again(failure: Answer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    service = Service(failure, failure, FLAGS, failure)
    began = seconds()
    async with one_shot(service) as client:
        assert seconds() == began
        assert client.status is Status.ERROR
        assert "started without flag data" in caplog.text
        assert "polling interrupted, polls again when refresh() is called; serving defaults: " in caplog.text
        assert (await client.refresh()).status is Status.ERROR
        assert (await client.refresh()).status is Status.READY
        await asyncio.sleep(30)
        assert (await client.refresh()).status is Status.STALE
        assert await client.variation("f", USER, 0) == 1
    assert len(service.requests) == 4
    assert "will retry" not in caplog.text


async def test_a_refresh_respects_retry_after() -> None:
    service = Service(Answer(429, {"Retry-After": "20"}), FLAGS)
    async with one_shot(service) as client:
        await asyncio.sleep(19)
        assert (await client.refresh()).status is Status.ERROR
        await asyncio.sleep(1)
        assert (await client.refresh()).status is Status.READY
    assert service.pauses == [20]


async def test_a_refresh_after_a_refused_key_makes_no_poll() -> None:
    service = Service(Answer(401))
    async with one_shot(service) as client:
        assert (await client.refresh()).status is Status.FATAL
    assert len(service.requests) == 1


async def test_a_refresh_after_every_source_was_refused_returns_at_once() -> None:
    """A source on demand polled first, and no poll of it ends while the sources wait to start again."""
    service = Service(Answer(401))
    system = DataSystem.custom(synchronizers=[Polling(on_demand=True), Streaming()])
    async with Client(KEY, Config(http=service.http(), data_system=system)) as client:
        began = seconds()
        assert (await client.refresh(60)).source_state == "OFF"
        assert seconds() == began
    assert paths(service) == ["/sdk/poll", "/sdk/stream"]


async def test_after_a_directive_fdv1_is_polled_on_demand() -> None:
    service = Service(FLAGS.directed(), FDV1)
    async with one_shot(service) as client:
        await client.refresh()
        assert await client.variation("f", USER, "") == "from fdv1"
        assert client.status is Status.READY
        await asyncio.sleep(86_400)
        await client.refresh()
    assert paths(service) == ["/sdk/poll", "/sdk/latest-all", "/sdk/latest-all"]


async def test_a_refresh_returns_after_its_directive_was_obeyed() -> None:
    service = Service(FLAGS, Answer(304).directed(), replace(FDV1, after=1))
    async with one_shot(service) as client:
        await asyncio.sleep(30)
        await client.refresh()
        assert await client.variation("f", USER, "") == "from fdv1"
    assert paths(service) == ["/sdk/poll", "/sdk/poll", "/sdk/latest-all"]


async def test_fdv1_alone_can_be_polled_on_demand() -> None:
    service = Service(FDV1)
    system = DataSystem.custom(synchronizers=[Fdv1Polling(on_demand=True)])
    async with Client(KEY, Config(http=service.http(), data_system=system)) as client:
        await asyncio.sleep(86_400)
        await client.refresh()
    assert paths(service) == ["/sdk/latest-all"] * 2


async def test_a_refresh_of_sources_that_are_not_on_demand_makes_no_request() -> None:
    service = Service(FLAGS)
    system = DataSystem.custom(synchronizers=[Polling(), Streaming()])
    async with Client(KEY, Config(http=service.http(), data_system=system)) as client:
        assert (await client.refresh()).status is Status.READY
    assert len(service.requests) == 1
    async with Client.local({"flagValues": {"f": 1}}) as client:
        assert (await client.refresh()).status is Status.READY


async def test_a_refresh_needs_a_started_client() -> None:
    service = Service(FLAGS, Answer(after=HANG))
    client = one_shot(service)
    with pytest.raises(LifecycleError, match="was not started"):
        await client.refresh()
    async with client:
        await asyncio.sleep(30)
        waiting = asyncio.create_task(client.refresh(60))
        await asyncio.sleep(1)
        began = seconds()
    assert (await waiting).source_state == "OFF"
    assert seconds() == began
    assert (await client.refresh()).source_state == "OFF"


async def test_changes_of_a_refresh_reach_followers() -> None:
    service = Service(FLAGS, poll_of(*payload("g", code="xfer-changes")))
    async with one_shot(service) as client:
        await asyncio.sleep(30)
        with client.changes() as changes:
            await client.refresh()
            assert (await anext(changes)).key == "g"


# -- events


async def test_events_are_sent_only_by_a_flush_and_by_closing() -> None:
    service = Service(FLAGS)
    async with one_shot(service) as client:
        client.track("a", USER)
        await asyncio.sleep(86_400)
        assert service.posts == []
        assert await client.flush_and_wait(1)
        assert len(service.posts) == 1
        client.track("b", USER)
        client.flush()
        await asyncio.sleep(1)
        assert len(service.posts) == 2
        client.track("c", USER)
    assert len(service.posts) == 3
    assert (client.stats.events_sent, client.stats.events_dropped) == (client.stats.events_recorded, 0)


async def test_a_context_is_indexed_again_after_five_minutes() -> None:
    service = Service(FLAGS)
    async with one_shot(service) as client:
        for pause in (299, 2, 0):
            client.track("a", USER)
            await client.flush_and_wait()
            await asyncio.sleep(pause)
    kinds = [[record["kind"] for record in json.loads(post.content)] for post in service.posts]
    assert kinds == [["index", "custom"], ["custom"], ["custom"]]


@pytest.mark.parametrize(("takes", "lost"), [pytest.param(1.5, 0, id="enough"), pytest.param(2.5, 2, id="too little")])
async def test_the_last_flush_has_half_of_the_deadline(takes: float, lost: int) -> None:
    service = Service(FLAGS)
    service.takes = (Answer(202, after=takes),)
    async with one_shot(service, deadline=4) as client:
        client.track("a", USER)
        began = seconds()
    assert min(takes, 1.8) <= seconds() - began <= min(takes, 2)
    assert client.stats.events_dropped == lost


async def test_a_service_that_does_not_answer_delays_until_the_deadline(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(Answer(after=HANG))
    service.takes = (Answer(after=HANG),)
    began = seconds()
    with caplog.at_level(logging.INFO):  # the outage itself is the warning
        async with one_shot(service, deadline=3) as client:
            for _ in range(5):
                client.track("a", USER)
                await client.variation("f", USER, 0)
    assert seconds() - began <= 3
    stats = client.stats
    assert (stats.events_sent, stats.events_dropped, stats.events_pending) == (0, stats.events_recorded, 0)
    assert (stats.evaluations_sent, stats.evaluations_dropped, stats.evaluations_pending) == (0, 5, 0)
    lost = [record.getMessage() for record in caplog.records if "; lost: " in record.getMessage()]
    assert lost == [f"closed before all events were sent; lost: {stats.events_recorded} events and the counts of 5 evaluations"]


# -- clients with the options of a program that runs once


USER = Context("u")
FLAGS = poll_of(*payload("f", state="s1"))
FDV1 = Answer(200, {}, [json.dumps({"flags": {"f": flag("f", "from fdv1", version=9)}}).encode()])


def one_shot(service: Service, deadline: float = 4, **options: Any) -> Client:
    return Client(KEY, Config(http=service.http(), **options).one_shot(deadline))


def paths(service: Service) -> list[str]:
    return [request.url.path for request in service.requests]


def seconds() -> float:
    return asyncio.get_running_loop().time()


# -- processes that are frozen between two calls, or end: clocks, timers, and connections on real sockets


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
