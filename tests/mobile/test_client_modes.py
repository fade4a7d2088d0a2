"""Connection modes of a mobile client: which requests it sends in each, and when a switch takes effect."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from aioflags.errors import ConfigError
from aioflags.events.options import MobileEvents
from aioflags.mobile.client import MobileClient
from aioflags.mobile.modes import ConnectionMode, ModeDefinition, Pipeline, pipelines
from aioflags.model.status import SourceState
from aioflags.sources import Fdv1FallbackOptions, Polling, Streaming
from aioflags.sources.polling import Cache
from tests.support.device_storages import LOGGER
from tests.support.mobile_service import BEN, DOWN, UP_TO_DATE, MobileService, mobile_client, named, polled

STREAMING, POLLING = ConnectionMode.STREAMING, ConnectionMode.POLLING
BACKGROUND, OFFLINE, ONE_SHOT = ConnectionMode.BACKGROUND, ConnectionMode.OFFLINE, ConnectionMode.ONE_SHOT
MOBILE: dict[str, Any] = {"profile": "mobile"}
HOURLY, FIVE_MINUTES = 3600.0, 300.0
STEADY = ModeDefinition(initializers=(Cache(), Polling()), synchronizers=(Streaming(), Polling()))


def table(definitions: dict[ConnectionMode, ModeDefinition] | None = None, **options: Any) -> dict[ConnectionMode, Pipeline]:
    defaults: dict[str, Any] = {"updates_in_background": True, "polls_once_by_fdv1": False, "logger": LOGGER}
    fallback = options.pop("fdv1_fallback", Fdv1FallbackOptions())
    return pipelines(definitions or {}, fallback, **{**defaults, **options})


# -- the table


@pytest.mark.holds("S-20", "F-17")
def test_the_built_in_modes_have_these_sources() -> None:
    by_fdv1 = Fdv1FallbackOptions(interval=FIVE_MINUTES)
    assert table() == {
        STREAMING: Pipeline(
            initializers=(Cache(), Polling()),
            synchronizers=(Streaming(), Polling(interval=FIVE_MINUTES)),
            fdv1_fallback=by_fdv1,
        ),
        POLLING: Pipeline(initializers=(Cache(),), synchronizers=(Polling(interval=FIVE_MINUTES),), fdv1_fallback=by_fdv1),
        BACKGROUND: Pipeline(
            initializers=(Cache(),),
            synchronizers=(Polling(interval=HOURLY),),
            fdv1_fallback=Fdv1FallbackOptions(interval=HOURLY),
        ),
        OFFLINE: Pipeline(initializers=(Cache(),)),
        ONE_SHOT: Pipeline(initializers=(Cache(), Polling(), Streaming())),
    }


@pytest.mark.parametrize(
    ("interval", "in_background"),
    [pytest.param(600.0, HOURLY, id="below an hour"), pytest.param(7200.0, 7200.0, id="above an hour")],
)
def test_in_the_background_fdv1_polls_at_most_once_an_hour(interval: float, in_background: float) -> None:
    made = table(fdv1_fallback=Fdv1FallbackOptions(interval=interval))
    intervals = {mode: pipeline.fdv1_fallback.interval for mode, pipeline in made.items() if pipeline.fdv1_fallback is not None}
    assert intervals == {STREAMING: interval, POLLING: interval, BACKGROUND: in_background}


@pytest.mark.holds("S-21")
async def test_a_short_interval_is_raised_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    service = MobileService()
    short = ModeDefinition(initializers=(Cache(),), synchronizers=(Polling(interval=10),))
    async with mobile_client(service, initial_connection_mode="polling", modes={"polling": short}):
        await anyio.sleep(650)
    assert service.times("poll") == [0, 300, 600]
    assert "polling: the poll interval 30 s is less than 300 s, which is used" in caplog.messages


# -- facts of the program


Act = Callable[[MobileClient], object]
TO_BACKGROUND: Act = lambda client: client.notify_lifecycle("background")  # noqa: E731 -- a step of the tables
TO_FOREGROUND: Act = lambda client: client.notify_lifecycle("foreground")  # noqa: E731 -- as above
LOSE: Act = lambda client: client.notify_network(available=False)  # noqa: E731 -- as above
FIND: Act = lambda client: client.notify_network(available=True)  # noqa: E731 -- as above
GO_OFFLINE: Act = lambda client: client.set_offline(offline=True)  # noqa: E731 -- as above
GO_ONLINE: Act = lambda client: client.set_offline(offline=False)  # noqa: E731 -- as above
TO_POLLING: Act = lambda client: client.set_connection_mode("polling")  # noqa: E731 -- as above
AUTOMATIC: Act = lambda client: client.set_connection_mode(None)  # noqa: E731 -- as above


async def run(client: MobileClient, *steps: Act | float) -> None:
    for step in steps:
        if isinstance(step, int | float):
            await anyio.sleep(step)
        elif (done := step(client)) is not None:
            await done  # type: ignore[misc]  # only set_connection_mode waits


@pytest.mark.parametrize(
    ("steps", "options", "mode", "name", "requests"),
    [
        pytest.param(
            [TO_BACKGROUND, 7300], {}, BACKGROUND, "BACKGROUND_POLLING", [("poll", 3600), ("poll", 7200)], id="S-22 background"
        ),
        pytest.param([TO_BACKGROUND, 0.9], {}, STREAMING, "STREAMING", [], id="S-22 not before a second has passed"),
        pytest.param(
            [TO_BACKGROUND, 0.9, TO_FOREGROUND, 5], {}, STREAMING, "STREAMING", [], id="S-23 there and back within a second"
        ),
        pytest.param([LOSE, 7300], {}, OFFLINE, "OFFLINE", [], id="S-25 no network"),
        pytest.param([LOSE, 2, FIND, 2], {}, STREAMING, "STREAMING", [("stream", 4)], id="S-25 the network comes back"),
        pytest.param([TO_POLLING, 2, LOSE, 5], {}, POLLING, "POLLING", [], id="S-26 an override, no network"),
        pytest.param([TO_POLLING, 2, LOSE, 2, AUTOMATIC, 2], {}, OFFLINE, "OFFLINE", [], id="S-26 it is taken back"),
        pytest.param([TO_POLLING, 2, TO_BACKGROUND, 5], {}, POLLING, "POLLING", [], id="S-27 an override in the background"),
        pytest.param([GO_OFFLINE, 0.01], {}, OFFLINE, "SET_OFFLINE", [], id="S-28 set_offline is immediate"),
        pytest.param([TO_POLLING, 2, GO_OFFLINE, 0.01], {}, OFFLINE, "SET_OFFLINE", [], id="S-28 set_offline outranks an override"),
        pytest.param(
            [TO_BACKGROUND, 7300],
            {"background_updating": False},
            OFFLINE,
            "BACKGROUND_DISABLED",
            [],
            id="S-29 no updates in the background",
        ),
        pytest.param([TO_POLLING, 0.01], {"debounce": 0}, POLLING, "POLLING", [], id="S-33 without a window"),
        pytest.param(
            [TO_BACKGROUND, 5], {"automatic_mode_switching": False}, STREAMING, "STREAMING", [], id="S-34 nothing is followed"
        ),
        pytest.param([TO_BACKGROUND, 5], {"profile": "desktop"}, STREAMING, "STREAMING", [], id="S-34 nor on a desktop"),
    ],
)
async def test_in_the_profile_mobile(
    steps: list[Act | float], options: dict[str, Any], mode: ConnectionMode, name: str, requests: list[tuple[str, float]]
) -> None:
    service = MobileService()
    async with mobile_client(service, **{**MOBILE, **options}) as client:
        await anyio.sleep(1)
        assert service.endpoints == ["poll", "stream"]
        await run(client, *steps)
        assert (client.mode, client.connection_info.mode) == (mode, name)
        assert [(hit.endpoint, hit.time) for hit in service.hits[2:]] == requests
        assert client.variation("f", "") == "poll anna"
    assert service.most_open == 1


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        pytest.param([GO_OFFLINE, 0.01], SourceState.SET_OFFLINE, id="S-28 set_offline"),
        pytest.param([LOSE, 2], SourceState.NETWORK_UNAVAILABLE, id="S-25 no network"),
        pytest.param([TO_BACKGROUND, 2], SourceState.BACKGROUND_DISABLED, id="S-29 no updates in the background"),
        pytest.param([LOSE, 2, GO_OFFLINE, 0.01], SourceState.SET_OFFLINE, id="one reason after another"),
        pytest.param([LOSE, GO_OFFLINE, GO_ONLINE, 0.01], SourceState.NETWORK_UNAVAILABLE, id="and back"),
    ],
)
async def test_the_status_has_the_reason_why_a_client_is_offline(steps: list[Act | float], state: SourceState) -> None:
    async with mobile_client(MobileService(), profile="mobile", background_updating=False) as client:
        await run(client, *steps)
        assert (client.report.source_state, client.status) == (state, "READY")


@pytest.mark.holds("S-34")
async def test_entering_the_background_sends_the_events_also_if_the_mode_stays() -> None:
    service = MobileService()
    events = MobileEvents(diagnostic_opt_out=True, flush_interval=None)
    async with mobile_client(service, events=events) as client:
        client.track("pressed")
        await anyio.sleep(60)
        assert service.events == []
        client.notify_lifecycle("background")
        await anyio.sleep(0.01)
        assert [event["kind"] for event in service.events] == ["identify", "custom"]
        assert client.mode is STREAMING


@pytest.mark.holds("S-24")
async def test_a_new_context_ends_the_window_and_uses_the_mode_of_now() -> None:
    service = MobileService()
    async with mobile_client(service, profile="mobile") as client:
        client.notify_lifecycle("background")
        await anyio.sleep(0.5)
        await client.identify(BEN)
        assert client.mode is BACKGROUND
        await anyio.sleep(60)
    assert [(hit.endpoint, hit.key, hit.time) for hit in service.hits[2:]] == [("poll", "ben", 0.5)]


@pytest.mark.holds("S-35")
@pytest.mark.parametrize("mode", ["sometimes", "", "STREAMING"])
async def test_an_unknown_mode_changes_nothing(mode: str) -> None:
    async with mobile_client(MobileService(), debounce=0) as client:
        await client.set_connection_mode("polling")
        with pytest.raises(ValueError, match="mode: expected 'streaming' or 'polling' or") as raised:
            await client.set_connection_mode(mode)
        assert isinstance(raised.value, ConfigError)
        await anyio.sleep(1)
        assert client.mode is POLLING


# -- a switch


@pytest.mark.holds("S-30")
async def test_a_mode_with_the_same_sources_leaves_them_running() -> None:
    service = MobileService()
    async with mobile_client(service, debounce=0, modes={"streaming": STEADY, "polling": STEADY}) as client:
        await anyio.sleep(1)
        await client.set_connection_mode("polling")
        await anyio.sleep(1)
        assert client.mode is POLLING
        assert service.log == ["poll", "poll ended", "stream"]


@pytest.mark.holds("S-31")
async def test_with_a_selector_a_switch_runs_no_initializer() -> None:
    service = MobileService()
    async with mobile_client(service, debounce=0, initial_connection_mode="polling") as client:
        await anyio.sleep(10)
        await client.set_connection_mode("streaming")
        await anyio.sleep(1)
    assert [(hit.endpoint, hit.query.get("basis")) for hit in service.hits] == [("poll", None), ("stream", "poll-anna")]


@pytest.mark.holds("S-32")
async def test_without_a_selector_a_switch_runs_the_initializers() -> None:
    service = MobileService(poll=[DOWN, named("poll")])
    async with mobile_client(service, debounce=0, initial_connection_mode="polling", start_wait=1) as client:
        assert client.variation("f", "") == ""
        await client.set_connection_mode("streaming")
        await anyio.sleep(1)
        assert client.variation("f", "") == "poll anna"
    assert service.endpoints == ["poll", "poll", "stream"]


@pytest.mark.holds("S-48")
async def test_the_sources_of_before_are_closed_before_others_are_built() -> None:
    service = MobileService(closing=0.4)
    async with mobile_client(service, debounce=0) as client:
        await anyio.sleep(1)
        await client.identify(BEN)
    assert [(hit.endpoint, hit.key, hit.time) for hit in service.hits[:3]] == [
        ("poll", "anna", 0),
        ("stream", "anna", 0),
        ("poll", "ben", 1.4),
    ]
    assert service.log[2:5] == ["stream", "stream ended", "poll"]
    assert service.most_open == 1


async def test_a_source_that_does_not_close_is_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    service = MobileService(closing=60)
    async with mobile_client(service, debounce=0) as client:
        await anyio.sleep(1)
        await client.identify(BEN)
        assert client.variation("f", "") == "poll ben"
        assert 1 < service.to("poll")[-1].time <= 3
    assert [record for record in caplog.records if record.levelno >= logging.ERROR and "please report" in record.message] == []


@pytest.mark.parametrize(
    ("age", "first"),
    [
        pytest.param(10, 300, id="young flags wait for the rest of the interval"),
        pytest.param(299, 300, id="older ones too"),
        pytest.param(400, 400, id="old ones are fetched at once"),
    ],
)
async def test_the_first_poll_after_a_switch_depends_on_the_age_of_the_flags(age: float, first: float) -> None:
    service = MobileService()
    async with mobile_client(service, debounce=0) as client:
        await anyio.sleep(age)
        await client.set_connection_mode("polling")
        await anyio.sleep(400)
    assert service.times("poll")[1] == first


async def test_switching_to_and_fro_does_not_multiply_polls() -> None:
    service = MobileService()
    async with mobile_client(service, debounce=0, initial_connection_mode="polling") as client:
        for _ in range(200):
            await client.set_connection_mode("background")
            await anyio.sleep(1)
            await client.set_connection_mode("polling")
            await anyio.sleep(1)
    assert service.times("poll") == [0, 301]


# -- modes that the program defines


@pytest.mark.holds("F-18")
def test_a_mode_with_other_sources_keeps_its_fallback_and_one_without_sources_has_none() -> None:
    one, none = ModeDefinition(synchronizers=(Polling(interval=7200),)), ModeDefinition()
    made = table({BACKGROUND: one, POLLING: none})
    assert made[BACKGROUND].fdv1_fallback == Fdv1FallbackOptions(interval=HOURLY)
    assert made[POLLING] == Pipeline()
    assert table(updates_in_background=False)[BACKGROUND] == Pipeline()


@pytest.mark.holds("F-16")
def test_polling_is_not_the_fallback_of_a_mode() -> None:
    assert {mode: made.fdv1_fallback for mode, made in table(fdv1_fallback=None).items()} == dict.fromkeys(ConnectionMode)


@pytest.mark.parametrize(
    ("mode", "given", "slot"),
    [
        pytest.param(STREAMING, None, None, id="none"),
        pytest.param(STREAMING, Fdv1FallbackOptions(interval=900), Fdv1FallbackOptions(interval=900), id="its interval"),
        pytest.param(
            STREAMING, Fdv1FallbackOptions(interval=60), Fdv1FallbackOptions(interval=FIVE_MINUTES), id="a short interval"
        ),
        pytest.param(BACKGROUND, Fdv1FallbackOptions(interval=900), Fdv1FallbackOptions(interval=900), id="more often than hourly"),
        pytest.param(BACKGROUND, Fdv1FallbackOptions(), Fdv1FallbackOptions(interval=HOURLY), id="the interval of its mode"),
        pytest.param(
            ONE_SHOT, Fdv1FallbackOptions(base_uri="http://a"), Fdv1FallbackOptions(base_uri="http://a", on_demand=True), id="once"
        ),
    ],
)
@pytest.mark.parametrize("of_the_client", [None, Fdv1FallbackOptions(interval=1200)], ids=["client without", "client with"])
def test_a_mode_can_have_its_own_fallback(
    mode: ConnectionMode,
    given: Fdv1FallbackOptions | None,
    slot: Fdv1FallbackOptions | None,
    of_the_client: Fdv1FallbackOptions | None,
) -> None:
    own = ModeDefinition(synchronizers=(Streaming(),), fdv1_fallback=given)
    made, others = table({mode: own}, fdv1_fallback=of_the_client), table(fdv1_fallback=of_the_client)
    assert made[mode].fdv1_fallback == slot
    assert {each: made[each] for each in made if each is not mode} == {each: others[each] for each in others if each is not mode}


async def test_a_mode_of_the_program_that_only_streams() -> None:
    service = MobileService(stream=[UP_TO_DATE])
    async with mobile_client(service, modes={"streaming": ModeDefinition(synchronizers=(Streaming(),))}) as client:
        await anyio.sleep(400)
        assert client.report.source_state is SourceState.VALID
    assert service.endpoints == ["stream"]


async def test_offline_from_the_start_sends_nothing() -> None:
    service = MobileService()
    events = MobileEvents(diagnostic_opt_out=False)
    async with mobile_client(service, offline=True, events=events) as client:
        assert client.is_offline
        assert client.variation("f", "default") == "default"
        client.track("pressed")
        await anyio.sleep(3600)
    assert (service.hits, [json.loads(post.content) for post in service.posts]) == ([], [])


async def test_one_shot_polls_once_and_streams_only_after_failures() -> None:
    service = MobileService()
    async with mobile_client(service, profile="cli") as client:
        assert client.variation("f", "") == "poll anna"
        await anyio.sleep(3600)
        assert client.connection_info.mode == "POLLING"
    assert service.endpoints == ["poll"]
    service = MobileService(poll=[DOWN], stream=[polled("s", f=1)])
    async with mobile_client(service, profile="cli", start_wait=15):
        await anyio.sleep(3600)
    assert service.endpoints == ["poll"] * 3 + ["stream"]
