"""A mobile client in the child of a fork: it serves its flags, and starts there with the context and the protocol of the parent."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from aioflags import Status
from aioflags.model.identify import IdentifyStatus
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
            assert client.status.status is Status.NOT_READY
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
