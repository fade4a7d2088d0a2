"""Connection modes of a mobile client: which requests it sends in each, and when a switch takes effect."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import pytest

from aioflags import Status
from aioflags.errors import ConfigError
from aioflags.events.options import MobileEvents
from aioflags.mobile.modes import ConnectionMode, ModeDefinition, Pipeline, pipelines
from aioflags.model.status import SourceState
from aioflags.sources import Fdv1FallbackOptions, Polling, Streaming
from aioflags.sources.polling import Cache
from tests.support.device_storages import LOGGER
from tests.support.mobile_runs import MobileRun, Step, identify, lifecycle, network, offline, reports, run_mobile, serves, switch
from tests.support.mobile_service import BEN, DOWN, MobileService, mobile_client, named, polled

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


# -- facts of the program


TO_BACKGROUND, TO_FOREGROUND = lifecycle("background"), lifecycle("foreground")
LOSE, FIND = network(False), network(True)
GO_OFFLINE, GO_ONLINE = offline(True), offline(False)
TO_POLLING, AUTOMATIC = switch("polling"), switch(None)


def is_in(mode: ConnectionMode, name: str) -> Step:
    """The mode in effect, and its name in the connection information."""

    def step(run: MobileRun) -> None:
        assert (run.client.mode, run.client.connection_info.mode) == (mode, name)

    return step


@pytest.mark.parametrize(
    ("steps", "options", "mode", "name", "requests"),
    [
        pytest.param(
            [TO_BACKGROUND, 7300], {}, BACKGROUND, "BACKGROUND_POLLING", ["poll anna 3600", "poll anna 7200"], id="S-22 background"
        ),
        pytest.param([TO_BACKGROUND, 0.9], {}, STREAMING, "STREAMING", [], id="S-22 not before a second has passed"),
        pytest.param(
            [TO_BACKGROUND, 0.9, TO_FOREGROUND, 5], {}, STREAMING, "STREAMING", [], id="S-23 there and back within a second"
        ),
        pytest.param([LOSE, 7300], {}, OFFLINE, "OFFLINE", [], id="S-25 no network"),
        pytest.param([LOSE, 2, FIND, 2], {}, STREAMING, "STREAMING", ["stream anna 4"], id="S-25 the network comes back"),
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
    steps: list[Step], options: dict[str, Any], mode: ConnectionMode, name: str, requests: list[str]
) -> None:
    service = await run_mobile({}, [1, *steps, is_in(mode, name), serves("poll anna")], **{**MOBILE, **options})
    assert (service.sent, service.most_open) == (["poll anna 0", "stream anna 0", *requests], 1)


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
async def test_the_status_has_the_reason_why_a_client_is_offline(steps: list[Step], state: SourceState) -> None:
    await run_mobile({}, [*steps, reports(state, status=Status.READY)], profile="mobile", background_updating=False)


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


@pytest.mark.parametrize(
    ("script", "options", "steps", "sent"),
    [
        pytest.param(
            {},
            MOBILE,
            [TO_BACKGROUND, 0.5, identify(BEN), is_in(BACKGROUND, "BACKGROUND_POLLING"), 60],
            ["poll anna 0", "stream anna 0", "poll ben 0.5"],
            id="S-24 a new context ends the window and uses the current mode",
        ),
        pytest.param(
            {"poll": [DOWN, named("poll")]},
            {"debounce": 0, "initial_connection_mode": "polling", "start_wait": 1},
            [serves(""), switch("streaming"), 1, serves("poll anna")],
            ["poll anna 0", "poll anna 1", "stream anna 1"],
            id="S-32 without a selector a switch runs the initializers",
        ),
        pytest.param(
            {},
            {"debounce": 0},
            [10, TO_POLLING, 400],
            ["poll anna 0", "stream anna 0", "poll anna 300"],
            id="young flags wait for the rest of the interval of a poll",
        ),
        pytest.param(
            {},
            {"debounce": 0},
            [299, TO_POLLING, 400],
            ["poll anna 0", "stream anna 0", "poll anna 300", "poll anna 600"],
            id="older flags, too",
        ),
        pytest.param(
            {},
            {"debounce": 0},
            [400, TO_POLLING, 400],
            ["poll anna 0", "stream anna 0", "poll anna 400", "poll anna 700"],
            id="old flags are fetched at once",
        ),
        pytest.param(
            {},
            {"debounce": 0, "initial_connection_mode": "polling"},
            [switch("background"), 1, TO_POLLING, 1] * 200,
            ["poll anna 0", "poll anna 301"],
            id="switching to and fro does not multiply polls",
        ),
        pytest.param(
            {},
            {"modes": {"streaming": ModeDefinition(synchronizers=(Streaming(),))}},
            [400, reports(SourceState.VALID)],
            ["stream anna 0"],
            id="a mode of the program that only streams",
        ),
        pytest.param(
            {},
            {"profile": "cli"},
            [serves("poll anna"), 3600, is_in(ONE_SHOT, "POLLING")],
            ["poll anna 0"],
            id="one-shot polls once",
        ),
        pytest.param(
            {"poll": [DOWN], "stream": [polled("s", f=1)]},
            {"profile": "cli", "start_wait": 15},
            [3600],
            ["poll anna 0", "poll anna 1", "poll anna 2", "stream anna 2"],
            id="one-shot streams only after failures",
        ),
        pytest.param(
            {"closing": 0.4},
            {"debounce": 0},
            [1, identify(BEN)],
            ["poll anna 0", "stream anna 0", "poll ben 1.4", "stream ben 1.4"],
            id="S-48 the previous sources are closed before others are built",
        ),
    ],
)
async def test_a_client_sends_these_requests_at_these_times(
    script: Mapping[str, Any], options: dict[str, Any], steps: Sequence[Step], sent: list[str]
) -> None:
    service = await run_mobile(script, steps, **options)
    assert (service.sent, service.most_open) == (sent, 1)


@pytest.mark.holds("S-21")
async def test_a_short_interval_is_raised_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    short = ModeDefinition(initializers=(Cache(),), synchronizers=(Polling(interval=10),))
    service = await run_mobile({}, [650], initial_connection_mode="polling", modes={"polling": short})
    assert service.times("poll") == [0, 300, 600]
    assert "polling: the poll interval 30 s is less than 300 s, which is used" in caplog.messages


@pytest.mark.holds("S-31")
async def test_with_a_selector_a_switch_runs_no_initializer() -> None:
    service = await run_mobile({}, [10, switch("streaming"), 1], debounce=0, initial_connection_mode="polling")
    assert [(hit.endpoint, hit.query.get("basis")) for hit in service.hits] == [("poll", None), ("stream", "poll-anna")]


async def test_a_source_that_does_not_close_is_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    service = MobileService(closing=60)
    async with mobile_client(service, debounce=0) as client:
        await anyio.sleep(1)
        await client.identify(BEN)
        assert client.variation("f", "") == "poll ben"
        assert 1 < service.to("poll")[-1].time <= 3
    assert [record for record in caplog.records if record.levelno >= logging.ERROR and "please report" in record.message] == []


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


async def test_offline_from_the_start_sends_nothing() -> None:
    service = MobileService()
    events = MobileEvents(diagnostic_opt_out=False)
    async with mobile_client(service, offline=True, events=events) as client:
        assert client.is_offline
        assert client.variation("f", "default") == "default"
        client.track("pressed")
        await anyio.sleep(3600)
    assert (service.hits, [json.loads(post.content) for post in service.posts]) == ([], [])
