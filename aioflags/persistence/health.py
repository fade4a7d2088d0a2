"""StoreHealth: every call of a store goes through here, so that one place notices when it fails, and when it is back.

While it is away nobody else calls it. Whoever needs it waits until it is asked successfully whether it is there.

Source: ``data-system.md`` 7.5.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from aioflags.errors import StoreError
from aioflags.model.defaults import MAX_STORE_POLL_INTERVAL, STORE_LOOKUP_TIMEOUT, STORE_POLL_INTERVAL, STORE_TIMEOUT
from aioflags.model.status import StoreStatus
from aioflags.runtime.cancellation import contain_cancellation
from aioflags.runtime.logs import describe_error, printable
from aioflags.stores.base import Paced, Store

__all__ = ["AVAILABLE", "StoreHealth"]

T = TypeVar("T")

AVAILABLE = StoreStatus(available=True, stale=False)
_AWAY = StoreStatus(available=False, stale=True)
_BACK = StoreStatus(available=True, stale=True)


class StoreHealth:
    """How one store is doing during one run of a client. ``report`` is told of every status, at first ``AVAILABLE``.

    Without a ``store`` ``build`` gives it when it is first asked for something. One that cannot be built is one that fails: what
    it needs may not be there yet, so it is tried again like any other.
    """

    def __init__(
        self,
        store: Store | None,
        build: Callable[[], Store],
        report: Callable[[StoreStatus], object],
        logger: logging.Logger,
    ) -> None:
        self.store: Store | None = store
        """What there is to close."""
        self._build = build
        self._report = report
        self._is_available = True
        self._is_told = False
        self._logger = logger
        self._failed = anyio.Event()
        self._back = anyio.Event()
        self._pause = STORE_POLL_INTERVAL
        self._is_needed = True
        report(AVAILABLE)

    @property
    def is_available(self) -> bool:
        """Whether the store may be called."""
        return self._is_available

    @property
    def pace(self) -> float:
        """For how many seconds the store wants single changes collected."""
        store: object = self.store
        return store.pace if isinstance(store, Paced) else 0.0

    async def call(self, ask: Callable[[Store], Awaitable[T]], *, limit: float = STORE_TIMEOUT) -> T:
        """What the store answers within ``limit`` seconds.

        Raises:
            StoreError: it failed, or took too long. That is known by then: nobody else has to say so.
        """
        try:
            with contain_cancellation(), anyio.fail_after(limit):
                return await ask(self._built())
        except TimeoutError:
            # The store's own limit, or ours: either way it hangs.
            raise self._failure(f"no answer within {limit:g} s") from None
        except StoreError as error:
            raise self._failure(str(error)) from error
        except Exception as error:
            raise self._failure(describe_error(error)) from error

    async def look_up(self, ask: Callable[[Store], Awaitable[T]]) -> T:
        """:meth:`call` for what is to be quick."""
        return await self.call(ask, limit=STORE_LOOKUP_TIMEOUT)

    def refreshed(self) -> None:
        """Everything was written, or read, since the store came back."""
        self._pause = STORE_POLL_INTERVAL
        if self.is_available:
            self._report(AVAILABLE)
            if self._is_told:
                self._is_told = False
                self._logger.warning("the store of flag data is available again")

    def lost(self) -> None:
        """It answers, but does not have any more what was written. Until that is there again it is :meth:`refreshed`."""
        if not self._is_told:
            self._is_told = True
            self._logger.warning("the store of flag data has lost what was written, and gets everything again")
        self._report(_BACK)

    def retire(self) -> None:
        """Nobody is going to write or read any more, so that nothing in it can be out of date."""
        self._is_needed = False
        self.refreshed()

    async def until_available(self) -> None:
        """Returns at once if it is."""
        while not self.is_available:
            await self._back.wait()

    async def until_away(self) -> None:
        """Returns when a call has failed."""
        await self._failed.wait()

    async def run(self) -> None:
        """Asks a store that failed until it is back, again and again, until cancelled."""
        while True:
            await self._failed.wait()
            await self._recovery()
            self._failed = anyio.Event()
            self._is_available = True
            self._report(_BACK)
            if not self._is_needed:
                self.refreshed()
            back, self._back = self._back, anyio.Event()
            back.set()

    async def _recovery(self) -> None:
        """Until the store says that it is back. One that says so and fails at once is asked less and less often."""
        pause, self._pause = self._pause, min(self._pause * 2, MAX_STORE_POLL_INTERVAL)
        while True:
            await anyio.sleep(pause)
            try:
                with contain_cancellation(), anyio.fail_after(STORE_LOOKUP_TIMEOUT):
                    if await self._built().is_available():
                        return
            except Exception as error:  # noqa: BLE001  # whatever it is, the store is not back
                self._logger.debug("the store of flag data is not back: %s", describe_error(error))

    def _built(self) -> Store:
        if self.store is None:
            self.store = self._build()
        return self.store

    def _failure(self, why: str) -> StoreError:
        if not self._is_told:
            self._is_told = True
            self._logger.warning("the store of flag data failed, and is left alone until it is back: %s", printable(why))
        self._is_available = False
        self._report(_AWAY)
        self._failed.set()
        return StoreError(f"the store of flag data failed: {printable(why)}")
