"""DeviceStorage: one client's calls to its storage, which may raise or hang.

Source: ``client-side.md`` 5.3.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from aioflags.errors import StoreError
from aioflags.model.defaults import STORAGE_LIMIT, STORAGE_PAUSE, STORE_CLOSE_GRACE, STORE_TIMEOUT
from aioflags.runtime.logs import class_name
from aioflags.stores.guest import GuestStore, timeout_reason
from aioflags.stores.storage import ListedStorage, Storage

__all__ = ["DeviceStorage"]

T = TypeVar("T")


@dataclass(slots=True)
class _Shared:
    """A storage that this client does not close: other clients may use it."""

    storage: Storage

    async def aclose(self) -> None:
        pass


class DeviceStorage:
    """The storage with time limits. A failure is logged once, until a write works again.

    After a call that reached its limit, other calls fail at once for a while, so that a storage that hangs does not delay a client
    for several limits in a row.
    """

    def __init__(self, storage: Storage, logger: logging.Logger) -> None:
        shared = _Shared(storage)
        self._guest: GuestStore[_Shared] = GuestStore(
            "the storage of the device",
            lambda: shared,
            ready_made=None,
            grace=STORE_CLOSE_GRACE,
            pause=STORAGE_PAUSE,
            logger=logger,
        )
        self._guest.open()

    async def get(self, namespace: str, key: str) -> str | None:
        """The text of the key; ``None`` if the key is missing. Raises :class:`StoreError`, which has been logged."""
        text: object = await self._call(lambda storage: storage.get(namespace, key), STORAGE_LIMIT)
        if not isinstance(text, str | None):
            raise self._failed(f"get returned {class_name(text)}")
        return text

    async def set(self, namespace: str, values: Mapping[str, str]) -> None:
        """Write the text of each key. Raises :class:`StoreError`, which has been logged."""
        await self._call(lambda storage: storage.set(namespace, values), STORE_TIMEOUT)
        self._guest.log_recovery()

    async def list_keys(self, namespace: str) -> list[str]:
        """The keys of the namespace; none if the storage cannot list them. Raises :class:`StoreError`, which has been logged."""

        async def listed(storage: Storage) -> list[str]:
            return await storage.list_keys(namespace) if isinstance(storage, ListedStorage) else []

        return await self._call(listed, STORAGE_LIMIT)

    async def remove(self, namespace: str, keys: Iterable[str]) -> None:
        """Remove the keys. Raises :class:`StoreError`, which has been logged."""
        await self._call(lambda storage: storage.remove(namespace, keys), STORE_TIMEOUT)

    async def clear(self, namespace: str) -> None:
        """Remove all keys of the namespace. Raises :class:`StoreError`, which has been logged."""
        await self._call(lambda storage: storage.clear(namespace), STORE_TIMEOUT)

    async def _call(self, operation: Callable[[Storage], Awaitable[T]], limit: float) -> T:
        if self._guest.is_paused:
            raise StoreError(timeout_reason(limit))
        try:
            return await self._guest.call(lambda shared: operation(shared.storage), limit=limit)
        except StoreError as error:
            raise self._failed(str(error)) from error

    def _failed(self, reason: str) -> StoreError:
        self._guest.log_failure(f"failed ({reason}): what it should keep is lost when the program ends")
        return StoreError(reason)
