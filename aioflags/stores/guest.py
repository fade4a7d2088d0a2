"""GuestStore: the calls of one client to a store whose code is not ours: it may raise, hang, or let a cancellation escape.

A call either returns the store's answer within its time limit or raises :class:`StoreError`. What a failure means, and when the
store is called again, is decided by the caller.

Source: ``data-system.md`` 7.5; ``client-surface.md`` 11.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import anyio

from aioflags.errors import StoreError
from aioflags.runtime.event_loops import contain_cancellation
from aioflags.runtime.logs import describe_error, printable

T = TypeVar("T")


class Closable(Protocol):
    """What has connections."""

    async def aclose(self) -> None: ...


S = TypeVar("S", bound=Closable)


class GuestStore(Generic[S]):
    """One client's store: built at the first call, called with a time limit, closed once.

    Args:
        name: How the log calls it, as in ``the store of flag data``.
        build: Returns the store. Called at the first call, and again at the next one if it raised. A ready-made store is returned
            as it is.
        ready_made: The store, if ``build`` does not make a new one. It is closed even if it was never called.
        grace: Seconds that the store has to close.
        pause: For how many seconds :attr:`is_paused` is true after a call that reached its time limit.
        logger: Gets one warning for each outage, and one if the store cannot be closed.

    The owner calls :meth:`after_fork` in the child of a fork.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[], S],
        *,
        ready_made: S | None,
        grace: float,
        pause: float = 0.0,
        logger: logging.Logger,
    ) -> None:
        self.name: str = name
        self.store: S | None = None
        """The store; ``None`` before the first call."""
        self._build = build
        self._unused = ready_made
        self._grace = grace
        self._pause = pause
        self._logger = logger
        self._is_open = False
        self._has_failed = False
        self._paused_until = 0.0

    def open(self) -> None:
        """Allow calls, until :meth:`aclose` or a fork."""
        self._is_open = True
        self._has_failed = False

    # -- calls

    async def call(self, operation: Callable[[S], Awaitable[T]], *, limit: float) -> T:
        """The result of ``operation``, which gets the store and has ``limit`` seconds.

        Raises:
            StoreError: The store could not be built, failed, was cancelled by itself, or did not answer in time. The message is the
                reason, on one line, without the name of the store.
        """
        try:
            with contain_cancellation(), anyio.fail_after(limit):
                result = await operation(self._built())
        except TimeoutError:
            # A time limit inside the store counts as well: in both cases the store hangs.
            self.pause()
            raise StoreError(timeout_reason(limit)) from None
        except StoreError as error:
            raise StoreError(printable(error)) from error
        except Exception as error:
            raise StoreError(describe_error(error)) from error
        self._paused_until = 0.0
        return result

    @property
    def is_paused(self) -> bool:
        """Whether a call reached its time limit lately. :meth:`call` does not check it: some calls are worth a try."""
        return asyncio.get_running_loop().time() < self._paused_until

    def pause(self) -> None:
        """Start the pause after a time limit that the caller set."""
        self._paused_until = asyncio.get_running_loop().time() + self._pause

    def _built(self) -> S:
        if not self._is_open:
            raise StoreError("the client is closed")
        if self.store is None:
            self.store = self._build()
            self._unused = None
        return self.store

    # -- the log

    def log_failure(self, event: str) -> None:
        """Log the name of the store and ``event`` as a warning, unless a failure was logged since the store worked."""
        if not self._has_failed:
            self._has_failed = True
            self._logger.warning("%s %s", self.name, event)

    def log_recovery(self, event: str | None = None) -> None:
        """The store works, so the next failure is logged. If one was logged before, log ``event`` as a warning."""
        if self._has_failed and event is not None:
            self._logger.warning("%s %s", self.name, event)
        self._has_failed = False

    # -- the end

    async def aclose(self) -> None:
        """Close the store within the grace. Raises nothing; the second call does nothing."""
        store = self._unused if self.store is None else self.store
        self.store = self._unused = None
        self._is_open = False
        if store is None:
            return
        with anyio.move_on_after(self._grace, shield=True) as scope:
            try:
                with contain_cancellation():
                    await store.aclose()
            except Exception as error:  # noqa: BLE001 -- a store may raise anything
                self._logger.warning("%s could not be closed: %s", self.name, describe_error(error))
        if scope.cancelled_caught:
            self._logger.warning("%s did not close within %g s and was abandoned", self.name, self._grace)

    def after_fork(self) -> None:
        """After a fork, in the child: leave the connections of the parent's store alone. The next run builds another store."""
        self.store = None
        self._is_open = False


def timeout_reason(limit: float) -> str:
    """The reason of a failure after ``limit`` seconds without an answer."""
    return f"no answer within {limit:g} s"
