"""StoreSession: the store of one client, from its opening to its closing, and what stands around it: stand-in, writer, health.

Source: ``data-system.md`` 7.4 to 7.7.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

import anyio

from aioflags.errors import StoreError
from aioflags.model.change import ChangeKind, ChangeSet
from aioflags.model.defaults import STORE_CLOSE_GRACE, STORE_LOOKUP_TIMEOUT
from aioflags.model.status import StoreStatus
from aioflags.persistence.health import StoreHealth
from aioflags.persistence.reader import StoreReader
from aioflags.persistence.writer import StoreWriter
from aioflags.runtime.cancellation import contain_cancellation
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import describe_error, display_name
from aioflags.runtime.validation import require_methods
from aioflags.stores.base import Store, StoreBuilder, StoreContext
from aioflags.supervisor.holder import SnapshotHolder
from aioflags.supervisor.update_sink import UpdateSink

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot

__all__ = ["StoreSession"]


class StoreSession:
    """Keeps one client's store. ``report`` is told how the store is doing.

    ``turned`` is called when it begins or ends that calls which can wait have to read the store (:attr:`looks_up`).
    """

    def __init__(
        self,
        store: Store | StoreBuilder,
        *,
        writes: bool,
        alone: bool,
        cache: Literal["ttl", "off", "infinite"],
        ttl: float,
        context: StoreContext,
        holder: SnapshotHolder,
        facts: UpdateSink,
        report: Callable[[StoreStatus], object],
        turned: Callable[[], None],
    ) -> None:
        self._described = store
        self._unused = self._ready_made()
        self._writes = writes and not alone
        self._alone = alone
        self._cache: Literal["ttl", "off", "infinite"] = cache
        self._ttl = ttl
        self._context = context
        self._holder = holder
        self._facts = facts
        self._report = report
        self._turned = turned
        self._logger = context.logger
        self._has_basis = False
        self._is_open = False
        self._first_read = anyio.Event()
        self._health: StoreHealth | None = None
        self._reader: StoreReader | None = None
        self._writer: StoreWriter | None = None
        reset_after_fork(self)

    @property
    def looks_up(self) -> bool:
        """Whether calls that can wait have to ask for their snapshot."""
        return self._reader is not None and self._reader.looks_up

    def applied(self, change_set: ChangeSet, snapshot: Snapshot) -> None:
        """A source has delivered. The first full set ends the time of the stand-in."""
        if change_set.kind is ChangeKind.FULL and not self._has_basis:
            self._has_basis = True
            if self._reader is not None:
                self._reader.end()
            if self._health is not None and self._writer is None:
                self._health.retire()
            self._turned()
        if self._writer is not None:
            self._writer.offer(change_set, snapshot)

    async def snapshot(self, key: str | None = None) -> Snapshot:
        """The data for a call that can wait: those of flag ``key``, without a key all.

        Waits for the store where that has to be, for ``STORE_LOOKUP_TIMEOUT`` at most; then what is at hand has to do.
        """
        if self._has_basis or not self._is_open:
            return self._holder.snapshot
        if self._first_read.is_set():
            return await self._stored(key)
        with anyio.move_on_after(STORE_LOOKUP_TIMEOUT):
            await self._first_read.wait()
            return await self._stored(key)
        # The first reading goes on, but holds nobody else up.
        self._first_read.set()
        if self._reader is not None:
            self._reader.give_up_first_read()
        return self._holder.snapshot

    async def _stored(self, key: str | None) -> Snapshot:
        return self._holder.snapshot if self._reader is None else await self._reader.snapshot(key)

    async def run(self, work: Callable[[], Awaitable[None]] | None) -> None:
        """Until cancelled: keeps the store beside ``work``, which brings data from sources if there are any."""
        bug: Exception | None = None
        self._is_open = True
        self._unused = None
        self._health = health = StoreHealth(self._ready_made(), self._build, self._report, self._logger)
        self._writer = StoreWriter(health) if self._writes else None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._guarded, health.run)
                if not self._has_basis:
                    self._reader = StoreReader(
                        health,
                        self._holder,
                        self._facts,
                        alone=self._alone,
                        cache=self._cache,
                        ttl=self._ttl,
                        first_read=self._first_read,
                        logger=self._logger,
                    )
                    self._turned()
                    tasks.start_soon(self._guarded, self._reader.run)
                if self._writer is not None:
                    tasks.start_soon(self._guarded, self._writer.run)
                try:
                    if work is not None:
                        await work()
                    await anyio.sleep_forever()
                except Exception as error:  # noqa: BLE001  # raised below, as what it is: the group would wrap it
                    bug = error
                    tasks.cancel_scope.cancel()
        finally:
            await self._close(health)
        if bug is not None:
            raise bug

    async def release(self) -> None:
        """Closes a ready-made store that :meth:`run` was never called for."""
        store, self._unused = self._unused, None
        if store is not None:
            self._first_read.set()
            await self._let_go(store)

    def after_fork(self) -> None:
        """In the child of a fork: the parent's store is left alone, its connections are not ours. :meth:`run` builds another."""
        self._is_open = False
        self._first_read = anyio.Event()
        self._reader = self._writer = self._health = None

    async def _guarded(self, task: Callable[[], Awaitable[None]]) -> None:
        """A bug around the store never stops the data that sources bring."""
        try:
            with contain_cancellation():
                await task()
        except Exception:
            self._logger.exception("the store of flag data is no longer used, because of a bug in aioflags")
            if self._reader is not None:
                self._reader.end()

    def _ready_made(self) -> Store | None:
        return None if isinstance(self._described, StoreBuilder) else self._described

    def _build(self) -> Store:
        """A builder's store. Raises :class:`StoreError` if it cannot be built, or is none; the message names the builder."""
        if not isinstance(self._described, StoreBuilder):
            return self._described
        name = display_name(self._described)
        try:
            store = self._described.build(self._context)
            require_methods(f"{name}.build", store, Store, "store")
        except Exception as error:
            raise StoreError(f"{name} could not build it: {describe_error(error)}") from error
        return store

    async def _close(self, health: StoreHealth) -> None:
        self._first_read.set()
        if self._reader is not None:
            self._reader.end()
        self._reader, writer, self._writer = None, self._writer, None
        try:
            with anyio.move_on_after(STORE_CLOSE_GRACE, shield=True) as writing:
                if writer is not None:
                    await writer.finish()
            if writing.cancelled_caught:
                self._logger.warning("the store of flag data was closed before everything was written")
        finally:
            if health.store is not None:
                await self._let_go(health.store)

    async def _let_go(self, store: Store) -> None:
        """Closes it, in a time of its own: a write that hangs takes nothing of that."""
        with anyio.move_on_after(STORE_CLOSE_GRACE, shield=True) as closing:
            try:
                with contain_cancellation():
                    await store.aclose()
            except Exception as error:  # noqa: BLE001  # it is closed all the same
                self._logger.warning("closing the store of flag data failed: %s", describe_error(error))
        if closing.cancelled_caught:
            self._logger.warning("the store of flag data did not close within %g s", STORE_CLOSE_GRACE)
