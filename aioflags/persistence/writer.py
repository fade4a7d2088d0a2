"""StoreWriter: writes the data of sources to a store. It may lag and fail; evaluations do not notice.

Single changes wait in a bounded table. When there are too many, and after an outage, the whole newest snapshot is written instead,
which leaves the store in the same state.

A store may lose its data without a failed call, as a Redis server does that restarts without persistence. Its marker is missing
then, so the writer asks for the marker from time to time: single changes written to an empty store are not a complete data set.

Source: ``data-system.md`` 7.4 and 7.5.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import anyio

from aioflags.errors import StoreError
from aioflags.model.change import Change, ChangeKind, ChangeSet
from aioflags.model.defaults import MAX_STORE_CHECK_INTERVAL, STORE_CHECK_INTERVAL
from aioflags.persistence.health import StoreHealth
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.stores.items import complete, stored_items, write_items

if TYPE_CHECKING:
    from aioflags.evaluation.items import Item
    from aioflags.evaluation.snapshot import Snapshot

__all__ = ["StoreWriter"]

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
