"""Override files of a client: at its start, beside its sources and its store, through outages, and until it is closed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioflags import Client, Config, DataSystem, FileOverrides, OverridesStatus, ReasonKind, Status
from aioflags.model.detail import ErrorKind
from aioflags.sources import FileSource, MemorySource
from tests.support.canaries import secretive
from tests.support.edited_files import remove, values, write
from tests.support.feed import Feed, change, changes, full
from tests.support.forks import succeeds_in_a_child
from tests.support.memory_store import MemoryStore
from tests.support.overridden_clients import override
from tests.support.store_clients import A_MOMENT, USER, beside, daemon, holding, kept, put, started

PERSON = secretive("u")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "o.json", values(a="override"))


def service(**flags: object) -> MemorySource:
    return MemorySource.from_document(values(**flags))


def config(*paths: Path, source: Any = None, **options: Any) -> Config:
    """A client that polls the files, without and with a source."""
    overrides = FileOverrides(paths, watch=False, poll_interval=1)
    synchronizers = [service(a="service", b="service")] if source is None else [source]
    return Config(data_system=DataSystem.custom(synchronizers=synchronizers).with_overrides(overrides), **options)


async def reaches(client: Client, key: str, value: object) -> None:
    with anyio.fail_after(30):
        while await client.variation(key, PERSON, None) != value:
            await anyio.sleep(0.1)


@pytest.mark.holds("DS-163")
async def test_an_override_counts_from_the_start_and_the_service_counts_again_without_it(file: Path) -> None:
    async with Client("", config(file)) as client:
        detail = await client.variation_detail("a", PERSON, "")
        assert (detail.value, detail.reason.kind, detail.reason.is_override) == ("override", ReasonKind.OFF, True)
        assert await client.variation("b", PERSON, "") == "service"
        write(file, "{}")
        await reaches(client, "a", "service")
        write(file, values(b="override"))
        await reaches(client, "b", "override")
        remove(file)
        await reaches(client, "b", "service")


async def test_changes_of_overrides_reach_listeners(file: Path) -> None:
    async with Client("", config(file)) as client:
        with client.changes() as changes, client.changes("a", PERSON) as values_of_a:
            write(file, values(b="override"))
            assert {(await anext(changes)).key for _ in range(2)} == {"a", "b"}
            change = await anext(values_of_a)
            assert (change.old_value, change.new_value) == ("override", "service")


async def test_overrides_count_before_the_first_data_and_do_not_make_a_client_ready(file: Path, tmp_path: Path) -> None:
    data = tmp_path / "flags.json"
    async with Client("", config(file, source=FileSource(data, notified=False), start_wait=0.1)) as client:
        assert client.status is not Status.READY
        assert await client.variation("a", PERSON, "") == "override"
        assert (await client.variation_detail("b", PERSON, "")).reason.error_kind is ErrorKind.CLIENT_NOT_READY
        assert not client.is_initialized


@pytest.mark.holds("DS-161")
async def test_a_start_that_does_not_wait_has_the_overrides(file: Path) -> None:
    client = Client("", config(file))
    await client.start(0)
    assert client.variation_nowait("a", PERSON, "") == "override"
    await client.aclose()


async def test_the_status_of_overrides_can_be_read(file: Path) -> None:
    async with Client("", config(file)) as client:
        status = client.overrides_status
        assert isinstance(status, OverridesStatus)
        assert (status.flags, status.segments, status.problem) == ({"a": str(file)}, {}, None)
        assert repr(status).startswith(f"OverridesStatus(flags={{'a': '{file}'}}, segments={{}}, since=<2")
        assert client.status is Status.READY
        write(file, "{")
        with anyio.fail_after(30):
            while client.overrides_status is None or client.overrides_status.problem is None:
                await anyio.sleep(0.1)
        assert client.status is Status.READY
        assert await client.variation("a", PERSON, "") == "override"


UNKNOWN = "overrides: {}: flag 'new-chekout' is not in the flag data; did you mean 'new-checkout'?"


@pytest.mark.parametrize("is_first", [True, False], ids=["before the data", "after the data"])
@pytest.mark.holds("DS-166")
async def test_a_mistyped_key_is_one_warning_with_its_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, is_first: bool
) -> None:
    data, file = tmp_path / "flags.json", tmp_path / "o.json"
    write(data, {"flags": {}})
    documents = [(file, values(**{"new-chekout": False})), (data, values(**{"new-checkout": True}))]
    async with Client("", config(file, source=FileSource(data, notified=False))) as client:
        for path, document in documents if is_first else reversed(documents):
            assert caplog.messages.count(UNKNOWN.format(file)) == 0
            write(path, document)
            await anyio.sleep(10)
        assert client.is_initialized
        write(file, {**values(**{"new-chekout": False}), "segments": {"beta": {"included": ["u"]}}})
        write(data, values(**{"new-checkout": True, "other": 1}))
        await anyio.sleep(10)
    assert caplog.messages.count(UNKNOWN.format(file)) == 1


@pytest.mark.parametrize(
    ("document", "added"),
    [
        pytest.param(values(a=1), [], id="a known key"),
        pytest.param(values(surprise=1), ["surprise ({})"], id="a new flag"),
        pytest.param({"segments": {"beta": {}}}, ["segment beta ({})"], id="a new segment"),
        pytest.param({"flags": {"a": {"deleted": True}}}, [], id="a hidden flag"),
    ],
)
async def test_a_key_that_resembles_no_other_is_added_without_a_warning(
    file: Path, caplog: pytest.LogCaptureFixture, document: object, added: list[str]
) -> None:
    caplog.set_level(logging.INFO)
    write(file, document)
    async with Client("", config(file)):
        await anyio.sleep(10)
    prefix = "overrides: added, because the flag data have no such key: "
    assert [message for message in caplog.messages if message.startswith(prefix)] == [prefix + text.format(file) for text in added]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_without_flag_data_no_key_is_unknown(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Client("", Config(data_system=DataSystem(overrides=FileOverrides(file, watch=False, poll_interval=1)))):
        await anyio.sleep(10)
    assert "added" not in caplog.text


async def test_a_client_without_override_files_has_no_status_of_them() -> None:
    assert Client("", Config(data_system=DataSystem.custom(synchronizers=[service()]))).overrides_status is None


@pytest.mark.parametrize("is_file", [False, True], ids=["a mapping", "a file"])
async def test_a_client_of_a_document_can_have_overrides(file: Path, tmp_path: Path, *, is_file: bool) -> None:
    document = values(a="document", b="document")
    overriding = Config(data_system=DataSystem(overrides=FileOverrides(file)))
    async with Client.local(write(tmp_path / "flags.json", document) if is_file else document, overriding) as client:
        assert await client.variation("a", PERSON, "") == "override"
        assert await client.variation("b", PERSON, "") == "document"


async def test_an_offline_client_reads_no_overrides(file: Path) -> None:
    async with Client("", config(file, offline=True)) as client:
        assert await client.variation("a", PERSON, "default") == "default"
        assert client.overrides_status is None


async def test_the_overrides_of_a_closed_client_stay_and_its_files_are_not_read(file: Path) -> None:
    client = Client("", config(file))
    await client.start()
    await client.aclose()
    write(file, values(a="later"))
    await anyio.sleep(10)
    assert await client.variation("a", PERSON, "") == "override"


@pytest.mark.slow
def test_the_child_of_a_fork_keeps_the_overrides_and_follows_the_files_after_its_own_start(file: Path) -> None:
    client = Client("", config(file))

    async def start() -> None:
        await client.start()

    async def check() -> None:
        assert client.variation_nowait("a", PERSON, "") == "override"
        write(file, values(a="child"))
        await client.start()
        assert client.variation_nowait("a", PERSON, "") == "child"
        remove(file)
        await reaches(client, "a", "service")
        await client.aclose()

    with asyncio.Runner() as runner:
        runner.run(start())
        assert succeeds_in_a_child(check)
        runner.run(client.aclose())


# -- beside a store


@pytest.mark.holds("DS-159")
async def test_overrides_are_not_written_to_the_store() -> None:
    feed, store = Feed(), MemoryStore()
    async with started(beside(feed, store)) as client:
        await override(client, a="override", mine="override")
        feed.say(full(a=1, b=1))
        await anyio.sleep(A_MOMENT)
        assert kept(store) == {"a": 1, "b": 1}
        feed.say(changes(change("a", 2, 2)))
        await anyio.sleep(A_MOMENT)
        await override(client, b="override")
        await anyio.sleep(A_MOMENT)
        assert kept(store) == {"a": 2, "b": 1}
        # A store that lost its data gets the whole newest snapshot.
        store.empty()
        await anyio.sleep(3600)
        assert kept(store) == {"a": 2, "b": 1}
        assert await client.variation("b", USER, "") == "override"


@pytest.mark.holds("DS-159")
@pytest.mark.parametrize("cache", ["off", "ttl", "infinite"])
async def test_an_override_wins_over_what_the_store_has(cache: str) -> None:
    store = holding(marker=False, a="stored", b="stored")
    async with Client("", daemon(store, cache=cache, cache_ttl=1)) as client:
        await override(client, a="override", mine="override")
        for _ in range(2):
            assert [await client.variation(key, USER, "") for key in ("a", "b", "mine")] == ["override", "stored", "override"]
            assert (await client.flags(USER)).all() == {"a": "override", "b": "stored", "mine": "override"}
            await anyio.sleep(2)
        await override(client)
        assert [await client.variation(key, USER, "") for key in ("a", "mine")] == ["stored", ""]


async def test_the_prerequisites_of_an_override_are_looked_up_in_the_store() -> None:
    store = holding(marker=False, a="stored")
    needs = {"on": True, "variations": [False, True], "fallthrough": {"variation": 1}, "offVariation": 0}
    async with Client("", daemon(store, cache="off")) as client:
        await override(client, {"flags": {"mine": {**needs, "prerequisites": [{"key": "a", "variation": 0}]}}})
        assert await client.variation("mine", USER, None) is True
        put(store, "a", "off", 2, on=False)
        assert await client.variation("mine", USER, None) is False
        await override(client, {"flagValues": {"a": "override"}})
        store.calls.clear()
        assert await client.variation("a", USER, None) == "override"
        assert "get" not in store.calls


async def test_an_override_is_served_while_the_store_fails() -> None:
    store = holding(a="stored")
    store.fails = OSError("refused")
    async with Client("", daemon(store)) as client:
        await override(client, a="override")
        assert await client.variation("a", USER, "default") == "override"
        assert await client.variation("b", USER, "default") == "default"


async def test_overrides_do_not_hide_that_the_store_is_empty(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    store = holding(marker=False)
    async with Client("", daemon(store, cache_ttl=1)) as client:
        caplog.clear()
        await override(client, mine="override")
        put(store, "a", "first")
        assert await client.variation("a", USER, "") == "first"


async def test_unchanged_data_beside_overrides_are_not_published_again() -> None:
    async with Client("", daemon(holding(a=1), cache_ttl=1)) as client:
        await override(client, a=2)
        before = client._core.holder.snapshot
        await anyio.sleep(10)
        assert client._core.holder.snapshot is before
