"""FDv2 streams in virtual time: the fallback directive in headers and in goodbyes."""

from __future__ import annotations

import anyio
import httpx
import pytest

from aioflags.model.change import FallbackDirective
from aioflags.model.status import FailureKind, SourceState
from aioflags.sources import Latching
from tests.sources.streams import FULL, GOOD, PUT, source_of, states, updates
from tests.support.scripted_http import DIRECTED, HANG, Answer, Service, first, intent, payload, sse, stream_of, updates_of

HEADER = FallbackDirective(ttl=None, origin="header")


@pytest.mark.holds("FB-9", "FB-4")
async def test_a_directive_in_the_headers_is_reported_with_the_payload() -> None:
    service = Service(stream_of(2.0, sse(*payload("a")[:2]), 3.0, sse(payload("a")[2])).directed())
    source = source_of(service)
    async with updates_of(source) as news:
        assert isinstance(source, Latching)
        assert source.latched is None
        start = anyio.current_time()
        update = await anext(news)
        assert anyio.current_time() - start == 5
        assert update.state is SourceState.VALID
        assert update.change_set is not None
        assert update.directive == HEADER
        assert await first(news, 1) == []
    assert len(service.requests) == 1
    assert service.all_closed


async def test_the_directive_is_latched_as_soon_as_the_headers_arrive() -> None:
    service = Service(stream_of(5.0, sse(*payload("a"))).directed())
    source = source_of(service)
    seen: list[FallbackDirective | None] = []

    async def look() -> None:
        await anyio.sleep(1)
        seen.append(source.latched)

    async with anyio.create_task_group() as group, updates_of(source) as news:
        group.start_soon(look)
        await anext(news)
    assert seen == [HEADER]


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        pytest.param([sse(*payload("a"))], "VALID", id="FB-10 a payload"),
        pytest.param([sse(intent("none"))], "VALID", id="FB-10 DS-107 being up to date"),
        pytest.param([sse(("put-object", "{oops"))], "INTERRUPTED", id="FB-7 FB-10 DS-110 a malformed event"),
        pytest.param([sse(FULL, ("put-object", {**PUT, "object": 5}))], "INTERRUPTED", id="FB-10 a flag that cannot be decoded"),
        pytest.param([sse(("error", {"reason": "r"})), httpx.ReadError("")], "INTERRUPTED", id="FB-10 an error and a reset"),
        pytest.param([sse(("error", {"reason": "r"}), *payload("a"))], "VALID", id="FB-10 DS-113 an error and a new transfer"),
        pytest.param([httpx.ReadError("")], "INTERRUPTED", id="FB-8 FB-10 DS-111 a reset"),
        pytest.param([httpx.ReadTimeout("")], "INTERRUPTED", id="FB-8 FB-10 a timeout"),
        pytest.param([sse(("goodbye", {"reason": "r"}))], "INTERRUPTED", id="FB-10 FB-30 DS-111 a goodbye"),
        pytest.param([sse(("heart-beat", {})), HANG], "INTERRUPTED", id="FB-12 DS-112 heartbeats alone"),
        pytest.param(
            [b":\n" * 100, *[step for _ in range(90) for step in (0.5, b":\n")]], "INTERRUPTED", id="FB-12 comments alone"
        ),
    ],
)
@pytest.mark.holds("FB-11")
async def test_with_a_latched_directive_every_outcome_carries_it_and_is_the_last(
    steps: list[bytes | float | Exception], state: str
) -> None:
    service = Service(Answer(200, {"Content-Type": "text/event-stream", **DIRECTED}, steps), GOOD)
    start = anyio.current_time()
    news = await updates(service, 9)
    assert anyio.current_time() - start <= 10
    assert states(news) == [state]
    assert news[0].directive == HEADER
    assert (news[0].error is None) == (state == "VALID")
    await anyio.sleep(3600)
    assert len(service.requests) == 1
    assert service.all_closed


@pytest.mark.holds("FB-10", "DS-111")
async def test_with_a_latched_directive_the_end_of_the_stream_carries_it() -> None:
    service = Service(Answer(200, {"Content-Type": "text/event-stream", **DIRECTED}, []), GOOD)
    (update,) = await updates(service, 9)
    assert (update.state, update.directive) == (SourceState.INTERRUPTED, HEADER)


@pytest.mark.holds("FB-12")
async def test_a_latched_stream_without_a_payload_is_given_up_after_ten_seconds() -> None:
    service = Service(stream_of(*[step for _ in range(60) for step in (1.0, sse(("heart-beat", {})))]).directed())
    start = anyio.current_time()
    (update,) = await updates(service, 9)
    assert anyio.current_time() - start == 10
    assert update.error is not None
    assert (update.state, update.error.kind, update.directive) == (SourceState.INTERRUPTED, FailureKind.UNKNOWN, HEADER)


@pytest.mark.parametrize("status", [204, 302, 400, 401, 403, 404, 429, 500, 503])
@pytest.mark.holds("FB-6")
async def test_an_error_status_with_the_directive_ends_the_source(status: int) -> None:
    service = Service(Answer(status).directed(**{"X-LD-FD-Fallback-TTL": "60"}), GOOD)
    (update,) = await updates(service, 9)
    assert update.error is not None
    assert (update.state, update.error.status_code) == (SourceState.OFF, status)
    assert update.directive == FallbackDirective(ttl=60.0, origin="header")
    assert len(service.requests) == 1


@pytest.mark.holds("FB-7")
async def test_a_page_instead_of_a_stream_keeps_its_directive() -> None:
    (update,) = await updates(Service(Answer(200, {"Content-Type": "text/html"}).directed(), GOOD), 9)
    assert (update.state, update.directive) == (SourceState.INTERRUPTED, HEADER)


@pytest.mark.parametrize("headers", [{}, {**DIRECTED, "X-LD-FD-Fallback-TTL": "5"}], ids=["alone", "it outranks the latched one"])
@pytest.mark.holds("FB-30", "DS-121")
async def test_a_goodbye_can_have_the_directive(headers: dict[str, str]) -> None:
    goodbye = sse(("goodbye", {"reason": "leave", "protocolFallbackTTL": 0}))
    service = Service(stream_of(goodbye).with_headers(headers), GOOD)
    (update,) = await updates(service, 9)
    assert (update.state, update.directive) == (SourceState.INTERRUPTED, FallbackDirective(ttl=0.0, origin="goodbye"))
    assert len(service.requests) == 1
    assert service.all_closed
