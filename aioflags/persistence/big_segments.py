"""BigSegmentLookup: fetches the memberships of contexts from a store, caches and pins them.

An evaluation never waits: it reports the membership that it lacks. A call that can wait fetches the membership here and evaluates
again; a call that cannot wait uses what is cached.

Source: ``evaluation.md`` 3.9; ``client-surface.md`` 11.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import contextmanager
from typing import Final, Generic, TypeVar, cast

import anyio

from aioflags.errors import StoreError
from aioflags.evaluation.scope import FindMembership
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from aioflags.model.defaults import CLOSE_GRACE, MEMBERSHIP_LIMIT, MEMBERSHIP_PAUSE
from aioflags.model.detail import BigSegmentsStatus, Membership
from aioflags.model.status import UNAVAILABLE, StoreStatus
from aioflags.model.values import type_name
from aioflags.runtime.broadcast import Latest
from aioflags.runtime.clock import now_ms
from aioflags.runtime.fork import Lock, reset_after_fork
from aioflags.runtime.tasks import SingleFlight
from aioflags.stores.base import BigSegments, MembershipStore, MembershipStoreBuilder, context_hash
from aioflags.stores.guest import GuestStore, timeout_reason

# -- TtlCache: a least-recently-used cache whose entries expire.


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """At most ``size`` values by key, each for ``seconds`` after its :meth:`put`. The least recently used value is evicted first.

    Can be used from any thread, and from a signal handler that interrupts a call.
    """

    def __init__(self, size: int, seconds: float) -> None:
        self.time: Callable[[], float] = float
        """The clock, in seconds. It returns 0 until it is replaced, for example by the clock of an event loop that starts later."""
        self._size = size
        self._seconds = seconds
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """The value of ``key``; ``None`` if it was never put, has expired or was evicted."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            until, value = entry
            if self.time() >= until:
                self._entries.pop(key, None)
                return None
            try:
                self._entries.move_to_end(key)
            except KeyError:  # a signal handler on this thread removed the expired entry in between
                return None
            return value

    def put(self, key: K, value: V) -> None:
        """Set the value of ``key`` and restart its time."""
        with self._lock:
            # Remove the key first, so that a signal handler on this thread that puts other keys in between does not evict it.
            self._entries.pop(key, None)
            self._entries[key] = (self.time() + self._seconds, value)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)


# -- PinnedMemberships: the memberships for one evaluation, or for all evaluations of one request.


class PinnedMemberships:
    """Looks each membership up once with ``find`` and keeps it, so that it does not change when the cache forgets it.

    ``was_fetched``: the store was asked for what the cache lacks.
    """

    def __init__(self, find: FindMembership, *, was_fetched: bool) -> None:
        self.find = find
        self.was_fetched: bool = was_fetched
        self._memberships: dict[str, Membership] = {}

    def __call__(self, key: str) -> Membership | None:
        membership = self._memberships.get(key)
        if membership is None and (membership := self.find(key)) is not None:
            self.put(key, membership)
        return membership

    def put(self, key: str, membership: Membership) -> None:
        """Keep a membership."""
        self._memberships[key] = membership


_UNKNOWN: Final = Membership({}, BigSegmentsStatus.STORE_ERROR)


class BigSegmentLookup:
    """The memberships for one client, from one store. ``wall_ms`` reads the wall clock.

    The store is called on the event loop that :meth:`open` was called on, until :meth:`run` ends. Calls on other event loops and
    in other threads use what is cached.
    """

    def __init__(self, options: BigSegments, logger: logging.Logger, *, wall_ms: Callable[[], int] = now_ms) -> None:
        self.statuses: Latest[StoreStatus] = Latest()
        self._options = options
        self._logger = logger
        self._wall_ms = wall_ms
        self._store: GuestStore[MembershipStore] = GuestStore(
            "the store of big segments",
            options.build,
            ready_made=None if isinstance(options.store, MembershipStoreBuilder) else options.store,
            grace=CLOSE_GRACE,
            pause=MEMBERSHIP_PAUSE,
            logger=logger,
        )
        self._cache: TtlCache[str, Mapping[str, bool]] = TtlCache(options.context_cache_size, options.context_cache_time)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flights = SingleFlight()
        reset_after_fork(self)

    # -- memberships for evaluations

    def cached(self, key: str) -> Membership:
        """The cached membership of a context key; status ``STORE_ERROR`` if none is cached. From any thread."""
        return self._from_cache(key) or _UNKNOWN

    async def fetch_for(
        self, snapshot: Snapshot, context: Context, missing: Callable[[FindMembership], tuple[str, ...]]
    ) -> FindMembership:
        """The memberships that one evaluation needs.

        ``missing`` evaluates with the memberships that it gets, and returns the keys of those that it lacks.

        Fetches one missing key, then evaluates again: its membership may make the others unnecessary. If the memberships of all
        keys are cached, no trial evaluation is made. After ``MEMBERSHIP_LIMIT`` seconds the rest counts as unknown.
        """
        pinned = PinnedMemberships(self._from_cache, was_fetched=True)
        if all(pinned(key) is not None for key in _keys(snapshot, context)):
            return pinned
        with self._time_limit():
            while missing_keys := missing(pinned):
                pinned.put(missing_keys[0], await self._fetch(missing_keys[0]))
        pinned.find = self.cached
        return pinned

    async def prefetch(self, snapshot: Snapshot, context: Context) -> FindMembership:
        """All memberships that evaluations of ``snapshot`` for ``context`` may need, fetched concurrently within the same limit."""
        pinned, missing_keys = PinnedMemberships(self.cached, was_fetched=True), list[str]()
        for key in _keys(snapshot, context):
            membership = self._from_cache(key)
            if membership is None:
                missing_keys.append(key)
            else:
                pinned.put(key, membership)

        async def fetch(key: str) -> None:
            pinned.put(key, await self._fetch(key))

        with self._time_limit():
            if len(missing_keys) == 1:
                await fetch(missing_keys[0])
            elif missing_keys:
                async with anyio.create_task_group() as group:
                    for key in missing_keys:
                        group.start_soon(fetch, key)
        return pinned

    def frozen(self, snapshot: Snapshot, context: Context) -> FindMembership:
        """The memberships that are cached now, for several evaluations that have to agree with each other."""
        pinned = PinnedMemberships(self.cached, was_fetched=False)
        for key in _keys(snapshot, context):
            pinned(key)
        return pinned

    @staticmethod
    def was_fetched(memberships: FindMembership | None) -> bool:
        """Whether the store was asked for what the cache lacked, so that an unknown membership is a failure of the store."""
        return isinstance(memberships, PinnedMemberships) and memberships.was_fetched

    # -- calls of the store

    async def status(self) -> StoreStatus:
        """The status of the store as of the last poll. The first call polls, if no poll was made before."""
        if self.statuses.value is None and self._on_own_loop():
            await self._flights.share(None, self._poll)
        return self.statuses.value or UNAVAILABLE

    def _from_cache(self, key: str) -> Membership | None:
        status = self._membership_status()
        segments = None if status is None else self._cache.get(key)
        return None if status is None or segments is None else Membership(segments, status)

    async def _fetch(self, key: str) -> Membership:
        if not self._on_own_loop():
            return _UNKNOWN
        segments = await self._flights.share(key, lambda: self._query(key))
        if segments is None:
            return _UNKNOWN
        await self.status()
        return Membership(segments, self._membership_status() or BigSegmentsStatus.STORE_ERROR)

    def _membership_status(self) -> BigSegmentsStatus | None:
        """The status that memberships have after the last poll; ``None`` before the first poll."""
        status = self.statuses.value
        if status is None:
            return None
        if not status.available:
            return BigSegmentsStatus.STORE_ERROR
        return BigSegmentsStatus.STALE if status.stale else BigSegmentsStatus.HEALTHY

    async def _query(self, key: str) -> Mapping[str, bool] | None:
        """The segments that include or exclude a context key; ``None`` if the store fails. Failures are not cached."""
        if self._store.is_paused:
            return None

        async def query(store: MembershipStore) -> Mapping[str, bool]:
            return _read_segments(await store.memberships(context_hash(key)))

        try:
            segments = await self._store.call(query, limit=MEMBERSHIP_LIMIT)
        except StoreError as error:
            self._log_failure(str(error))
            return None
        self._store.log_recovery()
        self._cache.put(key, segments)
        return segments

    async def _poll(self) -> None:
        """Ask the store when it was last updated, and publish its status."""

        async def query(store: MembershipStore) -> int | None:
            return _read_time(await store.last_updated_ms())

        try:
            updated = await self._store.call(query, limit=MEMBERSHIP_LIMIT)
        except StoreError as error:
            status, problem = UNAVAILABLE, f"does not answer: {error}"
        else:
            is_stale = updated is None or self._wall_ms() - updated >= self._options.stale_after * 1000
            status = StoreStatus(available=True, stale=is_stale)
            age = (
                "it has no time of its last update"
                if updated is None
                else f"it was not updated for {self._options.stale_after:g} s"
            )
            problem = f"is stale: {age}"
        before = self.statuses.value
        if not self.statuses.put(status):
            return
        if not status.available or status.stale:
            self._logger.warning("%s %s", self._store.name, problem)
        elif before is not None:
            self._logger.info("%s is available and up to date again", self._store.name)

    @contextmanager
    def _time_limit(self) -> Generator[None]:
        """One limit for everything that one evaluation, or one request, fetches from the store."""
        with anyio.move_on_after(MEMBERSHIP_LIMIT) as scope:
            yield
        if scope.cancelled_caught:
            self._store.pause()
            self._log_failure(timeout_reason(MEMBERSHIP_LIMIT))

    def _log_failure(self, reason: str) -> None:
        self._store.log_failure(f"failed; memberships count as unknown, and segment rules decide: {reason}")

    # -- life cycle

    def open(self) -> None:
        """Allow calls of the store, on the running event loop alone."""
        if self._loop is None and not self.statuses.is_closed:
            self._loop = asyncio.get_running_loop()
            self._cache.time = self._loop.time
            self._store.open()

    async def run(self) -> None:
        """Poll the status at once and then every ``status_poll_interval``, until cancelled. Closes the store at the end."""
        self.open()
        try:
            while True:
                await self._flights.share(None, self._poll)
                await anyio.sleep(self._options.status_poll_interval)
        finally:
            await self.release()

    async def release(self) -> None:
        """Close the store once, also a ready-made one that was never called."""
        self._loop = None
        self.statuses.close()
        await self._store.aclose()

    def after_fork(self) -> None:
        """After a fork, in the child: the tasks that poll and wait, and the store's connections, are the parent's."""
        self._loop = None
        self._store.after_fork()
        self._flights.forget()
        self.statuses.after_fork()

    def _on_own_loop(self) -> bool:
        """Whether the store may be called here and now."""
        return self._loop is not None and self._loop is asyncio.get_running_loop()


def _keys(snapshot: Snapshot, context: Context) -> dict[str, None]:
    """The keys of ``context`` whose memberships big segments may need, each once, in order."""
    return {single.key: None for kind in sorted(snapshot.big_segment_kinds) if (single := context.member(kind)) is not None}


def _read_segments(value: object) -> Mapping[str, bool]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"memberships: expected a mapping, got {type_name(value)}")
    segments = dict(cast("Mapping[object, object]", value))
    for name, is_included in segments.items():
        if not isinstance(name, str) or not isinstance(is_included, bool):
            raise TypeError(f"memberships: expected booleans by name, got {type_name(is_included)} by {type_name(name)}")
    return cast("dict[str, bool]", segments)


def _read_time(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise TypeError(f"last_updated_ms: expected milliseconds or None, got {type_name(value)}")
