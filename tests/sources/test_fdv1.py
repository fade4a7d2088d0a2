"""FDv1: polls and streams."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from aioflags import Client, Config, Context, DataSystem
from aioflags.model.change import ChangeKind, Selector, Update
from aioflags.model.status import FailureKind, SourceState
from aioflags.protocol.server_side import ServerSide
from aioflags.sources import Fdv1FallbackOptions, Fdv1Polling, Fdv1Streaming, Latching
from aioflags.sources.fdv1 import Fdv1Poller, Fdv1Streamer
from tests.support.canaries import KEY, secretive
from tests.support.scripted_http import (
    Answer,
    Service,
    first,
    flag,
    selecting,
    sse,
    stream_of,
    updates_from,
    updates_of,
)


def everything(**headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    segments = {"beta": {"key": "beta", "version": 3}}
    return Answer(200, named, [json.dumps({"flags": {"a": flag("a")}, "segments": segments}).encode()])


@pytest.mark.holds("FB-27", "DS-118", "DS-51")
async def test_an_fdv1_poll_has_the_headers_of_the_client_and_no_basis() -> None:
    service = Service(everything())
    headers = {"Authorization": "k", "X-LaunchDarkly-Instance-Id": "i", "X-LaunchDarkly-Tags": "t"}
    (update,) = await updates_from(Fdv1FallbackOptions().build(service.context(headers=headers)), 1, selecting("fdv2-state"))
    assert str(service.requests[0].url) == "https://poll.test/sdk/latest-all"
    assert headers.items() <= {name: service.requests[0].headers[name] for name in headers}.items()
    assert service.requests[0].headers["accept-encoding"] == "gzip"
    assert update.change_set is not None
    assert (update.change_set.kind, update.change_set.selector) == (ChangeKind.FULL, Selector.none())
    assert len(update.change_set.changes) == 2


@pytest.mark.parametrize(
    ("key", "query"),
    [
        pytest.param("mobile-only", {"filter": "mobile-only"}, id="DS-10 FB-27 a filter key is sent"),
        pytest.param("no good", {}, id="an invalid filter key is not sent"),
        pytest.param(None, {}, id="no filter key"),
    ],
)
async def test_the_filter_key(key: str | None, query: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    service = Service(everything())
    await updates_from(Fdv1FallbackOptions().build(service.context(side=ServerSide(payload_filter_key=key))), 1)
    assert service.queries == [query]
    assert ("payload_filter_key" in caplog.text) == (key == "no good")


@pytest.mark.holds("FB-27")
async def test_the_fallback_can_have_its_own_base_uri() -> None:
    service = Service(everything())
    await updates_from(Fdv1FallbackOptions(base_uri="https://fallback.test/x/").build(service.context()), 1)
    assert str(service.requests[0].url) == "https://fallback.test/x/sdk/latest-all"


@pytest.mark.holds("FB-22", "DS-115")
async def test_a_directive_in_an_fdv1_response_is_ignored() -> None:
    service = Service(
        *[answer.directed() for answer in (everything(), Answer(304), Answer(503), Answer(200, {}, [b"{"]), everything())]
    )
    source = Fdv1FallbackOptions().build(service.context())
    assert not isinstance(source, Latching)
    results = await updates_from(source, 5)
    assert [update.directive for update in results] == [None] * 5
    assert [update.state.value for update in results] == ["VALID", "VALID", "INTERRUPTED", "INTERRUPTED", "VALID"]


@pytest.mark.parametrize(
    ("options", "pause"),
    [
        pytest.param({}, 30, id="30 s by default, not the client's interval"),
        pytest.param({"interval": 5}, 30, id="DS-19 raised to 30"),
        pytest.param({"interval": 60.0}, 60, id="60 s"),
        pytest.param({"interval": 0.5, "_minimum_interval": 0.1}, 0.5, id="below the minimum, for demonstrations"),
    ],
)
async def test_the_interval_of_fdv1_polls(options: dict[str, float], pause: float) -> None:
    service = Service(everything())
    builder = Fdv1FallbackOptions(**options)  # type: ignore[arg-type]  # floats, all of them
    await updates_from(builder.build(service.context(poll_interval=90.0)), 3)
    assert service.pauses == pytest.approx([pause, pause])


@pytest.mark.holds("DS-116")
async def test_recoverable_failures_do_not_stop_the_polls() -> None:
    service = Service(*[Answer(503)] * 120, everything())
    results = await updates_from(Fdv1FallbackOptions().build(service.context()), 121)
    assert {update.state for update in results[:-1]} == {SourceState.INTERRUPTED}
    assert results[-1].state is SourceState.VALID


@pytest.mark.holds("DS-117")
async def test_a_permanent_status_ends_the_source() -> None:
    service = Service(everything(), Answer(401))
    results = await updates_from(Fdv1FallbackOptions().build(service.context()), 9)
    assert [update.state.value for update in results] == ["VALID", "OFF"]


@pytest.mark.parametrize("body", [b'{"flags": []}', b'{"flags": {"a": {"on": true}}}', b"", b"[]"])
@pytest.mark.holds("DS-52")
async def test_an_unreadable_body_interrupts_the_source(body: bytes) -> None:
    service = Service(Answer(200, {"ETag": '"1"'}, [body]), everything(ETag='"2"'), Answer(304))
    bad, good, same = await updates_from(Fdv1FallbackOptions().build(service.context()), 3)
    assert bad.error is not None
    assert (bad.state, bad.error.kind) == (SourceState.INTERRUPTED, FailureKind.INVALID_DATA)
    assert good.change_set is not None
    assert (same.state, same.change_set) == (SourceState.VALID, None)
    assert [request.headers.get("if-none-match") for request in service.requests] == [None, None, '"2"']


# -- on their own


def alone(service: Service, *, interval: float = 30.0, chance: float = 0.0) -> Fdv1Poller:
    return Fdv1Poller(
        service.context(), base_uri="https://poll.test", interval=interval, http=None, refused_delay=300.0, random=lambda: chance
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
@pytest.mark.holds("DS-58")
async def test_no_status_ends_fdv1_polling_as_the_only_source(status: int) -> None:
    service = Service(Answer(status), everything())
    failed, good = await updates_from(alone(service), 2)
    assert (failed.state, failed.error and failed.error.status_code) == (SourceState.INTERRUPTED, status)
    assert good.state is SourceState.VALID


@pytest.mark.parametrize(
    ("answers", "pauses"),
    [
        pytest.param("200 200 304", [30, 30, 30], id="successes: the interval"),
        pytest.param("503 503 503", [30, 30, 30], id="recoverable failures: the interval"),
        pytest.param("401 401 401 401 401 401", [300, 600, 1200, 2400, 3600, 3600], id="DS-58 refusals: from 5 minutes to an hour"),
        pytest.param("401 503 401", [300, 600, 1200], id="other failures after a refusal keep the long delays"),
        pytest.param("401 200 503 200 401", [300, 30, 600, 30, 1200], id="one success keeps the long delays"),
        pytest.param("401 200 200 503 401", [300, 30, 30, 30, 300], id="DS-58 two successes in a row restore the interval"),
    ],
)
async def test_the_pauses_between_polls_of_fdv1_as_the_only_source(answers: str, pauses: list[float]) -> None:
    good = {200: everything(), 304: Answer(304)}
    service = Service(*[good.get(int(status)) or Answer(int(status)) for status in answers.split()], everything())
    await updates_from(alone(service), len(pauses) + 1)
    assert service.pauses == pytest.approx(pauses)


@pytest.mark.parametrize(
    ("interval", "status", "pause"),
    [
        pytest.param(30.0, 401, 225.0, id="DS-58 jitter takes off up to half of a long delay"),
        pytest.param(30.0, 503, 30.0, id="no jitter on the interval"),
        pytest.param(280.0, 401, 280.0, id="a long delay is at least the interval"),
        pytest.param(4000.0, 401, 4000.0, id="an interval above an hour is kept after a refusal"),
    ],
)
async def test_the_jitter_of_fdv1_polls_as_the_only_source(interval: float, status: int, pause: float) -> None:
    service = Service(Answer(status), everything())
    await updates_from(alone(service, interval=interval, chance=0.5), 2)
    assert service.pauses == pytest.approx([pause])


async def test_retry_after_makes_the_pause_longer() -> None:
    service = Service(Answer(429, {"Retry-After": "120"}), everything())
    await updates_from(alone(service), 2)
    assert service.pauses == pytest.approx([120])


@pytest.mark.parametrize(
    ("builder", "pause"),
    [
        pytest.param(Fdv1Polling(), 90, id="the client's interval"),
        pytest.param(Fdv1Polling(interval=60), 60, id="the interval of the source"),
        pytest.param(Fdv1Polling(interval=5), 30, id="DS-19 raised to 30 s"),
    ],
)
async def test_the_interval_of_fdv1_as_the_only_source(builder: Fdv1Polling, pause: float) -> None:
    service = Service(everything())
    await updates_from(builder.build(service.context(poll_interval=90.0)), 2)
    assert service.pauses == pytest.approx([pause])


async def test_a_client_with_fdv1_polling_as_its_only_source() -> None:
    service = Service(Answer(401), everything())
    system = DataSystem.fdv1(stream=False)
    async with Client(KEY, Config(http=service.http(), data_system=system, payload_filter_key="mobile")) as client:
        assert client.report.source_state is SourceState.INITIALIZING
        await client.wait_ready(301)
        assert await client.variation("a", Context("u"), 0) == 1
    assert {str(request.url) for request in service.requests} == {"https://sdk.launchdarkly.com/sdk/latest-all?filter=mobile"}


# -- FDv1 streams in virtual time, as the only source of a client


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
