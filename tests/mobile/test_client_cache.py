"""What a mobile client keeps on the device: the flags of its last contexts and generated keys. A bad cache counts as none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest

from aioflags.mobile.client import MobileClient
from aioflags.mobile.flag_cache import FlagCaches, environment_namespace
from aioflags.mobile.pipelines import ModeDefinition
from aioflags.model.context import Context
from aioflags.model.status import IdentifyStatus, SourceState
from aioflags.sources import Polling, Streaming
from aioflags.stores.storage import FileStorage, MemoryStorage, Storage
from tests.support.canaries import KEY
from tests.support.device_storages import LOGGER, ScriptedStorage, device_storage
from tests.support.mobile_service import (
    ANNA,
    BEN,
    DOWN,
    MobileService,
    flags_of_fdv1,
    mobile_client,
    mobile_config,
    named,
    polled,
)
from tests.support.scripted_http import HANG, Answer

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
NAMESPACE = environment_namespace(KEY)
SILENT = Answer(200, {}, (), HANG)


async def served_without_the_service(storage: Storage | str, context: Context = ANNA, key: str = KEY) -> dict[str, Any]:
    """The flags of a new client whose service does not answer."""
    config = mobile_config(MobileService(poll=[SILENT]), storage=storage)
    client = MobileClient(key, context, config)
    await client.start(1, wait_for="cached")
    flags = client.all()
    await client.aclose()
    return flags


async def leave_flags(storage: Storage | str, *contexts: Context, **options: Any) -> None:
    """A client has the flags of these contexts, one after another."""
    first, *others = contexts or (ANNA,)
    async with mobile_client(MobileService(), first, storage=storage, **options) as client:
        for context in others:
            await client.identify(context)


@pytest.mark.holds("S-77")
async def test_the_flags_of_the_last_five_contexts_are_kept() -> None:
    storage = MemoryStorage()
    contexts = [Context(str(number)) for number in range(1, 7)]
    await leave_flags(storage, *contexts)
    kept = [await served_without_the_service(storage, context) for context in contexts]
    assert kept == [{}, *({"f": f"poll {context.key}"} for context in contexts[1:])]
    index = json.loads(await storage.get(NAMESPACE, "contexts") or "")
    assert len(index) == 5


@pytest.mark.holds("S-89")
async def test_with_a_limit_of_zero_no_flags_are_read_or_written() -> None:
    storage = ScriptedStorage()
    await leave_flags(storage, ANNA, BEN, max_cached_contexts=0)
    assert storage.calls == []


@pytest.mark.holds("S-85")
@pytest.mark.parametrize("failure", [OSError("no disk"), RuntimeError("a bug")])
async def test_a_storage_that_raises_does_not_delay_the_start(failure: Exception, caplog: pytest.LogCaptureFixture) -> None:
    service = MobileService()
    async with mobile_client(service, storage=ScriptedStorage(failure=failure)) as client:
        assert (client.variation("f", ""), service.seconds) == ("poll anna", 0)
        await client.identify(BEN)
        await anyio.sleep(60)
    assert len([message for message in caplog.messages if "storage" in message]) == 1


async def test_a_storage_that_hangs_does_not_stop_the_client() -> None:
    service = MobileService()
    client = mobile_client(service, storage=ScriptedStorage(delay=1e9))
    await client.start(15)
    assert client.variation("f", "") == "poll anna"
    await client.aclose()


# -- entries that cannot be used


def change_entry(change: Callable[[str], str], key: str) -> Callable[[dict[str, str]], None]:
    def run(entries: dict[str, str]) -> None:
        (name,) = [name for name in entries if name.startswith(key)]
        entries[name] = change(entries[name])

    return run


@pytest.mark.holds("S-86")
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(change_entry(lambda text: text[: len(text) // 2], "flags_"), id="flags that are cut"),
        pytest.param(change_entry(lambda _: "[]", "flags_"), id="flags that are a list"),
        pytest.param(change_entry(lambda _: '{"f":7}', "flags_"), id="a flag that is a number"),
        pytest.param(change_entry(lambda _: '{"f":{"value":1},"g":{"version":"x"}}', "flags_"), id="one of two flags is wrong"),
        pytest.param(change_entry(lambda _: "", "flags_"), id="no text"),
        pytest.param(change_entry(lambda _: "\ud800", "flags_"), id="half a character"),
        pytest.param(change_entry(lambda _: "now", "fresh_"), id="a time that is not JSON"),
        pytest.param(change_entry(lambda _: '{"timestamp":"x"}', "fresh_"), id="a time that is text"),
    ],
)
async def test_an_entry_that_cannot_be_used_counts_as_none(damage: Any, caplog: pytest.LogCaptureFixture) -> None:
    storage = MemoryStorage()
    await leave_flags(storage)
    index = json.loads(await storage.get(NAMESPACE, "contexts") or "")
    names = [f"{kind}_{index[0][0]}" for kind in ("flags", "fresh")]
    entries = {name: await storage.get(NAMESPACE, name) or "" for name in names}
    damage(entries)
    await storage.set(NAMESPACE, entries)
    service = MobileService(poll=[Answer(200, {}, named("poll")(_hit()).body, 1)])
    client = mobile_client(service, storage=storage)
    assert (await client.start(wait_for="cached")).status is IdentifyStatus.COMPLETED
    assert (service.seconds, client.variation("f", "")) == (1, "poll anna")
    await client.aclose()
    assert len([message for message in caplog.messages if "cached flags are not used" in message]) == 1


def _hit() -> Any:
    class Asked:
        key = "anna"

    return Asked()


async def test_a_damaged_index_loses_the_kept_flags_and_nothing_else() -> None:
    storage = MemoryStorage()
    await leave_flags(storage, ANNA, BEN)
    await storage.set(NAMESPACE, {"contexts": '["x", 7]'})
    await leave_flags(storage, ANNA)
    assert await served_without_the_service(storage, ANNA) == {"f": "poll anna"}
    assert await served_without_the_service(storage, BEN) == {}


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _emptied(_: bytes) -> bytes:
    return b""


def _changed(data: bytes) -> bytes:
    return data.replace(b"poll anna", b"poll ANNA")


def _garbled(_: bytes) -> bytes:
    return b"\x00\xff" * 100


def the_file(folder: Path) -> Path:
    (file,) = [path for path in folder.iterdir() if path.name.startswith(NAMESPACE)]
    return file


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_cut, id="cut in the middle"),
        pytest.param(_emptied, id="empty"),
        pytest.param(_changed, id="changed"),
        pytest.param(_garbled, id="not text"),
    ],
)
async def test_a_damaged_file_counts_as_none(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    await leave_flags(str(tmp_path))
    assert await served_without_the_service(str(tmp_path)) == {"f": "poll anna"}
    file = the_file(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    assert await served_without_the_service(str(tmp_path)) == {}
    await leave_flags(str(tmp_path))
    assert await served_without_the_service(str(tmp_path)) == {"f": "poll anna"}


async def test_the_file_of_another_key_is_not_used(tmp_path: Path) -> None:
    await leave_flags(str(tmp_path))
    other = f"{KEY}-2"
    assert await served_without_the_service(str(tmp_path), key=other) == {}
    file = the_file(tmp_path)
    assert KEY not in file.name
    file.rename(file.with_name(file.name.replace(NAMESPACE, environment_namespace(other))))
    assert await served_without_the_service(str(tmp_path), key=other) == {}


async def test_the_files_are_private(tmp_path: Path) -> None:
    await leave_flags(FileStorage(tmp_path, logger=LOGGER))
    assert the_file(tmp_path).stat().st_mode & 0o777 == 0o600


# -- what is written


@pytest.mark.parametrize(
    ("poll", "kept"),
    [
        pytest.param([polled("s", f=1, g=None)], {"f": 1, "g": None}, id="a payload of FDv2"),
        pytest.param([DOWN.directed()], {"f": "by fdv1"}, id="flags of FDv1"),
    ],
)
async def test_flags_of_both_protocols_are_kept(poll: list[Any], kept: dict[str, Any]) -> None:
    storage = MemoryStorage()
    service = MobileService(poll=poll, fdv1=[flags_of_fdv1(f="by fdv1")])
    async with mobile_client(service, storage=storage):
        pass
    assert await served_without_the_service(storage) == kept


async def test_flags_that_came_from_the_device_are_not_written_again() -> None:
    storage = ScriptedStorage()
    await leave_flags(storage)
    storage.calls.clear()
    await served_without_the_service(storage)
    assert [call for call in storage.calls if call.startswith("set")] == []


async def test_the_selector_is_not_kept() -> None:
    storage = MemoryStorage()
    await leave_flags(storage)
    service = MobileService()
    async with mobile_client(service, storage=storage):
        pass
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


async def test_no_more_contexts_than_the_limit_wait_until_they_are_written() -> None:
    caches = FlagCaches(device_storage(MemoryStorage()), KEY, limit=2, logger=LOGGER)
    for name in "123":
        caches.offer(name, {}, "")
    assert [await caches.read(name, "") is not None for name in "123"] == [False, True, True]
