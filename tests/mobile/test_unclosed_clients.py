"""A client for a mobile key that the program drops without closing it is collected at once, and reported."""

from __future__ import annotations

import pytest

from aioflags import Context, MobileClient, MobileConfig


async def test_a_running_client_that_is_dropped_is_reported_once() -> None:
    config = MobileConfig(offline=True, secondary_mobile_keys={"beta": "mob-beta"})
    clients = [MobileClient("mob-key", Context("anna"), config)]
    await clients[0].start()
    with pytest.warns(ResourceWarning) as warned:
        clients.clear()
    assert [str(warning.message).partition(" READY")[0] for warning in warned] == ["unclosed client <MobileClient"]
