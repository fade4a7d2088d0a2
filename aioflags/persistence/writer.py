"""StoreWriter: what a store gets of the data that sources brought. It may lag and fail; evaluations never notice.

Single changes wait in a bounded table. When there are too many, and after an outage, one write of the whole newest snapshot
takes their place, which leaves the store in the same state.

A store may lose everything without an outage that anybody notices, as a Redis does that starts again with nothing kept. It has no
marker then, for which it is asked now and then: what single changes make of an empty store is no data set.

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
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.stores.items import complete, stored_items, write_items

if TYPE_CHECKING:
    from aioflags.evaluation.items import Item
    from aioflags.evaluation.snapshot import Snapshot

__all__ = ["StoreWriter"]

_MOST_WAITING: Final = 1000


class StoreWriter:
    """Writes to one store, one call after another, in the order in which data were applied, and no faster than it wants."""

    def __init__(self, health: StoreHealth) -> None:
        self._health = health
        self._newest: Snapshot | None = None
        self._needs_all = False
        self._waiting: dict[Item, Change] = {}
        self._work = anyio.Event()
        self._pause = STORE_CHECK_INTERVAL
        self._due = math.inf
        """When the store is asked whether it still has what was written, on the loop's clock: not before all of it was."""

    def offer(self, change_set: ChangeSet, snapshot: Snapshot) -> None:
        """``change_set`` made ``snapshot``, which everybody sees by now."""
        if not change_set.persist:
            return
        self._newest = snapshot
        if change_set.kind is ChangeKind.FULL:
            self._owe_all()
        elif not self._needs_all:
            for change in change_set.changes:
                self._owe(change)
            if len(self._waiting) > _MOST_WAITING:
                self._owe_all()
        self._work.set()

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            with anyio.CancelScope(deadline=self._due):
                await self._work.wait()
            await self._health.until_available()
            if self._work.is_set():
                await self._write()
                await anyio.sleep(self._health.pace)
            if anyio.current_time() >= self._due:
                await self._check()

    async def finish(self) -> None:
        """Writes what is left, unless the store is away."""
        if self._work.is_set() and self._health.is_available:
            await self._write()

    async def _write(self) -> None:
        """All that is owed, in one call. After a failure everything is owed."""
        self._work = anyio.Event()
        needs_all, changes, snapshot = self._needs_all, list(self._waiting.values()), self._newest
        self._needs_all, self._waiting = False, {}
        try:
            if needs_all and snapshot is not None:
                items = await run_cooperatively(write_items(snapshot.items))
                await self._health.call(lambda store: store.replace(items))
            else:
                await self._health.call(lambda store: store.upsert(stored_items(changes)))
        except BaseException as error:
            self._owe_all()
            self._work.set()
            if not isinstance(error, StoreError):
                raise
        else:
            if needs_all:
                self._health.refreshed()
                self._due = anyio.current_time() + self._pause

    async def _check(self) -> None:
        """Owes everything to a store that lost its marker, or cannot be asked. One that loses it each time is asked less often."""
        self._due = anyio.current_time() + self._pause
        try:
            if await self._health.look_up(lambda store: store.initialized()):
                self._pause = STORE_CHECK_INTERVAL
                return
            self._pause = min(self._pause * 2, MAX_STORE_CHECK_INTERVAL)
            self._health.lost()
        except StoreError:
            pass
        self._owe_all()
        self._work.set()

    def _owe(self, change: Change) -> None:
        """A change of an item that waits already counts if it is newer, as it would if both were written."""
        change, item = complete(change), (change.kind, change.key)
        before = self._waiting.get(item)
        if before is None or change.version > before.version:
            self._waiting[item] = change

    def _owe_all(self) -> None:
        self._needs_all = self._newest is not None
        self._waiting.clear()
