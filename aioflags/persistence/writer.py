"""StoreWriter and StoreHealth: how the data of sources are written to a store that may lag and fail.

Evaluations do not notice.

Single changes wait in a bounded table. When there are too many, and after an outage, the whole newest snapshot is written instead,
which leaves the store in the same state.

A store may lose its data without a failed call, as a Redis server does that restarts without persistence. Its marker is missing
then, so the writer asks for the marker from time to time: single changes written to an empty store are not a complete data set.

Source: ``data-system.md`` 7.4 and 7.5.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import anyio

from aioflags.errors import StoreError
from aioflags.model.change import Change, ChangeKind, ChangeSet
from aioflags.model.defaults import (
    MAX_STORE_CHECK_INTERVAL,
    MAX_STORE_POLL_INTERVAL,
    STORE_CHECK_INTERVAL,
    STORE_LOOKUP_TIMEOUT,
    STORE_POLL_INTERVAL,
    STORE_TIMEOUT,
)
from aioflags.model.status import AVAILABLE, StoreStatus
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.stores.base import Paced, Store, StoreBuilder
from aioflags.stores.guest import GuestStore
from aioflags.stores.items import complete, stored_items, write_items

if TYPE_CHECKING:
    from aioflags.evaluation.items import Item
    from aioflags.evaluation.snapshot import Snapshot


# -- StoreOptions: which store of flag data a client has, and how it is used.


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """The store of one client.

    ``is_written``: change sets of sources are written to it. ``has_sources``: without sources the store's data are as good as a
    source's, and the store is read for as long as the client runs. ``cache``: when the store is read again: after ``cache_ttl``
    seconds (``"ttl"``), never (``"infinite"``), or also by every call that can wait (``"off"``).
    """

    store: Store | StoreBuilder
    is_written: bool
    has_sources: bool
    cache: Literal["ttl", "off", "infinite"]
    cache_ttl: float


# -- StoreHealth: all calls of a store go through it, so that one place notices when the store fails and when it works again.
#
# After a failure the store is not called until its ``is_available`` returns true. Readers and writers wait for that.
#
# Source: ``data-system.md`` 7.5.


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


_MAX_PENDING: Final = 1000
"""With more pending changes than this, the whole snapshot is written."""


class StoreWriter:
    """Writes to one store: one call at a time, in the order in which data were applied, not faster than the store's pace."""

    def __init__(self, health: StoreHealth) -> None:
        self._health = health
        self._newest: Snapshot | None = None
        self._needs_all = False
        self._pending: dict[Item, Change] = {}
        self._queued = Signal()
        self._check_interval = STORE_CHECK_INTERVAL
        self._next_check = math.inf
        """When to ask for the marker, on the event loop's clock. Infinity until the whole snapshot was written once."""

    def offer(self, change_set: ChangeSet, snapshot: Snapshot) -> None:
        """Queue ``change_set``, which led to ``snapshot``. The snapshot is published already."""
        if not change_set.persist:
            return
        # The first write is whole: without the marker that it sets, a store takes no changes.
        is_first, self._newest = self._newest is None, snapshot
        if is_first or change_set.kind is ChangeKind.FULL:
            self._queue_all()
        elif not self._needs_all:
            for change in change_set.changes:
                self._queue(change)
            if len(self._pending) > _MAX_PENDING:
                self._queue_all()
        self._queued.send()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            if not self._has_work:
                with anyio.CancelScope(deadline=self._next_check):
                    await self._queued.wait()
            await self._health.until_available()
            if self._has_work:
                await self._write()
                await anyio.sleep(self._health.pace)
            if anyio.current_time() >= self._next_check:
                await self._check()

    async def finish(self) -> None:
        """Write what is queued, if the store is available."""
        if self._has_work and self._health.is_available:
            await self._write()

    @property
    def _has_work(self) -> bool:
        return self._needs_all or bool(self._pending)

    async def _write(self) -> None:
        """Write everything that is queued, in one call. After a failure the whole snapshot is queued."""
        needs_all, changes, snapshot = self._needs_all, list(self._pending.values()), self._newest
        self._needs_all, self._pending = False, {}
        try:
            if needs_all and snapshot is not None:
                items = await run_cooperatively(write_items(snapshot.base))
                await self._health.call(lambda store: store.replace(items))
            else:
                await self._health.call(lambda store: store.upsert(stored_items(changes)))
        except BaseException as error:
            self._queue_all()
            if not isinstance(error, StoreError):
                raise
        else:
            if needs_all:
                self._health.refreshed()
                self._next_check = anyio.current_time() + self._check_interval

    async def _check(self) -> None:
        """Queue the whole snapshot if the store lost its marker or fails. Each loss in a row doubles the time to the next check."""
        self._next_check = anyio.current_time() + self._check_interval
        try:
            if await self._health.look_up(lambda store: store.initialized()):
                self._check_interval = STORE_CHECK_INTERVAL
                return
            self._check_interval = min(self._check_interval * 2, MAX_STORE_CHECK_INTERVAL)
            self._health.lost_data()
        except StoreError:
            pass
        self._queue_all()

    def _queue(self, change: Change) -> None:
        """Queue a change, unless a newer one of the same item is queued: the store would keep the newer one as well."""
        change, item = complete(change), (change.kind, change.key)
        queued = self._pending.get(item)
        if queued is None or change.version > queued.version:
            self._pending[item] = change

    def _queue_all(self) -> None:
        self._needs_all = self._newest is not None
        self._pending.clear()
