"""R27: requests with random mistakes in their bytes, on real sockets: the server answers or closes, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import Any, Final

import httpx
import pytest

from aioflags.devserver import ServerState, create_app, serve
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import amount

pytestmark = pytest.mark.real_time

REQUESTS: Final = amount("R27") // 10
AT_ONCE: Final = 30
PATIENCE: Final = 0.03
"""Seconds after which a client ends a request that is not answered: most are incomplete."""

LINES: Final = [
    b"GET /sdk/poll HTTP/1.1",
    b"GET /sdk/stream HTTP/1.1",
    b"GET /all HTTP/1.0",
    b"GET /sdk/latest-all",
    b"HEAD /sdk/poll HTTP/1.1",
    b"POST /bulk HTTP/1.1",
    b"REPORT /sdk/evalx/any/context HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT example.org:443 HTTP/1.1",
    b"GET http://127.0.0.1/sdk/poll HTTP/1.1",
    b"GET //sdk//poll?basis=%00%ff HTTP/1.1",
    b"PUT /control/flags/a HTTP/1.1",
    b"PRI * HTTP/2.0",
]
HEADERS: Final = [
    b"Host: 127.0.0.1",
    b"Host: localhost, attacker.example",
    b"Content-Length: 2",
    b"Content-Length: 2, 3",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: 0x2",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding : chunked",
    b"Expect: 100-continue",
    b"Connection: Upgrade, HTTP2-Settings",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"Sec-WebSocket-Key: eA==",
    b"Content-Encoding: gzip",
    b"Accept-Encoding: gzip",
    b" folded: line",
    b"no colon",
    b": no name",
    b"X-LaunchDarkly-Instance-Id: \x00\xff",
    b"Authorization: \xff",
]
WITHOUT_MISTAKES: Final = {
    b"200": b"GET /sdk/poll HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"202": b"POST /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n[]",
}
BODIES: Final = [
    b"",
    b"[]",
    b"2\r\n[]\r\n0\r\n\r\n",
    b"2\r\n[]",
    b"-1\r\n",
    b"ffffffffffffffff\r\n",
    b"2;x=\x00\r\n[]\r\n",
    b"\x1f\x8b\x08",
]


def random_bytes(rng: random.Random) -> bytes:
    """A request, or two, with mistakes."""
    headers = [HEADERS[0], *rng.sample(HEADERS, rng.randrange(5))]
    data = b"\r\n".join([rng.choice(LINES), *headers, b"", rng.choice(BODIES)]) * rng.choice([1, 1, 2])
    changed = bytearray(data)
    for _ in range(rng.choice([0, 0, 1, 3])):
        place = rng.randrange(len(changed))
        changed[place : place + rng.choice([0, 1, 8])] = rng.choice(
            [b"", b"\x00", b"\n", b"\r", b"\xff", b" ", b":", b"x" * 70_000]
        )
    return bytes(changed)


async def answer_to(port: int, data: bytes) -> bytes:
    """The beginning of the answer; empty if the connection was closed without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(OSError):
            writer.write(data)
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(reader.read(12), PATIENCE)
            writer.write_eof()
            return await asyncio.wait_for(reader.read(12), 30)
    finally:
        writer.close()
    return b""


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        pytest.param(b"POST /bulk", b"400", id="before the answer"),
        pytest.param(b"HEAD /all", b"", id="of a HEAD"),
        pytest.param(b"GET /sdk/stream", b"200", id="beside an open stream"),
        pytest.param(b"GET /sdk/poll", b"200", id="after the answer"),
    ],
)
async def test_a_malformed_body_closes_the_connection(request_line: bytes, status: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(create_app(ServerState.of({"flagValues": {"a": 1}}))) as serving:
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        request_text = request_line + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        began, body = b"", b"not a chunk\r\n"
        if status == b"200":
            writer.write(request_text)
            began = await reader.readexactly(12)
            writer.write(body)
        else:
            writer.write(request_text + body)
        answer = began + await asyncio.wait_for(reader.read(), 30)
        writer.close()
    assert answer[9:12] == status
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.holds("RB-R27")
async def test_malformed_requests_leave_a_working_server(
    record_property: Any, caplog: pytest.LogCaptureFixture, figures: Figures
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    record_property("seed", seed)
    rng = random.Random(seed)
    state = ServerState.of({"flagValues": {"a": 1}})
    before = state.document(), state.version
    statuses: set[bytes] = set()
    async with serve(create_app(state, token="the-secret-token")) as serving, httpx.AsyncClient() as others:
        for _ in range(0, REQUESTS, AT_ONCE):
            requests = [random_bytes(rng) for _ in range(AT_ONCE)]
            answers = await asyncio.gather(*(answer_to(serving.port, data) for data in requests))
            for request, answer in zip(requests, answers, strict=True):
                assert not answer or answer[9:10] in {b"1", b"2", b"3", b"4"}, (seed, request, answer)
                statuses.add(answer[9:])
            assert (await others.get(f"{serving.url}/sdk/poll")).status_code == 200, seed
        for status, request in WITHOUT_MISTAKES.items():
            assert (await answer_to(serving.port, request))[9:] == status, seed
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], seed
    assert (state.document(), state.version) == before
    assert {b"200", b"400"} <= statuses
    figures.total("malformed requests", REQUESTS)
