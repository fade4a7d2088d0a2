"""A mobile client in the child of a fork: it serves its flags, and starts there with the context and the protocol of the parent."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from aioflags import Status
from aioflags.mobile.modes import ConnectionMode
from aioflags.model.status import IdentifyStatus
from tests.support.forks import succeeds_in_a_child
from tests.support.mobile_service import BEN, MobileService, mobile_client, named
from tests.support.scripted_http import Answer

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


@pytest.mark.parametrize(
    ("poll", "protocol"),
    [
        pytest.param(named("poll"), "poll", id="on FDv2"),
        pytest.param(Answer(500).directed(), "fdv1", id="on FDv1"),
    ],
)
async def test_a_start_in_the_child_goes_on_with_the_context_and_the_protocol(poll: Any, protocol: str) -> None:
    service = MobileService(poll=[poll])
    async with mobile_client(service) as client:
        await client.identify(BEN)
        sent = len(service.hits)

        async def check() -> None:
            assert (client.variation("f", ""), client.context) == (f"{protocol} ben", BEN)
            assert client.status is Status.NOT_READY
            assert (await client.start()).status is IdentifyStatus.COMPLETED
            await asyncio.sleep(0.1)
            assert client.variation("f", "") == f"{protocol} ben"
            assert client.connection_info.fallback.engaged is (protocol == "fdv1")
            new = service.hits[sent:]
            assert {hit.key for hit in new} == {"ben"}
            assert [hit.endpoint for hit in new] == (["poll", "stream"] if protocol == "poll" else ["fdv1"])
            await client.set_connection_mode("offline")
            assert (await client.identify(BEN)).status is IdentifyStatus.COMPLETED
            await client.aclose()

        assert succeeds_in_a_child(check)
        assert client.variation("f", "") == f"{protocol} ben"


@pytest.mark.parametrize("waits", [True, False], ids=["a change that waits in the parent", "a change in the child"])
async def test_a_change_of_the_mode_takes_effect_in_the_child_before_its_start(*, waits: bool) -> None:
    service = MobileService()
    async with mobile_client(service, debounce=60) as client:
        if waits:
            await client.set_connection_mode("polling")

        async def check() -> None:
            if not waits:
                await client.set_connection_mode("polling")
            assert client.mode is ConnectionMode.POLLING
            sent = len(service.hits)
            await client.start()
            await asyncio.sleep(0.1)
            assert [hit.endpoint for hit in service.hits[sent:]] == ["poll"]
            await client.aclose()

        assert succeeds_in_a_child(check)
        assert client.mode is ConnectionMode.STREAMING
