"""A client that is offline, has no flag data, has no sources, or has data that no source has confirmed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aioflags import Client, Config, DataSystem, FileOverrides
from aioflags.runtime.clock import now_ms
from aioflags.sources import Basis, FileSource, MemorySource, Selector, SourceContext, Update, from_function
from tests.support.client_flags import DOCUMENT, USER
from tests.support.feed import Feed, full
from tests.support.store_clients import A_MOMENT, beside, daemon, holding, started


@pytest.mark.holds("CS-C1", "CS-C2", "DS-94")
async def test_an_offline_client_is_ready_at_once_and_serves_defaults() -> None:
    system = DataSystem.custom(synchronizers=[MemorySource({"f": 1})])
    async with Client("", Config(offline=True, data_system=system)) as entered:
        assert entered.status == "READY"
    client = Client("", Config(offline=True, data_system=system))
    report = await client.start(0)
    assert (report.status, report.source_state) == ("READY", "VALID")
    assert client.is_initialized
    assert client.is_offline
    detail = await client.variation_detail("f", USER, "d")
    assert (detail.value, detail.reason.to_dict()) == ("d", {"kind": "ERROR", "errorKind": "CLIENT_NOT_READY"})
    assert await client.variation("f", USER, 9) == 9
    assert (await client.flags(USER)).variation("f", 9) == 9
    assert (await client.all_flags_state(USER)).to_json_dict() == {"$flagsState": {}, "$valid": False}
    assert (await client.flags(USER)).all() == {}
    await client.aclose()


def no_local_flags(_: Path) -> Client:
    return Client("", Config(offline=True, data_system=DataSystem.polling()))


def of_a_document(_: Path) -> Client:
    return Client.local(DOCUMENT, Config(offline=True))


def of_a_file(path: Path) -> Client:
    return Client.local(path, Config(offline=True))


def of_a_source(path: Path) -> Client:
    return Client("", Config(offline=True, data_system=DataSystem.custom(initializers=[FileSource(path)])))


def of_overrides(path: Path) -> Client:
    return Client("", Config(offline=True, data_system=DataSystem(overrides=FileOverrides(path))))


@pytest.mark.parametrize(
    ("make", "warned"),
    [
        pytest.param(no_local_flags, False, id="no local flags"),
        pytest.param(of_a_document, True, id="a document"),
        pytest.param(of_a_file, True, id="a file"),
        pytest.param(of_a_source, True, id="a FileSource"),
        pytest.param(of_overrides, True, id="override files"),
        pytest.param(Client.local, False, id="a file of a client that is not offline"),
    ],
)
async def test_an_offline_client_warns_that_local_flags_are_not_used(
    make: Callable[[Path], Client], warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    async with make(path):
        pass
    assert ("offline: every evaluation returns its default" in caplog.text) is warned


async def silent(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
    await asyncio.Event().wait()
    yield Update(state="VALID", directive=None)  # type: ignore[arg-type]  # never reached


def without_data(**options: Any) -> Client:
    return Client("", Config(data_system=DataSystem.custom(synchronizers=[from_function("silent", silent)]), **options))


@pytest.mark.parametrize("started", [False, True])
async def test_without_data_the_default_is_served(started: bool) -> None:
    client = without_data(start_wait=0.001)
    if started:
        await client.start()
    detail = client.variation_detail_nowait("f", USER, 5)
    assert (detail.value, detail.reason.error_kind) == (5, "CLIENT_NOT_READY")
    assert not client.is_initialized
    assert not (await client.all_flags_state(USER)).valid
    await client.aclose()


@pytest.mark.holds("CS-C8")
async def test_a_configured_default_replaces_the_callers() -> None:
    async with Client.local(DOCUMENT, Config(defaults={"nope": "cfg", "int": "cfg", "checkout": False})) as client:
        assert await client.variation("nope", USER, "d") == "cfg"
        assert client.variation_nowait("nope", USER, "d") == "cfg"
        assert (await client.flags(USER)).variation("nope", "d") == "cfg"
        # Its type is the type asked for.
        mistyped: list[object] = [await client.variation("int", USER, 1), await client.variation("checkout", USER, "d")]
        assert mistyped == ["cfg", True]


def test_data_given_at_construction_can_be_evaluated_without_a_loop() -> None:
    client = Client.local(DOCUMENT)
    assert client.variation_nowait("checkout", USER, False) is True
    assert client.is_initialized
    assert client.status == "NOT_READY"
    source = MemorySource({"f": "memory"})
    assert Client("", Config(data_system=DataSystem.custom(synchronizers=[source]))).variation_nowait("f", USER, "") == "memory"


async def test_without_sources_a_client_is_ready_at_once() -> None:
    async with Client("", Config(data_system=DataSystem(), start_wait=0)) as client:
        assert (client.status, client.report.source_state) == ("READY", "VALID")
        assert (await client.variation_detail("f", USER, 1)).reason.error_kind == "FLAG_NOT_FOUND"


# -- data that no source has confirmed


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
