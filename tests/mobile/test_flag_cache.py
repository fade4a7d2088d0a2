"""FlagCaches: what a device keeps of the flags of its last contexts."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import anyio
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aioflags.evaluation.client_side import CLIENT_SIDE
from aioflags.evaluation.snapshot import Snapshot
from aioflags.mobile.flag_cache import ContextCache, FlagCaches, context_id, digest, environment_namespace
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.context import Context
from aioflags.model.detail import FlagEvaluation
from aioflags.runtime import clock
from aioflags.sources.base import CachedFlags
from aioflags.stores.storage import FileStorage, MemoryStorage, Storage
from tests.support.device_storages import LOGGER, ScriptedStorage, cache_of, device_storage

KEY = "mob-key"
NAMESPACE = environment_namespace(KEY)
A, B = Context("a", attributes={"plan": "pro"}), Context("b")
A_MOMENT = 0.5
"""Seconds: less than the pause between two writes."""
PACE = 1.0

Found: TypeAlias = dict[str, object] | None
"""The values of cached flags; ``None`` for a miss."""


def flags_of(storage: Storage, key: str = KEY, *, limit: int = 5) -> FlagCaches:
    """The caches of a new client."""
    return FlagCaches(device_storage(storage), key, limit=limit, logger=LOGGER)


@asynccontextmanager
async def writing(storage: Storage, **options: Any) -> AsyncGenerator[FlagCaches, None]:
    """Caches of a client that runs, and is closed at the end."""
    caches = flags_of(storage, **options)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caches.run)
        await anyio.wait_all_tasks_blocked()
        yield caches
        tasks.cancel_scope.cancel()
    await caches.finish()


def flag(key: str, value: Any, version: int = 1, **properties: Any) -> Change:
    return Change(ObjectKind.FLAG, key, version, FlagEvaluation(key=key, version=version, value=value, **properties))


def deliver(
    cache: ContextCache,
    *changes: Change,
    snapshot: Snapshot | None = None,
    kind: ChangeKind = ChangeKind.FULL,
    persist: bool = True,
) -> Snapshot:
    """A source delivers these flags. Returns the new snapshot."""
    change_set = ChangeSet(kind=kind, changes=changes, persist=persist)
    snapshot = (snapshot or Snapshot.empty(dialect=CLIENT_SIDE)).apply(change_set)
    cache.applied(change_set, snapshot)
    return snapshot


async def values(found: ContextCache) -> Found:
    return _values(await found.read())


def _values(found: CachedFlags | None) -> Found:
    return None if found is None else {change.key: getattr(change.definition, "value", None) for change in found.changes}


async def kept(storage: Storage, context: Context, key: str = KEY) -> Found:
    """What a client of the next run reads."""
    return await values(cache_of(flags_of(storage, key), context))


# -- what is read


async def test_the_next_run_reads_the_flags_of_this_one(tmp_path: Path) -> None:
    everything: dict[str, Any] = {
        "variation": 2,
        "reason": {"kind": "RULE_MATCH", "ruleIndex": 1, "ruleId": "r", "inExperiment": True},
        "flag_version": 14,
        "track_events": True,
        "track_reason": True,
        "debug_events_until_date": 1_700_000_000_000,
        "prerequisites": ("a", "b"),
    }
    changes = (flag("full", {"Ä": [1, 2.5, None, "\u2028"]}, 71, **everything), flag("least", None, 0), flag('"\\\n', False, 3))
    async with writing(FileStorage(tmp_path)) as caches:
        deliver(cache_of(caches, A), *changes)
    found = await cache_of(flags_of(FileStorage(tmp_path)), A).read()
    assert found is not None
    assert [(change.kind, change.key, change.version) for change in found.changes] == [
        (ObjectKind.FLAG, "full", 71),
        (ObjectKind.FLAG, "least", 0),
        (ObjectKind.FLAG, '"\\\n', 3),
    ]
    for change, stored in zip(changes, found.changes, strict=True):
        assert msgspec.to_builtins(stored.definition) == msgspec.to_builtins(change.definition)


async def test_an_empty_data_set_is_cached() -> None:
    storage = MemoryStorage()
    async with writing(storage) as caches:
        deliver(cache_of(caches, A))
    assert await kept(storage, A) == {}


@pytest.mark.parametrize(
    ("context", "key"),
    [
        pytest.param(B, KEY, id="of another context"),
        pytest.param(Context("a", kind="org"), KEY, id="of another kind"),
        pytest.param(A, "mob-other", id="of another environment"),
    ],
)
async def test_flags_are_not_read(context: Context, key: str) -> None:
    storage = MemoryStorage()
    async with writing(storage) as caches:
        deliver(cache_of(caches, A), flag("f", 1))
    assert await kept(storage, A) == {"f": 1}
    assert await kept(storage, context, key) is None


async def test_partial_updates_and_deletes_are_cached() -> None:
    storage = MemoryStorage()
    async with writing(storage) as caches:
        cache = cache_of(caches, A)
        snapshot = deliver(cache, flag("f", 1), flag("g", 1), flag("h", 1))
        deleted = Change(ObjectKind.FLAG, "g", 2, None)
        deliver(cache, flag("f", 2, 2), deleted, kind=ChangeKind.CHANGES, snapshot=snapshot)
    assert await kept(storage, A) == {"f": 2, "h": 1}


async def test_data_that_must_not_be_kept_are_not_cached() -> None:
    storage = ScriptedStorage()
    async with writing(storage) as caches:
        deliver(cache_of(caches, A), flag("f", 1), persist=False)
        await anyio.sleep(PACE)
    assert storage.calls == []


async def test_flags_are_read_before_they_are_written() -> None:
    """A program that returns to a context within a second must not miss its flags."""
    caches = flags_of(MemoryStorage())
    deliver(cache_of(caches, A), flag("f", 1, 3))
    found = await cache_of(caches, A).read()
    assert found is not None
    assert (_values(found), found.changes[0].version) == ({"f": 1}, 3)
    assert found.freshness_ms is not None


# -- freshness


@pytest.mark.parametrize(
    ("again", "is_fresh"),
    [
        pytest.param(Context("a", attributes={"plan": "pro"}), True, id="for an equal context"),
        pytest.param(Context("a", attributes={"plan": "free"}), False, id="for another attribute"),
        pytest.param(Context("a", attributes={"plan": "pro"}, private=["plan"]), False, id="for another private attribute"),
    ],
)
@pytest.mark.parametrize("is_written", [True, False])
async def test_freshness_counts(again: Context, is_fresh: bool, is_written: bool) -> None:
    storage, before = MemoryStorage(), clock.now_ms()
    async with writing(storage) as caches:
        deliver(cache_of(caches, A), flag("f", 1))
        found = await cache_of(caches if not is_written else flags_of(storage), again).read()
        if is_written:
            await anyio.sleep(PACE)
            found = await cache_of(flags_of(storage), again).read()
    assert found is not None
    assert _values(found) == {"f": 1}
    assert (found.freshness_ms is not None) is is_fresh
    assert found.freshness_ms is None or before <= found.freshness_ms <= clock.now_ms()


async def test_a_confirmation_writes_the_freshness_alone() -> None:
    storage = ScriptedStorage()
    async with writing(storage) as caches:
        cache = cache_of(caches, A)
        deliver(cache, flag("f", 1))
        await anyio.sleep(PACE + A_MOMENT)
        await storage.set(NAMESPACE, {f"fresh_{context_id(A)}": '{"timestamp":1,"fingerprint":"old"}'})
        storage.calls.clear()
        cache.confirmed()
        await anyio.sleep(PACE)
        assert storage.calls == ["get contexts", f"set fresh_{context_id(A)}"]
    found = await cache_of(flags_of(storage), A).read()
    assert found is not None
    assert found.freshness_ms is not None


async def test_a_confirmation_without_data_writes_nothing() -> None:
    storage = ScriptedStorage()
    async with writing(storage) as caches:
        cache_of(caches, A).confirmed()
        await anyio.sleep(PACE)
    assert storage.calls == []


@pytest.mark.parametrize("loss", ["a write that failed", "another process that cleared the storage"])
async def test_a_confirmation_writes_the_flags_again_after(loss: str) -> None:
    storage = ScriptedStorage()
    async with writing(storage) as caches:
        cache = cache_of(caches, A)
        storage.failure = OSError("full") if loss == "a write that failed" else None
        deliver(cache, flag("f", 1))
        await anyio.sleep(PACE + A_MOMENT)
        storage.failure = None
        await storage.clear(NAMESPACE)
        cache.confirmed()
        await anyio.sleep(PACE)
    assert await kept(storage, A) == {"f": 1}


# -- the name of a context

ORG = Context("a", kind="org")
BOTH = Context.multi(ORG, Context("x"))


@pytest.mark.parametrize(
    ("context", "user"),
    [
        pytest.param(ORG, Context("org:a"), id="an organization"),
        pytest.param(BOTH, Context("org:a:user:x"), id="several kinds"),
        pytest.param(Context("b%3Ac"), Context("b:c"), id="a key that looks escaped"),
        pytest.param(Context("a"), Context("user:1:a"), id="a key that looks like what a name is made of"),
    ],
)
async def test_a_user_whose_key_looks_like_another_context_does_not_get_its_flags(context: Context, user: Context) -> None:
    storage = MemoryStorage()
    async with writing(storage) as caches:
        deliver(cache_of(caches, context), flag("f", "of the other"))
    assert (await kept(storage, context), await kept(storage, user)) == ({"f": "of the other"}, None)


# Few texts, so that examples have the kinds and keys of one another in their keys.
_TEXTS = st.sampled_from(["a", "b", ":", "%", "user", "org", "1", "%3A", "\ud800", "\x00"])
_KEYS = st.lists(_TEXTS, min_size=1, max_size=6).map("".join) | st.text(min_size=1)
_SINGLES = st.builds(Context, _KEYS, kind=st.sampled_from(["user", "org", "a", "1"]))
_CONTEXTS = st.lists(_SINGLES, min_size=1, max_size=3, unique_by=lambda single: single.kind).map(lambda s: Context.multi(*s))


def kinds_and_keys(context: Context) -> list[tuple[str, str]]:
    return [(single.kind, single.key) for single in context]


@given(_CONTEXTS, _CONTEXTS)
@example(ORG, Context("org:a"))
@example(BOTH, Context("org:a:user:x"))
@example(Context("buser:a", kind="org"), Context.multi(Context("b", kind="org"), Context("a")))  # equal without lengths
@settings(max_examples=100)
def test_contexts_have_the_same_name_if_and_only_if_their_kinds_and_keys_are_equal(one: Context, other: Context) -> None:
    assert one.is_valid
    assert other.is_valid
    assert (context_id(one) == context_id(other)) is (kinds_and_keys(one) == kinds_and_keys(other))


async def leave_old_entries(storage: Storage, context: Context) -> None:
    """What an earlier version wrote, which named contexts by their canonical keys."""
    name = digest(context.canonical_key.encode())
    texts = {"index": f'[["{name}",1]]', f"flags_{name}": '{"f":{"value":"old","version":1}}', f"fresh_{name}": "{}"}
    await storage.set(NAMESPACE, texts)


@pytest.mark.parametrize("can_list", [True, False], ids=["a storage", "one that cannot list its keys"])
async def test_what_an_earlier_version_wrote_is_not_read_and_goes_with_the_first_write(can_list: bool) -> None:
    storage = MemoryStorage()
    methods = SimpleNamespace(get=storage.get, set=storage.set, remove=storage.remove, clear=storage.clear)
    await leave_old_entries(storage, A)
    async with writing(storage if can_list else cast("Storage", methods)) as caches:
        assert await values(cache_of(caches, A)) is None
        deliver(cache_of(caches, B), flag("f", "new"))
    assert set(await storage.list_keys(NAMESPACE)) == {"contexts", f"flags_{context_id(B)}", f"fresh_{context_id(B)}"}


# -- the limit


async def index(storage: Storage) -> list[str]:
    return [entry[0] for entry in json.loads(await storage.get(NAMESPACE, "contexts") or "[]")]


@pytest.mark.parametrize(
    ("limit", "order", "left"),
    [
        pytest.param(5, "123456", "23456", id="S-77 the oldest of six contexts"),
        pytest.param(5, "12345", "12345", id="none of five contexts"),
        pytest.param(2, "1213", "13", id="not the context that came again"),
        pytest.param(1, "12", "2", id="all but the newest"),
    ],
)
async def test_over_the_limit_the_oldest_is_removed(limit: int, order: str, left: str) -> None:
    storage = MemoryStorage()
    async with writing(storage, limit=limit) as caches:
        for name in order:
            deliver(cache_of(caches, Context(name)), flag("f", name))
            await anyio.sleep(PACE)
    assert await index(storage) == [context_id(Context(name)) for name in left]
    for name in set(order):
        is_left = name in left
        assert await kept(storage, Context(name)) == ({"f": name} if is_left else None)
        assert (await storage.get(NAMESPACE, f"fresh_{context_id(Context(name))}") is not None) is is_left


async def test_flags_that_the_index_lost_are_removed_by_the_next_write() -> None:
    """Clients that write at the same time read the same index, and the last of them replaces it."""
    storage = ScriptedStorage(delay=0.01)

    async def write(key: str) -> None:
        async with writing(storage) as caches:
            deliver(cache_of(caches, Context(key)), flag("f", key))

    async with anyio.create_task_group() as tasks:
        for key in "cdefgh":
            tasks.start_soon(write, key)
    await write("a")
    cached = await index(storage)
    expected = {f"{kind}_{context}" for context in cached for kind in ("flags", "fresh")}
    assert set(await storage.list_keys(NAMESPACE)) == {"contexts", *expected}
    assert context_id(A) in cached


async def test_a_storage_that_cannot_list_its_keys_is_enough() -> None:
    storage = MemoryStorage()
    methods = SimpleNamespace(get=storage.get, set=storage.set, remove=storage.remove, clear=storage.clear)
    async with writing(cast("Storage", methods), limit=1) as caches:
        deliver(cache_of(caches, A), flag("f", 1))
        await anyio.sleep(PACE)
        deliver(cache_of(caches, B), flag("f", 2))
    assert await index(storage) == [context_id(B)]
    assert len(await storage.list_keys(NAMESPACE)) == 3


async def test_a_lower_limit_counts_at_the_next_write() -> None:
    storage = MemoryStorage()
    for limit, names in [(5, "1234"), (2, "5")]:
        async with writing(storage, limit=limit) as caches:
            for name in names:
                deliver(cache_of(caches, Context(name)), flag("f", name))
    assert [name for name in "12345" if await kept(storage, Context(name)) is not None] == ["4", "5"]


async def test_a_limit_of_0_reads_and_writes_nothing() -> None:
    """S-89."""
    storage = ScriptedStorage()
    async with writing(storage, limit=0) as caches:
        cache = cache_of(caches, A)
        deliver(cache, flag("f", 1))
        cache.confirmed()
        await anyio.sleep(PACE)
        assert await values(cache) is None
    assert storage.calls == []


async def test_no_more_contexts_than_the_limit_wait_until_they_are_written() -> None:
    caches = flags_of(MemoryStorage(), limit=2)
    for name in "123":
        caches.offer(name, {}, "")
    assert [await caches.read(name, "") is not None for name in "123"] == [False, True, True]


# -- pace and closing


async def test_changes_in_quick_succession_are_written_together() -> None:
    storage = ScriptedStorage()
    async with writing(storage) as caches:
        cache = cache_of(caches, A)
        for number in range(100):
            deliver(cache, flag("f", number))
            await anyio.sleep(PACE / 50)
        await anyio.sleep(PACE)
        assert sum(call.startswith("set") for call in storage.calls) == 3
        assert await kept(storage, A) == {"f": 99}


async def test_closing_writes_the_newest_flags() -> None:
    storage = MemoryStorage()
    async with writing(storage) as caches:
        for number in range(3):
            deliver(cache_of(caches, A), flag("f", number))
            deliver(cache_of(caches, B), flag("f", -number))
    assert (await kept(storage, A), await kept(storage, B)) == ({"f": 2}, {"f": -2})


async def test_closing_gives_up_a_storage_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    caches = flags_of(ScriptedStorage(delay=3600))
    deliver(cache_of(caches, A), flag("f", 1))
    began = anyio.current_time()
    await caches.finish()
    assert anyio.current_time() == began + 0.5
    assert caplog.messages == ["the client was closed before all flags were cached"]


async def test_flags_that_are_delivered_during_a_write_are_written_next() -> None:
    storage = ScriptedStorage(delay=1)
    async with writing(storage) as caches:
        cache = cache_of(caches, A)
        deliver(cache, flag("f", 1))
        await anyio.sleep(1.5)  # in the middle of the write
        assert await values(cache) == {"f": 1}
        deliver(cache, flag("f", 2))
        assert await values(cache) == {"f": 2}
        await anyio.sleep(10)
        storage.delay = 0
        assert await kept(storage, A) == {"f": 2}


# -- what fails


async def set_text(storage: Storage, **texts: str) -> None:
    await storage.set(NAMESPACE, {name.replace("_a", f"_{context_id(A)}"): text for name, text in texts.items()})


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"flags_a": ""}, id="empty"),
        pytest.param({"flags_a": "{"}, id="cut off"),
        pytest.param({"flags_a": "\ud800"}, id="half a character"),
        pytest.param({"flags_a": "[]"}, id="not an object"),
        pytest.param({"flags_a": '{"f":7}'}, id="a flag that is a number"),
        pytest.param({"flags_a": '{"f":{"value":1},"g":{"version":2}}'}, id="a flag without a value"),
        pytest.param({"flags_a": '{"f":{"value":1,"version":"2"}}'}, id="a version that is text"),
        pytest.param({"flags_a": '{"f":{"value":' + "[" * 200 + "]" * 200 + "}}"}, id="a value that nests too deeply"),
        pytest.param({"fresh_a": "{}"}, id="freshness without a time"),
        pytest.param({"fresh_a": '{"timestamp":"x"}'}, id="freshness with a time that is text"),
        pytest.param({"fresh_a": "yesterday"}, id="freshness that is not JSON"),
    ],
)
@pytest.mark.holds("S-86")
async def test_a_corrupt_entry_is_a_miss(broken: Mapping[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """The whole set is discarded."""
    storage = MemoryStorage()
    async with writing(storage) as caches:
        deliver(cache_of(caches, A), flag("f", 1))
    await set_text(storage, **broken)
    again = flags_of(storage)
    for _ in range(3):
        assert await values(cache_of(again, A)) is None
    (line,) = caplog.messages
    assert line.startswith("cached flags are not used: ")


@pytest.mark.parametrize("text", ["", "{}", '["a"]', '[["a","b"]]', "[[1,2]]"])
async def test_a_corrupt_index_removes_all_flags(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Flags that the index does not have would never be removed."""
    storage = MemoryStorage()
    async with writing(storage) as caches:
        deliver(cache_of(caches, A), flag("f", 1))
    await set_text(storage, contexts=text)
    async with writing(storage) as caches:
        deliver(cache_of(caches, B), flag("f", 2))
    assert (await kept(storage, A), await kept(storage, B)) == (None, {"f": 2})
    assert await index(storage) == [context_id(B)]
    (line,) = caplog.messages
    assert line.startswith("the cached flags of all contexts are removed: the index: ")


@pytest.mark.parametrize("delay", [pytest.param(0, id="raises"), pytest.param(3600, id="hangs")])
async def test_a_storage_that_fails_is_a_miss_and_one_warning(delay: float, caplog: pytest.LogCaptureFixture) -> None:
    """S-85 and F-45."""
    async with writing(ScriptedStorage(delay=delay, failure=OSError("broken"))) as caches:
        for _ in range(3):
            assert await values(cache_of(caches, B)) is None
            began = anyio.current_time()
            deliver(cache_of(caches, A), flag("f", 1))
            assert anyio.current_time() == began
            await anyio.sleep(20)
    (line,) = caplog.messages
    assert line.startswith("the storage of the device failed (")


async def test_a_write_that_failed_is_tried_again_for_the_newest_contexts() -> None:
    storage = ScriptedStorage(failure=OSError("full"))
    async with writing(storage, limit=2) as caches:
        for name in "123":
            deliver(cache_of(caches, Context(name)), flag("f", name))
            await anyio.sleep(PACE)
        assert storage.calls == ["get contexts"]
        storage.failure = None
        await anyio.sleep(30)
        assert [await kept(storage, Context(name)) for name in "123"] == [None, {"f": "2"}, {"f": "3"}]


async def test_flags_that_cannot_be_written_as_json_are_skipped(caplog: pytest.LogCaptureFixture) -> None:
    storage = MemoryStorage()
    async with writing(storage) as caches:
        deliver(cache_of(caches, A), flag("f", object()))
        deliver(cache_of(caches, B), flag("f", "\ud800"))
        await anyio.sleep(2 * PACE)
        deliver(cache_of(caches, B), flag("f", 1))
    assert (await kept(storage, A), await kept(storage, B)) == (None, {"f": 1})
    (line,) = caplog.messages
    assert line.startswith("flags cannot be cached: TypeError")


def test_the_namespace_of_an_environment_is_a_digest_of_its_key() -> None:
    assert NAMESPACE == "aioflags_env_CEhZXAuEAPkuFDrAx_mr7JgWWHKofKgBvwIExfZ9tXk"
