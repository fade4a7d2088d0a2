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
    async with offline(system) as entered:
        assert entered.status == "READY"
    client = offline(system)
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


def offline(system: DataSystem) -> Client:
    return Client("", Config(offline=True, data_system=system))


OF_LOCAL_FLAGS: dict[str, tuple[Callable[[Path], Client], bool]] = {
    "no local flags": (lambda _: offline(DataSystem.polling()), False),
    "a document": (lambda _: Client.local(DOCUMENT, Config(offline=True)), True),
    "a file": (lambda path: Client.local(path, Config(offline=True)), True),
    "a FileSource": (lambda path: offline(DataSystem.custom(initializers=[FileSource(path)])), True),
    "override files": (lambda path: offline(DataSystem(overrides=FileOverrides(path))), True),
    "a file of a client that is not offline": (Client.local, False),
}


@pytest.mark.parametrize(("make", "warned"), OF_LOCAL_FLAGS.values(), ids=OF_LOCAL_FLAGS)
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


def unconfirmed(name: str = "slow", *, confirmed_after: float = 1e9, start_wait: float = 0.1, **basis: Any) -> Client:
    """A client whose initializer yields flag ``f`` without a selector, and ends after a time."""

    async def initializer(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Basis, None]:
        yield Basis(change_set=replace(MemorySource({"f": 1}).change_set(), selector=Selector.none()), directive=None, **basis)
        await asyncio.sleep(confirmed_after)

    system = DataSystem.custom(initializers=[from_function(name, initializer)])
    return Client("", Config(data_system=system, start_wait=start_wait))


async def test_unconfirmed_data_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    async with unconfirmed() as client:
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
    began = asyncio.get_running_loop().time()
    async with unconfirmed(start_wait=start_wait):
        await asyncio.sleep(began + overdue - 0.1 - asyncio.get_running_loop().time())
        early = caplog.messages.copy()
        await asyncio.sleep(60)
    assert early == ([] if start_wait == 0 else [OVERDUE])
    assert caplog.messages == [OVERDUE]


async def test_data_that_are_confirmed_in_time_log_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with unconfirmed(confirmed_after=1, start_wait=5) as client:
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
    async with unconfirmed("device", cached=True, freshness_ms=freshness_ms) as client:
        assert client.data_age == (None if age is None else pytest.approx(age, abs=5))
        assert str((await client.explain("f", USER)).origin).startswith(text)
