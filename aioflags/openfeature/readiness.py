"""ReadinessWait: how ``initialize`` waits for a client, from any thread; and how a client is closed from any thread.

Source: ``openfeature.md`` 6.1.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
from openfeature.exception import ProviderFatalError, ProviderNotReadyError

from aioflags.client_core.parts import internals_of, loop_of
from aioflags.model.source_state import SourceState
from aioflags.model.status import Status, StatusReport
from aioflags.runtime.event_loops import running_loop
from aioflags.runtime.logs import logger

if TYPE_CHECKING:
    from aioflags.client_core.core_client import CoreClient

__all__ = ["ReadinessWait", "close_client", "result_in_time"]

_USABLE: Final = frozenset({Status.READY, Status.STALE})
_CLOSE_LIMIT: Final = 5.0
"""Seconds that another thread waits for the end of a client."""
T = TypeVar("T")

_STEP: Final = 1.0
"""Seconds between two looks at whether the event loop still runs."""
_LATE: Final = 1.0
"""Seconds that a wait in another thread may take longer than its limit on the event loop."""


class ReadinessWait:
    """Waits until ``client`` can evaluate flags.

    Args:
        client: The client.
        limit: How many seconds at most; ``None``: as long as a start of the client waits.
    """

    def __init__(self, client: CoreClient, limit: float | None) -> None:
        self._client = client
        self._limit = limit
        self._pending: concurrent.futures.Future[None] | None = None

    def __call__(self) -> None:
        """Returns if the client has data, also old ones.

        Raises:
            ProviderFatalError: it cannot get any.
            ProviderNotReadyError: it has none yet.
        """
        loop, report = loop_of(self._client), self._client.status
        if not _is_decided(report):
            if loop is None:
                raise ProviderNotReadyError(
                    "the client is not started: use async with, or await client.start(), before set_provider"
                )
            if loop is running_loop():
                raise ProviderNotReadyError(
                    f"{_described(report)}; on the client's own event loop nothing can wait for it. Await client.wait_ready() "
                    "before set_provider, or go on: the provider becomes ready with the client"
                )
            self._wait(loop)
            report = self._client.status
        if report.status in _USABLE:
            return
        if report.status is Status.FATAL:
            raise ProviderFatalError(f"{_described(report)}; it cannot get any flag data")
        raise ProviderNotReadyError(_described(report))

    def cancel(self) -> None:
        """Ends a call that waits in another thread. It raises."""
        if (pending := self._pending) is not None:
            pending.cancel()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        limit = internals_of(self._client).lifecycle.start_wait if self._limit is None else self._limit
        if limit <= 0 or not loop.is_running():
            return
        self._pending = pending = asyncio.run_coroutine_threadsafe(self._decided(limit), loop)
        try:
            result_in_time(pending, loop, limit + _LATE)
        except (TimeoutError, concurrent.futures.CancelledError):
            pending.cancel()
        finally:
            self._pending = None

    async def _decided(self, limit: float) -> None:
        with anyio.move_on_after(limit):
            async for report in self._client.statuses():
                if _is_decided(report):
                    return


def result_in_time(pending: concurrent.futures.Future[T], loop: asyncio.AbstractEventLoop, limit: float) -> T:
    """The result of a coroutine that runs on ``loop``, the loop of another thread.

    Raises:
        TimeoutError: ``limit`` seconds are over, or the loop has stopped. The coroutine is cancelled.
    """
    deadline = time.monotonic() + limit
    while not pending.done():
        concurrent.futures.wait([pending], min(max(deadline - time.monotonic(), 0.0), _STEP))
        if not pending.done() and (time.monotonic() >= deadline or not loop.is_running()):
            pending.cancel()
            raise TimeoutError
    return pending.result()


def close_client(client: CoreClient) -> None:
    """Closes a client from any thread. On its event loop the close begins as a task; another thread waits for its end."""
    loop = loop_of(client)
    if loop is None or not loop.is_running():
        return  # it was never started, or its loop has ended
    if loop is running_loop():
        task = loop.create_task(_close(client))
        _CLOSING.add(task)
        task.add_done_callback(_CLOSING.discard)
        return
    try:
        result_in_time(asyncio.run_coroutine_threadsafe(_close(client), loop), loop, _CLOSE_LIMIT)
    except (TimeoutError, concurrent.futures.CancelledError):
        logger.warning("closing the client takes longer than %g s; not waiting for its end", _CLOSE_LIMIT)


_CLOSING: Final[set[asyncio.Task[None]]] = set()
"""Keeps the tasks until they end."""


async def _close(client: CoreClient) -> None:
    try:
        await client.aclose()
    except Exception:  # noqa: BLE001 - OpenFeature would only report it as a failed provider
        logger.exception("OpenFeature: the client could not be closed")


def _is_decided(report: StatusReport) -> bool:
    """Whether there is nothing to wait for."""
    return report.status in _USABLE or report.status is Status.FATAL or report.source_state is SourceState.OFF


def _described(report: StatusReport) -> str:
    """The cause first, if there is one: logs cut long messages."""
    state = f"the client is {report.status.value}, source {report.source_state.value}"
    return f"{report.last_error} ({state})" if report.last_error else state
