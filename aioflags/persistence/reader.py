"""StoreReader: makes snapshots of what a store holds until a source has delivered, or for good if there are no sources.

Evaluations do not know whether a source or the store made a snapshot. The cache mode decides how they are kept fresh: the store is
read again after some time, never, or by every call that can wait.

Source: ``data-system.md`` 5.4, 7.6.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio

from aioflags.errors import StoreError
from aioflags.evaluation.launchdarkly import LAUNCHDARKLY
from aioflags.model.change import Change, ChangeKind, ChangeSet, Definition, ObjectKind
from aioflags.model.defaults import STORE_LOOKUP_TIMEOUT
from aioflags.model.status import ErrorInfo, FailureKind, SourceState
from aioflags.model.values import plain_text
from aioflags.persistence.writer import StoreHealth, StoreOptions
from aioflags.runtime import clock
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.logs import Once, class_name
from aioflags.stores.base import StoredItem
from aioflags.stores.items import read_item, read_items
from aioflags.supervisor.next_snapshot import UpdateSink, next_published, next_snapshot

if TYPE_CHECKING:
    from aioflags.evaluation.items import Item
    from aioflags.evaluation.overrides import Overrides
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.stores.base import Store, StoredItems


class StoreReader:
    """Reads one store during one run of a client. Sets ``first_read`` after the first attempt to read it."""

    def __init__(
        self, health: StoreHealth, sink: UpdateSink, options: StoreOptions, first_read: anyio.Event, logger: logging.Logger
    ) -> None:
        self._health = health
        self._sink = sink
        self._cache = options.cache
        self._cache_ttl = options.cache_ttl
        self._has_sources = options.has_sources
        self._first_read = first_read
        self._logger = logger
        self._once = Once()
        self._was_marked = False
        """The marker was seen. A store that lacks it later has lost its data."""
        self._was_read_for_caller = options.has_sources
        """True once a call has used the store. Until then an empty store is read again instead of being cached as empty.

        With sources it is true from the start: an empty store is normal there.
        """
        self._has_ended = False
        self._reads_started = 0
        """The number of the last complete read that was started."""
        self._reads_finished = 0
        """The number of the last complete read that succeeded."""
        self._loading = anyio.Lock()
        self._scope = anyio.CancelScope()

    @property
    def looks_up(self) -> bool:
        """Whether every evaluation that can wait reads the store."""
        return self._cache == "off" and not self._has_ended

    def end(self) -> None:
        """A source has delivered: stop reading the store."""
        self._has_ended = True
        self._first_read.set()
        self._scope.cancel()

    async def run(self) -> None:
        """Read the store as often as the cache mode requires, until :meth:`end`."""
        with self._scope:
            while True:
                await self._health.until_available()
                has_loaded = await self._attempt()
                self._first_read.set()
                if has_loaded and self._cache == "infinite":
                    return
                if has_loaded:
                    await self._until_expired()

    def give_up_first_read(self) -> None:
        """A call reached its time limit during the first read, so no later call waits for that read."""
        self._was_read_for_caller = True

    async def snapshot(self, key: str | None) -> Snapshot:
        """The data to evaluate flag ``key`` on; without a key the data to evaluate all flags on.

        With the cache off it waits for the store. With any cache it waits once, if the store was empty before the first call.
        It waits for ``STORE_LOOKUP_TIMEOUT`` at most, and not at all during an outage: it returns the data of the last read then.
        """
        if self._health.is_available and _can_be_stored(key):
            with contextlib.suppress(StoreError):
                if self.looks_up and key is not None:
                    return await self._looked_up(plain_text(key))
                if self.looks_up or not (self._was_read_for_caller or self._sink.snapshot.base.flags):
                    # A complete read may take longer than a call waits. That alone does not mean that the store hangs.
                    with anyio.move_on_after(STORE_LOOKUP_TIMEOUT):
                        await self._load_again()
                self._was_read_for_caller = True
        return self._sink.snapshot

    # -- complete reads

    async def _attempt(self) -> bool:
        """Read everything; false if the store failed."""
        try:
            async with self._loading:
                await self._load()
        except StoreError as error:
            if not self._has_sources and not self._sink.snapshot.has_data:
                info = ErrorInfo(kind=FailureKind.STORE_ERROR, message=str(error), time=clock.now())
                self._sink.report(SourceState.INTERRUPTED, error=info)
            return False
        self._health.refreshed()
        return True

    async def _load(self) -> None:
        """Read everything and publish it, unless the marker is missing."""
        self._reads_started += 1
        number = self._reads_started
        has_marker = await self._health.look_up(lambda store: store.initialized())
        if has_marker or not self._needs_marker:
            await self._publish(await self._health.call(lambda store: self._load_items(store, has_marker=has_marker)))
        self._reads_finished = number

    async def _load_again(self) -> None:
        """Wait for a complete read that starts after this call. Concurrent calls share one read.

        If the read that they share fails or is cancelled, the next of them reads.
        """
        number = self._reads_started + 1
        async with self._loading:
            if self._reads_finished < number and self._health.is_available:
                await self._load()

    async def _load_items(self, store: Store, *, has_marker: bool) -> StoredItems:
        """Everything in the store. Raises :class:`StoreError` if it has lost its data; if only a part, the store says which."""
        items = await _load_items(store)
        # A store may be emptied, or be refilled kind by kind, between the look at its marker and the end of the read.
        self._look_at(has_marker=has_marker and await store.initialized())
        return items

    async def _publish(self, items: StoredItems) -> None:
        changes = await run_cooperatively(read_items(items, self._log_unreadable))
        change_set = ChangeSet(kind=ChangeKind.FULL, changes=changes, persist=False)
        snapshot = await next_published(self._sink, change_set)
        if self._has_ended:
            return
        before = self._sink.snapshot
        if snapshot.base.flags:
            self._once.forget("empty")
        elif not self._has_sources and self._once("empty"):
            self._logger.warning("the store of flag data is empty: check its prefix, and that a program writes to it")
        state = None if self._has_sources else SourceState.VALID
        if before.has_data and snapshot.base == before.base:
            self._sink.report(state)
        else:
            self._sink.set_source("store", None)
            self._sink.report(state, snapshot=snapshot, change_set=change_set)
        if not self._has_sources:
            self._sink.mark_ready()

    # -- a single flag

    async def _looked_up(self, key: str) -> Snapshot:
        """A snapshot of the flag and its dependencies as the store has them now, read within one time limit."""
        overrides = self._sink.snapshot.overrides
        changes = await self._health.look_up(lambda store: self._get_flag(store, key, overrides))
        if changes is None:
            return self._sink.snapshot
        change_set = ChangeSet(kind=ChangeKind.FULL, changes=tuple(changes), persist=False)
        snapshot = await next_snapshot(self._sink.snapshot, change_set)
        return self._sink.snapshot if self._has_ended else snapshot

    async def _get_flag(self, store: Store, key: str, overrides: Overrides) -> list[Change] | None:
        """The flag with its prerequisites and segments, without those that are overridden; ``None`` if the marker is missing."""
        if self._needs_marker:
            self._look_at(has_marker=await store.initialized())
            if self._needs_marker:
                return None
        is_complete = True
        changes: list[Change] = []
        queue: list[Item] = [(ObjectKind.FLAG, key)]
        seen = set(queue)
        while queue:
            kind, name = queue.pop()
            definition: Definition | None = overrides.get((kind, name))
            if definition is None:
                item = await _get_item(store, kind, name)
                is_complete = is_complete and item is not None
                change = None if item is None else read_item(item, self._log_unreadable)
                if change is not None:
                    changes.append(change)
                    definition = change.definition
            unseen = LAUNCHDARKLY.dependencies(definition) - seen
            seen |= unseen
            queue += unseen
        if self._was_marked and not is_complete:
            self._look_at(has_marker=await store.initialized())
        return changes

    # -- both

    @property
    def _needs_marker(self) -> bool:
        """Whether the store counts as empty until its marker is seen. Without sources it needs none."""
        return self._has_sources and not self._was_marked

    def _look_at(self, *, has_marker: bool) -> None:
        """Remember whether the store has its marker. Raises :class:`StoreError` if it had one before.

        A store that was emptied lacks it until a client has written everything again, and what it holds until then is incomplete.
        """
        if self._was_marked and not has_marker:
            raise StoreError("it has lost the marker of a complete data set: a client that writes to it writes everything again")
        self._was_marked = has_marker

    async def _until_expired(self) -> None:
        """Wait until the data are too old, or the store fails: they are read again after the outage."""
        with anyio.move_on_after(self._cache_ttl):
            await self._health.until_unavailable()

    def _log_unreadable(self, reason: str) -> None:
        if self._once(reason):
            self._logger.warning("the store of flag data has an item that cannot be read and is left out: %s", reason)


async def _load_items(store: Store) -> StoredItems:
    """Everything in the store. Checks its type: a store of the program may return anything."""
    result: object = await store.load()
    if isinstance(result, Mapping) and all(isinstance(by_key, Mapping) for by_key in result.values()):
        items: StoredItems = result
        if all(isinstance(item, StoredItem) for by_key in items.values() for item in by_key.values()):
            return items
    raise StoreError(f"{type(store).__name__}.load: expected StoredItem by kind and key, got something else")


async def _get_item(store: Store, kind: ObjectKind, key: str) -> StoredItem | None:
    result: object = await store.get(kind, key)
    if result is None or isinstance(result, StoredItem):
        return result
    raise StoreError(f"{type(store).__name__}.get: expected StoredItem or None, got {class_name(result)}")


def _can_be_stored(key: object) -> bool:
    """Whether a store can have the key: not if it is not a string, or cannot be encoded."""
    try:
        return key is None or (isinstance(key, str) and bool(key.encode()))
    except UnicodeEncodeError:
        return False
