"""Flag data that no source has confirmed: they are served, and logged once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

import pytest

from aioflags import Client, Config, DataSystem
from aioflags.runtime.clock import now_ms
from aioflags.sources import Basis, MemorySource, Selector, SourceContext, from_function
from tests.support.client_flags import DOCUMENT, USER
from tests.support.feed import Feed, full
from tests.support.store_clients import A_MOMENT, beside, daemon, holding, started

OVERDUE = "start timed out (no answer, and no failure so far): serving flag data that no source has confirmed; they may be old"


async def test_unconfirmed_data_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aioflags")

    async def unconfirmed(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Basis, None]:
        yield Basis(change_set=replace(MemorySource({"f": 1}).change_set(), selector=Selector.none()), directive=None)
        await asyncio.Event().wait()

    system = DataSystem.custom(initializers=[from_function("slow", unconfirmed)])
    async with Client("", Config(data_system=system, start_wait=0.1)) as client:
        for _ in range(2):
            assert await client.variation("f", USER, 0) == 1
            assert await client.variation("f", USER, "") == ""
            assert (await client.variation_detail("f", USER)).value == 1
            assert (await client.all_flags_state(USER)).valid
    assert [(record.levelname, record.getMessage()) for record in caplog.records if "f:" not in record.getMessage()] == [
        ("INFO", "serving flag data that no source has confirmed yet"),
        ("WARNING", OVERDUE),
        ("INFO", "started: STALE, 1 flag from slow"),
        ("INFO", "closed"),
    ]


@pytest.mark.parametrize(("start_wait", "overdue"), [(0, 5), (2, 2)], ids=["a start that does not wait", "a start that waits"])
async def test_a_warning_about_unconfirmed_data_follows_the_time_limit_of_the_start(
    start_wait: float, overdue: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def unconfirmed(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Basis, None]:
        yield Basis(change_set=replace(MemorySource({"f": 1}).change_set(), selector=Selector.none()), directive=None)
        await asyncio.Event().wait()

    began = asyncio.get_running_loop().time()
    system = DataSystem.custom(initializers=[from_function("slow", unconfirmed)])
    async with Client("", Config(data_system=system, start_wait=start_wait)):
        await asyncio.sleep(began + overdue - 0.1 - asyncio.get_running_loop().time())
        early = caplog.messages.copy()
        await asyncio.sleep(60)
    assert early == ([] if start_wait == 0 else [OVERDUE])
    assert caplog.messages == [OVERDUE]


async def test_data_that_are_confirmed_in_time_log_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def confirmed(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Basis, None]:
        yield Basis(change_set=replace(MemorySource({"f": 1}).change_set(), selector=Selector.none()), directive=None)
        await asyncio.sleep(1)

    system = DataSystem.custom(initializers=[from_function("slow", confirmed)])
    async with Client("", Config(data_system=system, start_wait=5)) as client:
        assert client.status == "READY"
        await asyncio.sleep(60)
    assert caplog.messages == []


def test_the_data_of_a_local_client_log_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert Client.local(DOCUMENT).variation_detail_nowait("checkout", USER, False).value is True
    assert caplog.text == ""


async def test_data_of_a_store_have_an_unknown_age_until_a_source_delivers() -> None:
    feed = Feed()
    async with started(beside(feed, holding(a=1))) as client:
        await asyncio.sleep(60)
        explanation = await client.explain("a", USER)
        assert explanation.origin is not None
        assert (client.data_age, explanation.origin.age) == (None, None)
        assert str(explanation.origin).startswith("data from store, of unknown age; the client is STALE")
        feed.say(full(a=2))
        await asyncio.sleep(A_MOMENT)
        assert client.data_age == pytest.approx(0, abs=5)
    async with started(daemon(holding(a=1))) as client:
        assert (client.variation_nowait("a", USER, 0), client.data_age) == (1, None)


@pytest.mark.parametrize(
    ("days", "age", "text"),
    [
        pytest.param(3, 3 * 86400, "data from device, 2592", id="the device knows when they were confirmed"),
        pytest.param(None, None, "data from device, of unknown age", id="the device does not know it"),
    ],
)
async def test_data_that_a_device_kept_are_as_old_as_their_last_confirmation(
    days: float | None, age: float | None, text: str
) -> None:
    freshness_ms = None if days is None else now_ms() - int(days * 86_400_000)

    async def kept(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Basis, None]:
        changes = replace(MemorySource({"f": 1}).change_set(), selector=Selector.none())
        yield Basis(change_set=changes, directive=None, cached=True, freshness_ms=freshness_ms)
        await asyncio.Event().wait()

    system = DataSystem.custom(initializers=[from_function("device", kept)])
    async with Client("", Config(data_system=system, start_wait=0.1)) as client:
        assert client.data_age == (None if age is None else pytest.approx(age, abs=5))
        assert str((await client.explain("f", USER)).origin).startswith(text)
