"""Targets that read files: a disk store and the storage of a device, with and without a right checksum."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import json
import logging
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from aioflags.mobile.flag_cache import FlagCaches, context_id, environment_namespace
from aioflags.model.change import ChangeKind, ChangeSet
from aioflags.model.context import Context
from aioflags.runtime.cooperative import run_at_once
from aioflags.stores.base import StoreContext
from aioflags.stores.disk import DiskFlags
from aioflags.stores.items import read_items
from aioflags.stores.storage import DeviceStorage, FileStorage, MemoryStorage
from tests.reliability.expected_changes import Expected, evaluated_map, only_change_sets_of

DISK: Final = "aioflags-flags-1 "
STORAGE: Final = "aioflags-storage-1 "
ENVIRONMENT: Final = StoreContext(environment="a" * 64).environment
NAMESPACE: Final = "namespace"
LOGGER: Final = logging.getLogger("aioflags.hostile")


@cache
def folder() -> Path:
    """A folder of this process, in memory if the system has such a disk."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))


@cache
def runner() -> asyncio.Runner:
    """One event loop for all inputs, until :func:`close`."""
    return asyncio.Runner()


def close() -> None:
    """Close the event loop and remove the folder."""
    if runner.cache_info().currsize:
        runner().close()
        runner.cache_clear()
    if folder.cache_info().currsize:
        shutil.rmtree(folder(), ignore_errors=True)
        folder.cache_clear()


atexit.register(close)


def sealed(name: str, owner: str, body: bytes) -> bytes:
    """The file of an owner with this body, and its right checksum."""
    who = hashlib.sha256(owner.encode()).hexdigest()
    digest = hashlib.sha256(who.encode() + b"\n" + body).hexdigest()
    return f"{name}{who} {digest}\n".encode() + body


def written(path: Path, data: bytes, name: str, owner: str) -> bool:
    """Write the input: as it is if it begins with the name of the format, otherwise as the body. Returns if the file is sound."""
    is_whole_file = data.startswith(name.strip().encode())
    path.write_bytes(data if is_whole_file else sealed(name, owner, data))
    path.chmod(0o600)
    return not is_whole_file or data == sealed(name, owner, data.partition(b"\n")[2])


def disk_store(data: bytes) -> None:
    """Contents that can be trusted are read and written back equal. A file with another checksum is never used."""
    path = folder() / "flags"
    is_sound = written(path, data, DISK, ENVIRONMENT)
    store = DiskFlags(path, ENVIRONMENT, LOGGER)

    async def read() -> None:
        if not await store.initialized():
            return
        assert is_sound, "a file with another checksum was used"
        items = await store.load()
        run_at_once(read_items(items, lambda problem: None))
        again = DiskFlags(path, ENVIRONMENT, LOGGER)
        await again.replace(items)
        assert await DiskFlags(path, ENVIRONMENT, LOGGER).load() == items

    runner().run(read())


def file_storage(data: bytes) -> None:
    """The values are those of the JSON in the file, or none. A write leaves the file with what it wrote."""
    path = folder() / NAMESPACE
    is_sound = written(path, data, STORAGE, NAMESPACE)
    storage = FileStorage(folder(), logger=LOGGER)

    async def read() -> None:
        keys = await storage.list_keys(NAMESPACE)
        assert is_sound or not keys, "a file with another checksum was used"
        values = {key: await storage.get(NAMESPACE, key) for key in keys}
        if keys:
            body = data.partition(b"\n")[2] if data.startswith(STORAGE.strip().encode()) else data
            assert values == json.loads(body)
        await storage.set(NAMESPACE, {"written": "x"})
        assert await storage.get(NAMESPACE, "written") == "x"
        assert {key: await storage.get(NAMESPACE, key) for key in keys} == {
            **values,
            **({"written": "x"} if "written" in values else {}),
        }

    runner().run(read())


def flag_cache(data: bytes) -> None:
    """Three lines: the flags of a context, when they were confirmed, and the index. All flags are used, or none."""
    flags, fresh, index = (text.decode("utf-8", "surrogateescape") for text in [*data.split(b"\n", 2), b"", b""][:3])
    ann, namespace = Context("ann"), environment_namespace("mob-key")
    name = context_id(ann)
    values = {f"flags_{name}": flags, f"fresh_{name}": fresh, "contexts": index}

    async def read() -> None:
        storage = MemoryStorage()
        await storage.set(namespace, {key: text for key, text in values.items() if text})
        caches = FlagCaches(DeviceStorage(storage, LOGGER), "mob-key", limit=5, logger=LOGGER)
        cached = await caches.of(ann, b"{}").read()
        if cached is not None:
            taken = ChangeSet(kind=ChangeKind.FULL, changes=cached.changes)
            only_change_sets_of([taken], Expected(evaluated_map(flags.encode())))
        caches.offer("other", {}, "fingerprint")
        await caches.finish()
        assert await storage.get(namespace, "flags_other") == "{}", "new flags are cached whatever was there"

    runner().run(read())
