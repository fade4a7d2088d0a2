"""StoreHealth: all calls of a store go through it, so that one place notices when the store fails and when it works again.

After a failure the store is not called until its ``is_available`` returns true. Readers and writers wait for that.

Source: ``data-system.md`` 7.5.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from aioflags.errors import StoreError
from aioflags.model.defaults import MAX_STORE_POLL_INTERVAL, STORE_LOOKUP_TIMEOUT, STORE_POLL_INTERVAL, STORE_TIMEOUT
from aioflags.model.status import AVAILABLE, StoreStatus
from aioflags.runtime.broadcast import Signal
from aioflags.stores.base import Paced, Store
from aioflags.stores.guest import GuestStore

__all__ = ["StoreHealth"]

T = TypeVar("T")

_UNAVAILABLE: Final = StoreStatus(available=False, stale=True)
_BACK: Final = StoreStatus(available=True, stale=True)
"""The store works again. What was written, or read, during the outage is missing."""


class StoreHealth:
    """The status of one store during one run of a client. ``on_status`` is called with each status, first with ``AVAILABLE``.

    A store that cannot be built counts as a store that fails: its server or its folder may appear later.
    """

    def __init__(self, store: GuestStore[Store], on_status: Callable[[StoreStatus], object], logger: logging.Logger) -> None:
        self._store = store
        self._on_status = on_status
        self._logger = logger
        self._is_available = True
        self._is_needed = True
        self._failed = Signal()
        self._recovered = Signal()
        self._poll_interval = STORE_POLL_INTERVAL
        on_status(AVAILABLE)

    @property
    def is_available(self) -> bool:
        """Whether the store may be called."""
        return self._is_available

    @property
    def pace(self) -> float:
        """For how many seconds the store wants single changes collected."""
        store: object = self._store.store
        return store.pace if isinstance(store, Paced) else 0.0

    async def call(self, operation: Callable[[Store], Awaitable[T]], *, limit: float = STORE_TIMEOUT) -> T:
        """The result of ``operation``, which gets the store and has ``limit`` seconds.

        Raises:
            StoreError: The store failed or took too long. The failure is logged and the status changed already.
        """
        try:
            return await self._store.call(operation, limit=limit)
        except StoreError as error:
            raise self._failure(str(error)) from error

    async def look_up(self, operation: Callable[[Store], Awaitable[T]]) -> T:
        """:meth:`call` with the shorter limit, for operations that an evaluation waits for."""
        return await self.call(operation, limit=STORE_LOOKUP_TIMEOUT)

    def refreshed(self) -> None:
        """Everything was written, or read, since the store works again."""
        self._poll_interval = STORE_POLL_INTERVAL
        if self.is_available:
            self._on_status(AVAILABLE)
            self._store.log_recovery("is available again")

    def lost_data(self) -> None:
        """The store answers, but lacks what was written. It is stale until :meth:`refreshed`."""
        self._store.log_failure("lost what was written; everything is written again")
        self._on_status(_BACK)

    def retire(self) -> None:
        """The store will not be read or written any more, so it cannot be stale."""
        self._is_needed = False
        self.refreshed()

    async def until_available(self) -> None:
        """Return when the store may be called: at once if it is available."""
        while not self._is_available:
            await self._recovered.wait()

    async def until_unavailable(self) -> None:
        """Return when a call has failed: at once during an outage."""
        if self._is_available:
            await self._failed.wait()

    async def run(self) -> None:
        """After each failure, poll the store until it is available. Runs until cancelled."""
        while True:
            await self.until_unavailable()
            await self._recovery()
            self._is_available = True
            self._on_status(_BACK)
            if not self._is_needed:
                self.refreshed()
            self._recovered.send()

    async def _recovery(self) -> None:
        """Poll until the store reports that it is available. If its next call fails again, the next recovery polls less often."""
        interval, self._poll_interval = self._poll_interval, min(self._poll_interval * 2, MAX_STORE_POLL_INTERVAL)
        while True:
            await anyio.sleep(interval)
            try:
                if await self._store.call(lambda store: store.is_available(), limit=STORE_LOOKUP_TIMEOUT):
                    return
            except StoreError as error:
                self._logger.debug("%s is not available yet: %s", self._store.name, error)

    def _failure(self, reason: str) -> StoreError:
        self._store.log_failure(f"failed and is not called until it is available again: {reason}")
        self._is_available = False
        self._on_status(_UNAVAILABLE)
        self._failed.send()
        return StoreError(f"{self._store.name} failed: {reason}")
