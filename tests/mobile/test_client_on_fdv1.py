"""A mobile client on FDv1: its flags, states, storage, log and connection information."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from aioflags.mobile.modes import ModeDefinition
from aioflags.model.status import IdentifyStatus
from aioflags.sources import Streaming
from aioflags.stores.storage import MemoryStorage
from tests.support.device_storages import ScriptedStorage
from tests.support.mobile_runs import identify, run_mobile, switch
from tests.support.mobile_service import (
    BEN,
    DOWN,
    SILENT,
    UP_TO_DATE,
    MobileService,
    flags_of_fdv1,
    mobile_client,
    named,
    named_fdv1,
    polled,
    streamed,
    transfer,
)
from tests.support.scripted_http import HANG, Answer, sse

ERROR = Answer(500).directed()
"""An error with the directive."""


@pytest.mark.holds("S-65", "F-30")
async def test_a_directive_in_an_answer_of_fdv1_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    service = await run_mobile({"poll": [ERROR], "fdv1": [flags_of_fdv1(f="fdv1").directed(), DOWN.directed()]}, [1000])
    assert service.times("fdv1") == [0, 300, 600, 900]
    assert len([message for message in caplog.messages if "received a fallback directive" in message]) == 1


@pytest.mark.holds("F-33", "S-99")
@pytest.mark.parametrize(
    ("poll", "stream", "states"),
    [
        pytest.param(named("poll"), streamed("s", f="s").directed(), ["VALID"], id="a payload with it"),
        pytest.param(named("poll"), ERROR, ["VALID", "INTERRUPTED", "VALID"], id="an error with it"),
        pytest.param(ERROR, UP_TO_DATE, ["INITIALIZING", "VALID"], id="an error with it, before any flags"),
    ],
)
async def test_a_change_to_fdv1_never_shows_off(poll: Any, stream: Answer, states: list[str]) -> None:
    late = Answer(200, {}, flags_of_fdv1(f="fdv1").body, 1)
    client = mobile_client(MobileService(poll=[poll], stream=[stream], fdv1=[late]))
    seen: list[str] = []

    async def follow() -> None:
        async for report in client.reports():
            if not seen or seen[-1] != report.source_state:
                seen.append(report.source_state.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        assert (await client.start()).status is IdentifyStatus.COMPLETED
        await anyio.sleep(5)
        assert client.variation("f", "") == "fdv1"
        await client.aclose()
    assert seen[-1] == "OFF"
    assert [state for state in seen[:-1] if state != "INITIALIZING" or states[0] == "INITIALIZING"] == states


@pytest.mark.holds("F-34")
async def test_flags_of_fdv1_replace_all_flags_and_no_request_has_a_basis() -> None:
    service = MobileService(
        poll=[polled("s1", f=1, g=2)], stream=[UP_TO_DATE.directed()], fdv1=[flags_of_fdv1(f=1), Answer(200, {}, [b"{}"])]
    )
    async with mobile_client(service) as client:
        await anyio.sleep(1)
        assert client.all() == {"f": 1}
        await anyio.sleep(300)
        assert client.all() == {}
    assert [hit.query.get("basis") for hit in service.hits] == [None, "s1", None, None]


@pytest.mark.holds("S-72")
async def test_equal_flags_of_fdv1_are_not_a_change() -> None:
    service = MobileService(
        poll=[polled("s1", f=1, g=[2])],
        stream=[UP_TO_DATE.directed(**{"X-LD-FD-Fallback-TTL": "60"}), UP_TO_DATE],
        fdv1=[flags_of_fdv1(f=1, g=[2])],
    )
    async with mobile_client(service, fdv1_fallback_recovery="ttl") as client:
        with client.changes() as changes, anyio.move_on_after(30):
            await anext(changes)
            pytest.fail("a flag changed")
        assert service.endpoints == ["poll", "stream", "fdv1"]
        await anyio.sleep(60)
    # The flags of FDv1 have no selector, so the transfer that follows is a full one.
    assert [hit.query.get("basis") for hit in service.to("stream")] == ["s1", None]


@pytest.mark.holds("F-37")
async def test_a_poll_by_fdv1_that_hangs_delays_nothing() -> None:
    service = MobileService(poll=[ERROR], fdv1=[SILENT, named_fdv1])
    client = mobile_client(service)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(1)
            ticks += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        assert (await client.start(5)).status is IdentifyStatus.TIMEOUT
        assert (await client.identify(BEN)).status is IdentifyStatus.COMPLETED
        assert (client.variation("f", ""), service.seconds) == ("fdv1 ben", 5)
        await client.aclose()
        assert service.seconds == 5
        tasks.cancel_scope.cancel()
    assert ticks >= 4


# -- storage, log, information


@pytest.mark.holds("F-45", "F-50")
@pytest.mark.parametrize(("failing", "seconds"), [("get", 0), ("set", 0), ("everything", 0), ("by hanging", 2)])
async def test_a_failing_storage_does_not_delay_the_change_to_fdv1(failing: str, seconds: float) -> None:
    storage = ScriptedStorage(
        delay=3600 if failing == "by hanging" else 0, failure=OSError("full") if failing == "everything" else None
    )
    if failing in {"get", "set"}:
        setattr(storage, failing, _raise)
    service = MobileService(poll=[ERROR])
    async with mobile_client(service, storage=storage) as client:
        assert (client.variation("f", ""), service.seconds) == ("fdv1 anna", seconds)


async def _raise(*_: object) -> None:
    raise OSError("broken")


@pytest.mark.holds("F-50")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"fdv1_fallback": None}, id="no fallback"),
        pytest.param({"storage": None}, id="no storage"),
        pytest.param({"storage": MemoryStorage(), "max_cached_contexts": 0}, id="nothing is cached"),
        pytest.param({"modes": {"streaming": ModeDefinition(synchronizers=(Streaming(),))}}, id="no initializers"),
    ],
)
async def test_what_is_optional_may_be_missing(options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    service = MobileService(poll=[ERROR], stream=[ERROR])
    async with mobile_client(service, **options) as client:
        await anyio.sleep(60)
        assert client.connection_info.fallback.engaged
        assert ("fdv1" in service.endpoints) is ("fdv1_fallback" not in options)
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.holds("F-48")
async def test_a_directive_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    await run_mobile({"stream": [ERROR]}, [1, identify(BEN), switch("polling"), 1, switch("background"), 1], debounce=0)
    about = [message for message in caplog.messages if "FDv1" in message]
    assert [message for message in about if "is receiving" not in message] == [
        "streaming received a fallback directive (header): leaving FDv2 for FDv1",
        "switching to FDv1 polling",
    ]


@pytest.mark.holds("F-54", "S-100")
async def test_the_connection_information_shows_the_change() -> None:
    late = Answer(200, UP_TO_DATE.headers, [10.0, sse(*transfer("s", f=1)), HANG])
    service = MobileService(stream=[late.directed(**{"X-LD-FD-Fallback-TTL": "90"})])
    async with mobile_client(service) as client:
        await anyio.sleep(5)
        before = client.connection_info
        assert (before.mode, before.active_protocol, before.fallback.engaged) == ("STREAMING", "fdv2", False)
        await anyio.sleep(10)
        after = client.connection_info
        assert (after.mode, after.active_protocol) == ("STREAMING", "fdv1")
        fallback = after.fallback
        assert (fallback.engaged, fallback.origin, fallback.ttl) == (True, "header", 90)
        assert fallback.since is not None
        assert set(after.sources) == {"polling", "streaming", "FDv1 polling"}


@pytest.mark.holds("F-53")
async def test_nothing_piles_up_over_many_clients_and_contexts() -> None:
    service = MobileService(poll=[ERROR])
    async with mobile_client(service, debounce=0) as client:
        await client.identify(BEN)
        tasks = len(anyio.get_running_tasks())
        for number in range(1000):
            await client.identify(BEN if number % 2 else client.context)
        assert len(anyio.get_running_tasks()) == tasks
        assert service.open == 0
    assert service.most_open == 1
    assert service.endpoints[0] == "poll"
    assert set(service.endpoints[1:]) == {"fdv1"}
