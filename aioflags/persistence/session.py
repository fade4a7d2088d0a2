"""StoreSession: the store of one client, from its opening to its closing, with its reader, its writer and its health.

Source: ``data-system.md`` 7.4 to 7.7.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

from aioflags.errors import StoreError
from aioflags.model.change import ChangeKind, ChangeSet
from aioflags.model.defaults import STORE_CLOSE_GRACE, STORE_LOOKUP_TIMEOUT
from aioflags.model.status import StoreStatus
from aioflags.persistence.reader import StoreReader
from aioflags.persistence.writer import StoreHealth, StoreOptions, StoreWriter
from aioflags.runtime.event_loops import contain_cancellation
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import describe_error, display_name
from aioflags.runtime.validation import require_methods
from aioflags.stores.base import Store, StoreBuilder, StoreContext
from aioflags.stores.guest import GuestStore
from aioflags.supervisor.next_snapshot import UpdateSink

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot


class StoreSession:
    """Owns one client's store.

    ``on_status`` is called with each status of the store, ``on_mode_change`` whenever :attr:`looks_up` may have changed.
    """

    def __init__(
        self,
        options: StoreOptions,
        context: StoreContext,
        sink: UpdateSink,
        *,
        on_status: Callable[[StoreStatus], object],
        on_mode_change: Callable[[], None],
    ) -> None:
        self._options = options
        self._context = context
        self._sink = sink
        self._on_status = on_status
        self._on_lookup = on_mode_change
        self._logger = context.logger
        self._store: GuestStore[Store] = GuestStore(
            "the store of flag data",
            self._build,
            ready_made=None if isinstance(options.store, StoreBuilder) else options.store,
            grace=STORE_CLOSE_GRACE,
            logger=context.logger,
        )
        self._has_basis = False
        """A source has delivered a full change set."""
        self._is_open = False
        self._first_read = anyio.Event()
        self._health: StoreHealth | None = None
        self._reader: StoreReader | None = None
        self._writer: StoreWriter | None = None
        reset_after_fork(self)

    @property
    def looks_up(self) -> bool:
        """Whether every evaluation that can wait reads the store (``cache="off"``). Other calls wait for the first read only."""
        return self._reader is not None and self._reader.looks_up

    def applied(self, change_set: ChangeSet, snapshot: Snapshot) -> None:
        """A source has delivered. After its first full change set the store is not read any more."""
        if change_set.kind is ChangeKind.FULL and not self._has_basis:
            self._has_basis = True
            if self._reader is not None:
                self._reader.end()
            if self._health is not None and self._writer is None:
                self._health.retire()
            self._on_lookup()
        if self._writer is not None:
            self._writer.offer(change_set, snapshot)

    async def snapshot(self, key: str | None = None) -> Snapshot:
        """The data for a call that can wait: the data of flag ``key``; without a key the data of all flags.

        Waits for the store if it has to, for ``STORE_LOOKUP_TIMEOUT`` at most, and then returns the current snapshot.
        """
        if self._has_basis or not self._is_open:
            return self._sink.snapshot
        if self._first_read.is_set():
            return await self._stored(key)
        with anyio.move_on_after(STORE_LOOKUP_TIMEOUT):
            await self._first_read.wait()
            return await self._stored(key)
        # The first read goes on, but later calls do not wait for it.
        self._first_read.set()
        if self._reader is not None:
            self._reader.give_up_first_read()
        return self._sink.snapshot

    async def _stored(self, key: str | None) -> Snapshot:
        return self._sink.snapshot if self._reader is None else await self._reader.snapshot(key)

    async def run(self, work: Callable[[], Awaitable[None]] | None) -> None:
        """Read and write the store until cancelled, and run ``work``, which runs the sources, if there are any."""
        bug: Exception | None = None
        self._is_open = True
        self._store.open()
        self._health = health = StoreHealth(self._store, self._on_status, self._logger)
        self._writer = StoreWriter(health) if self._options.is_written and self._options.has_sources else None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._guard, health.run)
                if not self._has_basis:
                    self._reader = StoreReader(health, self._sink, self._options, self._first_read, self._logger)
                    self._on_lookup()
                    tasks.start_soon(self._guard, self._reader.run)
                if self._writer is not None:
                    tasks.start_soon(self._guard, self._writer.run)
                try:
                    if work is not None:
                        await work()
                    await anyio.sleep_forever()
                except Exception as error:  # noqa: BLE001  # raised below: the task group would wrap it
                    bug = error
                    tasks.cancel_scope.cancel()
        finally:
            await self._close()
        if bug is not None:
            raise bug

    async def release(self) -> None:
        """Close a ready-made store if :meth:`run` was never called; it has closed the store otherwise."""
        self._first_read.set()
        await self._store.aclose()

    def after_fork(self) -> None:
        """After a fork, in the child: leave the connections of the parent's store alone. :meth:`run` opens another one."""
        self._is_open = False
        self._first_read = anyio.Event()
        self._reader = self._writer = self._health = None
        self._store.after_fork()

    async def _guard(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task of the store. A bug in it does not stop the data of sources."""
        try:
            with contain_cancellation():
                await task()
        except Exception:
            self._logger.exception("stopped using the store of flag data after an internal error (please report)")
            if self._reader is not None:
                self._reader.end()

    def _build(self) -> Store:
        """The store. Raises :class:`StoreError`, which names the builder, if it cannot be built or is not a store."""
        builder = self._options.store
        if not isinstance(builder, StoreBuilder):
            return builder
        name = display_name(builder)
        try:
            store = builder.build(self._context)
            require_methods(f"{name}.build", store, Store, "store")
        except Exception as error:
            raise StoreError(f"{name} could not build the store: {describe_error(error)}") from error
        return store

    async def _close(self) -> None:
        self._first_read.set()
        if self._reader is not None:
            self._reader.end()
        self._reader, writer, self._writer = None, self._writer, None
        try:
            with anyio.move_on_after(STORE_CLOSE_GRACE, shield=True) as last_write:
                if writer is not None:
                    await writer.finish()
            if last_write.cancelled_caught:
                self._logger.warning("the store of flag data was closed before everything was written")
        finally:
            # The grace of closing starts now: a last write that hangs does not shorten it.
            await self._store.aclose()
