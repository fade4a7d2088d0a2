"""A client for a mobile key that the program drops without closing it is collected at once, reported and closed."""

from __future__ import annotations

import asyncio
import warnings

from aioflags import Context, MobileClient, MobileConfig
from tests.support.scripted_clients import all_tasks


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
