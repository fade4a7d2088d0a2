"""DataUpdates: keeps the data of one client current: its sources, its store and its big segments."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio

from aioflags.client_core.core import Core
from aioflags.client_core.lifecycle import Workload
from aioflags.client_core.service import ServiceConnection
from aioflags.config.config import Config
from aioflags.config.data_system import DataSystem
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.event import StreamAttempt
from aioflags.model.secret import SdkKey
from aioflags.model.status import AVAILABLE, SourceState, StoreStatus
from aioflags.protocol.server_side import ServerSide
from aioflags.runtime.broadcast import Latest, LatestIterator
from aioflags.runtime.event_loops import contain_cancellation
from aioflags.runtime.fork import reset_after_fork
from aioflags.sources.base import LocalSource, PollOnDemand, SourceBuilder, SourceContext
from aioflags.sources.fdv1 import Fdv1Polling, Fdv1Streaming
from aioflags.sources.polling import Polling
from aioflags.sources.streaming import Streaming
from aioflags.supervisor.policy import SERVER
from aioflags.supervisor.rotation import FallbackState, SourceOptions
from aioflags.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from aioflags.evaluation.items import Items
    from aioflags.persistence.big_segments import BigSegmentLookup
    from aioflags.persistence.file_overrides import OverridesSession
    from aioflags.persistence.session import StoreSession


class DataUpdates(Workload):
    """Runs the data system of ``config``. Its results go to the status cell of ``core``.

    Args:
        core: The parts that the client has in common with others.
        config: The client's options.
        key: The SDK key.
        service: The headers and connections of requests.
        on_stream_attempt: Called for each attempt to establish a stream.
    """

    def __init__(
        self,
        core: Core,
        config: Config,
        key: SdkKey,
        service: ServiceConnection,
        *,
        on_stream_attempt: Callable[[StreamAttempt], object],
    ) -> None:
        self._config = config
        self._service = service
        self._cell = core.cell
        self._on_stream_attempt = on_stream_attempt
        self._logger = config.logger
        self._fallback_state = FallbackState()
        self.system: DataSystem = config.data_system
        """May be replaced before the start."""
        self.poll_on_demand: PollOnDemand = PollOnDemand(self._cell.polled_on_demand)
        self.store_statuses: Latest[StoreStatus] = Latest()
        self.store_session: StoreSession | None = self._make_store_session(key, core.update_fast_path)
        """Reads and writes the store; ``None`` without a store, and offline."""
        self.overrides_session: OverridesSession | None = self._make_overrides_session()
        """Reads the override files; ``None`` without any, and offline."""
        self.big_segments: BigSegmentLookup | None = core.big_segments
        self.big_segments_statuses: Latest[StoreStatus] = Latest() if self.big_segments is None else self.big_segments.statuses
        reset_after_fork(self.poll_on_demand)
        if self.big_segments is None:
            self.big_segments_statuses.close()
        if self.store_session is None:
            self.store_statuses.close()
        else:
            self.store_statuses.put(AVAILABLE)
            reset_after_fork(self.store_statuses)
        self._warn(key)

    def _warn(self, key: SdkKey) -> None:
        if not key and not key.discarded and not self._config.offline and self._has(Polling, Streaming, Fdv1Polling, Fdv1Streaming):
            self._logger.warning(
                "sdk_key: it is empty, so the service will refuse it, and no events are recorded; "
                "Client.from_env takes it from LAUNCHDARKLY_SDK_KEY"
            )
        if self._config.payload_filter_key is not None and self._has(Polling, Streaming):
            self._logger.warning("payload_filter_key: it has no effect on FDv2, only on the FDv1 fallback")
        if self.store_session is not None and self._stays_empty():
            self._logger.warning(
                "persistence: nothing will be written to the store: the flags of a FileSource or a MemorySource are not persisted"
            )

    def _stays_empty(self) -> bool:
        """Whether the store is to be written, although no source has flags that may be written."""
        persistence, sources = self.system.persistence, (*self.system.initializers, *self.system.synchronizers)
        writes = persistence is not None and persistence.mode == "read_write"
        return writes and bool(sources) and all(isinstance(source, LocalSource) for source in sources)

    def _has(self, *builders: type[SourceBuilder | LocalSource]) -> bool:
        return any(isinstance(builder, builders) for builder in (*self.system.initializers, *self.system.synchronizers))

    @property
    def _has_sources(self) -> bool:
        return bool(self.system.initializers or self.system.synchronizers)

    # -- life cycle

    async def load_overrides(self) -> None:
        """Reads the override files before the start, so that no evaluation after it misses them."""
        if self.overrides_session is not None:
            await self.overrides_session.load()

    def open(self) -> AbstractAsyncContextManager[None]:
        """The connections."""
        return self._service.open()

    async def prepare(self) -> None:
        """The client starts. Plugins have not seen it yet."""
        if self._config.offline and (self.system.overrides or self._has(LocalSource)):
            self._logger.warning(
                "offline: every evaluation returns its default; the flags of files and of memory are not used "
                "(without offline they need no network, and Events(send_events=False) sends no events)"
            )
        if self._config.offline or not (self._has_sources or self.store_session):
            # There are no data to wait for.
            self._cell.report(SourceState.VALID)
            self._cell.mark_ready()
        if self.big_segments is not None:
            self.big_segments.open()

    async def run(self) -> None:
        """Keeps the data current until it is cancelled, or until it has nothing left to do.

        Raises:
            RuntimeError: the store session ended although it should run until it is cancelled. That is a bug.
        """
        if self._config.offline:
            return
        if self.store_session is None:
            await self._run_sources()
            return
        await self.store_session.run(self._run_sources if self._has_sources else None)
        # A task group that a task cancels by itself ends without an exception.
        raise RuntimeError("the store session ended unexpectedly")

    async def monitor(self) -> None:
        """Follows the override files, and polls the store of big segments."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow_overrides)
            await self._poll_big_segments()

    async def _follow_overrides(self) -> None:
        """Reads the override files, follows their edits, and checks their keys at new data, until it is cancelled."""
        if self.overrides_session is None:
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.overrides_session.run)
            async for _ in LatestIterator(self._cell.reports):
                await self.overrides_session.check_keys()

    async def _poll_big_segments(self) -> None:
        """Polls the status of the big segment store until it is cancelled. An internal error stops nothing else."""
        if self.big_segments is None:
            return
        try:
            with contain_cancellation():
                await self.big_segments.run()
        except Exception:
            self._logger.exception("stopped polling the big segment store after an internal error (please report)")

    def stop(self) -> None:
        """Ends the iterators over the statuses of the stores."""
        self.store_statuses.close()
        self.big_segments_statuses.close()

    async def release(self) -> None:
        """Closes the stores that :meth:`run` has not closed: a store that was passed ready-made may never have been run."""
        if self.store_session is not None:
            await self.store_session.release()
        if self.big_segments is not None:
            await self.big_segments.release()

    # -- sources

    async def _run_sources(self) -> None:
        system = self.system
        options = SourceOptions(
            initializers=system.initializers,
            synchronizers=system.synchronizers,
            fdv1_fallback=system.fdv1_fallback,
            recovers_fdv2=system.fdv1_fallback_recovery == "ttl",
            retries_refused=system.refused_retry == "extended",
            has_store=self.store_session is not None,
            policy=replace(SERVER, after_refusal=system._refused_delay),  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # only contract tests set it
        )
        on_applied = None if self.store_session is None else self.store_session.applied
        supervisor = Supervisor(options, self._source_context(), self._cell, self._fallback_state, on_applied=on_applied)
        try:
            await supervisor.run()
        finally:
            self.poll_on_demand.sources_stopped()

    def _source_context(self) -> SourceContext:
        config = self._config
        return SourceContext(
            http=config.http,
            transport=self._service.transport,
            base_uri=config.base_uri,
            stream_uri=config.stream_uri,
            headers=self._service.headers,
            side=ServerSide(payload_filter_key=config.payload_filter_key),
            poll_interval=self.system.poll_interval,
            initial_reconnect_delay=self.system.initial_reconnect_delay,
            demand=self.poll_on_demand,
            attempted=self._on_stream_attempt,
            logger=self._logger,
        )

    # -- the store

    def _make_store_session(self, key: SdkKey, on_mode_change: Callable[[], None]) -> StoreSession | None:
        persistence, config = self.system.persistence, self._config
        if persistence is None or config.offline:
            return None
        from aioflags.persistence.session import StoreSession  # noqa: PLC0415 - most clients have no store
        from aioflags.persistence.writer import StoreOptions  # noqa: PLC0415 - most clients have no store
        from aioflags.stores.base import StoreContext  # noqa: PLC0415 - most clients have no store

        # A hash: the name of the environment in the store does not reveal the key.
        identity = "\n".join((config.base_uri, config.stream_uri, config.payload_filter_key or ""))
        environment = hmac.new(key.value.encode(), identity.encode(), hashlib.sha256).hexdigest()
        options = StoreOptions(
            store=persistence.store,
            is_written=persistence.mode == "read_write",
            has_sources=self._has_sources,
            cache=persistence.cache,
            cache_ttl=persistence.cache_ttl,
        )
        context = StoreContext(environment=environment, logger=self._logger)
        return StoreSession(options, context, self._cell, on_status=self.store_statuses.put, on_mode_change=on_mode_change)

    # -- overrides

    def _make_overrides_session(self) -> OverridesSession | None:
        overrides, config = self.system.overrides, self._config
        if overrides is None or config.offline:
            return None
        from aioflags.persistence.file_overrides import OverridesSession  # noqa: PLC0415 - most clients have none
        from aioflags.supervisor.next_snapshot import publish_overrides  # noqa: PLC0415 - most clients have none

        publish = partial(publish_overrides, self._cell)
        return OverridesSession(overrides, publish, self._logger, service_items=self._service_items)

    def _service_items(self) -> Items | None:
        """The definitions of the service; ``None`` before there are any, and while evaluations read a store instead."""
        if self.store_session is not None and self.store_session.looks_up:
            return None
        items = self._cell.snapshot.base
        return items if items.flags or items.segments else None


def first_snapshot(config: Config) -> Snapshot:
    """The data before the start: from a MemorySource if it is the only source; empty but valid without source and store."""
    system, empty = config.data_system, Snapshot.empty(log=config.logger)
    if config.offline:
        return empty
    sources = [*system.initializers, *system.synchronizers]
    if not sources:
        return Snapshot.empty(has_data=system.persistence is None, log=config.logger)
    first = sources[0]
    if isinstance(first, LocalSource) and all(source is first for source in sources):
        change_set = first.change_set()
        return empty if change_set is None else empty.apply(change_set)
    return empty
