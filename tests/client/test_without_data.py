"""A client that is offline, has no flag data, or has no sources: what it reports, and the defaults that it serves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from aioflags import Client, Config, DataSystem, FileOverrides
from aioflags.sources import FileSource, MemorySource, Selector, SourceContext, Update, from_function
from tests.support.client_flags import DOCUMENT, USER


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
