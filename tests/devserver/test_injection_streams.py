"""The effect of each fault on open streams. On real sockets: most faults need the connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from aioflags.devserver import Endpoint
from tests.devserver.faulty_server import SOON, STREAMS, FaultyServer, RawConnection, fault, flipped, until_fault_recorded

pytestmark = pytest.mark.real_time
streams = pytest.mark.parametrize("endpoint", STREAMS)


@pytest.fixture
async def wire(server: FaultyServer, endpoint: Endpoint) -> AsyncGenerator[RawConnection, None]:
    """A stream that has sent its data."""
    async with server.stream(endpoint) as wire:
        yield wire


@streams
@pytest.mark.parametrize(("kind", "end"), [("reset", "reset"), ("close", "closed")])
async def test_an_open_stream_is_cut(wire: RawConnection, server: FaultyServer, endpoint: Endpoint, kind: str, end: str) -> None:
    server.state.inject(fault({"kind": kind, "times": 1}))
    assert await wire.end() == end
    assert wire.received == b""
    async with server.stream(endpoint):
        assert server.state.faults.active == ()


@streams
@pytest.mark.parametrize("kind", ["status", "directive"])
async def test_an_open_stream_ends_for_a_status_or_directive(
    wire: RawConnection, server: FaultyServer, endpoint: Endpoint, kind: str
) -> None:
    server.state.inject(fault({"kind": kind, "times": 1, "on": [endpoint]}))
    said = await wire.until(b"0\r\n\r\n")
    assert (b"event: goodbye" in said) is (kind == "directive" and endpoint.is_fdv2)
    answered = await server.get(endpoint) if kind == "status" else None
    assert answered is None or answered.status_code == 503


@pytest.mark.parametrize(
    ("ttl", "words"),
    [pytest.param(None, b'{"reason":"so"}', id="plain"), pytest.param(90, b'"protocolFallbackTTL":90', id="a directive")],
)
async def test_an_open_stream_gets_a_goodbye(server: FaultyServer, ttl: int | None, words: bytes) -> None:
    async with server.stream(Endpoint.STREAM) as wire:
        server.state.inject(fault({"kind": "goodbye", "ttl": ttl, "reason": "so", "times": 1}))
        assert words in await wire.until(b"0\r\n\r\n")


async def test_an_open_stream_gets_an_error_event_and_continues(server: FaultyServer) -> None:
    async with server.stream(Endpoint.STREAM) as wire:
        server.state.inject(fault({"kind": "error", "reason": "so", "times": 1}))
        assert b"event: error" in await wire.until(b'"reason":"so"')
        server.state.flip("a")
        await wire.until(b"put-object")


@streams
async def test_an_open_stream_gets_malformed_json(wire: RawConnection, server: FaultyServer, endpoint: Endpoint) -> None:
    server.state.inject(fault({"kind": "malformed", "times": 1}))
    event = await wire.until(b"\n\n")
    assert event.rstrip().endswith(b'{"id":')


@streams
async def test_an_open_stream_is_truncated_within_an_event(wire: RawConnection, server: FaultyServer, endpoint: Endpoint) -> None:
    server.state.inject(fault({"kind": "truncated", "times": 1}))
    assert await wire.end() == "closed"
    assert b"data: " in wire.received
    assert b"\n\n" not in wire.received


@streams
async def test_a_silent_stream_sends_the_newest_data_after_silence_is_lifted(
    wire: RawConnection, server: FaultyServer, endpoint: Endpoint
) -> None:
    injected = server.state.inject(fault({"kind": "silence"}))
    await until_fault_recorded(server)
    server.state.flip("a")
    assert await wire.is_silent()
    server.state.faults.lift(injected.number)
    await wire.until(flipped(endpoint))


@pytest.mark.slow
@streams
@pytest.mark.parametrize(
    ("written", "least"),
    [
        pytest.param({"kind": "delay", "delay": 0.2, "for": 100}, 0.2, id="by a delay"),
        pytest.param({"kind": "drip", "rate": 500, "for": 100}, 0.2, id="by a drip"),
    ],
)
async def test_an_open_stream_is_slowed(server: FaultyServer, endpoint: Endpoint, written: dict[str, Any], least: float) -> None:
    async with server.response(endpoint) as answer:
        pieces = answer.aiter_bytes()
        await anext(pieces)
        injected = server.state.inject(fault(written))
        with anyio.fail_after(SOON):
            await until_fault_recorded(server)
            began = anyio.current_time()
            server.state.flip("a")
            came = b""
            while not came.endswith(b"\n\n"):
                came += await anext(pieces)
        assert anyio.current_time() - began >= least
        assert not injected.is_lifted


@streams
async def test_a_silent_stream_can_be_cut(wire: RawConnection, server: FaultyServer, endpoint: Endpoint) -> None:
    server.state.inject(fault({"kind": "silence"}))
    await until_fault_recorded(server)
    server.state.flip("a")
    server.state.inject(fault({"kind": "reset", "times": 1}))
    assert await wire.end() == "reset"


@streams
async def test_faults_of_other_endpoints_do_not_affect_an_open_stream(
    wire: RawConnection, server: FaultyServer, endpoint: Endpoint
) -> None:
    server.state.inject(fault({"kind": "reset", "on": ["/sdk/poll"]}))
    server.state.flip("a")
    await wire.until(flipped(endpoint))


@streams
async def test_a_lifted_delay_has_no_effect_on_a_stream(wire: RawConnection, server: FaultyServer, endpoint: Endpoint) -> None:
    injected = server.state.inject(fault({"kind": "delay", "delay": 60}))
    await until_fault_recorded(server)
    server.state.faults.lift(injected.number)
    server.state.flip("a")
    await wire.until(flipped(endpoint))


@streams
async def test_a_new_stream_is_affected_by_active_faults(server: FaultyServer, endpoint: Endpoint) -> None:
    server.state.inject(fault({"kind": "malformed"}))
    async with server.connection() as wire:
        await wire.ask(endpoint)
        await wire.until(b"200 OK")
        await wire.until(b'{"id": \n\n')
        await wire.until(b'"x')


async def test_the_directive_ends_open_streams_and_is_sent_at_reconnection(server: FaultyServer) -> None:
    async with server.stream(Endpoint.STREAM) as wire:
        server.state.send_directive(ttl=90)
        server.state.flip("a")
        said = await wire.until(b"0\r\n\r\n")
        assert b'{"reason":"the server ends its streams","protocolFallbackTTL":90}' in said
    async with server.connection() as wire:
        await wire.ask("/sdk/stream")
        assert b"x-ld-fd-fallback-ttl: 90" in (await wire.until(b"\r\n\r\n")).lower()
        await wire.until(b'"on":false')


async def test_a_goodbye_without_open_streams_has_no_effect_later(server: FaultyServer) -> None:
    server.state.send_goodbye()
    async with server.stream(Endpoint.STREAM):
        assert server.state.faults.count == 0
