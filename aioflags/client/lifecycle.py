"""Core: the root task of a client, its start, its close, and what is left of it after a fork.

All scopes that live long are entered and left by the root task, so that ``start`` and ``aclose`` may be called by any
task: a fixture, a lifespan, a signal handler. Closing follows the nesting: sources, then what is left to send, then connections.

Source: ``client-surface.md`` 1; ``architecture.md`` 9 and 10.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import Context as VariableContext
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskGroup

from aioflags.client.status import StatusCell
from aioflags.errors import LifecycleError, NotReadyError
from aioflags.model.defaults import LAST_CYCLES, MAX_START_WAIT, START_WAIT
from aioflags.model.result import SourceState
from aioflags.model.status import Status, StatusReport
from aioflags.protocol.failures import unexpected
from aioflags.runtime.cancellation import contain_cancellation
from aioflags.runtime.clock import now
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.validation import time_limit

__all__ = ["Background", "Lifecycle"]

_LAST_STEP: Final = 0.1
"""How long before the end of its time a close begins to abandon what is on its way."""


class Background(Protocol):
    """What leaves a client while it runs."""

    def open(self) -> None:
        """Something may come from now on."""
        ...

    def stop(self) -> None:
        """Nothing more will come."""
        ...

    async def run(self) -> None:
        """Sends what comes, until it is cancelled."""
        ...

    async def finish(self, seconds: float) -> None:
        """Sends what is left, within so many seconds."""
        ...


class Lifecycle:
    """What every client is made of: one task that owns all others, and the calls that start and end it.

    ``work`` keeps the data current until it is cancelled, or until nothing is left to do. ``prepare`` comes before it, and
    before anybody's ``start`` returns; it has to end by itself. ``beside`` goes on beside both, and has had its first step before
    ``prepare`` has its own; it raises nothing. ``outlets`` are what leaves the client meanwhile. What ``opened`` gives is open for
    all of them. ``stopped`` is called when closing begins, ``release`` at its end, for what the others would have closed and were
    never begun for. ``start_wait`` and ``close_timeout`` are seconds.
    """

    def __init__(
        self,
        cell: StatusCell,
        work: Callable[[], Awaitable[None]],
        *,
        prepare: Callable[[], Awaitable[None]],
        beside: Callable[[], Coroutine[Any, Any, None]],
        stopped: Callable[[], None],
        release: Callable[[], Awaitable[None]],
        outlets: Sequence[Background] = (),
        opened: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
        start_wait: float,
        close_timeout: float,
        logger: logging.Logger,
    ) -> None:
        self._cell = cell
        self._work = work
        self._prepare = prepare
        self._beside = beside
        self._prepared = anyio.Event()
        self._stopped = stopped
        self._release = release
        self._outlets = outlets
        self._opened = opened
        self._start_wait = start_wait
        self._close_timeout = close_timeout
        self._logger = logger
        self._root: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = anyio.Event()
        self._deadline = 0.0
        reset_after_fork(self)

    # -- start

    @property
    def is_started(self) -> bool:
        """Whether it was started in this process, whatever became of it."""
        return self._root is not None

    @property
    def is_open(self) -> bool:
        """Whether it was started in this process and closing has not begun."""
        return self._root is not None and not self._cell.is_closed

    async def start(self, start_wait: float | None = None) -> StatusReport:
        """Starts once, and waits until it is decided whether there are data, for at most ``start_wait`` seconds.

        Raises:
            ConfigError: ``start_wait`` is not a number of seconds.
            LifecycleError: the client is closed, or belongs to another event loop.
        """
        time_limit("start_wait", start_wait)
        wait = self._start_wait if start_wait is None else start_wait
        if self._cell.is_closed:
            raise LifecycleError("this client is closed; a new one can be made with the same configuration")
        self.check_loop()
        if self._root is not None:
            await self._wait_for_readiness(wait)
            return self._cell.newest
        if wait > MAX_START_WAIT and start_wait is not None:
            self._logger.warning("start_wait: %g s is long for an application to wait for its flags", wait)
        self._loop = asyncio.get_running_loop()
        for outlet in self._outlets:
            outlet.open()
        # An empty context: a request that happens to start the client leaves no trace in its background work.
        self._root = self._loop.create_task(self._run(wait), name="aioflags", context=VariableContext())
        self._root.add_done_callback(self._ended)
        began = self._loop.time()
        try:
            await self._wait_for_readiness(wait)
        except BaseException:
            self._stop()
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise
        if wait > 0 and not self._cell.readiness.is_set():
            self._cell.start_timed_out()
        self._log_start(wait, self._loop.time() - began)
        return self._cell.newest

    async def _wait_for_readiness(self, wait: float) -> None:
        await self._prepared.wait()
        if wait > 0:
            with anyio.move_on_after(wait):
                await self._cell.readiness.wait()

    def _log_start(self, wait: float, took: float) -> None:
        report = self._cell.newest
        error = f" ({report.last_error})" if report.last_error else ""
        if report.status in {Status.READY, Status.STALE} or report.source_state is SourceState.OFF:
            # Why no source is left was logged as an error when it happened.
            self._logger.info("started: %s, %s", report.status.value, self._cell.data_summary)
        elif wait > 0 and not self._cell.is_closed:
            self._logger.warning("started without flag data after %.3g s%s: defaults are served until some arrive", took, error)

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Waits until the status is ``READY``.

        Raises:
            LifecycleError: the client was not started.
            NotReadyError: ``timeout`` seconds are over, or no source is left, or the client is closed. Sources that the service
                refused may start again later: :attr:`StatusReport.next_attempt` says when.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        time_limit("timeout", timeout)
        self.check_loop()
        if self._root is None and not self._cell.is_closed:
            raise LifecycleError("this client was not started, so there is nothing to wait for")
        with anyio.move_on_after(timeout):
            while True:
                report, changed = self._cell.newest, self._cell.changed
                if self._cell.is_closed:
                    raise NotReadyError("the client is closed", report)
                if report.status is Status.READY:
                    return
                if report.source_state is SourceState.OFF:
                    again = "" if report.next_attempt is None else f"; next attempt in {max(report.next_attempt - now(), 0):.0f} s"
                    raise NotReadyError(f"no source of flag data is left{again}", report)
                await changed.wait()
        raise NotReadyError(f"not ready after {timeout:g} s", self._cell.newest)

    async def refresh(self, ask: Callable[[], Awaitable[None]], timeout: float | None = None) -> StatusReport:
        """Once the start is decided, ``ask``, both within ``timeout`` seconds, by default those that a start may take.

        Raises:
            LifecycleError: the client was not started, or belongs to another event loop.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        time_limit("timeout", timeout)
        self.check_loop()
        if self._root is None and not self._cell.is_closed:
            raise LifecycleError("this client was not started, so nobody can be asked")
        own = self._start_wait if self._start_wait > 0 else START_WAIT
        with anyio.move_on_after(own if timeout is None else timeout):
            await self._cell.readiness.wait()
            await ask()
        return self._cell.newest

    def check_loop(self) -> None:
        """Refuses a call on another event loop than the client's."""
        running = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not running:
            raise LifecycleError(
                "this client was started on another event loop: make one client for each asyncio.run(), "
                "or run all calls on one loop, with asyncio.Runner"
            )

    # -- the root task

    async def _run(self, start_wait: float) -> None:
        async with self._opened(), anyio.create_task_group() as group:
            for outlet in self._outlets:
                group.start_soon(self._send, outlet)
            data, over = anyio.CancelScope(), anyio.Event()
            group.start_soon(self._receive, group, data, over, start_wait if start_wait > 0 else START_WAIT)
            await self._closing.wait()
            data.cancel()
            with anyio.move_on_after(self._left() / 2):
                await over.wait()
            left = self._left()
            async with anyio.create_task_group() as finishing:
                for outlet in self._outlets:
                    finishing.start_soon(outlet.finish, left - min(_LAST_STEP, left / 10))
            group.cancel_scope.cancel()

    def _ended(self, root: asyncio.Task[None]) -> None:
        """The root task is done, which may have been before its first step."""
        if root is self._root and not self._cell.is_closed:
            # Somebody cancels whatever tasks there are. Then at least the status does not go on claiming that all is well.
            self._cell.failed(unexpected(asyncio.CancelledError("the client's task was cancelled by others")))
        self._prepared.set()

    async def _receive(self, group: TaskGroup, scope: anyio.CancelScope, over: anyio.Event, start_wait: float) -> None:
        """Keeps the data current, until ``scope`` is cancelled."""
        try:
            with scope:
                async with anyio.create_task_group() as tasks:
                    # Tasks have their first steps in the order in which they were begun.
                    tasks.start_soon(self._beside)
                    tasks.start_soon(self._keep_current, group, start_wait)
        finally:
            await self._release()
            over.set()

    async def _keep_current(self, group: TaskGroup, start_wait: float) -> None:
        try:
            await self._prepare()
        finally:
            self._prepared.set()
        group.start_soon(self._limit_start, start_wait)
        await self._guard()

    async def _send(self, outlet: Background) -> None:
        """A bug there loses what would have been sent, and nothing else."""
        try:
            with contain_cancellation():
                await outlet.run()
        except Exception:
            self._logger.exception("nothing is sent any more, because of a bug in aioflags")

    def _left(self) -> float:
        """Seconds until a close has to be over."""
        return max(self._deadline - anyio.current_time(), 0.0)

    async def _limit_start(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._cell.readiness.wait()
            return
        self._cell.start_timed_out()

    async def _guard(self) -> None:
        """A bug below ends the updates, not the evaluations: they go on from the last data."""
        try:
            with contain_cancellation():
                await self._work()
        except Exception as error:
            self._logger.exception("flag data are no longer kept current, because of a bug in aioflags")
            self._cell.failed(unexpected(error))

    # -- close

    async def aclose(self, timeout: float | None = None) -> None:
        """Closes everything, within ``timeout`` seconds. Calling it again waits for the first call's end.

        Half of the time belongs to the sources, the rest to what is left to send; what is not done then is abandoned, with one
        warning.

        Raises:
            LifecycleError: the client runs on another event loop.
            ConfigError: ``timeout`` is not a number of seconds. Nothing else, whatever went wrong before.
        """
        time_limit("timeout", timeout)
        root, limit = self._root, self._close_timeout if timeout is None else timeout
        if root is not None and not root.done():
            self.check_loop()
        self._stop(limit)
        if root is None or root.done():
            await self._release()
            return
        # Where there is no time at all there still has to be a turn for everybody to give up, and to count what is lost by that.
        await asyncio.wait({root}, timeout=max(limit, _LAST_STEP))
        for _ in range(LAST_CYCLES):
            # Where somebody held the loop at the end, that time and its last step are over at once.
            if root.done():
                break
            await asyncio.sleep(0)
        if not root.done():
            root.cancel()
            self._logger.warning("closing took longer than %g s: a source that does not end was abandoned", limit)
        elif not root.cancelled() and (error := root.exception()) is not None:
            self._logger.error("closed, after a bug in aioflags", exc_info=error)
        else:
            self._logger.info("closed")

    def _stop(self, limit: float | None = None) -> None:
        """The first step of closing, which is the only one that can be taken without a wait."""
        if not self._closing.is_set():
            self._deadline = anyio.current_time() + (self._close_timeout if limit is None else limit)
        for outlet in self._outlets:
            outlet.stop()
        self._cell.close()
        self._stopped()
        self._closing.set()

    def after_fork(self) -> None:
        """In the child of a fork: the parent's tasks do not run here. Evaluation goes on; ``start`` starts anew."""
        if self._root is not None:
            self._root = self._loop = None
            self._closing, self._prepared = anyio.Event(), anyio.Event()
            self._cell.after_fork()
