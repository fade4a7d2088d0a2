"""A new context or mode while sources start, run or close: what is served and reported meanwhile."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from aioflags import Context, Status
from aioflags.mobile.client import MobileClient
from aioflags.mobile.modes import ConnectionMode
from aioflags.model.status import IdentifyStatus, SourceState
from tests.support.mobile_service import ANNA, BEN, DOWN, SILENT, UP_TO_DATE, Hit, MobileService, kept, mobile_client, named, slow
from tests.support.scripted_http import Answer

COMPLETED, TIMEOUT = IdentifyStatus.COMPLETED, IdentifyStatus.TIMEOUT


def silent_for_ben(other: Any) -> Any:
    """The answer ``other`` for every context but ``ben``, whose requests have none."""

    def answer(hit: Hit) -> Answer:
        if hit.key == "ben":
            return SILENT
        return other if isinstance(other, Answer) else other(hit)

    return answer


@pytest.mark.parametrize("closing", [0, 0.5, 1.5], ids=lambda seconds: f"the stream closes in {seconds} s")
@pytest.mark.parametrize("timeout", [0, 0.2, 1, 3], ids=lambda seconds: f"the call waits {seconds} s")
async def test_a_call_that_times_out_before_or_after_the_switch_ends_in_an_error(closing: float, timeout: float) -> None:
    service = MobileService(poll=[silent_for_ben(named("poll"))], stream=[silent_for_ben(UP_TO_DATE)], closing=closing)
    async with mobile_client(service) as client:
        await anyio.sleep(1)
        assert (await client.identify(BEN, timeout=timeout)).status is TIMEOUT
        await anyio.sleep(8)
        assert (client.status, client.context) == (Status.ERROR, BEN)
        assert (await client.identify(ANNA)).status is COMPLETED
        assert client.status is Status.READY


async def test_flags_that_come_after_the_time_out_end_the_error() -> None:
    service = MobileService(poll=[slow(5, "ben")], closing=1)
    async with mobile_client(service) as client:
        await anyio.sleep(1)
        assert (await client.identify(BEN, timeout=0.5)).status is TIMEOUT
        await anyio.sleep(2)
        assert client.status is Status.ERROR
        await anyio.sleep(5)
        assert (client.status, client.variation("f", "")) == (Status.READY, "poll ben")


async def test_flags_in_memory_are_enough_for_a_call_that_accepts_cached_ones() -> None:
    service = MobileService(poll=[named("poll"), DOWN, named("poll")], stream=[UP_TO_DATE, DOWN, UP_TO_DATE])
    async with mobile_client(service) as client:
        await anyio.sleep(1)
        assert (await client.identify(ANNA, wait_for="cached")).status is COMPLETED
        assert (service.seconds, client.variation("f", "")) == (1, "poll anna")
        assert client.status is not Status.RECONCILING
        await anyio.sleep(60)
        assert client.report.source_state is SourceState.VALID
        assert service.endpoints.count("poll") > 1


async def test_the_mode_is_the_one_whose_sources_started_last(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    service = MobileService(closing=1)
    async with mobile_client(service, debounce=0) as client:
        await anyio.sleep(1)
        for mode in ("polling", "offline", "one-shot"):
            await client.set_connection_mode(mode)
            await anyio.sleep(0.1)
            assert client.mode is ConnectionMode.STREAMING
        await anyio.sleep(2)
        assert client.mode is ConnectionMode.ONE_SHOT
    assert [message for message in caplog.messages if "mode" in message] == ["connection mode: one-shot"]


async def test_a_mode_that_is_taken_back_while_the_sources_close_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    service = MobileService(closing=1)
    async with mobile_client(service, debounce=0) as client:
        await anyio.sleep(1)
        await client.set_connection_mode("polling")
        await anyio.sleep(0.1)
        await client.set_connection_mode(None)
        await anyio.sleep(2)
        assert (client.mode, service.endpoints[-1]) == (ConnectionMode.STREAMING, "stream")
    assert not [message for message in caplog.messages if "mode" in message]


@pytest.mark.parametrize("is_by_hand", [True, False], ids=["set_offline", "no network"])
async def test_back_online_the_state_is_not_valid_before_a_source_reports(*, is_by_hand: bool) -> None:
    def switch(client: MobileClient, *, is_online: bool) -> None:
        if is_by_hand:
            client.set_offline(not is_online)
        else:
            client.notify_network(is_online)

    service = MobileService(stream=[UP_TO_DATE, SILENT, UP_TO_DATE])
    async with mobile_client(service, profile="mobile", debounce=0) as client:
        await anyio.sleep(1)
        switch(client, is_online=False)
        await anyio.sleep(1)
        assert client.report.source_state in {SourceState.SET_OFFLINE, SourceState.NETWORK_UNAVAILABLE}
        switch(client, is_online=True)
        await anyio.sleep(1)
        assert (client.report.source_state, client.status) == (SourceState.INTERRUPTED, Status.STALE)
        await anyio.sleep(60)
        assert (client.report.source_state, client.status) == (SourceState.VALID, Status.READY)


async def test_a_first_context_that_cannot_be_used_is_the_error_of_the_status(caplog: pytest.LogCaptureFixture) -> None:
    service = MobileService()
    reason = "the context cannot be used: key: expected a string that is not empty"
    async with mobile_client(service, Context("")) as client:
        await anyio.sleep(60)
        report = client.report
        assert (report.status, report.source_state, client.is_initialized) == (Status.ERROR, SourceState.OFF, False)
        assert report.error is not None
        assert (report.error.message, str(report.last_error)) == (reason, reason)
        assert (client.connection_info.active_protocol, service.endpoints) == (None, [])
        assert caplog.messages == [f"{reason}; no flags are requested until identify() is called with another one"]
        assert (await client.identify(BEN)).status is COMPLETED
        assert (client.status, client.variation("f", "")) == (Status.READY, "poll ben")


async def test_a_new_context_without_flags_serves_defaults_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    service = MobileService(poll=[named("poll"), DOWN], stream=[UP_TO_DATE, DOWN])
    async with mobile_client(service) as client:
        assert client.is_initialized
        assert (await client.identify(BEN)).status is TIMEOUT
        assert (client.is_initialized, client.all()) == (False, {})
        assert [message for message in caplog.messages if "serving defaults" in message]
        assert not [message for message in caplog.messages if "last flag data" in message]


async def test_a_client_that_has_all_it_asked_for_has_no_protocol() -> None:
    service = MobileService()
    async with mobile_client(service, profile="cli") as client:
        await anyio.sleep(1)
        assert (client.report.source_state, client.connection_info.active_protocol) == (SourceState.VALID, None)
        await client.set_connection_mode("streaming")
        await anyio.sleep(2)
        assert client.connection_info.active_protocol == "fdv2"


async def test_the_result_of_a_time_out_has_the_last_failure() -> None:
    reason = "no flags within the time of the call; the client keeps trying"
    client = mobile_client(MobileService(poll=[DOWN], stream=[DOWN]))
    for result in (await client.start(0.5), await client.start(0.2), await client.identify(BEN, timeout=0.5)):
        failure = "the service answered 503 Service Unavailable (https://poll.test/sdk/poll/eval/<context>)"
        assert (result.status, result.error) == (TIMEOUT, f"{reason}; the last failure: {failure}")
    await client.aclose()
    silent = mobile_client(MobileService(poll=[SILENT]))
    assert (await silent.start(0.5)).error == reason
    await silent.aclose()


async def test_after_a_time_out_the_flags_of_the_context_before_do_not_serve() -> None:
    storage = await kept(ANNA, BEN)
    client = mobile_client(MobileService(poll=[SILENT], stream=[SILENT]), storage=storage)
    await client.start(0)
    await anyio.sleep(0.5)
    assert client.variation("f", "") == "poll anna"
    assert (await client.identify(BEN, timeout=3)).status is TIMEOUT
    await anyio.sleep(0.1)
    assert (client.context, client.variation("f", "")) == (BEN, "poll ben")
    await client.aclose()
