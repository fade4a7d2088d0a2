"""FDv1 polling: as the fallback, and as the only source."""

from __future__ import annotations

import json

import pytest

from aioflags import Client, Config, Context, DataSystem
from aioflags.errors import ConfigError
from aioflags.model.change import ChangeKind, Selector
from aioflags.model.status import FailureKind, SourceState
from aioflags.protocol.server_side import ServerSide
from aioflags.sources import Fdv1FallbackOptions, Fdv1Polling, Latching
from aioflags.sources.fdv1 import Fdv1Poller
from tests.support.canaries import KEY
from tests.support.scripted_http import Answer, Service, flag, selecting, updates_from


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


@pytest.mark.parametrize("options", [{"base_uri": 5}, {"interval": "1"}, {"http": {}}])
def test_the_error_for_an_option_of_the_wrong_type_has_its_name(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Fdv1FallbackOptions(**options)  # type: ignore[arg-type]  # that is the point


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
