"""GeneratedKeys: the keys that ContextAdditions gives to anonymous contexts."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from aioflags.mobile.context_additions import Application, ContextAdditions
from aioflags.mobile.flag_cache import GeneratedKeys
from aioflags.model.context import Context
from aioflags.stores.storage import FileStorage, MemoryStorage, Storage
from tests.support.device_storages import LOGGER, ScriptedStorage, device_storage
from tests.support.mobile_service import MobileService, mobile_client

NO_KEY = cast("Any", None)
ANONYMOUS = Context(NO_KEY, anonymous=True, name="Ä", attributes={"plan": "pro"}, private=["plan"])
DEVICE = Context(NO_KEY, "device", anonymous=True)
ORG = Context("o", "org")
KEYED = Context("mine", anonymous=True)


def keys_of(storage: Storage | None) -> GeneratedKeys:
    """The keys of a new client."""
    return GeneratedKeys(None if storage is None else device_storage(storage), LOGGER)


def additions(storage: Storage | None, *, replaces_keys: bool = False) -> ContextAdditions:
    """What a new client adds to contexts: nothing but keys."""
    return ContextAdditions(
        keys_of(storage), replaces_keys=replaces_keys, adds_environment=False, application=Application(), logger=LOGGER
    )


# -- which contexts get a key


async def test_an_anonymous_context_gets_a_uuid_and_keeps_the_rest() -> None:
    context = await additions(MemoryStorage()).complete(ANONYMOUS)
    assert uuid.UUID(context.key).version == 4
    expected = {"kind": "user", "key": context.key, "name": "Ä", "anonymous": True, "plan": "pro"}
    assert context.to_dict() == {**expected, "_meta": {"privateAttributes": ["plan"]}}


@pytest.mark.parametrize(
    ("context", "generated"),
    [
        pytest.param(ANONYMOUS, ["user"], id="an anonymous context without a key"),
        pytest.param(Context("", "device", anonymous=True), ["device"], id="an empty key"),
        pytest.param(Context.multi(ANONYMOUS, ORG), ["user"], id="one of two kinds"),
        pytest.param(Context.multi(ORG, DEVICE, ANONYMOUS), ["user", "device"], id="two of three kinds"),
        pytest.param(Context.multi(DEVICE, KEYED), ["device"], id="not an anonymous kind with a key"),
        pytest.param(KEYED, [], id="an anonymous context with a key"),
        pytest.param(ORG, [], id="a context that is not anonymous"),
    ],
)
async def test_keys_are_generated_for(context: Context, generated: list[str]) -> None:
    storage = MemoryStorage()
    keyed = await additions(storage).complete(context)
    assert keyed.is_valid
    for member in keyed:
        stored = await storage.get("aioflags_device", f"anonKey_{member.kind}")
        assert (stored == member.key) is (member.kind in generated)
    before = context.unkeyed or (context,)
    assert {member.kind for member in keyed} == {member.kind for member in before}


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(Context(NO_KEY), id="without a key, not anonymous"),
        pytest.param(Context(NO_KEY, "o rg", anonymous=True), id="an impossible kind"),
        pytest.param(Context.multi(ANONYMOUS, Context(NO_KEY, "org")), id="another kind without a key"),
        pytest.param(Context.multi(ANONYMOUS, ANONYMOUS), id="one kind twice"),
        pytest.param(Context.multi(), id="no kind"),
    ],
)
async def test_a_context_with_another_mistake_stays_invalid(context: Context) -> None:
    for replaces_keys in (False, True):
        keyed = await additions(MemoryStorage(), replaces_keys=replaces_keys).complete(context)
        assert not keyed.is_valid


async def test_all_anonymous_keys_are_replaced_if_the_program_asks_for_it() -> None:
    storage = MemoryStorage()
    keys = additions(storage, replaces_keys=True)
    keyed = await keys.complete(Context.multi(KEYED, ORG, DEVICE))
    assert [(member.kind, member.key == "o") for member in keyed] == [("device", False), ("org", True), ("user", False)]
    assert (await keys.complete(KEYED)).key == await storage.get("aioflags_device", "anonKey_user") != "mine"
    assert await keys.complete(ORG) is ORG


# -- how long a key lives


async def test_two_runs_on_one_storage_have_the_same_key(tmp_path: Path) -> None:
    """S-87."""
    first = [await additions(FileStorage(tmp_path)).complete(context) for context in (ANONYMOUS, DEVICE)]
    second = [await additions(FileStorage(tmp_path)).complete(context) for context in (ANONYMOUS, DEVICE)]
    assert [context.key for context in first] == [context.key for context in second]
    assert first[0].key != first[1].key


async def test_another_storage_has_other_keys() -> None:
    one, two = [await additions(MemoryStorage()).complete(ANONYMOUS) for _ in range(2)]
    assert one.key != two.key


async def test_a_key_is_generated_once_by_tasks_that_ask_at_the_same_time() -> None:
    storage = ScriptedStorage(delay=1)
    keys, found = keys_of(storage), set[str]()

    async def ask() -> None:
        found.add(await keys.get("deviceKey"))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
    assert len(found) == 1
    assert storage.calls == ["get deviceKey", "set deviceKey", "get deviceKey"]


async def test_clients_that_start_together_have_the_key_of_the_next_run() -> None:
    storage, contexts = ScriptedStorage(delay=0.01), list[Context]()

    async def start() -> None:
        contexts.append(await additions(storage).complete(ANONYMOUS))

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(start)
    await start()
    assert len({context.key for context in contexts}) == 1


async def test_all_environments_of_a_client_have_the_key_of_the_next_run() -> None:
    service, storage, used = MobileService(), ScriptedStorage(delay=0.01), list[str]()
    for _ in range(2):
        async with mobile_client(service, ANONYMOUS, storage=storage, secondary_mobile_keys={"beta": "mob-beta"}) as client:
            used += [client.context.key, client.environment("beta").context.key]
    assert len(set(used)) == 1


@pytest.mark.parametrize(
    "storage",
    [
        pytest.param(None, id="F-50 no storage"),
        pytest.param(ScriptedStorage(failure=OSError("broken")), id="a storage that raises"),
        pytest.param(ScriptedStorage(delay=3600), id="a storage that hangs"),
    ],
)
async def test_without_a_working_storage_a_key_lives_as_long_as_the_process(
    storage: Storage | None, caplog: pytest.LogCaptureFixture
) -> None:
    clients = [additions(storage) for _ in range(2)]
    keyed = [await client.complete(context) for client in clients for context in (ANONYMOUS, DEVICE)]
    assert [context.key for context in keyed[:2]] == [context.key for context in keyed[2:]]
    assert keyed[0].key != keyed[1].key
    assert len(caplog.messages) == len(clients)


async def test_a_client_keeps_its_key_when_the_storage_works_again() -> None:
    storage = ScriptedStorage(failure=OSError("broken"))
    keys = keys_of(storage)
    key = await keys.get("anonKey_user")
    storage.failure = None
    await storage.set("aioflags_device", {"anonKey_user": "stored"})
    assert await keys.get("anonKey_user") == key
    assert await keys_of(storage).get("anonKey_user") == "stored"


async def test_an_empty_key_in_the_storage_is_replaced() -> None:
    storage = MemoryStorage()
    await storage.set("aioflags_device", {"deviceKey": ""})
    key = await keys_of(storage).get("deviceKey")
    assert key
    assert await storage.get("aioflags_device", "deviceKey") == key
