"""The life of a mobile client: before the start, starts of every kind, several environments, and the close."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from aioflags import MobileConfig, Status
from aioflags.errors import ConfigError, LifecycleError
from aioflags.events.options import MobileEvents
from aioflags.mobile.client import MobileClient
from aioflags.mobile.modes import ConnectionMode
from aioflags.model.context import Context
from aioflags.model.status import IdentifyStatus, SourceState, StatusReport
from aioflags.stores.storage import MemoryStorage
from tests.support.canaries import KEY
from tests.support.mobile_service import (
    ANNA,
    BEN,
    DOWN,
    REFUSED,
    SILENT,
    UP_TO_DATE,
    Hit,
    MobileService,
    mobile_client,
    mobile_config,
    named,
    slow,
)
from tests.support.scripted_clients import all_tasks
from tests.support.scripted_http import Answer

COMPLETED, ERROR, TIMEOUT = IdentifyStatus.COMPLETED, IdentifyStatus.ERROR, IdentifyStatus.TIMEOUT
OTHER = f"{KEY}-2"


def by_key(answers: dict[str, Any]) -> Any:
    """Answers by the key of the request."""

    def answer(hit: Hit) -> Answer:
        chosen = answers[hit.request.headers["authorization"]]
        return chosen if isinstance(chosen, Answer) else chosen(hit)

    return answer


# -- before the start


async def test_a_client_that_was_not_started_sends_nothing_and_serves_defaults() -> None:
    service = MobileService()
    client = mobile_client(service)
    assert (client.variation("f", "default"), client.context, client.mode) == ("default", ANNA, ConnectionMode.STREAMING)
    info = client.connection_info
    assert (info.mode, info.active_protocol, info.last_success, info.fallback.engaged) == ("STREAMING", None, None, False)
    await anyio.sleep(60)
    await client.aclose()
    assert (service.hits, client.report.source_state) == ([], SourceState.OFF)


@pytest.mark.parametrize(
    ("call", "args", "options", "mode", "endpoints"),
    [
        pytest.param("set_connection_mode", ["polling"], {}, "POLLING", ["poll"], id="a mode"),
        pytest.param("set_offline", [], {"offline": True}, "SET_OFFLINE", [], id="offline"),
        pytest.param("notify_network", [], {"available": False}, "OFFLINE", [], id="no network"),
        pytest.param("notify_lifecycle", ["background"], {}, "BACKGROUND_POLLING", ["poll"], id="in the background"),
    ],
)
async def test_what_the_program_says_before_the_start_counts_from_the_start(
    call: str, args: list[Any], options: dict[str, Any], mode: str, endpoints: list[str]
) -> None:
    service = MobileService()
    client = mobile_client(service, profile="mobile")
    if (done := getattr(client, call)(*args, **options)) is not None:
        await done
    assert (await client.start()).status is COMPLETED
    await anyio.sleep(5)
    assert (client.connection_info.mode, service.endpoints) == (mode, endpoints)
    await client.aclose()


@pytest.mark.parametrize(("key", "sent"), [pytest.param("", 0, id="no key"), pytest.param(KEY, 1, id="a key")])
async def test_without_a_key_no_events_are_sent(key: str, sent: int) -> None:
    service = MobileService()
    config = mobile_config(service, events=MobileEvents(diagnostic_opt_out=True))
    async with MobileClient(key, ANNA, config) as client:
        client.track("pressed")
        await client.flush_and_wait(5)
    assert len(service.posts) == sent


# -- starts


async def test_a_start_without_a_wait_returns_at_once_and_goes_on() -> None:
    client = mobile_client(MobileService(poll=[slow(2)]))
    assert (await client.start(0)).status is TIMEOUT
    assert client.variation("f", "") == ""
    await anyio.sleep(3)
    assert client.variation("f", "") == "poll anna"
    await client.aclose()


async def test_a_second_start_waits_for_the_first_and_has_its_result() -> None:
    service = MobileService()
    client = mobile_client(service)
    first, second = await asyncio.gather(client.start(), client.start())
    third = await client.start()
    assert {first.status, second.status, third.status} == {COMPLETED}
    await client.aclose()
    assert service.endpoints[:1] == ["poll"]
    assert service.endpoints.count("poll") == 1


@pytest.mark.parametrize(
    ("first", "other"),
    [
        pytest.param(SILENT, SILENT, id="before any flags"),
        pytest.param(SILENT, named("poll"), id="before its own flags"),
        pytest.param(named("poll"), SILENT, id="before the flags of a further environment"),
    ],
)
async def test_a_start_that_is_cancelled_closes_all_environments(first: Any, other: Any) -> None:
    service = MobileService(poll=[by_key({KEY: first, OTHER: other})], stream=[SILENT])
    client = mobile_client(service, secondary_mobile_keys={"other": OTHER})
    with anyio.move_on_after(1):
        await client.start()
    assert service.open == 0
    for name in ("default", "other"):
        assert client.environment(name).report.source_state is SourceState.OFF
    assert (await client.identify(BEN)).status is ERROR


@pytest.mark.parametrize("cycles", range(1, 60), ids=lambda cycles: f"after {cycles} cycles of the loop")
async def test_a_start_that_is_cancelled_at_any_moment_closes_all_environments(cycles: int) -> None:
    client = mobile_client(MobileService(), secondary_mobile_keys={"other": OTHER})
    start = asyncio.create_task(client.start())
    for _ in range(cycles):
        await anyio.lowlevel.checkpoint()
    start.cancel()
    await asyncio.wait({start})
    states = {client.environment(name).report.source_state for name in ("default", "other")}
    assert (SourceState.OFF in states) is (SourceState.VALID not in states) is start.cancelled()
    await client.aclose()


async def test_a_start_after_the_close_is_an_error() -> None:
    client = mobile_client(MobileService())
    await client.start()
    await client.aclose()
    with pytest.raises(LifecycleError, match="closed"):
        await client.start()


@pytest.mark.parametrize(
    ("call", "args", "options", "problem"),
    [
        pytest.param("start", ["5"], {}, "start_wait", id="a wait that is text"),
        pytest.param("start", [], {"wait_for": "soon"}, "wait_for", id="an unknown thing to wait for"),
        pytest.param("identify", ["anna"], {}, "context", id="a context that is text"),
        pytest.param("identify", [ANNA], {"timeout": "1"}, "timeout", id="a time-out that is text"),
        pytest.param("identify", [ANNA], {"timeout": -1}, "timeout: expected 0 or more seconds", id="a negative time-out"),
        pytest.param("identify", [ANNA], {"wait_for": 1}, "wait_for", id="a number to wait for"),
        pytest.param("identify", [ANNA], {"sheddable": 1}, "sheddable", id="a number for a bool"),
        pytest.param("identify", [ANNA], {"secure_mode_hash": b"x"}, "secure_mode_hash", id="a hash of bytes"),
        pytest.param("set_connection_mode", [1], {}, "mode", id="a mode that is a number"),
        pytest.param("set_offline", [None], {}, "offline", id="offline or not: None"),
        pytest.param("notify_network", ["yes"], {}, "available", id="a network that is text"),
        pytest.param("notify_lifecycle", ["paused"], {}, "state", id="an unknown state"),
        pytest.param("environment", ["gone"], {}, "environment", id="an unknown environment"),
    ],
)
async def test_a_wrong_argument_raises_and_changes_nothing(
    call: str, args: list[Any], options: dict[str, Any], problem: str
) -> None:
    service = MobileService()
    async with mobile_client(service) as client:
        await anyio.sleep(1)
        with pytest.raises(ConfigError, match=problem):
            await getattr(client, call)(*args, **options)
        assert (client.variation("f", ""), service.endpoints) == ("poll anna", ["poll", "stream"])


# -- several environments


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(named("poll"), COMPLETED, id="both have flags"),
        pytest.param(REFUSED, ERROR, id="one is refused"),
        pytest.param(SILENT, TIMEOUT, id="one is silent"),
    ],
)
async def test_the_worst_result_of_all_environments_counts(answer: Any, status: IdentifyStatus) -> None:
    stream = by_key({KEY: UP_TO_DATE, OTHER: answer if isinstance(answer, Answer) else UP_TO_DATE})
    service = MobileService(poll=[by_key({KEY: named("poll"), OTHER: answer})], stream=[stream])
    client = mobile_client(service, secondary_mobile_keys={"other": OTHER})
    assert (await client.start()).status is status
    assert (await client.identify(BEN)).status is status
    assert client.variation("f", "") == "poll ben"
    assert client.environment("other").variation("f", "") == ("poll ben" if status is COMPLETED else "")
    assert client.environment("default") is client
    await client.aclose()
    assert service.open == 0


async def test_modes_and_offline_concern_all_environments() -> None:
    service = MobileService()
    config = mobile_config(service, secondary_mobile_keys={"other": OTHER}, debounce=0)
    async with MobileClient(KEY, ANNA, config) as client:
        other = client.environment("other")
        await client.set_connection_mode("polling")
        await anyio.sleep(1)
        assert (client.mode, other.mode) == (ConnectionMode.POLLING, ConnectionMode.POLLING)
        client.set_offline(offline=True)
        await anyio.sleep(1)
        assert (other.is_offline, other.connection_info.mode) == (True, "SET_OFFLINE")
        sent = len(service.hits)
        await anyio.sleep(3600)
        assert len(service.hits) == sent


@pytest.mark.parametrize("name", ["default", "other"])
async def test_a_handler_of_any_environment_may_close_the_client(name: str, caplog: pytest.LogCaptureFixture) -> None:
    service = MobileService()
    client = mobile_client(service, secondary_mobile_keys={"other": OTHER})
    took: list[float] = []

    async def close(_: StatusReport) -> None:
        began = service.seconds
        try:
            await client.aclose()
        finally:  # The task of a handler ends with the client.
            took.append(service.seconds - began)

    client.environment(name).on_status(Status.READY, close)
    await client.start()
    await anyio.sleep(10)
    assert (took, caplog.messages) == ([0], [])
    assert client.environment("default").report.source_state is SourceState.OFF
    assert client.environment("other").report.source_state is SourceState.OFF


async def test_each_environment_keeps_its_own_flags() -> None:
    storage = MemoryStorage()
    keys = {"other": OTHER}
    service = MobileService(poll=[by_key({KEY: named("main"), OTHER: named("other")})])
    async with mobile_client(service, storage=storage, secondary_mobile_keys=keys):
        pass
    service = MobileService(poll=[SILENT])
    client = mobile_client(service, storage=storage, secondary_mobile_keys=keys)
    assert (await client.start(wait_for="cached")).status is COMPLETED
    assert (client.variation("f", ""), client.environment("other").variation("f", "")) == ("main anna", "other anna")
    await client.aclose()


# -- the close


@pytest.mark.parametrize(
    "service",
    [
        pytest.param({}, id="a stream"),
        pytest.param({"poll": [SILENT]}, id="a poll that hangs"),
        pytest.param({"poll": [DOWN]}, id="between two polls"),
        pytest.param({"poll": [DOWN.directed()], "fdv1": [SILENT]}, id="a poll by FDv1 that hangs"),
    ],
)
async def test_a_close_ends_everything_and_every_call(service: dict[str, Any]) -> None:
    made = MobileService(**service)
    tasks = len(asyncio.all_tasks())
    client = mobile_client(made, storage=MemoryStorage(), events=MobileEvents(diagnostic_opt_out=True))
    await client.start(0.5)
    calls = [asyncio.create_task(client.identify(context, timeout=None, sheddable=False)) for context in (BEN, Context("cleo"))]
    await anyio.lowlevel.checkpoint()
    began = made.seconds
    await client.aclose()
    assert made.seconds - began < 2
    results = await asyncio.gather(*calls)
    assert all(result.status in (ERROR, COMPLETED) for result in results)
    await anyio.lowlevel.checkpoint()
    assert (made.open, len(asyncio.all_tasks())) == (0, tasks)
    sent = len(made.hits)
    await anyio.sleep(3600)
    assert len(made.hits) == sent


async def test_after_the_close_nothing_that_the_program_says_has_an_effect() -> None:
    service = MobileService()
    client = mobile_client(service, debounce=0)
    await client.start()
    await client.aclose()
    sent = len(service.hits)
    await client.set_connection_mode("polling")
    client.set_offline(offline=False)
    client.notify_network(available=False)
    client.notify_lifecycle("background")
    client.track("late")
    client.flush()
    assert (await client.identify(BEN)).status is ERROR
    await anyio.sleep(3600)
    assert (len(service.hits), client.variation("f", ""), client.connection_info.mode) == (sent, "poll anna", "SHUTDOWN")


# -- without a close


async def test_a_running_client_that_is_dropped_is_reported_once_and_closed() -> None:
    config = MobileConfig(offline=True, secondary_mobile_keys={"beta": "mob-beta"})
    clients = [MobileClient("mob-key", Context("anna"), config)]
    await clients[0].start()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        clients.clear()
    assert [str(warning.message).partition(" READY")[0] for warning in warned] == ["unclosed client <MobileClient"]
    warned.clear()  # a warning keeps the client, and with it its other environments
    await asyncio.sleep(1)
    assert all_tasks() == set()
