"""The effect of each fault on new requests, and what faults share. On real sockets: most faults need the connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import httpx
import pytest

from aioflags.devserver import Endpoint, ServerState, create_app
from tests.devserver.faulty_server import DOCUMENT, SOON, STREAMS, FaultyServer, RawConnection, fault

pytestmark = pytest.mark.real_time
POLLS = [Endpoint.POLL, Endpoint.FDV1_POLL, Endpoint.CLIENT_POLL, Endpoint.MOBILE_POLL]
polls = pytest.mark.parametrize("endpoint", POLLS)
data = pytest.mark.parametrize("endpoint", POLLS + STREAMS)


@pytest.fixture
async def wire(server: FaultyServer) -> AsyncGenerator[RawConnection, None]:
    async with server.connection() as wire:
        yield wire


@data
@pytest.mark.parametrize("status", [204, 304, 401, 429, 500, 503])
async def test_a_status_affects_one_request(server: FaultyServer, endpoint: Endpoint, status: int) -> None:
    server.state.inject(fault({"kind": "status", "status": status, "times": 1, "on": [endpoint]}))
    assert (await server.get(endpoint)).status_code == status
    async with server.response(endpoint) as good:
        assert good.status_code == 200


async def test_a_status_is_sent_after_the_body_of_events_is_read(wire: RawConnection, server: FaultyServer) -> None:
    server.state.inject(fault({"kind": "status", "status": 503, "times": 1, "on": ["/bulk"]}))
    await wire.ask("/bulk", b"[" + b" " * 500_000 + b"]")
    await wire.until(b"503")
    await wire.until(b"injected fault")
    await wire.ask("/bulk", b"[]")
    await wire.until(b"202")


async def test_a_status_does_not_wait_for_endless_events(server: FaultyServer) -> None:
    server.state.inject(fault({"kind": "status", "status": 503, "on": ["/bulk"]}))
    sent = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 1024 * 1024

    transport = httpx.ASGITransport(app=create_app(server.state))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client, aclosing(endless()) as content:
        assert (await client.post("/bulk", content=content)).status_code == 503
    assert sent < 30


async def test_a_client_that_disconnects_during_a_request_gets_no_status(
    server: FaultyServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.state.inject(fault({"kind": "status", "status": 503, "on": ["/bulk"]}))
    async with await anyio.connect_tcp("127.0.0.1", server.serving.port) as socket:
        await socket.send(b"POST /bulk HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        with anyio.fail_after(SOON):
            await server.state.until(lambda: server.state.requests[Endpoint.EVENTS] == 1)
    with anyio.fail_after(SOON):
        while server.serving.server.server_state.tasks:
            await anyio.sleep(0.01)
    assert caplog.records == []


@data
@pytest.mark.parametrize(("kind", "end"), [("reset", "reset"), ("close", "closed")])
async def test_a_reset_or_close_ends_the_connection_without_a_response(
    wire: RawConnection, server: FaultyServer, endpoint: Endpoint, kind: str, end: str
) -> None:
    server.state.inject(fault({"kind": kind, "times": 1}))
    await wire.ask(endpoint)
    assert await wire.end() == end
    assert wire.received == b""


@polls
async def test_a_truncated_body_is_shorter_than_its_content_length(
    wire: RawConnection, server: FaultyServer, endpoint: Endpoint
) -> None:
    server.state.inject(fault({"kind": "truncated", "times": 1}))
    await wire.ask(endpoint)
    head = await wire.until(b"\r\n\r\n")
    assert await wire.end() == "closed"
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert len(wire.received) == length // 2


@polls
async def test_malformed_json_is_a_complete_http_response(server: FaultyServer, endpoint: Endpoint) -> None:
    server.state.inject(fault({"kind": "malformed", "times": 1}))
    answer = await server.get(endpoint)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match="Expecting"):
        answer.json()
    assert (await server.get(endpoint)).json()


@pytest.mark.parametrize(("kind", "name"), [("goodbye", "goodbye"), ("error", "error")])
async def test_a_poll_gets_a_goodbye_or_error_instead_of_data(server: FaultyServer, kind: str, name: str) -> None:
    server.state.inject(fault({"kind": kind, "reason": "so", "times": 1}))
    (event,) = (await server.get("/sdk/poll")).json()["events"]
    assert (event["event"], event["data"]["reason"]) == (name, "so")


@data
async def test_silence_closes_the_connection_when_it_is_lifted(
    wire: RawConnection, server: FaultyServer, endpoint: Endpoint
) -> None:
    injected = server.state.inject(fault({"kind": "silence"}))
    await wire.ask(endpoint)
    assert await wire.is_silent()
    server.state.faults.lift(injected.number)
    assert await wire.end() == "closed"


async def test_silence_ends_when_the_client_disconnects(server: FaultyServer, caplog: pytest.LogCaptureFixture) -> None:
    server.state.inject(fault({"kind": "silence"}))
    async with server.connection() as wire:
        await wire.ask("/sdk/poll")
        assert await wire.is_silent()
    with anyio.fail_after(SOON):
        while server.serving.server.server_state.tasks:
            await anyio.sleep(0.01)
    assert caplog.records == []


@data
async def test_a_delay_comes_before_the_response(wire: RawConnection, server: FaultyServer, endpoint: Endpoint) -> None:
    server.state.inject(fault({"kind": "delay", "delay": 0.3, "times": 1}))
    began = anyio.current_time()
    await wire.ask(endpoint)
    await wire.until(b"200 OK")
    assert anyio.current_time() - began >= 0.3


@polls
async def test_a_drip_is_complete_in_the_end(wire: RawConnection, server: FaultyServer, endpoint: Endpoint) -> None:
    whole = (await server.get(endpoint)).content
    server.state.inject(fault({"kind": "drip", "rate": 2000, "times": 1}))
    began = anyio.current_time()
    await wire.ask(endpoint)
    await wire.until(b"\r\n\r\n")
    await wire.until(whole)
    assert anyio.current_time() - began >= 0.5 * len(whole) / 2000


@pytest.mark.slow
@polls
async def test_a_lifted_drip_sends_the_rest_at_once(wire: RawConnection, server: FaultyServer, endpoint: Endpoint) -> None:
    whole = (await server.get(endpoint)).content
    injected = server.state.inject(fault({"kind": "drip", "rate": 1}))
    await wire.ask(endpoint)
    await wire.until(b"\r\n\r\n" + whole[:1])
    server.state.faults.lift(injected.number)
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
async def test_the_directive_is_sent_with_a_response_of(
    server: FaultyServer, beside: list[dict[str, Any]], status: int, ttl: int | None
) -> None:
    for written in ({"kind": "directive", "ttl": ttl}, *beside):
        server.state.inject(fault(written))
    answer = await server.get("/sdk/poll")
    assert answer.status_code == status
    assert answer.headers["X-LD-FD-Fallback"] == "true"
    assert answer.headers.get("X-LD-FD-Fallback-TTL") == (None if ttl is None else str(ttl))


async def test_the_directive_may_come_without_a_payload(server: FaultyServer) -> None:
    server.state.inject(fault({"kind": "directive", "payload": False}))
    answer = await server.get("/sdk/poll")
    (event,) = answer.json()["events"]
    assert event["data"]["payloads"][0]["intentCode"] == "none"
    assert answer.headers["X-LD-FD-Fallback"] == "true"
    async with server.connection() as wire:
        await wire.ask("/sdk/stream")
        assert b"x-ld-fd-fallback: true" in (await wire.until(b"\r\n\r\n")).lower()
        assert await wire.is_silent()


async def test_faults_log_nothing(server: FaultyServer, caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("reset", "close", "truncated", "goodbye", "status"):
        async with server.stream(Endpoint.STREAM) as wire:
            server.state.inject(fault({"kind": kind, "times": 1, "on": ["/sdk/stream"]}))
            if kind in {"goodbye", "status"}:
                await wire.until(b"0\r\n\r\n")
                server.state.faults.lift_all()
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
    server: FaultyServer, written: dict[str, Any], opens_before: bool
) -> None:
    faults = server.state.faults
    async with server.connection() as wire:
        if opens_before:
            await wire.ask(Endpoint.STREAM)
            await wire.until(b"payload-transferred")
        injected = server.state.inject(fault({**written, "times": 1}))
        if not opens_before:
            await wire.ask(Endpoint.STREAM)
        with anyio.fail_after(SOON):
            while not injected.held_responses:
                await faults.wait_for_change()
        assert (injected.remaining, list(faults.in_effect)) == (0, [injected])
    with anyio.fail_after(SOON):
        while faults.in_effect:
            await faults.wait_for_change()


async def test_the_fault_of_a_client_is_recorded(server: FaultyServer) -> None:
    server.state.inject(fault({"kind": "status", "times": 1}))
    await server.get("/sdk/poll")
    (client,) = server.state.clients.all
    assert client.fault is not None
    assert (client.fault.what, client.fault.endpoint, client.requests) == ("status", Endpoint.POLL, 1)
