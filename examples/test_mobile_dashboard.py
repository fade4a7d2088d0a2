"""Tests of the dashboard, with the fixtures of aioflags' pytest plugin: no terminal, no server, no network.

Run in a clone: pip install ".[dev]"; pytest examples/test_mobile_dashboard.py
Tests of your own need: pip install aioflags pytest-asyncio
"""

import asyncio
import logging
import re
from io import StringIO

import pytest
from rich.console import Console

from aioflags.testing import MemoryMobileClient
from examples.mobile_dashboard import USERS, Dashboard


def screen(dashboard: Dashboard) -> str:
    text = StringIO()
    Console(file=text, width=120).print(dashboard.render())
    return text.getvalue()


async def test_it_shows_flags_and_their_changes(mobile_flags: MemoryMobileClient) -> None:
    mobile_flags.set("theme", "[dark]")
    async with mobile_flags:
        dashboard = Dashboard(mobile_flags)
        following = asyncio.create_task(dashboard.follow())
        await asyncio.sleep(0)
        assert "theme" in screen(dashboard)
        assert "'[dark]'" in screen(dashboard)
        assert "READY   STREAMING" in screen(dashboard)
        mobile_flags.set("theme", "light")
        await asyncio.sleep(0.1)
        assert "'light'" in screen(dashboard)
        assert "0 s ago" in screen(dashboard)
        following.cancel()


async def test_a_new_configuration_with_the_same_value_is_not_a_change(mobile_flags: MemoryMobileClient) -> None:
    mobile_flags.set("theme", "light")
    async with mobile_flags:
        dashboard = Dashboard(mobile_flags)
        following = asyncio.create_task(dashboard.follow())
        await asyncio.sleep(0)
        mobile_flags.set("theme", "light")
        await asyncio.sleep(0.1)
        assert not re.search(r"theme .* s ago", screen(dashboard))
        following.cancel()


async def test_a_key_switches_the_user(mobile_flags: MemoryMobileClient) -> None:
    mobile_flags.update(mobile_flags.flag("beta").if_match("plan", "pro").then_return(True).fallthrough_variation(False))
    async with mobile_flags:
        dashboard = Dashboard(mobile_flags)
        assert "False" in screen(dashboard)
        await dashboard.press("u")
        assert mobile_flags.context == USERS[1]
        assert "True" in screen(dashboard)
        assert "identify: completed" in screen(dashboard)
        await dashboard.press("u")
        await dashboard.press("u")
        assert mobile_flags.context == USERS[0]


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        pytest.param("s", "STREAMING", id="streaming"),
        pytest.param("p", "POLLING", id="polling"),
        pytest.param("b", "BACKGROUND_POLLING", id="background"),
        pytest.param("pa", "STREAMING", id="automatic again"),
        pytest.param("o", "SET_OFFLINE", id="offline"),
        pytest.param("oo", "STREAMING", id="online again"),
        pytest.param("x", "STREAMING", id="another key does nothing"),
    ],
)
async def test_a_key_switches_the_mode(mobile_flags: MemoryMobileClient, keys: str, shown: str) -> None:
    async with mobile_flags:
        dashboard = Dashboard(mobile_flags)
        for key in keys:
            await dashboard.press(key)
        await asyncio.sleep(0.1)
        assert f"   {shown}   " in screen(dashboard)


def test_it_shows_the_last_lines_of_the_log(mobile_flags: MemoryMobileClient) -> None:
    dashboard = Dashboard(mobile_flags)
    for number in range(7):
        dashboard.handle(logging.LogRecord("aioflags", logging.WARNING, "", 0, "line %d", (number,), None))
    assert "warning: line 6" in screen(dashboard)
    assert "line 1" not in screen(dashboard)
