"""DataUpdates: what keeps the data of one client current: its sources, its store, and the memberships of its big segments."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from aioflags.big_segments.lookup import BigSegmentLookup
from aioflags.client.service import ServiceConnection
from aioflags.client.status import StatusCell
from aioflags.config.config import Config
from aioflags.config.data_system import DataSystem
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.event import StreamAttempt
from aioflags.model.result import SourceState
from aioflags.model.secret import SdkKey
from aioflags.model.status import StoreStatus
from aioflags.persistence.health import AVAILABLE
from aioflags.persistence.options import StoreOptions
from aioflags.persistence.session import StoreSession
from aioflags.runtime.broadcast import Latest
from aioflags.runtime.cancellation import contain_cancellation
from aioflags.runtime.fork import reset_after_fork
from aioflags.sources import Fdv1Polling, Fdv1Streaming, FileSource, MemorySource, Polling, SourceBuilder, SourceContext, Streaming
from aioflags.sources.poll_on_demand import PollOnDemand
from aioflags.stores.base import StoreContext
from aioflags.supervisor.fallback_state import FallbackState
from aioflags.supervisor.holder import SnapshotHolder
from aioflags.supervisor.options import SourceOptions
from aioflags.supervisor.supervisor import Supervisor

__all__ = ["DataUpdates", "first_snapshot"]


class DataUpdates:
    """Runs what ``config`` says, into ``holder`` and ``cell``.

    ``attempted`` is told of attempts to establish a stream. ``turned`` is called when calls that can wait have to read the store,
    and when they have not any more.
    """

    def __init__(
        self,
        config: Config,
        key: SdkKey,
        wire: ServiceConnection,
        holder: SnapshotHolder,
        cell: StatusCell,
        *,
        attempted: Callable[[StreamAttempt], object],
        turned: Callable[[], None],
    ) -> None:
        self._config = config
        self._wire = wire
        self._holder = holder
        self._cell = cell
        self._attempted = attempted
        self._logger = config.logger
        self._fallback = FallbackState()
        self.system: DataSystem = config.data_system
        """May be replaced before the start."""
        self.demand: PollOnDemand = PollOnDemand(cell.polled_on_demand)
        self.store_statuses: Latest[StoreStatus] = Latest()
        self.keeper: StoreSession | None = self._make_keeper(key, turned)
        """What keeps the store; ``None`` without one, and offline."""
        big = None if config.offline else config.big_segments
        self.memberships: BigSegmentLookup | None = None if big is None else BigSegmentLookup(big, self._logger)
        reset_after_fork(self.demand)
        if self.keeper is None:
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

        if self.keeper is not None and self._stays_empty():
            self._logger.warning(
                "persistence: nothing will be written to the store: the flags of a FileSource or a MemorySource are not persisted"
            )

    def _stays_empty(self) -> bool:
        """Whether the store is to be written, and no source has flags that may be."""
        persistence, sources = self.system.persistence, (*self.system.initializers, *self.system.synchronizers)
        writes = persistence is not None and persistence.mode == "read_write"
        return writes and bool(sources) and all(isinstance(source, (FileSource, MemorySource)) for source in sources)

    def _has(self, *builders: type[SourceBuilder]) -> bool:
        return any(isinstance(builder, builders) for builder in (*self.system.initializers, *self.system.synchronizers))

    @property
    def _has_sources(self) -> bool:
        return bool(self.system.initializers or self.system.synchronizers)

    # -- life

    def open(self) -> None:
        """The client starts; nobody was shown it yet."""
        if self._config.offline or not (self._has_sources or self.keeper):
            # There is nothing to wait for, so it is decided already.
            self._cell.report(SourceState.VALID)
            self._cell.mark_ready()
        if self.memberships is not None:
            self.memberships.open()

    async def run(self) -> None:
        """Keeps the data current, until it is cancelled, or nothing is left to do.

        Raises:
            RuntimeError: it has ended although there was something left to do, so that the data get old. That is a bug.
        """
        if self._config.offline:
            return
        if self.keeper is None:
            await self._follow_sources()
            return
        await self.keeper.run(self._follow_sources if self._has_sources else None)
        # Task groups say nothing of a task that ends them by a cancellation of its own.
        raise RuntimeError("what keeps the flag data current has ended without a word")

    async def poll(self) -> None:
        """Asks how the store of big segments is doing, until it is cancelled. A bug there stops nothing else."""
        if self.memberships is None:
            return
        try:
            with contain_cancellation():
                await self.memberships.run()
        except Exception:
            self._logger.exception("the store of big segments is no longer asked, because of a bug in aioflags")

    def stop(self) -> None:
        """Nothing more is told of the stores."""
        self.store_statuses.close()
        if self.memberships is not None:
            self.memberships.statuses.close()

    async def release(self) -> None:
        """Closes the stores that no run has closed: a ready-made store is its client's from the beginning."""
        if self.keeper is not None:
            await self.keeper.release()
        if self.memberships is not None:
            await self.memberships.release()

    # -- sources

    async def _follow_sources(self) -> None:
        system = self.system
        options = SourceOptions(
            initializers=system.initializers,
            synchronizers=system.synchronizers,
            fdv1_fallback=system.fdv1_fallback,
            recovers_fdv2=system.fdv1_fallback_recovery == "ttl",
            retries_refused=system.refused_retry == "extended",
        )
        on_applied = None if self.keeper is None else self.keeper.applied
        supervisor = Supervisor(options, self._source_context(), self._cell, self._fallback, on_applied=on_applied)
        try:
            await supervisor.run()
        finally:
            self.demand.sources_stopped()

    def _source_context(self) -> SourceContext:
        config = self._config
        return SourceContext(
            http=config.http,
            transport=self._wire.transport,
            base_uri=config.base_uri,
            stream_uri=config.stream_uri,
            headers=self._wire.headers,
            payload_filter_key=config.payload_filter_key,
            poll_interval=self.system.poll_interval,
            initial_reconnect_delay=self.system.initial_reconnect_delay,
            demand=self.demand,
            attempted=self._attempted,
            logger=self._logger,
        )

    # -- the store

    def _make_keeper(self, key: SdkKey, turned: Callable[[], None]) -> StoreSession | None:
        chosen, config = self.system.persistence, self._config
        if chosen is None or config.offline:
            return None
        # Whoever sees the name cannot tell the key from it.
        place = "\n".join((config.base_uri, config.stream_uri, config.payload_filter_key or ""))
        environment = hmac.new(key.value.encode(), place.encode(), hashlib.sha256).hexdigest()
        options = StoreOptions(
            store=chosen.store,
            is_written=chosen.mode == "read_write",
            has_sources=self._has_sources,
            cache=chosen.cache,
            cache_ttl=chosen.cache_ttl,
        )
        context = StoreContext(environment=environment, logger=self._logger)
        return StoreSession(options, context, self._cell, on_status=self.store_statuses.put, on_lookup=turned)


def first_snapshot(config: Config) -> Snapshot:
    """What there is to evaluate before the start: a lone MemorySource's data, or the valid emptiness of no source and no store."""
    system, nothing = config.data_system, Snapshot.empty(log=config.logger)
    if config.offline:
        return nothing
    sources = [*system.initializers, *system.synchronizers]
    if not sources:
        return Snapshot.empty(has_data=system.persistence is None, log=config.logger)
    first = sources[0]
    if isinstance(first, MemorySource) and all(source is first for source in sources):
        return nothing.apply(first.change_set())
    return nothing
