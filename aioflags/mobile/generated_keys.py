"""GeneratedKeys: keys that a device generates once and keeps.

Source: ``client-side.md`` 5.5.
"""

from __future__ import annotations

import logging
import uuid
from typing import Final

from aioflags.errors import StoreError
from aioflags.mobile.storage_keys import DEVICE_NAMESPACE
from aioflags.runtime.async_lock import ForkSafeAsyncLock
from aioflags.runtime.logs import Once
from aioflags.stores.device_storage import DeviceStorage

__all__ = ["GeneratedKeys"]

_OF_THIS_PROCESS: Final[dict[str, str]] = {}
"""Keys by name, for clients without a storage that works."""


class GeneratedKeys:
    """Keys by name, for all environments of one client.

    Clients that share a storage have the same keys. If two of them generate a key at the same time, they use the one that was
    written last. Without a storage that works, a key lives as long as the process, which is logged once.
    """

    def __init__(self, storage: DeviceStorage | None, logger: logging.Logger) -> None:
        self.storage: DeviceStorage | None = storage
        self._logger = logger
        self._once = Once()
        self._keys: dict[str, str] = {}
        self._lock = ForkSafeAsyncLock()

    async def get(self, name: str) -> str:
        """The key with this name: a UUID, which is generated at the first call. Raises nothing."""
        async with self._lock:
            key = self._keys.get(name)
            if key is None:
                key = self._keys[name] = await self._stored(name)
            return key

    async def _stored(self, name: str) -> str:
        if self.storage is None:
            if self._once("no storage"):
                self._logger.warning("without a storage, generated context keys change when the program starts again")
            return self._of_this_process(name)
        try:
            key = await self.storage.get(DEVICE_NAMESPACE, name)
            if not key:
                generated = str(uuid.uuid4())
                await self.storage.set(DEVICE_NAMESPACE, {name: generated})
                # Another client may have read at the same time, and written later: the next run will use its key.
                key = await self.storage.get(DEVICE_NAMESPACE, name) or generated
        except StoreError:  # It has been logged.
            return self._of_this_process(name)
        return key

    def _of_this_process(self, name: str) -> str:
        return _OF_THIS_PROCESS.setdefault(name, str(uuid.uuid4()))
