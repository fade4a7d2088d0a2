"""OfrepRequests: headers, time limits, and pauses that the server asks for."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import anyio
import httpx
import pytest

from aioflags.runtime.clock import now
from aioflags.transport.http import HttpTransport
from aioflags.transport.http_client import RequestFailed
from aioflags.transport.ofrep import OfrepRequests
from tests.support.flagd_parts import ofrep_endpoint
from tests.support.scripted_http import HANG, Answer, Service

BASE = "https://ofrep.test"
URL = f"{BASE}/ofrep/v1/evaluate/flags"


@asynccontextmanager
async def requests(*answers: Answer, **options: Any) -> AsyncGenerator[tuple[OfrepRequests, Service], None]:
    service = Service()
    service.takes = answers
    async with HttpTransport(service.http()) as transport:
        yield OfrepRequests(ofrep_endpoint(BASE, **options), transport), service


async def failure(to: OfrepRequests) -> str:
    with pytest.raises(RequestFailed) as caught:
        await to.post(URL, b"{}")
    return caught.value.error.message


@pytest.mark.parametrize("status", [200, 304, 400, 401, 404, 413, 429, 500])
async def test_every_status_is_a_reply_with_its_body(status: int) -> None:
    async with requests(Answer(status, {"ETag": '"1"'}, [b"body"])) as (to, service):
        reply = await to.post(URL, b"{}")
    assert (reply.status, reply.headers["etag"], reply.body) == (status, '"1"', b"" if status == 304 else b"body")
    assert service.all_closed


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Authorization": "Bearer abc", "X-Team": "web"}, id="a mapping"),
        pytest.param(lambda: {"Authorization": "Bearer abc", "X-Team": "web"}, id="a function"),
        pytest.param({"authorization": "Bearer abc", "x-team": "web", "Content-Type": "text/html", "Host": "x"}, id="ours win"),
    ],
)
async def test_headers_are_sent_with_every_request(headers: Any) -> None:
    async with requests(Answer(), headers=headers, selector="flagSetId=shop") as (to, service):
        await to.post(URL, b"{}", {"if-none-match": '"1"'})
    (request,) = service.posts
    sent = {name: request.headers.get_list(name) for name in ("authorization", "x-team", "flagd-selector", "content-type")}
    assert sent == {
        "authorization": ["Bearer abc"],
        "x-team": ["web"],
        "flagd-selector": ["flagSetId=shop"],
        "content-type": ["application/json"],
    }
    assert (request.headers["if-none-match"], request.headers["host"]) == ('"1"', "ofrep.test")
    assert request.headers["user-agent"].startswith("AioFlags/")


async def test_a_function_for_headers_is_called_for_every_request() -> None:
    tokens = iter(["one", "two"])
    async with requests(Answer(), headers=lambda: {"X-API-Key": next(tokens)}) as (to, service):
        await to.post(URL, b"{}")
        await to.post(URL, b"{}")
    assert [request.headers["x-api-key"] for request in service.posts] == ["one", "two"]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        pytest.param(lambda: 1 / 0, "the function headers raised ZeroDivisionError", id="it raises"),
        pytest.param(lambda: None, "headers: expected a mapping of names to values, got NoneType", id="it returns nothing"),
        pytest.param(lambda: {"X": "a\nb"}, "headers: X: only printable ASCII characters can be sent", id="a line break"),
        pytest.param(lambda: {"X": 1}, "headers: expected a string for X, got int", id="a number"),
        pytest.param(lambda: {"a b": "c"}, "headers: 'a b' is not the name of a header", id="a space in a name"),
    ],
)
async def test_without_usable_headers_no_request_is_sent(
    headers: Callable[[], Mapping[str, str]], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with requests(Answer(), headers=headers) as (to, service):
        for _ in range(3):
            assert (await failure(to)).startswith(message)
    assert service.posts == []
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(after=HANG), id="no answer"),
        pytest.param(Answer(200, {}, [b"{", HANG]), id="half a body"),
        pytest.param(Answer(200, {}, [step for _ in range(30) for step in (1.0, b" ")]), id="a slow body"),
    ],
)
async def test_a_request_ends_in_its_time(answer: Answer) -> None:
    async with requests(answer, timeout=3.0) as (to, service):
        start = anyio.current_time()
        assert await failure(to) == "no answer within 3 s"
        assert anyio.current_time() - start == 3
    assert service.all_closed


async def test_the_status_of_an_error_counts_even_if_its_body_breaks_off() -> None:
    async with requests(Answer(404, {}, [b"{", httpx.ReadError("cut")]), Answer(200, {}, [b"{", httpx.ReadError("cut")])) as (
        to,
        _,
    ):
        reply = await to.post(URL, b"{}")
        assert (reply.status, reply.body) == (404, b"")
        assert "cut" in await failure(to)


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        pytest.param("2", 2, id="seconds"),
        pytest.param("9" * 400, 86_400, id="forever means a day"),
        pytest.param("0", 0, id="no time"),
        pytest.param("soon", 0, id="not a time"),
        pytest.param(None, 0, id="nothing"),
    ],
)
@pytest.mark.holds("FL-80")
async def test_after_429_no_request_is_sent_for_the_time_that_the_server_asks_for(wait: str | None, seconds: float) -> None:
    busy = Answer(429, {} if wait is None else {"Retry-After": wait})
    async with requests(busy, Answer(200)) as (to, service):
        assert (await to.post(URL, b"{}")).status == 429
        assert to.pause == seconds
        for part in (0.0, 0.5, 0.49):
            await anyio.sleep(to.pause * part)
            if to.pause > 0:
                assert (await failure(to)).startswith("the service answered 429 before, and asked to wait another ")
                assert len(service.posts) == 1
        await anyio.sleep(to.pause)
        assert (await to.post(URL, b"{}")).status == 200


async def test_the_time_may_be_a_date() -> None:
    async with requests(Answer(429, {"Retry-After": formatdate(now() + 100, usegmt=True)})) as (to, _):
        await to.post(URL, b"{}")
        assert to.pause == pytest.approx(100, abs=3)


async def test_only_429_asks_for_a_pause() -> None:
    async with requests(Answer(503, {"Retry-After": "60"}), Answer(200)) as (to, _):
        assert (await to.post(URL, b"{}")).status == 503
        assert (await to.post(URL, b"{}")).status == 200


def test_headers_are_not_shown() -> None:
    assert "secret" not in repr(ofrep_endpoint(BASE, headers={"X": "secret"}))
