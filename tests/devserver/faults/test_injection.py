"""The effect of each fault on new requests and on open streams. On real sockets, because most faults need them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketStream

from aioflags.devserver import Endpoint, RunningServer, ServerState, create_app, serve
from aioflags.devserver.decode import decode
from aioflags.devserver.faults.faults import Fault

pytestmark = pytest.mark.real_time

POLLS = [Endpoint.POLL, Endpoint.FDV1_POLL]
STREAMS = [Endpoint.STREAM, Endpoint.FDV1_STREAM]
DOCUMENT = {"flagValues": {"a": "x" * 200}}
SOON = 60.0


def fault(written: dict[str, Any]) -> Fault:
    return decode(Fault, written)


class RawConnection:
    """A raw connection: the bytes received, and how it ends."""

    def __init__(self, socket: SocketStream) -> None:
        self._socket = socket
        self.received = b""

    async def ask(self, path: str, body: bytes | None = None) -> None:
        method, length = ("GET", b"") if body is None else ("POST", b"Content-Length: %d\r\n" % len(body))
        await self._socket.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n".encode() + length + b"\r\n" + (body or b""))

    async def until(self, text: bytes) -> bytes:
        """Wait for the text, and remove and return the bytes up to it."""
        with anyio.fail_after(SOON):
            while text not in self.received:
                self.received += await self._socket.receive()
        before, _, self.received = self.received.partition(text)
        return before + text

    async def end(self) -> str:
        """Wait for the end of the connection, and return how it ended. Keeps the bytes received."""
        with anyio.fail_after(SOON):
            while True:
                try:
                    self.received += await self._socket.receive()
                except anyio.EndOfStream:
                    return "closed"
                except anyio.BrokenResourceError:
                    return "reset"

    async def is_silent(self, within: float = 0.15) -> bool:
        with anyio.move_on_after(within):
            self.received += await self._socket.receive()
        return not self.received


class Stage:
    """A server with connections to it."""

    def __init__(self, state: ServerState, serving: RunningServer) -> None:
        self.state, self.serving = state, serving

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[RawConnection, None]:
        async with await anyio.connect_tcp("127.0.0.1", self.serving.port) as socket:
            yield RawConnection(socket)

    @asynccontextmanager
    async def stream(self, endpoint: Endpoint) -> AsyncGenerator[RawConnection, None]:
        """A stream that has sent its data."""
        async with self.connection() as wire:
            await wire.ask(endpoint)
            await wire.until(b"payload-transferred" if endpoint is Endpoint.STREAM else b"event: put")
            await wire.until(b"\n\n")
            await wire.until(b"\r\n")
            yield wire

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.serving.url, trust_env=False, timeout=SOON) as client:
            return await client.get(path)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    state = ServerState.of(DOCUMENT)
    async with serve(create_app(state)) as serving:
        yield Stage(state, serving)


async def until_fault_recorded(stage: Stage) -> None:
    """Wait until the only client is affected by a fault."""
    with anyio.fail_after(SOON):
        while (client := stage.state.clients.all[0]).fault is None:
            await anyio.sleep(0.001)
    assert client.is_connected


polls = pytest.mark.parametrize("endpoint", POLLS)
streams = pytest.mark.parametrize("endpoint", STREAMS)
data = pytest.mark.parametrize("endpoint", POLLS + STREAMS)


# -- new requests


@data
@pytest.mark.parametrize("status", [204, 304, 401, 429, 500, 503])
async def test_a_status_affects_one_request(stage: Stage, endpoint: Endpoint, status: int) -> None:
    stage.state.inject(fault({"kind": "status", "status": status, "times": 1, "on": [endpoint]}))
    assert (await stage.get(endpoint)).status_code == status
    async with httpx.AsyncClient(base_url=stage.serving.url, trust_env=False) as client, client.stream("GET", endpoint) as good:
        assert good.status_code == 200


async def test_a_status_is_sent_after_the_body_of_events_is_read(stage: Stage) -> None:
    stage.state.inject(fault({"kind": "status", "status": 503, "times": 1, "on": ["/bulk"]}))
    async with stage.connection() as wire:
        await wire.ask("/bulk", b"[" + b" " * 500_000 + b"]")
        await wire.until(b"503")
        await wire.until(b"injected fault")
        await wire.ask("/bulk", b"[]")
        await wire.until(b"202")


async def test_a_status_does_not_wait_for_endless_events(stage: Stage) -> None:
    stage.state.inject(fault({"kind": "status", "status": 503, "on": ["/bulk"]}))
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 1024 * 1024

    transport = httpx.ASGITransport(app=create_app(stage.state))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.post("/bulk", content=endless())).status_code == 503
    assert sent < 30


async def test_a_client_that_disconnects_during_a_request_gets_no_status(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.state.inject(fault({"kind": "status", "status": 503, "on": ["/bulk"]}))
    async with await anyio.connect_tcp("127.0.0.1", stage.serving.port) as socket:
        await socket.send(b"POST /bulk HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        with anyio.fail_after(SOON):
            await stage.state.until(lambda: stage.state.requests[Endpoint.EVENTS] == 1)
    with anyio.fail_after(SOON):
        while stage.serving.server.server_state.tasks:
            await anyio.sleep(0.01)
    assert caplog.records == []


@data
@pytest.mark.parametrize(("kind", "end"), [("reset", "reset"), ("close", "closed")])
async def test_a_reset_or_close_ends_the_connection_without_a_response(
    stage: Stage, endpoint: Endpoint, kind: str, end: str
) -> None:
    stage.state.inject(fault({"kind": kind, "times": 1}))
    async with stage.connection() as wire:
        await wire.ask(endpoint)
        assert await wire.end() == end
        assert wire.received == b""


@polls
async def test_a_truncated_body_is_shorter_than_its_content_length(stage: Stage, endpoint: Endpoint) -> None:
    stage.state.inject(fault({"kind": "truncated", "times": 1}))
    async with stage.connection() as wire:
        await wire.ask(endpoint)
        head = await wire.until(b"\r\n\r\n")
        assert await wire.end() == "closed"
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert len(wire.received) == length // 2


@polls
async def test_malformed_json_is_a_complete_http_response(stage: Stage, endpoint: Endpoint) -> None:
    stage.state.inject(fault({"kind": "malformed", "times": 1}))
    answer = await stage.get(endpoint)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match="Expecting"):
        answer.json()
    assert (await stage.get(endpoint)).json()


@pytest.mark.parametrize(("kind", "name"), [("goodbye", "goodbye"), ("error", "error")])
async def test_a_poll_gets_a_goodbye_or_error_instead_of_data(stage: Stage, kind: str, name: str) -> None:
    stage.state.inject(fault({"kind": kind, "reason": "so", "times": 1}))
    (event,) = (await stage.get("/sdk/poll")).json()["events"]
    assert (event["event"], event["data"]["reason"]) == (name, "so")


@data
async def test_silence_closes_the_connection_when_it_is_lifted(stage: Stage, endpoint: Endpoint) -> None:
    injected = stage.state.inject(fault({"kind": "silence"}))
    async with stage.connection() as wire:
        await wire.ask(endpoint)
        assert await wire.is_silent()
        stage.state.faults.lift(injected.number)
        assert await wire.end() == "closed"


async def test_silence_ends_when_the_client_disconnects(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.state.inject(fault({"kind": "silence"}))
    async with stage.connection() as wire:
        await wire.ask("/sdk/poll")
        assert await wire.is_silent()
    with anyio.fail_after(SOON):
        while stage.serving.server.server_state.tasks:
            await anyio.sleep(0.01)
    assert caplog.records == []


@data
async def test_a_delay_comes_before_the_response(stage: Stage, endpoint: Endpoint) -> None:
    stage.state.inject(fault({"kind": "delay", "delay": 0.3, "times": 1}))
    began = anyio.current_time()
    async with stage.connection() as wire:
        await wire.ask(endpoint)
        await wire.until(b"200 OK")
    assert anyio.current_time() - began >= 0.3


@polls
async def test_a_drip_is_complete_in_the_end(stage: Stage, endpoint: Endpoint) -> None:
    whole = (await stage.get(endpoint)).content
    stage.state.inject(fault({"kind": "drip", "rate": 2000, "times": 1}))
    async with stage.connection() as wire:
        began = anyio.current_time()
        await wire.ask(endpoint)
        await wire.until(b"\r\n\r\n")
        await wire.until(whole)
    assert anyio.current_time() - began >= 0.5 * len(whole) / 2000


@polls
async def test_a_lifted_drip_sends_the_rest_at_once(stage: Stage, endpoint: Endpoint) -> None:
    whole = (await stage.get(endpoint)).content
    injected = stage.state.inject(fault({"kind": "drip", "rate": 1}))
    async with stage.connection() as wire:
        await wire.ask(endpoint)
        await wire.until(b"\r\n\r\n" + whole[:1])
        stage.state.faults.lift(injected.number)
        await wire.until(whole[1:])


@pytest.mark.parametrize("ttl", [None, 60])
@pytest.mark.parametrize(
    ("beside", "status"),
    [
        pytest.param([], 200, id="data"),
        *(pytest.param([{"kind": "status", "status": status}], status, id=f"a {status}") for status in (304, 401, 503)),
        pytest.param([{"kind": "malformed"}], 200, id="malformed JSON"),
    ],
)
async def test_the_directive_is_sent_with(stage: Stage, beside: list[dict[str, Any]], status: int, ttl: int | None) -> None:
    for written in ({"kind": "directive", "ttl": ttl}, *beside):
        stage.state.inject(fault(written))
    answer = await stage.get("/sdk/poll")
    assert answer.status_code == status
    assert answer.headers["X-LD-FD-Fallback"] == "true"
    assert answer.headers.get("X-LD-FD-Fallback-TTL") == (None if ttl is None else str(ttl))


async def test_the_directive_may_come_without_a_payload(stage: Stage) -> None:
    stage.state.inject(fault({"kind": "directive", "payload": False}))
    answer = await stage.get("/sdk/poll")
    (event,) = answer.json()["events"]
    assert event["data"]["payloads"][0]["intentCode"] == "none"
    assert answer.headers["X-LD-FD-Fallback"] == "true"
    async with stage.connection() as wire:
        await wire.ask("/sdk/stream")
        assert b"x-ld-fd-fallback: true" in (await wire.until(b"\r\n\r\n")).lower()
        assert await wire.is_silent()


# -- open streams


@streams
@pytest.mark.parametrize(("kind", "end"), [("reset", "reset"), ("close", "closed")])
async def test_an_open_stream_is_cut(stage: Stage, endpoint: Endpoint, kind: str, end: str) -> None:
    async with stage.stream(endpoint) as wire:
        stage.state.inject(fault({"kind": kind, "times": 1}))
        assert await wire.end() == end
        assert wire.received == b""
    async with stage.stream(endpoint):
        assert stage.state.faults.active == ()


@streams
@pytest.mark.parametrize("kind", ["status", "directive"])
async def test_an_open_stream_ends_for_a_status_or_directive(stage: Stage, endpoint: Endpoint, kind: str) -> None:
    async with stage.stream(endpoint) as wire:
        stage.state.inject(fault({"kind": kind, "times": 1, "on": [endpoint]}))
        said = await wire.until(b"0\r\n\r\n")
        assert (b"event: goodbye" in said) is (kind == "directive" and endpoint is Endpoint.STREAM)
    answered = await stage.get(endpoint) if kind == "status" else None
    assert answered is None or answered.status_code == 503


@pytest.mark.parametrize(
    ("ttl", "words"),
    [pytest.param(None, b'{"reason":"so"}', id="plain"), pytest.param(90, b'"protocolFallbackTTL":90', id="a directive")],
)
async def test_an_open_stream_gets_a_goodbye(stage: Stage, ttl: int | None, words: bytes) -> None:
    async with stage.stream(Endpoint.STREAM) as wire:
        stage.state.inject(fault({"kind": "goodbye", "ttl": ttl, "reason": "so", "times": 1}))
        assert words in await wire.until(b"0\r\n\r\n")


async def test_an_open_stream_gets_an_error_event_and_continues(stage: Stage) -> None:
    async with stage.stream(Endpoint.STREAM) as wire:
        stage.state.inject(fault({"kind": "error", "reason": "so", "times": 1}))
        assert b"event: error" in await wire.until(b'"reason":"so"')
        stage.state.flip("a")
        await wire.until(b"put-object")


@streams
async def test_an_open_stream_gets_malformed_json(stage: Stage, endpoint: Endpoint) -> None:
    async with stage.stream(endpoint) as wire:
        stage.state.inject(fault({"kind": "malformed", "times": 1}))
        event = await wire.until(b"\n\n")
        assert event.rstrip().endswith(b'{"id":')


@streams
async def test_an_open_stream_is_truncated_within_an_event(stage: Stage, endpoint: Endpoint) -> None:
    async with stage.stream(endpoint) as wire:
        stage.state.inject(fault({"kind": "truncated", "times": 1}))
        assert await wire.end() == "closed"
        assert b"data: " in wire.received
        assert b"\n\n" not in wire.received


@streams
async def test_a_silent_stream_sends_the_newest_data_after_silence_is_lifted(stage: Stage, endpoint: Endpoint) -> None:
    async with stage.stream(endpoint) as wire:
        injected = stage.state.inject(fault({"kind": "silence"}))
        await until_fault_recorded(stage)
        stage.state.flip("a")
        assert await wire.is_silent()
        stage.state.faults.lift(injected.number)
        await wire.until(b'"on":false')


@streams
@pytest.mark.parametrize(
    ("written", "least"),
    [
        pytest.param({"kind": "delay", "delay": 0.2, "for": 100}, 0.2, id="by a delay"),
        pytest.param({"kind": "drip", "rate": 500, "for": 100}, 0.2, id="by a drip"),
    ],
)
async def test_an_open_stream_is_slowed(stage: Stage, endpoint: Endpoint, written: dict[str, Any], least: float) -> None:
    async with httpx.AsyncClient(base_url=stage.serving.url, trust_env=False) as client, client.stream("GET", endpoint) as answer:
        pieces = answer.aiter_bytes()
        await anext(pieces)
        injected = stage.state.inject(fault(written))
        with anyio.fail_after(SOON):
            await until_fault_recorded(stage)
            began = anyio.current_time()
            stage.state.flip("a")
            came = b""
            while not came.endswith(b"\n\n"):
                came += await anext(pieces)
        assert anyio.current_time() - began >= least
        assert not injected.is_lifted


@streams
async def test_a_silent_stream_can_be_cut(stage: Stage, endpoint: Endpoint) -> None:
    async with stage.stream(endpoint) as wire:
        stage.state.inject(fault({"kind": "silence"}))
        await until_fault_recorded(stage)
        stage.state.flip("a")
        stage.state.inject(fault({"kind": "reset", "times": 1}))
        assert await wire.end() == "reset"


@streams
async def test_faults_of_other_endpoints_do_not_affect_an_open_stream(stage: Stage, endpoint: Endpoint) -> None:
    async with stage.stream(endpoint) as wire:
        stage.state.inject(fault({"kind": "reset", "on": ["/sdk/poll"]}))
        stage.state.flip("a")
        await wire.until(b'"on":false')


@streams
async def test_a_lifted_delay_has_no_effect_on_a_stream(stage: Stage, endpoint: Endpoint) -> None:
    async with stage.stream(endpoint) as wire:
        injected = stage.state.inject(fault({"kind": "delay", "delay": 60}))
        await until_fault_recorded(stage)
        stage.state.faults.lift(injected.number)
        stage.state.flip("a")
        await wire.until(b'"on":false')


@streams
async def test_a_new_stream_is_affected_by_active_faults(stage: Stage, endpoint: Endpoint) -> None:
    stage.state.inject(fault({"kind": "malformed"}))
    async with stage.connection() as wire:
        await wire.ask(endpoint)
        await wire.until(b"200 OK")
        await wire.until(b'{"id": \n\n')
        await wire.until(b'"x')


async def test_the_directive_ends_open_streams_and_is_sent_at_reconnection(stage: Stage) -> None:
    async with stage.stream(Endpoint.STREAM) as wire:
        stage.state.send_directive(ttl=90)
        stage.state.flip("a")
        said = await wire.until(b"0\r\n\r\n")
        assert b'{"reason":"the server ends its streams","protocolFallbackTTL":90}' in said
    async with stage.connection() as wire:
        await wire.ask("/sdk/stream")
        assert b"x-ld-fd-fallback-ttl: 90" in (await wire.until(b"\r\n\r\n")).lower()
        await wire.until(b'"on":false')


async def test_a_goodbye_without_open_streams_has_no_effect_later(stage: Stage) -> None:
    stage.state.send_goodbye()
    async with stage.stream(Endpoint.STREAM):
        assert stage.state.faults.count == 0


async def test_faults_log_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("reset", "close", "truncated", "goodbye", "status"):
        async with stage.stream(Endpoint.STREAM) as wire:
            stage.state.inject(fault({"kind": kind, "times": 1, "on": ["/sdk/stream"]}))
            if kind in {"goodbye", "status"}:
                await wire.until(b"0\r\n\r\n")
                stage.state.faults.lift_all()
            else:
                await wire.end()
    assert caplog.records == []


@pytest.mark.parametrize("kind", ["reset", "close", "truncated"])
async def test_a_cut_raises_on_servers_without_the_extension(kind: str) -> None:
    state = ServerState.of(DOCUMENT)
    state.inject(fault({"kind": kind}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=create_app(state)), base_url="http://localhost") as client:
        with pytest.raises(ConnectionAbortedError, match="a fault cut this connection"):
            await client.get("/sdk/poll")


@pytest.mark.parametrize(
    ("written", "opens_before"),
    [
        pytest.param({"kind": "silence"}, True, id="a stream that fell silent"),
        pytest.param({"kind": "delay", "delay": 60}, True, id="a stream that is delayed"),
        pytest.param({"kind": "drip"}, True, id="a stream that drips"),
        pytest.param({"kind": "silence"}, False, id="a request that is not answered"),
        pytest.param({"kind": "directive", "payload": False}, False, id="a directive with nothing after it"),
    ],
)
async def test_a_fault_for_one_response_is_in_effect_until_its_end(
    stage: Stage, written: dict[str, Any], opens_before: bool
) -> None:
    faults = stage.state.faults
    async with stage.connection() as wire:
        if opens_before:
            await wire.ask(Endpoint.STREAM)
            await wire.until(b"payload-transferred")
        injected = stage.state.inject(fault({**written, "times": 1}))
        if not opens_before:
            await wire.ask(Endpoint.STREAM)
        with anyio.fail_after(SOON):
            while not injected.held_responses:
                await faults.wait_for_change()
        assert (injected.remaining, list(faults.in_effect)) == (0, [injected])
    with anyio.fail_after(SOON):
        while faults.in_effect:
            await faults.wait_for_change()


async def test_the_fault_of_a_client_is_recorded(stage: Stage) -> None:
    stage.state.inject(fault({"kind": "status", "times": 1}))
    await stage.get("/sdk/poll")
    (client,) = stage.state.clients.all
    assert client.fault is not None
    assert (client.fault.what, client.fault.endpoint, client.requests) == ("status", Endpoint.POLL, 1)
