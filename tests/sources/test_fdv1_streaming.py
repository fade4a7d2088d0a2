"""FDv1 streams in virtual time, as the only source of a client."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from aioflags import Client, Config, DataSystem
from aioflags.model.change import ChangeKind, Update
from aioflags.model.status import FailureKind, SourceState
from aioflags.protocol.server_side import ServerSide
from aioflags.sources import Fdv1Streaming
from aioflags.sources.fdv1 import Fdv1Streamer
from tests.support.canaries import KEY, secretive
from tests.support.scripted_http import (
    Answer,
    Service,
    first,
    flag,
    nothing_selected,
    selecting,
    sse,
    stream_of,
    updates_from,
    updates_of,
)

USER = secretive("u")


def put(**values: object) -> tuple[str, object]:
    return "put", {
        "path": "/",
        "data": {"flags": {key: flag(key, value, version=5) for key, value in values.items()}, "segments": {}},
    }


def patch(key: str, value: object, version: int) -> tuple[str, object]:
    return "patch", {"path": f"/flags/{key}", "data": flag(key, value, version=version)}


GOOD = stream_of(sse(put(f=1)))
BROKEN = stream_of(sse(put(f=1)), httpx.ReadError("reset"))


def lasting(seconds: float) -> Answer:
    return stream_of(sse(put(f=1)), seconds, httpx.ReadError("reset"))


async def updates(service: Service, count: int, *, delay: float = 1.0, chance: float = 0.0, **context: Any) -> list[Update]:
    source = Fdv1Streamer(service.context(**context), base_uri="https://stream.test", initial_delay=delay, random=lambda: chance)
    return await updates_from(source, count)


# -- requests


@pytest.mark.parametrize(
    ("key", "url"),
    [
        pytest.param(None, "https://h.test/x/all", id="DS-1 without a filter"),
        pytest.param("mobile.only", "https://h.test/x/all?filter=mobile.only", id="DS-10 with a filter"),
        pytest.param("no good", "https://h.test/x/all", id="with an invalid filter key"),
    ],
)
async def test_the_request_of_a_stream_has_the_filter_and_no_basis(key: str | None, url: str) -> None:
    service = Service(GOOD)
    builder = Fdv1Streaming(base_uri="https://h.test/x/")
    context = service.context(side=ServerSide(payload_filter_key=key), headers={"Authorization": KEY})
    await updates_from(builder.build(context), 1, selecting("fdv2-state"))
    (request,) = service.requests
    assert str(request.url) == url
    assert (request.headers["authorization"], request.headers["accept"]) == (KEY, "text/event-stream")


async def test_no_request_is_sent_before_the_source_is_iterated() -> None:
    service = Service(GOOD)
    results = Fdv1Streaming().build(service.context()).sync(nothing_selected)
    assert service.requests == []
    await results.aclose()


# -- what it reports


async def test_the_whole_data_set_is_reported_and_then_each_update() -> None:
    service = Service(stream_of(sse(put(f=1)), 5.0, sse(patch("f", 2, 6), ("delete", {"path": "/flags/f", "version": 7}))))
    results = await updates(service, 3)
    assert [(update.state, update.directive, update.error) for update in results] == [(SourceState.VALID, None, None)] * 3
    kinds = [update.change_set and (update.change_set.kind, update.change_set.versioned) for update in results]
    assert kinds == [(ChangeKind.FULL, False), (ChangeKind.CHANGES, True), (ChangeKind.CHANGES, True)]


async def test_the_environment_is_reported_and_a_directive_is_ignored() -> None:
    service = Service(Answer(503).directed(), stream_of(sse(put(f=1)), x_ld_envid="env").directed())
    failed, good = await updates(service, 2)
    assert (failed.directive, good.directive) == (None, None)
    assert (failed.state, good.environment_id) == (SourceState.INTERRUPTED, "env")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(Answer(400), FailureKind.ERROR_RESPONSE, id="400"),
        pytest.param(Answer(401), FailureKind.ERROR_RESPONSE, id="DS-57 401"),
        pytest.param(Answer(404), FailureKind.ERROR_RESPONSE, id="404"),
        pytest.param(Answer(503), FailureKind.ERROR_RESPONSE, id="503"),
        pytest.param(Answer(after=httpx.ConnectError("refused")), FailureKind.NETWORK_ERROR, id="no connection"),
        pytest.param(stream_of(sse(("put", "{"))), FailureKind.INVALID_DATA, id="a broken put"),
        pytest.param(
            stream_of(sse(put(f=1)).replace(b'"variation"', b'"variatio\xee"')),
            FailureKind.INVALID_DATA,
            id="a name that is not UTF-8",
        ),
        pytest.param(stream_of(sse(("patch", {"path": "/flags/f", "data": True}))), FailureKind.INVALID_DATA, id="DS-56 bad data"),
        pytest.param(Answer(200, {"Content-Type": "text/event-stream"}), FailureKind.NETWORK_ERROR, id="a clean close"),
    ],
)
async def test_no_failure_ends_an_fdv1_stream(answer: Answer, kind: FailureKind) -> None:
    service = Service(answer, GOOD)
    failed, good = await updates(service, 2)
    assert (failed.state, failed.error and failed.error.kind) == (SourceState.INTERRUPTED, kind)
    assert good.state is SourceState.VALID
    assert service.bodies[0].closed


# -- when it reconnects


@pytest.mark.parametrize(
    ("answers", "pauses"),
    [
        pytest.param([Answer(503)] * 7, [1, 2, 4, 8, 16, 30, 30], id="recoverable failures: from the initial delay to 30 s"),
        pytest.param([BROKEN] * 4, [1, 2, 4, 8], id="broken streams: growing delays"),
        pytest.param([Answer(401)] * 6, [300, 600, 1200, 2400, 3600, 3600], id="DS-57 refusals: from 5 minutes to an hour"),
        pytest.param(
            [Answer(503), Answer(403), Answer(503)], [1, 300, 600], id="other failures after a refusal keep the long delays"
        ),
        pytest.param([Answer(403), BROKEN, BROKEN], [300, 600, 1200], id="a short connection keeps the long delays"),
        pytest.param([Answer(403), lasting(60), BROKEN], [300, 61, 2], id="a connection of a minute restores the short delays"),
        pytest.param([Answer(429, {"Retry-After": "20"}), Answer(503)], [20, 2], id="Retry-After makes a delay longer"),
    ],
)
async def test_the_pauses_before_reconnects(answers: list[Answer], pauses: list[float]) -> None:
    service = Service(*answers, GOOD)
    async with updates_of(
        Fdv1Streamer(service.context(), base_uri="https://stream.test", initial_delay=1.0, random=lambda: 0.0)
    ) as news:
        while len(service.requests) <= len(answers):
            await first(news, 1)
    assert service.pauses == pytest.approx(pauses)


async def test_jitter_takes_off_up_to_half_of_a_delay() -> None:
    service = Service(Answer(401), Answer(401), GOOD)
    await updates(service, 3, chance=0.5)
    assert service.pauses == pytest.approx([225, 450])


@pytest.mark.holds("DS-57")
async def test_the_first_delay_after_a_refusal_can_be_shorter() -> None:
    service = Service(Answer(401), Answer(401), Answer(401), GOOD)
    builder = Fdv1Streaming(initial_reconnect_delay=0.001, _refused_delay=0.5)
    results = await updates_from(builder.build(service.context()), 4)
    assert [update.state.value for update in results] == ["INTERRUPTED"] * 3 + ["VALID"]
    assert all(0.1 < pause <= 3 for pause in service.pauses)


# -- in a client


@pytest.mark.parametrize(
    ("events", "value"),
    [
        pytest.param([patch("f", "older", 4)], "first", id="DS-54 an older patch"),
        pytest.param([patch("f", "same", 5)], "first", id="a patch of the same version"),
        pytest.param([patch("f", "newer", 6)], "newer", id="DS-54 a newer patch"),
        pytest.param([("delete", {"path": "/flags/f", "version": 4})], "first", id="an older delete"),
        pytest.param(
            [("delete", {"path": "/flags/f", "version": 8}), patch("f", "late", 7)],
            "default",
            id="DS-55 a delete, then an older patch",
        ),
        pytest.param(
            [("delete", {"path": "/flags/f", "version": 8}), patch("f", "again", 9)], "again", id="a delete, and a newer patch"
        ),
        pytest.param([("patch", {"path": "/cats/Jack", "data": {}}), patch("f", "newer", 6)], "newer", id="DS-56 an unknown path"),
    ],
)
async def test_an_update_is_applied_only_if_its_version_is_newer(events: list[tuple[str, object]], value: str) -> None:
    service = Service(stream_of(sse(put(f="first")), sse(*events, patch("last", 1, 1))))
    async with Client(KEY, Config(http=service.http(), data_system=DataSystem.fdv1())) as client:
        while await client.variation("last", USER, 0) != 1:
            await anext(client.changes())
        assert await client.variation("f", USER, "default") == value
    assert len(service.requests) == 1


@pytest.mark.holds("DS-57")
async def test_a_client_whose_key_is_refused_first_starts_later() -> None:
    service = Service(Answer(401), GOOD)
    async with Client(KEY, Config(http=service.http(), data_system=DataSystem.fdv1())) as client:
        assert client.report.source_state is SourceState.INITIALIZING
        await client.wait_ready(301)
        assert await client.variation("f", USER, 0) == 1


async def test_an_outage_keeps_the_data_and_changes_the_status() -> None:
    service = Service(lasting(5), Answer(401), GOOD)
    async with Client(KEY, Config(http=service.http(), data_system=DataSystem.fdv1())) as client:
        states = [report.source_state.value async for report in _until_valid_again(client)]
        assert states == ["VALID", "INTERRUPTED", "INTERRUPTED", "VALID"]  # the break, the refusal
        assert await client.variation("f", USER, 0) == 1


async def _until_valid_again(client: Client) -> AsyncGenerator[Any, None]:
    seen = 0
    async for report in client.reports():
        yield report
        seen += report.source_state is SourceState.VALID
        if seen == 2:
            return
