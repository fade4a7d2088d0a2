"""What a mobile client keeps on the device: the flags of its last contexts and generated keys. A bad cache counts as none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest

from aioflags.mobile.client import MobileClient
from aioflags.mobile.flag_cache import environment_namespace
from aioflags.mobile.modes import ModeDefinition
from aioflags.model.context import Context
from aioflags.model.status import IdentifyStatus, SourceState
from aioflags.sources import Polling, Streaming
from aioflags.stores.storage import FileStorage, MemoryStorage, Storage
from tests.support.canaries import KEY
from tests.support.device_storages import LOGGER, ScriptedStorage
from tests.support.mobile_runs import run_mobile
from tests.support.mobile_service import (
    ANNA,
    BEN,
    DOWN,
    SILENT,
    UNCHANGED,
    MobileService,
    flags_of_fdv1,
    kept,
    mobile_client,
    mobile_config,
    named,
    polled,
)
from tests.support.scripted_http import Answer, intent, poll_of

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
NAMESPACE = environment_namespace(KEY)


async def served_without_the_service(storage: Storage | str, context: Context = ANNA, key: str = KEY) -> dict[str, Any]:
    """The flags of a new client whose service does not answer."""
    config = mobile_config(MobileService(poll=[SILENT]), storage=storage)
    client = MobileClient(key, context, config)
    await client.start(1, wait_for="cached")
    flags = client.all()
    await client.aclose()
    return flags


@pytest.mark.holds("S-89")
async def test_with_a_limit_of_zero_no_flags_are_read_or_written() -> None:
    storage = ScriptedStorage()
    await kept(ANNA, BEN, storage=storage, max_cached_contexts=0)
    assert storage.calls == []


@pytest.mark.holds("S-85")
@pytest.mark.parametrize(
    ("storage", "seconds"),
    [
        pytest.param(ScriptedStorage(failure=OSError("no disk")), 0, id="raises"),
        pytest.param(ScriptedStorage(failure=RuntimeError("a bug")), 0, id="has a bug"),
        pytest.param(ScriptedStorage(delay=1e9), 2, id="hangs"),
    ],
)
async def test_a_client_starts_although_the_storage(
    storage: ScriptedStorage, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    service = MobileService()
    async with mobile_client(service, storage=storage) as client:
        assert (client.variation("f", ""), service.seconds) == ("poll anna", seconds)
        await client.identify(BEN)
        await anyio.sleep(60)
    assert len([message for message in caplog.messages if "the storage of the device failed" in message]) == 1


async def test_the_flags_of_another_key_are_not_used(tmp_path: Path) -> None:
    await kept(storage=FileStorage(tmp_path, logger=LOGGER))
    assert await served_without_the_service(str(tmp_path)) == {"f": "poll anna"}
    assert await served_without_the_service(str(tmp_path), key=f"{KEY}-2") == {}


# -- what is written


@pytest.mark.parametrize(
    ("poll", "kept"),
    [
        pytest.param([polled("s", f=1, g=None)], {"f": 1, "g": None}, id="a payload of FDv2"),
        pytest.param([DOWN.directed()], {"f": "by fdv1"}, id="F-45 flags of FDv1"),
    ],
)
async def test_flags_of_both_protocols_are_kept(poll: list[Any], kept: dict[str, Any]) -> None:
    storage = MemoryStorage()
    await run_mobile({"poll": poll, "fdv1": [flags_of_fdv1(f="by fdv1")]}, [], storage=storage)
    assert await served_without_the_service(storage) == kept


async def test_flags_that_came_from_the_device_are_not_written_again() -> None:
    storage = ScriptedStorage()
    await kept(storage=storage)
    storage.calls.clear()
    await served_without_the_service(storage)
    assert [call for call in storage.calls if call.startswith("set")] == []


@pytest.mark.parametrize("answer", [UNCHANGED, poll_of(intent("none"))], ids=["304", "the intent none"])
async def test_flags_that_the_service_confirms_are_written_as_fresh(answer: Answer) -> None:
    storage = ScriptedStorage()
    async with mobile_client(MobileService(poll=[named("poll"), answer]), storage=storage, initial_connection_mode="polling"):
        await anyio.sleep(299)
        storage.calls.clear()
        await anyio.sleep(10)
        assert [call.partition("_")[0] for call in storage.calls if call.startswith("set")] == ["set fresh"]


async def test_the_selector_is_not_kept() -> None:
    storage = await kept()
    service = await run_mobile({}, [], storage=storage)
    assert service.hits[0].query == {}


# -- flags of the program


@pytest.mark.parametrize("wait_for", ["fresh", "cached"])
async def test_given_flags_serve_until_the_service_answers_and_are_not_kept(wait_for: Literal["fresh", "cached"]) -> None:
    storage = MemoryStorage()
    document = {"f": "given", "broken": 1, "$flagsState": {"f": {"variation": 2, "version": 7}, "broken": 3}, "$valid": True}
    service = MobileService(poll=[SILENT, named("poll")])
    client = mobile_client(service, storage=storage, bootstrap=document)
    assert (await client.start(wait_for=wait_for)).status is IdentifyStatus.COMPLETED
    assert (service.seconds, client.all()) == (0, {"f": "given", "broken": 1})
    assert client.variation_detail("f", "").variation_index == 2
    await client.aclose()
    assert await served_without_the_service(storage) == {}


@pytest.mark.parametrize(
    "mode", [ModeDefinition(synchronizers=(Streaming(),)), ModeDefinition(initializers=(Polling(),)), ModeDefinition()], ids=repr
)
async def test_given_flags_serve_in_a_mode_that_does_not_read_the_cache(mode: ModeDefinition) -> None:
    service = MobileService(poll=[SILENT], stream=[SILENT])
    async with mobile_client(service, modes={"streaming": mode}, bootstrap={"f": "given"}) as client:
        assert (service.seconds, client.all()) == (0, {"f": "given"})


# -- generated keys


@pytest.mark.holds("S-87")
async def test_an_anonymous_context_without_a_key_has_the_same_key_at_each_start() -> None:
    storage = MemoryStorage()
    keys: list[str] = []
    for _ in range(2):
        service = MobileService()
        async with mobile_client(service, Context("", anonymous=True), storage=storage) as client:
            assert client.context.key == service.hits[0].key
        keys += [hit.key for hit in service.hits]
    assert len(set(keys)) == 1
    assert UUID4.fullmatch(keys[0])


async def test_a_context_without_a_key_that_is_not_anonymous_is_an_error() -> None:
    service = MobileService()
    client = mobile_client(service, Context(""))
    result = await client.start()
    assert result.status is IdentifyStatus.ERROR
    assert (client.variation("f", "default"), service.hits) == ("default", [])
    assert (await client.identify(ANNA)).status is IdentifyStatus.COMPLETED
    assert (client.variation("f", ""), client.report.source_state) == ("poll anna", SourceState.VALID)
    await client.aclose()


@pytest.mark.holds("S-88")
@pytest.mark.parametrize("use_report", [False, True])
async def test_attributes_of_the_environment_leave_a_kind_that_is_there(*, use_report: bool) -> None:
    device = Context("kiosk-7", "ld_device", attributes={"model": "own"})
    service = MobileService(stream=[DOWN.directed()])
    client = mobile_client(
        service, Context.multi(ANNA, device), auto_env_attributes=True, application_id="kiosk", use_report=use_report
    )
    await client.start()
    await anyio.sleep(1)
    await client.aclose()
    assert service.endpoints == ["poll", "stream", "fdv1"]
    for hit in service.hits:
        assert hit.context["ld_device"] == {"key": "kiosk-7", "model": "own"}
        assert hit.context["ld_application"]["id"] == "kiosk"
        assert hit.context["ld_application"]["envAttributesVersion"] == "1.0"
        assert "application-id/kiosk" in hit.request.headers["x-launchdarkly-tags"]
