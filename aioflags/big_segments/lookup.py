"""BigSegmentLookup: asks the store of big segments, keeps what it said for a while, and knows how far that can be trusted.

An evaluation never waits: it names the membership it misses, and the door that may wait fetches it here and evaluates again.
A plain door goes by what is at hand.

Source: ``evaluation.md`` 3.9; ``client-surface.md`` 11.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar, cast

import anyio

from aioflags.errors import StoreError
from aioflags.evaluation.scope import FindMembership
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from aioflags.model.defaults import CLOSE_GRACE, MEMBERSHIP_LIMIT, MEMBERSHIP_PAUSE
from aioflags.model.detail import BigSegmentsStatus
from aioflags.model.membership import Membership
from aioflags.model.status import StoreStatus
from aioflags.model.values import type_name
from aioflags.runtime.broadcast import Latest
from aioflags.runtime.cancellation import contain_cancellation
from aioflags.runtime.clock import now_ms
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import Once, describe_error
from aioflags.runtime.single_flight import SingleFlight
from aioflags.runtime.ttl_cache import TtlCache
from aioflags.stores.memberships import BigSegments, MembershipStore, MembershipStoreBuilder, context_hash

__all__ = ["UNAVAILABLE", "BigSegmentLookup"]

T = TypeVar("T")

UNAVAILABLE: Final = StoreStatus(available=False, stale=False)
"""Of a store that fails, and where there is none."""
_UNKNOWN: Final = Membership({}, BigSegmentsStatus.STORE_ERROR)


class BigSegmentLookup:
    """The memberships of one client, from one store. ``wall_ms`` reads the wall clock.

    The store is asked on the event loop that :meth:`open` was called on, until :meth:`run` ends; anybody else goes by what is at
    hand.
    """

    def __init__(self, options: BigSegments, log: logging.Logger, *, wall_ms: Callable[[], int] = now_ms) -> None:
        self.statuses: Latest[StoreStatus] = Latest()
        self._options = options
        self._store = self._ready_made()
        self._log = log
        self._wall_ms = wall_ms
        self._once = Once()
        self._recent: TtlCache[str, Mapping[str, bool]] = TtlCache(options.context_cache_size, options.context_cache_time)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flights = SingleFlight()
        self._retry_after = 0.0
        reset_after_fork(self)

    # -- what evaluations go by

    def cached(self, key: str) -> Membership:
        """What can be said without a wait: what was fetched lately, else that nothing is known. From any thread."""
        return self._from_cache(key) or _UNKNOWN

    async def fetch_for(
        self, snapshot: Snapshot, context: Context, missing: Callable[[FindMembership], tuple[str, ...]]
    ) -> FindMembership:
        """What an evaluation needs. ``missing`` makes it with what is known, and says what it lacks.

        Only the first of that is fetched before it is made again: what this one says may settle the rest. It is not made at all
        where everything is known that it could need. What is not there within ``MEMBERSHIP_LIMIT`` counts as unknown.
        """
        known = _Known(self._from_cache)
        if all(known(key) is not None for key in _keys(snapshot, context)):
            return known
        with self._one_limit():
            while lacking := missing(known):
                known.keep(lacking[0], await self._fetch(lacking[0]))
        known.find = self.cached
        return known

    async def prefetch(self, snapshot: Snapshot, context: Context) -> FindMembership:
        """Whatever evaluations of ``snapshot`` for ``context`` may need, fetched at once, within the same limit."""
        known, lacking = _Known(self.cached), list[str]()
        for key in _keys(snapshot, context):
            found = self._from_cache(key)
            if found is None:
                lacking.append(key)
            else:
                known.keep(key, found)

        async def fetch(key: str) -> None:
            known.keep(key, await self._fetch(key))

        with self._one_limit():
            if len(lacking) == 1:
                await fetch(lacking[0])
            elif lacking:
                async with anyio.create_task_group() as group:
                    for key in lacking:
                        group.start_soon(fetch, key)
        return known

    def frozen(self, snapshot: Snapshot, context: Context) -> FindMembership:
        """What is at hand now, for evaluations that are to agree with one another."""
        known = _Known(self.cached)
        for key in _keys(snapshot, context):
            known(key)
        return known

    # -- what the store says

    async def status(self) -> StoreStatus:
        """How the store is doing, as of the last poll; it is polled now, if it never was."""
        if self.statuses.value is None and self._on_own_loop():
            await self._flights.share(None, self._poll)
        return self.statuses.value or UNAVAILABLE

    def _from_cache(self, key: str) -> Membership | None:
        status = self._trust()
        segments = None if status is None else self._recent.get(key)
        return None if status is None or segments is None else Membership(segments, status)

    async def _fetch(self, key: str) -> Membership:
        if not self._on_own_loop():
            return _UNKNOWN
        segments = await self._flights.share(key, lambda: self._query(key))
        if segments is None:
            return _UNKNOWN
        await self.status()
        return Membership(segments, self._trust() or BigSegmentsStatus.STORE_ERROR)

    def _trust(self) -> BigSegmentsStatus | None:
        """What the last poll means for memberships; ``None`` before the first."""
        status = self.statuses.value
        if status is None:
            return None
        if not status.available:
            return BigSegmentsStatus.STORE_ERROR
        return BigSegmentsStatus.STALE if status.stale else BigSegmentsStatus.HEALTHY

    async def _query(self, key: str) -> Mapping[str, bool] | None:
        """What the store knows of a context key; ``None`` if it fails. That is not kept, so that the next one asks again."""
        if self._time() < self._retry_after:
            return None
        try:
            with contain_cancellation():
                segments = _read_segments(await self._within_limit(self._built().memberships(context_hash(key))))
        except Exception as error:  # noqa: BLE001 -- a store may raise whatever it likes
            self._has_failed(error)
            return None
        self._once.forget("query")
        self._recent.put(key, segments)
        return segments

    def _has_failed(self, error: Exception) -> None:
        if self._once("query"):
            self._log.warning("the store of big segments failed, and rules decide instead: %s", describe_error(error))

    async def _poll(self) -> None:
        """Asks how the store is doing."""
        try:
            with contain_cancellation():
                updated = _read_time(await self._within_limit(self._built().last_updated_ms()))
        except Exception as error:  # noqa: BLE001 -- a store may raise whatever it likes
            status, why = UNAVAILABLE, f"it does not answer: {describe_error(error)}"
        else:
            is_stale = updated is None or self._wall_ms() - updated >= self._options.stale_after * 1000
            status, why = StoreStatus(available=True, stale=is_stale), "nobody has brought it up to date lately"
        before = self.statuses.value
        if not self.statuses.put(status):
            return
        if not status.available or status.stale:
            self._log.warning("the store of big segments cannot be relied upon: %s", why)
        elif before is not None:
            self._log.info("the store of big segments can be relied upon again")

    def _built(self) -> MembershipStore:
        """The store. A builder's is built when it is first asked, so that one that cannot be built is one that does not answer."""
        if self._loop is None:
            raise StoreError("the client is closed")
        if self._store is None:
            self._store = self._options.build()
        return self._store

    def _ready_made(self) -> MembershipStore | None:
        store = self._options.store
        return None if isinstance(store, MembershipStoreBuilder) else store

    async def _within_limit(self, answer: Awaitable[T]) -> T:
        try:
            with anyio.fail_after(MEMBERSHIP_LIMIT):
                found = await answer
        except TimeoutError:
            self._back_off()
            raise
        self._retry_after = 0.0
        return found

    @contextmanager
    def _one_limit(self) -> Generator[None]:
        """For all that one evaluation, or one request, asks the store, however many questions that are."""
        with anyio.move_on_after(MEMBERSHIP_LIMIT) as limit:
            yield
        if limit.cancelled_caught:
            self._back_off()
            self._has_failed(TimeoutError())

    def _back_off(self) -> None:
        self._retry_after = self._time() + MEMBERSHIP_PAUSE

    # -- life

    def open(self) -> None:
        """From now on the store may be asked, on this event loop alone."""
        if self._loop is None and not self.statuses.is_closed:
            self._loop = asyncio.get_running_loop()
            self._recent.time = self._loop.time

    async def run(self) -> None:
        """Polls the status, at once and then every ``status_poll_interval``, until it is cancelled; closes the store then."""
        self.open()
        try:
            while True:
                await self._flights.share(None, self._poll)
                await anyio.sleep(self._options.status_poll_interval)
        finally:
            await self.release()

    async def release(self) -> None:
        """Closes the store, once: also one that nobody has asked, if it was ready-made."""
        self._loop = None
        self.statuses.close()
        store, self._store = self._store, None
        if store is not None:
            await self._close(store)

    async def _close(self, store: MembershipStore) -> None:
        with anyio.move_on_after(CLOSE_GRACE, shield=True) as scope:
            try:
                with contain_cancellation():
                    await store.aclose()
            except Exception as error:  # noqa: BLE001 -- closing goes on, whatever it does
                self._log.warning("the store of big segments could not be closed: %s", describe_error(error))
        if scope.cancelled_caught:
            self._log.warning("the store of big segments was abandoned: it did not close within %g s", CLOSE_GRACE)

    def after_fork(self) -> None:
        """In the child of a fork: nobody polls, who asked is not here, and the parent's connections are the parent's."""
        self._loop = None
        if not self.statuses.is_closed:
            self._store = self._ready_made()
        self._flights.forget()
        self.statuses.after_fork()

    def _on_own_loop(self) -> bool:
        """Whether this is where the store can be asked, and when."""
        return self._loop is not None and self._loop is asyncio.get_running_loop()

    def _time(self) -> float:
        return asyncio.get_running_loop().time()


class _Known:
    """What one evaluation, or all of one request, goes by: it stays as it is, whatever the cache forgets meanwhile."""

    def __init__(self, find: FindMembership) -> None:
        self.find = find
        self._found: dict[str, Membership] = {}

    def __call__(self, key: str) -> Membership | None:
        found = self._found.get(key)
        if found is None and (found := self.find(key)) is not None:
            self.keep(key, found)
        return found

    def keep(self, key: str, membership: Membership) -> None:
        self._found[key] = membership


def _keys(snapshot: Snapshot, context: Context) -> dict[str, None]:
    """The keys of ``context`` that big segments can be asked about, each once, in order."""
    return {single.key: None for kind in sorted(snapshot.big_segment_kinds) if (single := context.member(kind)) is not None}


def _read_segments(answer: object) -> Mapping[str, bool]:
    if answer is None:
        return {}
    if not isinstance(answer, Mapping):
        raise TypeError(f"memberships: expected a mapping, got {type_name(answer)}")
    found = dict(cast("Mapping[object, object]", answer))
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, bool):
            raise TypeError(f"memberships: expected booleans by name, got {type_name(value)} by {type_name(name)}")
    return cast("dict[str, bool]", found)


def _read_time(answer: object) -> int | None:
    if answer is None or (isinstance(answer, int) and not isinstance(answer, bool)):
        return answer
    raise TypeError(f"last_updated_ms: expected milliseconds or None, got {type_name(answer)}")
