"""Storages of a device that fail, and what they keep for one context."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import anyio

from aioflags.mobile.flag_cache import ContextCache, FlagCaches
from aioflags.model.context import Context
from aioflags.protocol.event_json import as_json
from aioflags.stores.storage import DeviceStorage, MemoryStorage, Storage

LOGGER = logging.getLogger("aioflags")


class ScriptedStorage(MemoryStorage):
    """A storage in memory that counts its calls, takes ``delay`` seconds, and then raises ``failure`` if there is one."""

    def __init__(self, *, delay: float = 0, failure: BaseException | None = None) -> None:
        super().__init__()
        self.delay, self.failure = delay, failure
        self.calls: list[str] = []

    async def get(self, namespace: str, key: str) -> str | None:
        await self._begin(f"get {key}")
        return await super().get(namespace, key)

    async def set(self, namespace: str, values: Mapping[str, str]) -> None:
        await self._begin(f"set {' '.join(values)}")
        await super().set(namespace, values)

    async def remove(self, namespace: str, keys: Iterable[str]) -> None:
        keys = list(keys)
        await self._begin(f"remove {' '.join(keys)}")
        await super().remove(namespace, keys)

    async def clear(self, namespace: str) -> None:
        await self._begin("clear")
        await super().clear(namespace)

    async def _begin(self, call: str) -> None:
        self.calls.append(call)
        await anyio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure


def device_storage(storage: Storage | None = None) -> DeviceStorage:
    """A client's storage, empty without an argument."""
    return DeviceStorage(storage or MemoryStorage(), LOGGER)


def cache_of(caches: FlagCaches, context: Context) -> ContextCache:
    """The cache of a context."""
    return caches.of(context, bytes(as_json(context.to_dict())))
