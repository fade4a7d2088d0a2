"""Events on real sockets: a server that misbehaves. No call raises, the stats are exact, and a close ends within its timeout."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import anyio
import pytest

from aioflags import Client, Config, Context, DataSystem, Events, Http, Stats
from aioflags.devserver import Endpoint, Fault, FaultKind, ServerState, create_app, serve
from aioflags.sources import MemorySource
from tests.support.canaries import KEY, WATCH

pytestmark = pytest.mark.real_time

ANNA: Final = Context("anna")
TIMEOUT: Final = 1.0
"""Seconds of silence after which the client of these tests gives up."""
SENT: Final = Stats(events_recorded=2, events_sent=2, evaluations_recorded=1, evaluations_sent=1)
DROPPED: Final = Stats(events_recorded=2, events_dropped=2, evaluations_recorded=1, evaluations_dropped=1)
"""The stats after the events of :func:`record_events` were sent."""

Answer: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""What a server does after it has read a request."""


def record_events(client: Client) -> None:
    """Record an index event, a custom event, and an evaluation."""
    client.track("bought", ANNA)
    client.variation_nowait("f", ANNA, 0)


# -- behaviour of a server


def respond(*pieces: bytes, pause: float = 0.0) -> Answer:
    """Send these bytes, with a pause before each piece, and close the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            await asyncio.sleep(pause)
            writer.write(piece)
            await writer.drain()

    return answer


def status(code: int, *headers: str) -> Answer:
    """A response without a body."""
    return respond("\r\n".join([f"HTTP/1.1 {code} Whatever", "Content-Length: 0", *headers, "", ""]).encode())


async def reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection."""
    writer.transport.abort()


async def hang(_: asyncio.StreamWriter) -> None:
    """Send nothing, for longer than the client waits."""
    await asyncio.sleep(60)


OK: Final = status(202)


class Sink:
    """Accepts events on a bare socket. ``bodies``: the complete requests in order; ``ids``: their payload ids."""

    def __init__(self, *answers: Answer, early: bool = False) -> None:
        self.answers = answers
        self.bodies: list[Any] = []
        self.ids: list[str] = []
        self.port = 0
        self.connections = 0
        self._early = early
        self._talks: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, with one request."""
        answer = self.answers[min(self.connections, len(self.answers) - 1)]
        self.connections += 1
        is_early = self._early and self.connections == 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            WATCH.head(head)
            fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
            if not is_early:
                self.bodies.append(json.loads(await reader.readexactly(int(fields["content-length"]))))
                self.ids.append(fields.get("x-launchdarkly-payload-id", ""))
            await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def start(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self.connected(reader, writer))
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)

    async def end(self) -> None:
        """Close all connections."""
        for task in self._talks:
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)


@asynccontextmanager
async def sinking(sink: Sink) -> AsyncGenerator[Sink]:
    listening = await asyncio.start_server(sink.start, "127.0.0.1", 0)
    sink.port = listening.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        listening.close()
        await sink.end()


def client_on(url: str, *, close_timeout: float = 2.0, **events: Any) -> Client:
    """A client with a flag, which sends events to that address only when it is flushed."""
    given: dict[str, Any] = {"flush_interval": 3600.0, "diagnostic_opt_out": True, **events}
    config = Config(
        base_uri=url,
        stream_uri=url,
        events_uri=url,
        data_system=DataSystem.custom(synchronizers=[MemorySource.from_document({"flagValues": {"f": 1}})]),
        http=Http(connect_timeout=TIMEOUT, read_timeout=TIMEOUT),
        events=Events(**given),
        close_timeout=close_timeout,
    )
    return Client(KEY, config)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "posts", "stats"),
    [
        pytest.param(OK, 1, SENT, id="accepted"),
        pytest.param(status(202, "Connection: close"), 1, SENT, id="accepted, and the connection is closed"),
        pytest.param(
            respond(b"HTTP/1.1 202 A", b"ccepted\r\nContent-", b"Length: 0\r\n\r\n", pause=0.1), 1, SENT, id="a slow response"
        ),
        pytest.param(status(202, "Date: half past nine"), 1, SENT, id="an invalid date"),
        pytest.param(status(202, "Date: "), 1, SENT, id="an empty date"),
        pytest.param(status(202, "Date: Fri, 31 Dec 999999999999 00:00:00 GMT"), 1, SENT, id="a date out of range"),
        pytest.param(respond(b"HTTP/1.1 202 OK\r\nContent-Length: 100\r\n\r\nhalf"), 1, SENT, id="half a body, which is not read"),
        pytest.param(hang, 2, SENT, id="no answer"),
        pytest.param(reset, 2, SENT, id="a reset instead of an answer"),
        pytest.param(respond(), 2, SENT, id="a close instead of an answer"),
        pytest.param(respond(b"HTTP/1.1 202 Acc"), 2, SENT, id="half an answer"),
        pytest.param(respond(b"220 mail.test ready\r\n"), 2, SENT, id="another protocol"),
        *[pytest.param(status(code), 2, SENT, id=f"{code} is a temporary failure") for code in (400, 429, 500, 503)],
        pytest.param(status(302, "Location: https://elsewhere.test/"), 2, SENT, id="a redirect"),
        pytest.param(status(413), 1, DROPPED, id="413 concerns this payload only"),
        pytest.param(status(401), 1, DROPPED, id="401 is permanent"),
    ],
)
async def test_a_payload_is_sent_retried_or_dropped_by_its_answer(
    answer: Answer, posts: int, stats: Stats, caplog: pytest.LogCaptureFixture
) -> None:
    async with sinking(Sink(answer, OK)) as sink, client_on(f"http://127.0.0.1:{sink.port}") as client:
        record_events(client)
        assert await client.flush_and_wait(60)
        assert client.stats == stats
        assert len(sink.bodies) == posts
        assert len(set(sink.ids)) == 1
        assert all(body == sink.bodies[0] for body in sink.bodies)
        assert [record["kind"] for record in sink.bodies[0]] == ["index", "custom", "summary"]
    assert client.stats == stats
    assert [record for record in caplog.records if record.exc_info] == []
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == (re.search(r"\b401\b", caplog.text) is not None)


@pytest.mark.slow
async def test_a_reset_in_the_middle_of_a_large_payload_loses_nothing() -> None:
    async with sinking(Sink(reset, OK, early=True)) as sink, client_on(f"http://127.0.0.1:{sink.port}") as client:
        client.track("large", ANNA, "x" * 4_000_000)
        assert await client.flush_and_wait(60)
        assert (client.stats.events_sent, client.stats.events_dropped) == (2, 0)
        assert sink.connections == 2
        ((_, large),) = sink.bodies
        assert len(large["data"]) == 4_000_000


def closed_port() -> int:
    """A port that no server listens on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_events_are_dropped_if_no_server_listens(scheme: str) -> None:
    async with client_on(f"{scheme}://127.0.0.1:{closed_port()}") as client:
        for round_ in (1, 2):
            record_events(client)
            assert await client.flush_and_wait(60)
            stats = client.stats
            assert (stats.events_sent, stats.events_dropped, stats.events_pending) == (0, 1 + round_, 0)
            assert (stats.evaluations_sent, stats.evaluations_dropped) == (0, round_)


@pytest.mark.slow
async def test_a_server_without_tls_gets_no_events_over_https() -> None:
    async with sinking(Sink(OK)) as sink, client_on(f"https://127.0.0.1:{sink.port}") as client:
        record_events(client)
        assert await client.flush_and_wait(60)
        assert client.stats == DROPPED
        assert sink.bodies == []


@pytest.mark.slow
@pytest.mark.parametrize("answer", [hang, reset, status(503)], ids=["no answer", "resets", "503"])
async def test_a_payload_that_fails_twice_is_dropped_and_the_next_is_sent(answer: Answer) -> None:
    async with sinking(Sink(answer, answer, OK)) as sink, client_on(f"http://127.0.0.1:{sink.port}") as client:
        record_events(client)
        assert await client.flush_and_wait(60)
        assert client.stats == DROPPED
        record_events(client)
        assert await client.flush_and_wait(60)
        stats = client.stats
        assert (stats.events_sent, stats.events_dropped, stats.events_pending) == (1, 2, 0)
        assert len(set(sink.ids)) == 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(hang, id="no answer"),
        pytest.param(respond(b"H" * 8, b"H" * 8, b"H" * 8, pause=0.3), id="an answer that arrives byte by byte"),
        pytest.param(status(503), id="a failure, and the pause before a retry"),
        pytest.param(reset, id="a reset, and the pause before a retry"),
    ],
)
async def test_a_close_gives_up_and_logs_how_many_events_are_lost(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    async with sinking(Sink(answer)) as sink:
        client = client_on(f"http://127.0.0.1:{sink.port}", close_timeout=0.3, diagnostic_opt_out=False)
        await client.start()
        record_events(client)
        await client.aclose()
        assert client.stats == DROPPED
    assert "lost: 2 events and the counts of 1 evaluation" in caplog.text
    assert [record for record in caplog.records if record.exc_info] == []


# -- the embedded server


def struck(kind: FaultKind, on: Endpoint, **more: Any) -> Fault:
    return Fault(kind=kind, on=frozenset({on}), times=1, **more)


FAULTS: Final = [
    pytest.param(FaultKind.STATUS, {"status": 503}, id="503"),
    pytest.param(FaultKind.STATUS, {"status": 429}, id="429"),
    pytest.param(FaultKind.RESET, {}, id="reset"),
    pytest.param(FaultKind.CLOSE, {}, id="close"),
    pytest.param(FaultKind.SILENCE, {}, id="silence"),
    pytest.param(FaultKind.DELAY, {"delay": 0.2}, id="delay"),
]


@pytest.mark.slow
@pytest.mark.parametrize("on", [Endpoint.EVENTS, Endpoint.DIAGNOSTIC])
@pytest.mark.parametrize(("kind", "more"), FAULTS)
async def test_a_fault_of_the_development_server_loses_nothing(kind: FaultKind, more: dict[str, Any], on: Endpoint) -> None:
    state = ServerState.of({"flagValues": {"f": 1}})
    state.inject(struck(kind, on, **more))
    async with serve(WATCH.app(create_app(state))) as serving:
        async with client_on(serving.url, diagnostic_opt_out=False) as client:
            record_events(client)
            assert await client.flush_and_wait(60)
            assert client.stats == SENT
            with anyio.fail_after(60):  # a close does not wait long for diagnostics
                while "diagnostic-init" not in {event.kind for event in state.events.newest}:
                    await anyio.sleep(0.05)
        kinds = [event.kind for event in state.events.newest]
        # A payload that was accepted before its connection broke arrives twice; a service recognizes it by its id.
        assert set(kinds) == {"diagnostic-init", "index", "custom", "summary"}
        assert not [event for event in state.events.newest if event.problems]


@pytest.mark.parametrize("code", [401, 413])
async def test_a_refusal_of_diagnostics_does_not_affect_analytics(code: int) -> None:
    state = ServerState.of({"flagValues": {"f": 1}})
    state.inject(Fault(kind=FaultKind.STATUS, status=code, on=frozenset({Endpoint.DIAGNOSTIC})))
    async with serve(WATCH.app(create_app(state))) as serving:
        async with client_on(serving.url, diagnostic_opt_out=False) as client:
            record_events(client)
            assert await client.flush_and_wait(60)
            assert client.stats == SENT
        assert state.requests[Endpoint.DIAGNOSTIC] == 1
