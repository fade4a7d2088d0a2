"""StoreReader: the store serves while no source has delivered, and for good where there are no sources.

What it holds becomes a snapshot like any other, so that evaluations do not know the difference. How it is kept fresh is the mode:
read again after some time, never again, or, for calls that can wait, with every evaluation.

Source: ``data-system.md`` 5.4, 7.6.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import anyio

from aioflags.errors import StoreError
from aioflags.evaluation.dependents import dependencies
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.defaults import STORE_LOOKUP_TIMEOUT
from aioflags.model.result import ErrorInfo, FailureKind, SourceState
from aioflags.model.values import plain_text
from aioflags.persistence.health import StoreHealth
from aioflags.runtime import clock
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.logs import Once
from aioflags.stores.base import StoredItem
from aioflags.stores.items import read_item, read_items
from aioflags.supervisor.holder import SnapshotHolder
from aioflags.supervisor.precompilation import compile_slow
from aioflags.supervisor.update_sink import UpdateSink

if TYPE_CHECKING:
    from aioflags.evaluation.items import Item
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.stores.base import Store, StoredItems

__all__ = ["StoreReader"]


class StoreReader:
    """What one store stands in for during one run of a client.

    ``alone``: there are no sources, so that the store needs no marker, its data are as good as a source's, and it never has to
    step back. ``ttl`` is how old its data may be, in seconds. ``first_read`` is set after the first attempt to read it.
    """

    def __init__(
        self,
        health: StoreHealth,
        holder: SnapshotHolder,
        facts: UpdateSink,
        *,
        alone: bool,
        cache: Literal["ttl", "off", "infinite"],
        ttl: float,
        first_read: anyio.Event,
        logger: logging.Logger,
    ) -> None:
        self._health = health
        self._holder = holder
        self._facts = facts
        self._alone = alone
        self._cache = cache
        self._ttl = ttl
        self._logger = logger
        self._once = Once()
        self._is_marked = alone
        self._was_read_for_caller = not alone
        """Whether anybody has asked yet. Before, that there was nothing is no answer that would have to be kept."""
        self._has_ended = False
        self._reads_started = 0
        self._reads_finished = 0
        """The number of the last reading of everything that was begun, and of the last that came to its end."""
        self._loading = anyio.Lock()
        self._first_read = first_read
        self._scope = anyio.CancelScope()

    @property
    def looks_up(self) -> bool:
        """Whether every evaluation that can wait reads the store."""
        return self._cache == "off" and not self._has_ended

    def end(self) -> None:
        """A source has delivered. The store is not asked for data again."""
        self._has_ended = True
        self._first_read.set()
        self._scope.cancel()

    async def run(self) -> None:
        """Keeps the holder's snapshot as fresh as the mode says, until a source has delivered."""
        with self._scope:
            while True:
                await self._health.until_available()
                has_loaded = await self._attempt()
                self._first_read.set()
                if has_loaded and self._cache == "infinite":
                    return
                if has_loaded:
                    await self._lapse()

    def give_up_first_read(self) -> None:
        """Somebody has waited for the first reading, in vain: nobody waits again for what it may find."""
        self._was_read_for_caller = True

    async def snapshot(self, key: str | None) -> Snapshot:
        """The data that flag ``key`` is to be evaluated on now, or, without a key, all flags.

        With the cache off it waits for the store; with any cache, once, for one that was empty before anybody asked. It waits
        for ``STORE_LOOKUP_TIMEOUT`` at most, and not at all for a store that is away: what was read last has to do then.
        """
        if self._health.is_available and _can_be_stored(key):
            with contextlib.suppress(StoreError):
                if self.looks_up and key is not None:
                    return await self._looked_up(plain_text(key))
                if self.looks_up or not (self._was_read_for_caller or self._holder.snapshot.flags):
                    # That this takes longer does not say that the store hangs: it is asked for everything.
                    with anyio.move_on_after(STORE_LOOKUP_TIMEOUT):
                        await self._load_anew()
                self._was_read_for_caller = True
        return self._holder.snapshot

    # -- everything

    async def _attempt(self) -> bool:
        """Whether the store could be read."""
        try:
            async with self._loading:
                await self._load()
        except StoreError as error:
            if self._alone and not self._holder.snapshot.has_data:
                info = ErrorInfo(kind=FailureKind.STORE_ERROR, message=str(error), time=clock.now())
                self._facts.report(SourceState.INTERRUPTED, error=info)
            return False
        self._health.refreshed()
        return True

    async def _load(self) -> None:
        """Everything, published if it is news; nothing, if the marker lacks."""
        self._reads_started += 1
        number = self._reads_started
        if await self._health.look_up(self._has_marker):
            await self._publish(await self._health.call(_loaded))
        self._reads_finished = number

    async def _load_anew(self) -> None:
        """Everything, read after this call began. Several who ask at once share one reading.

        One that was given up does not count: the next who wanted to share it reads.
        """
        mine = self._reads_started + 1
        async with self._loading:
            if self._reads_finished < mine and self._health.is_available:
                await self._load()

    async def _publish(self, items: StoredItems) -> None:
        changes = await run_cooperatively(read_items(items, self._complain))
        change_set = ChangeSet(kind=ChangeKind.FULL, changes=changes, persist=False)
        while True:
            before = self._holder.snapshot
            snapshot = await run_cooperatively(before.builder(change_set, traced=self._facts.is_followed))
            await compile_slow(snapshot, change_set)
            if self._has_ended:
                return
            if self._holder.snapshot is before:
                break
        if snapshot.flags:
            self._once.forget("empty")
        elif self._alone and self._once("empty"):
            self._logger.warning("the store of flag data has no flags at all: does anybody write there, and under that prefix?")
        state = SourceState.VALID if self._alone else None
        if before.has_data and snapshot.items == before.items:
            self._facts.report(state)
        else:
            self._facts.set_source("store")
            self._facts.report(state, snapshot=snapshot, change_set=change_set)
        if self._alone:
            self._facts.mark_ready()

    # -- a single flag

    async def _looked_up(self, key: str) -> Snapshot:
        """A snapshot with the flag, and with what it stands on, as the store has them now. One limit holds for all of it."""
        changes = await self._health.look_up(lambda store: self._found(store, key))
        if changes is None:
            return self._holder.snapshot
        change_set = ChangeSet(kind=ChangeKind.FULL, changes=tuple(changes), persist=False)
        before = self._holder.snapshot
        snapshot = await run_cooperatively(before.builder(change_set))
        await compile_slow(snapshot, change_set)
        return self._holder.snapshot if self._has_ended else snapshot

    async def _found(self, store: Store, key: str) -> list[Change] | None:
        """The flag and what it stands on; ``None`` if the marker lacks."""
        if not await self._has_marker(store):
            return None
        changes: list[Change] = []
        open_ends: list[Item] = [(ObjectKind.FLAG, key)]
        seen = set(open_ends)
        while open_ends:
            kind, name = open_ends.pop()
            item = await _got(store, kind, name)
            change = None if item is None else read_item(item, self._complain)
            if change is not None:
                changes.append(change)
                news = dependencies(change.definition) - seen
                seen |= news
                open_ends += news
        return changes

    # -- what both need

    async def _has_marker(self, store: Store) -> bool:
        """Whether the data count. Once they do they do for good."""
        if not self._is_marked:
            self._is_marked = await store.initialized()
        return self._is_marked

    async def _lapse(self) -> None:
        """Until the data have to be read again: too old, or read before an outage that is over."""
        with anyio.move_on_after(self._ttl):
            await self._health.until_away()

    def _complain(self, why: str) -> None:
        if self._once(why):
            self._logger.warning("the store has an item that cannot be read, and is left out: %s", why)


async def _loaded(store: Store) -> StoredItems:
    """Everything, if it is what a store has to answer. A program's own may answer anything."""
    found: object = await store.load()
    if isinstance(found, Mapping) and all(isinstance(those, Mapping) for those in found.values()):
        items: StoredItems = found
        if all(isinstance(item, StoredItem) for those in items.values() for item in those.values()):
            return items
    raise StoreError(f"{type(store).__name__}.load answered something else than stored items")


async def _got(store: Store, kind: ObjectKind, key: str) -> StoredItem | None:
    found: object = await store.get(kind, key)
    if found is None or isinstance(found, StoredItem):
        return found
    raise StoreError(f"{type(store).__name__}.get answered something else than a stored item")


def _can_be_stored(key: object) -> bool:
    """Whether a store can be asked for a key. What is no text, or none that can be written, is not in there anyway."""
    try:
        return key is None or (isinstance(key, str) and bool(key.encode()))
    except UnicodeEncodeError:
        return False
