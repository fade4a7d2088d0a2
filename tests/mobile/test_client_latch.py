"""A client that left FDv2 stays off it, through modes, contexts and offline times: for good, or for the time of the directive."""

from __future__ import annotations

import itertools
from typing import Any

import anyio
import pytest

from aioflags.mobile.client import MobileClient
from aioflags.mobile.modes import ModeDefinition
from aioflags.model.status import IdentifyStatus, SourceState
from aioflags.sources import Polling, Streaming
from aioflags.sources.polling import Cache
from aioflags.stores.storage import MemoryStorage
from tests.support.canaries import KEY
from tests.support.mobile_service import (
    ANNA,
    BEN,
    REFUSED,
    UP_TO_DATE,
    MobileService,
    kept,
    mobile_client,
    mobile_config,
    named,
    streamed,
)
from tests.support.scripted_http import DIRECTED, HANG, Answer

ERROR = Answer(500).directed()
LEFT = "FDv2 was left, and there is no FDv1 fallback"


def for_seconds(answer: Answer, ttl: object) -> Answer:
    """The answer with a directive for a limited time."""
    return answer.directed(**{"X-LD-FD-Fallback-TTL": str(ttl)})


def after_the_directive(service: MobileService) -> list[tuple[str, str, float]]:
    """The requests after those of FDv2."""
    hits = itertools.dropwhile(lambda hit: hit.endpoint != "fdv1", service.hits)
    return [(hit.endpoint, hit.key, hit.time) for hit in hits]


@pytest.mark.holds("I-12")
@pytest.mark.parametrize("mode", [None, "polling", "one-shot"])
async def test_a_context_after_the_directive_without_fdv1_has_the_cause(mode: str | None) -> None:
    service = MobileService(stream=[ERROR])
    async with mobile_client(service, fdv1_fallback=None, debounce=0) as client:
        await anyio.sleep(1)
        await client.set_connection_mode(mode)
        result = await client.identify(BEN, timeout=5)
        assert (result.status, result.error) == (IdentifyStatus.ERROR, LEFT)
        assert client.report.last_error is not None
        assert client.report.last_error.message == LEFT
    assert service.endpoints == ["poll", "stream"]


# -- modes


@pytest.mark.holds("F-25", "S-58")
async def test_the_background_and_back() -> None:
    service = MobileService(poll=[ERROR])
    async with mobile_client(service, profile="mobile") as client:
        client.notify_lifecycle("background")
        await anyio.sleep(7201)
        client.notify_lifecycle("foreground")
        await anyio.sleep(400)
        assert client.variation("f", "") == "fdv1 anna"
    assert after_the_directive(service) == [("fdv1", "anna", time) for time in (0, 3600, 7200, 7500)]


@pytest.mark.holds("F-25")
async def test_a_mode_that_the_program_sets() -> None:
    service = MobileService(poll=[ERROR])
    async with mobile_client(service, debounce=0) as client:
        for mode in ("polling", "background", "streaming", "polling", None):
            await client.set_connection_mode(mode)
            await anyio.sleep(10)
    assert after_the_directive(service) == [("fdv1", "anna", 0)]


@pytest.mark.holds("F-27", "S-60")
@pytest.mark.parametrize("how", ["set_offline", "no network", "the mode offline"])
async def test_offline_and_back(how: str) -> None:
    service = MobileService(poll=[ERROR])

    async def switch(client: MobileClient, *, is_offline: bool) -> None:
        match how:
            case "set_offline":
                client.set_offline(is_offline)
            case "no network":
                client.notify_network(not is_offline)
            case _:
                await client.set_connection_mode("offline" if is_offline else None)

    async with mobile_client(service, debounce=0, profile="mobile") as client:
        await switch(client, is_offline=True)
        await anyio.sleep(1000)
        assert client.connection_info.active_protocol is None
        await switch(client, is_offline=False)
        await anyio.sleep(1)
        assert client.connection_info.active_protocol == "fdv1"
    assert after_the_directive(service) == [("fdv1", "anna", 0), ("fdv1", "anna", 1000)]


@pytest.mark.holds("F-29", "S-61")
async def test_a_mode_without_a_fallback_makes_no_request_and_the_next_mode_polls_by_fdv1() -> None:
    # "one-shot" has network sources and no fallback.
    service = MobileService(poll=[ERROR])
    async with mobile_client(service, debounce=0) as client:
        await client.set_connection_mode("one-shot")
        await anyio.sleep(1000)
        assert (client.report.source_state, client.variation("f", "")) == (SourceState.OFF, "fdv1 anna")
        assert after_the_directive(service) == [("fdv1", "anna", 0)]
        await client.set_connection_mode("streaming")
        await anyio.sleep(1)
        assert client.report.source_state is SourceState.VALID
    assert after_the_directive(service) == [("fdv1", "anna", 0), ("fdv1", "anna", 1000)]


@pytest.mark.holds("F-29")
async def test_a_new_context_in_a_mode_without_a_fallback_has_its_kept_flags() -> None:
    storage = await kept(BEN)
    service = MobileService(poll=[ERROR])
    async with mobile_client(service, debounce=0, storage=storage, fdv1_fallback=None) as client:
        result = await client.identify(BEN)
        assert (result.status, client.report.source_state) == (IdentifyStatus.ERROR, SourceState.OFF)
        assert client.variation("f", "") == "poll ben"
        assert (await client.identify(BEN, wait_for="cached")).status is IdentifyStatus.COMPLETED
    assert service.endpoints == ["poll"]


# -- contexts


@pytest.mark.holds("F-26", "S-59")
async def test_a_new_context_is_asked_for_by_fdv1() -> None:
    service = MobileService(poll=[ERROR])
    async with mobile_client(service) as client:
        await anyio.sleep(10)
        assert (await client.identify(BEN)).status is IdentifyStatus.COMPLETED
        assert client.variation("f", "") == "fdv1 ben"
    assert after_the_directive(service) == [("fdv1", "anna", 0), ("fdv1", "ben", 10)]


@pytest.mark.holds("F-26")
async def test_on_fdv1_a_new_context_has_its_kept_flags_first() -> None:
    storage = await kept(BEN)
    service = MobileService(poll=[ERROR], fdv1=[_of_fdv1_late])
    async with mobile_client(service, storage=storage) as client:
        assert (await client.identify(BEN, wait_for="cached")).status is IdentifyStatus.COMPLETED
        assert client.variation("f", "") == "poll ben"
        await anyio.sleep(2)
        assert client.variation("f", "") == "fdv1 ben"


def _of_fdv1_late(hit: Any) -> Answer:
    return Answer(200, {}, [b'{"f":{"value":"fdv1 %s"}}' % hit.key.encode()], 1)


# -- a directive whose result is not used


@pytest.mark.holds("F-24", "S-75")
@pytest.mark.parametrize(
    ("poll", "stream"),
    [
        pytest.param(named("poll"), Answer(200, {**UP_TO_DATE.headers, **DIRECTED}, [HANG]), id="a stream without a result"),
        pytest.param(named("poll"), streamed("s", f="old").directed(), id="a payload that is being applied"),
        pytest.param(Answer(200, DIRECTED, [b'{"events":[', 5.0, b"]}"]), UP_TO_DATE, id="a poll whose body is being read"),
        pytest.param(Answer(500, DIRECTED, [b"bad", HANG]), UP_TO_DATE, id="an error whose body is being read"),
    ],
)
@pytest.mark.parametrize("switch", ["identify", "mode"])
async def test_a_directive_counts_although_another_context_or_mode_took_its_place(poll: Any, stream: Answer, switch: str) -> None:
    service = MobileService(poll=[poll], stream=[stream])
    client = mobile_client(service, debounce=0)
    starting = anyio.Event()

    async def start() -> None:
        await client.start(30)
        starting.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start)
        await anyio.sleep(1)
        if switch == "identify":
            assert (await client.identify(BEN)).status is IdentifyStatus.COMPLETED
        else:
            await client.set_connection_mode("polling")
        await anyio.sleep(1)
        key = client.context.key
        assert client.variation("f", "") == f"fdv1 {key}"
        await starting.wait()
        await client.aclose()
    assert {hit.endpoint for hit in service.hits if hit.time >= 1} <= {"fdv1"}


# -- several environments, several clients


@pytest.mark.holds("F-28", "S-62")
async def test_a_directive_belongs_to_one_environment() -> None:
    def poll(hit: Any) -> Answer:
        return ERROR if hit.request.headers["authorization"] == KEY else named("poll")(hit)

    service = MobileService(poll=[poll])
    config = mobile_config(service, secondary_mobile_keys={"other": f"{KEY}-2"}, debounce=0)
    async with MobileClient(KEY, ANNA, config) as client:
        other = client.environment("other")
        assert (client.variation("f", ""), other.variation("f", "")) == ("fdv1 anna", "poll anna")
        assert (client.connection_info.fallback.engaged, other.connection_info.fallback.engaged) == (True, False)
        await client.identify(BEN)
        assert (client.variation("f", ""), other.variation("f", "")) == ("fdv1 ben", "poll ben")
    assert [hit.endpoint for hit in service.hits if hit.request.headers["authorization"] == f"{KEY}-2"] == ["poll", "stream"] * 2


@pytest.mark.holds("F-28")
async def test_a_new_client_asks_fdv2_first() -> None:
    storage = MemoryStorage()
    for _ in range(2):
        service = MobileService(poll=[ERROR])
        async with mobile_client(service, storage=storage):
            pass
        assert service.endpoints == ["poll", "fdv1"]


# -- for a time


@pytest.mark.holds("F-49")
async def test_the_time_of_a_directive_does_not_count_by_default() -> None:
    service = MobileService(poll=[for_seconds(Answer(500), 1)])
    async with mobile_client(service) as client:
        await anyio.sleep(600)
        assert client.connection_info.fallback.ttl == 1
    assert service.endpoints == ["poll", "fdv1", "fdv1"]


@pytest.mark.holds("F-49", "S-73")
@pytest.mark.parametrize("how", ["nothing else", "identify", "a mode switch", "offline"])
async def test_with_the_option_fdv2_is_used_again_after_that_time(how: str) -> None:
    service = MobileService(stream=[for_seconds(streamed("s1", f="stream"), 5), UP_TO_DATE])
    async with mobile_client(service, fdv1_fallback_recovery="ttl", debounce=0) as client:
        await anyio.sleep(1)
        match how:
            case "identify":
                await client.identify(BEN)
            case "a mode switch":
                await client.set_connection_mode("polling")
                await client.set_connection_mode("streaming")
            case "offline":
                client.set_offline(True)
                await anyio.sleep(1)
                client.set_offline(False)
            case _:
                pass
        await anyio.sleep(4.9 - service.seconds)
        assert "stream" not in service.endpoints[2:]
        before = client.connection_info
        await anyio.sleep(60)
        after = client.connection_info
    assert (before.active_protocol, before.fallback.engaged) == ("fdv1", True)
    assert (after.active_protocol, after.fallback.engaged) == ("fdv2", False)
    last = service.hits[-1]
    assert (last.endpoint, last.time, last.query.get("basis")) == ("stream", 5, None)
    assert service.most_open == 1


@pytest.mark.holds("F-49")
@pytest.mark.parametrize("mode", ["streaming", "polling"])
async def test_a_directive_whose_time_ended_while_the_client_was_offline_does_not_count(mode: str) -> None:
    service = MobileService(poll=[for_seconds(Answer(500), 5), named("poll")])
    async with mobile_client(service, fdv1_fallback_recovery="ttl", initial_connection_mode=mode) as client:
        client.set_offline(True)
        await anyio.sleep(4.9 - service.seconds)
        assert client.connection_info.fallback.engaged
        await anyio.sleep(95.1)
        assert repr(client.connection_info.fallback) == "FallbackInfo(engaged=False)"
        client.set_offline(False)
        await anyio.sleep(1)
        assert client.variation("f", "") == "poll anna"
        assert not client.connection_info.fallback.engaged
    assert [(hit.endpoint, hit.time) for hit in service.hits][:3] == [("poll", 0), ("fdv1", 0), ("poll", 100)]


@pytest.mark.holds("S-73")
async def test_without_a_fallback_fdv2_is_used_again_after_that_time() -> None:
    service = MobileService(poll=[for_seconds(Answer(500), 5)], stream=[streamed("s", f="stream")])
    async with mobile_client(service, fdv1_fallback_recovery="ttl", fdv1_fallback=None, start_wait=1) as client:
        assert client.report.source_state is not SourceState.OFF
        await anyio.sleep(10)
        assert client.variation("f", "") == "stream"
    assert [(hit.endpoint, hit.time) for hit in service.hits] == [("poll", 0), ("stream", 5)]


@pytest.mark.holds("S-74")
@pytest.mark.parametrize("ttl", [None, "0", "-5", "soon", "3601", "1e2"])
async def test_without_a_usable_time_a_directive_holds_half_an_hour_to_an_hour(ttl: str | None) -> None:
    directed = ERROR if ttl is None else for_seconds(Answer(500), ttl)
    service = MobileService(poll=[directed], stream=[UP_TO_DATE])
    async with mobile_client(service, fdv1_fallback_recovery="ttl"):
        await anyio.sleep(3700)
    (returned,) = service.times("stream")
    assert 1800 <= returned <= 3600


async def test_a_second_directive_begins_its_own_time() -> None:
    service = MobileService(stream=[for_seconds(streamed("s", f="stream"), 5)])
    async with mobile_client(service, fdv1_fallback_recovery="ttl"):
        await anyio.sleep(14)
    assert service.times("stream") == [0, 5, 10]


# -- one-shot


@pytest.mark.holds("F-51", "S-76")
@pytest.mark.parametrize(
    ("options", "endpoints", "status"),
    [
        pytest.param({"profile": "cli"}, ["poll", "fdv1"], IdentifyStatus.COMPLETED, id="a command polls once by FDv1"),
        pytest.param({"initial_connection_mode": "one-shot"}, ["poll"], IdentifyStatus.ERROR, id="otherwise it stops"),
    ],
)
async def test_a_directive_in_the_mode_one_shot(options: dict[str, Any], endpoints: list[str], status: IdentifyStatus) -> None:
    service = MobileService(poll=[ERROR])
    client = mobile_client(service, **options)
    result = await client.start()
    assert result.status is status
    await anyio.sleep(24 * 3600)
    assert client.variation("f", "") == ("fdv1 anna" if status is IdentifyStatus.COMPLETED else "")
    assert (client.report.source_state is SourceState.OFF) is (status is IdentifyStatus.ERROR)
    await client.aclose()
    assert service.endpoints == endpoints


@pytest.mark.holds("F-29")
async def test_flag_updates_stop_in_the_one_mode_that_has_no_fallback() -> None:
    without = ModeDefinition(synchronizers=(Polling(),), fdv1_fallback=None)
    service = MobileService(poll=[ERROR])
    async with mobile_client(service, modes={"polling": without}, debounce=0) as client:
        await client.set_connection_mode("polling")
        await anyio.sleep(1000)
        states = [client.report.source_state]
        requests = len(service.hits)
        await client.set_connection_mode("streaming")
        await anyio.sleep(1000)
        states.append(client.report.source_state)
    assert states == [SourceState.OFF, SourceState.VALID]
    assert set(service.endpoints[requests:]) == {"fdv1"}


@pytest.mark.holds("F-51")
async def test_each_new_context_of_a_command_polls_once_by_fdv1() -> None:
    service = MobileService(poll=[ERROR])
    async with mobile_client(service, profile="cli") as client:
        await anyio.sleep(1000)
        await client.identify(BEN)
        assert client.variation("f", "") == "fdv1 ben"
        await anyio.sleep(1000)
    assert after_the_directive(service) == [("fdv1", "anna", 0), ("fdv1", "ben", 1000)]


async def test_refused_sources_stay_removed_until_the_next_context() -> None:
    own = ModeDefinition(initializers=(Cache(),), synchronizers=(Streaming(), Polling()))
    service = MobileService(stream=[REFUSED], poll=[for_seconds(Answer(500), 5), named("poll")])
    async with mobile_client(service, fdv1_fallback_recovery="ttl", modes={"streaming": own}) as client:
        await anyio.sleep(60)
        assert service.endpoints == ["stream", "poll", "fdv1", "poll"]
        await client.identify(BEN)
    assert service.endpoints[4:] == ["stream", "poll"]
