"""ConsulFlags: what is written and in which order, values that are too large, and many writers at once."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from urllib.parse import urlsplit

import anyio
import pytest

from aioflags import Http, StoreError
from aioflags.model.change import ObjectKind
from aioflags.stores import ConsulStore, StoreContext, StoredItem
from aioflags.stores.consul import ConsulFlags
from aioflags.stores.consul_connection import MAX_VALUE, ConsulConnection, ConsulServer
from tests.stores.conftest import Build
from tests.stores.test_redis_flags import crowd, expected
from tests.support.consul_server import kept_in, put_into
from tests.support.played_consul import ConsulAnswer, PlayedConsul

CONTEXT = StoreContext(environment="an environment")
FLAG, SEGMENT = ObjectKind.FLAG, ObjectKind.SEGMENT
ROOT = "launchdarkly"


def item(key: str, version: int = 1, kind: ObjectKind = FLAG, *, size: int = 0) -> StoredItem:
    text = b'{"key":"%b","version":%d}' % (key.encode(), version)
    return StoredItem(kind, key, version, text.ljust(size))


def items(*several: StoredItem) -> dict[ObjectKind, dict[str, StoredItem]]:
    return {kind: {one.key: one for one in several if one.kind is kind} for kind in (SEGMENT, FLAG)}


def store_on(played: PlayedConsul) -> ConsulStore:
    return ConsulStore(http=Http(client_factory=played.client))


class Watched(PlayedConsul):
    """``writes`` has the verb and key of every write, one list for each request."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[str]] = []

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> ConsulAnswer:
        path = urlsplit(target).path
        if path == "/v1/txn":
            self.writes.append([f"{each['KV']['Verb']} {each['KV']['Key'].removeprefix(f'{ROOT}/')}" for each in json.loads(body)])
        elif method != "GET":
            self.writes.append([f"{method} {path.removeprefix(f'/v1/kv/{ROOT}/')}"])
        return super().answer(method, target, headers, body)


# -- a whole data set


async def test_a_small_data_set_is_written_in_one_transaction_with_the_marker_in_its_place(build: Build) -> None:
    played = Watched()
    store = build(store_on(played))
    await store.replace(items(item("a"), item("b"), item("s", kind=SEGMENT)))
    await store.replace(items(item("b"), item("a", 2), item("c")))
    await store.replace(items(item("a", 2), item("c")))
    assert played.writes == [
        ["set segments/s", "set features/a", "set features/b", "set $inited"],
        ["set features/a", "set features/c", "set $inited", "delete segments/s"],
        ["delete features/b"],
    ]


async def test_a_data_set_that_is_stored_already_is_not_written_again(build: Build) -> None:
    """All processes of a fleet receive the same data set when they start."""
    played = Watched()
    for _ in range(2):
        store = build(store_on(played))
        await store.replace(items(*(item(str(n)) for n in range(200))))
    assert [len(batch) for batch in played.writes] == [64, 64, 64, 9]
    assert played.writes[-1][-1] == "set $inited"


async def test_a_write_that_breaks_off_leaves_the_marker_of_an_empty_store_unset(build: Build) -> None:
    played = Watched()
    store = build(store_on(played))
    with anyio.move_on_after(0):
        await store.replace(items(item("a")))
    assert not await store.initialized()
    await store.replace(items(item("a")))
    assert await store.initialized()


class Mortal(Watched):
    """The program that writes dies after so many requests that write, if ``left`` is not ``None``."""

    left: int | None = None

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> ConsulAnswer:
        if method != "GET" and self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise EOFError
        return super().answer(method, target, headers, body)


@pytest.mark.parametrize("lost", [FLAG, SEGMENT])
@pytest.mark.parametrize("requests", range(3))
async def test_a_writer_that_dies_while_it_refills_leaves_no_store_that_looks_whole(
    build: Build, lost: ObjectKind, requests: int
) -> None:
    played = Mortal()
    whole = items(*(item(str(n), 1, kind) for n in range(100) for kind in (FLAG, SEGMENT)))
    writer, heir = build(store_on(played)), build(store_on(played))
    await writer.replace(whole)
    played.answer("DELETE", f"/v1/kv/{ROOT}/{'features' if lost is FLAG else 'segments'}/?recurse", {}, b"")
    played.left = requests
    # 100 items are two transactions, of 64 operations and of the rest, and the marker is in both.
    with contextlib.suppress(EOFError, StoreError):
        await writer.replace(whole)
    assert await heir.initialized() is (requests >= 2)
    played.left = None
    await heir.upsert([item("new", 1, kind) for kind in (FLAG, SEGMENT)])
    assert await heir.initialized() is (requests >= 2)
    await heir.replace(whole)
    assert await heir.load() == whole
    assert await heir.initialized()


async def test_the_guard_of_a_kind_adds_no_request_for_an_item_that_is_stored(build: Build) -> None:
    played = PlayedConsul()
    store = build(store_on(played))
    await store.replace(items(item("a"), item("s", kind=SEGMENT)))
    counts: list[int] = []
    for call in (store.get(FLAG, "a"), store.upsert([item("a", 2)]), store.get(FLAG, "none"), store.initialized()):
        played.requests.clear()
        await call
        counts.append(len(played.requests))
    assert counts == [1, 2, 3, 2]
    assert played.requests[-1] == ("GET", "/v1/kv/launchdarkly/?keys=&separator=%2F")


# -- large values


@pytest.mark.real_time
async def test_values_up_to_512_kib_are_stored_and_larger_ones_left_out_with_one_line(
    build: Build, consul_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = build(ConsulStore(consul_url))
    good = items(*(item(f"f-{size}", 1, size=size) for size in (200_000, 380_000, 400_000, MAX_VALUE)), item("small"), item("x", 1))
    await store.replace(good)
    assert await store.load() == good
    for version in (2, 3):
        await store.upsert(
            [item("f-400000", version, size=MAX_VALUE), item("x", version, size=MAX_VALUE + 1), item("small", version)]
        )
        await store.replace(items(*good[FLAG].values(), item("small", version), item("x", version, size=MAX_VALUE + 1)))
    loaded = (await store.load())[FLAG]
    assert {key: one.version for key, one in loaded.items() if one.version > 1} == {"small": 3}
    assert loaded["x"] == item("x", 1)
    (record,) = caplog.records
    line = record.getMessage()
    assert record.levelname == "ERROR"
    assert line.startswith("Consul keeps at most 524288 bytes for a key: flag x has 524289 and is not stored")
    await store.replace(items(item("x", 4)))
    await store.upsert([item("x", 5, size=MAX_VALUE + 1)])
    assert len(caplog.messages) == 2  # it was smaller in between


@pytest.mark.real_time
async def test_a_large_value_is_only_written_if_it_is_newer(build: Build, consul_url: str) -> None:
    store = build(ConsulStore(consul_url))
    await store.replace(items(item("a", 5, size=500_000)))
    before = kept_in(consul_url)
    await store.upsert([item("a", 4, size=500_000), item("a", 5, size=400_000)])
    assert kept_in(consul_url) == before
    await store.upsert([item("a", 6, size=500_000), item("a", 2)])
    assert await store.get(FLAG, "a") == item("a", 6, size=500_000)


# -- races


class Contested(PlayedConsul):
    """Another program writes ``theirs`` before each of the first ``times`` writes. ``tried`` has the times of these."""

    def __init__(self, times: int, theirs: StoredItem) -> None:
        super().__init__()
        self.times = times
        self.tried: list[float] = []
        self.theirs = theirs
        self._set(f"{ROOT}/$inited", b"", 0)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> ConsulAnswer:
        if method == "PUT":
            self.tried.append(anyio.current_time())
            if len(self.tried) <= self.times:
                self.index += 1
                # With another value each time: otherwise Consul keeps the index.
                self._set(f"{ROOT}/features/a", self.theirs.text + b" " * len(self.tried), 0)
        return super().answer(method, target, headers, body)


def flags_on(played: PlayedConsul, *, chance: float) -> ConsulFlags:
    http = Http(client_factory=played.client)
    server = ConsulServer(url="http://consul.test", token=None, datacenter=None, namespace=None, http=http)
    logger = logging.getLogger("aioflags")
    return ConsulFlags(ConsulConnection(server, logger), prefix=ROOT, logger=logger, chance=lambda: chance)


@pytest.mark.parametrize(
    "size", [pytest.param(0, id="in a transaction"), pytest.param(400_000, id="a value that is too large for one")]
)
@pytest.mark.parametrize("chance", [0, 0.5, 0.99])
async def test_an_upsert_tries_again_after_growing_pauses(chance: float, size: int) -> None:
    played = Contested(8, item("a", 1))
    flags = flags_on(played, chance=chance)
    await flags.upsert([item("a", 5, size=size)])
    assert await flags.get(FLAG, "a") == item("a", 5, size=size)
    pauses = [after - before for before, after in zip(played.tried, played.tried[1:], strict=False)]
    assert pauses == pytest.approx([chance * longest for longest in (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5)])
    await flags.aclose()


async def test_an_upsert_gives_up_before_the_time_limit_of_a_store() -> None:
    played, began = Contested(1000, item("a", 1)), anyio.current_time()
    flags = flags_on(played, chance=0.7)
    with pytest.raises(StoreError, match="the keys of Consul changed 32 times while this client tried to write"):
        await flags.upsert([item("a", 5)])
    assert len(played.tried) == 32
    assert anyio.current_time() - began < 10
    await flags.aclose()


@pytest.mark.parametrize("theirs", [pytest.param(5, id="the same version"), pytest.param(6, id="a newer version")])
async def test_an_upsert_that_lost_a_race_does_not_write_if_the_other_process_wrote(theirs: int) -> None:
    played = Contested(1, item("a", theirs))
    flags = flags_on(played, chance=0.5)
    await flags.upsert([item("a", 5)])
    assert len(played.tried) == 1
    stored = await flags.get(FLAG, "a")
    assert stored is not None
    assert stored.version == theirs
    await flags.aclose()


async def test_what_a_refused_transaction_has_not_written_is_written_by_the_next_attempt() -> None:
    """One stale index refuses the whole transaction, so the items beside it are offered again."""
    played = Contested(1, item("a", 9))
    flags = flags_on(played, chance=0.5)
    await flags.upsert([item("a", 5), *(item(f"other-{n}", 2) for n in range(100))])
    loaded = (await flags.load())[FLAG]
    assert {key: one.version for key, one in loaded.items()} == {"a": 9, **{f"other-{n}": 2 for n in range(100)}}
    await flags.aclose()


async def test_of_two_versions_in_one_call_the_newer_one_is_written(build: Build) -> None:
    played = Watched()
    store = build(store_on(played))
    await store.replace({})
    await store.upsert([item("a", 2), item("a", 3), item("a", 1)])
    assert played.writes == [["set $inited"], ["cas features/a", "cas $inited"]]
    assert await store.get(FLAG, "a") == item("a", 3)


PATIENT = Http(connect_timeout=50, read_timeout=50)
"""Long waits for an answer: one processor has the work of all stores and of a played Consul, and of other tests."""


@pytest.mark.real_time
@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_12_clients_that_write_at_once_leave_the_newest_versions(build: Build, consul_url: str) -> None:
    stores = [build(ConsulStore(consul_url, http=PATIENT)) for _ in range(12)]
    assert await crowd(stores, rounds=3) == expected(12, 3)


@pytest.mark.real_time
@pytest.mark.timeout(60)
async def test_a_fleet_that_writes_the_same_change_at_once_writes_it_once(build: Build, consul_url: str) -> None:
    put_into(consul_url, f"{ROOT}/features/a", item("a", 6).text)
    stores = [build(ConsulStore(consul_url, http=PATIENT)) for _ in range(12)]
    async with anyio.create_task_group() as tasks:
        for store in stores:
            tasks.start_soon(store.upsert, [item("a", 7)])
    ((value, index),) = kept_in(consul_url).values()
    assert value == item("a", 7).text
    async with anyio.create_task_group() as tasks:
        for store in stores:
            tasks.start_soon(store.upsert, [item("a", 7)])
    assert kept_in(consul_url) == {f"{ROOT}/features/a": (value, index)}
