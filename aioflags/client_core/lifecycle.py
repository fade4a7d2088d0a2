"""Lifecycle: the root task of a client, its start, its close, and the reset after a fork.

The root task enters and leaves all scopes that live long, so any task may call ``start`` and ``aclose``: a fixture, a lifespan,
a signal handler. Closing follows the nesting: sources first, then the events that are left to send, then connections.

Source: ``client-surface.md`` 1; ``architecture.md`` 9 and 10.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import Context as VariableContext
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskGroup

from aioflags.client_core.status import StatusCell
from aioflags.errors import LifecycleError, NotReadyError
from aioflags.model.defaults import LAST_CYCLES, MAX_START_WAIT, START_WAIT
from aioflags.model.status import SourceState, Status, StatusReport
from aioflags.protocol.failures import unexpected
from aioflags.runtime.clock import now
from aioflags.runtime.event_loops import asyncio_loop, contain_cancellation, loop_time
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import time_limit

# -- Workload and Background: what a client does between its start and its close. A Lifecycle runs them.
# Source: ``architecture.md`` 9.


class Background(Protocol):
    """A task of the client with a last flush: it sends or runs what calls of the client left to it."""

    def open(self) -> None:
        """Accepts work from now on. The event loop runs."""
        ...

    def stop(self) -> None:
        """Accepts no more work."""
        ...

    async def run(self) -> None:
        """Does the work until it is cancelled."""
        ...

    async def finish(self, seconds: float) -> None:
        """Does the work that is left within ``seconds``, and abandons the rest."""
        ...


class Workload:
    """The work of a client: how its data are kept current. This one does nothing; each client has a subclass."""

    def open(self) -> AbstractAsyncContextManager[object]:
        """Opens the connections. They stay open for the other methods and for every :class:`Background`."""
        return nullcontext()

    async def prepare(self) -> None:
        """Runs before plugins get the client, and before :meth:`run`. ``start`` waits for it, so it must end by itself."""

    async def run(self) -> None:
        """Keeps the data current until it is cancelled, or until it has nothing left to do."""

    async def monitor(self) -> None:
        """Runs concurrently with :meth:`prepare` and :meth:`run`, and starts first. It must not raise."""

    def stop(self) -> None:
        """Called when closing begins."""

    async def release(self) -> None:
        """Runs last. It closes the resources whose task never started."""


_LAST_STEP: Final = 0.1
"""Seconds before the deadline of a close at which it abandons the requests that still run."""


class Lifecycle:
    """Starts and closes a client: one root task owns all its other tasks.

    Args:
        cell: Where the status is reported.
        register: Hands the client to its plugins, at each start.
        background: The tasks that flush when the client closes.
        start_wait: How many seconds a start waits for data by default.
        close_timeout: How many seconds a close may take by default.
        logger: The client's logger.
        server: The server of the flags and its address, for the log; ``None`` if there may be several.
        long_start: A start that may wait longer, in seconds, is a warning.
    """

    def __init__(
        self,
        cell: StatusCell,
        register: Callable[[], Awaitable[None]],
        background: Sequence[Background],
        *,
        start_wait: float,
        close_timeout: float,
        logger: logging.Logger,
        server: str | None = None,
        long_start: float = MAX_START_WAIT,
    ) -> None:
        self.workload: Workload = Workload()
        """What the client does between start and close. Set before the start."""
        self.background: list[Background] = [*background, cell.observers]
        """The tasks that flush when the client closes."""
        self.start_wait: float = start_wait
        """How many seconds a start waits for data by default."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop that the client was started on; ``None`` before the start."""
        self._cell = cell
        self._register = register
        self._long_start = long_start
        self._close_timeout = close_timeout
        self._logger = logger
        self._server = server
        self._root: asyncio.Task[None] | None = None
        self._prepared = anyio.Event()
        self._closing = anyio.Event()
        self._deadline = self._start_ends = 0.0
        reset_after_fork(self)

    # -- start

    @property
    def is_started(self) -> bool:
        """Whether it was started in this process. Stays true after the close."""
        return self._root is not None

    @property
    def is_open(self) -> bool:
        """Whether it was started in this process and closing has not begun."""
        return self._root is not None and not self._cell.is_closed

    async def start(self, start_wait: float | None = None) -> StatusReport:
        """Starts once, and waits at most ``start_wait`` seconds until the client has data, or cannot get any.

        A later call without ``start_wait`` waits for what is left of the time of the first.

        Raises:
            ConfigError: ``start_wait`` is not a number of seconds.
            LifecycleError: the client is closed, or belongs to another event loop.
        """
        time_limit("start_wait", start_wait)
        if self._cell.is_closed:
            await self._reopen()
        self.check_loop()
        wait = self.start_limit(start_wait)
        if self._root is not None:
            await self._wait_for_readiness(wait)
            return self._cell.newest
        if wait > self._long_start and start_wait is not None:
            self._logger.warning("start_wait: %g s is long for an application to wait for its flags", wait)
        self.loop = asyncio.get_running_loop()
        self._cell.open(self.loop)
        for background in self.background:
            background.open()
        # An empty context: variables of the request that happens to start the client do not reach its background work.
        self._root = self.loop.create_task(self._run(wait), name="aioflags", context=VariableContext())
        self._root.add_done_callback(self._root_ended)
        began = self.loop.time()
        self._start_ends = began + wait
        try:
            await self._wait_for_readiness(wait)
        except BaseException:
            self._stop()
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise
        if wait > 0 and not self._cell.readiness.is_set():
            self._cell.start_timed_out(self._why_no_data())
        self._log_start(wait, self.loop.time() - began)
        return self._cell.newest

    def start_limit(self, start_wait: float | None) -> float:
        """For how many seconds a start waits."""
        if start_wait is not None:
            return start_wait
        return self.start_wait if self.loop is None else max(self._start_ends - self.loop.time(), 0)

    async def _reopen(self) -> None:
        """A start after a close."""
        if not self._cell.restartable:
            raise LifecycleError("this client is closed; make a new one with the same configuration")
        if (root := self._root) is not None and not root.done():
            self.check_loop()
            await asyncio.wait({root}, timeout=self._close_timeout)
            if not root.done():
                raise LifecycleError("this client is still closing: a source does not end")
        # Another start may have been faster.
        if self._cell.is_closed and self._root is root:
            self._reset()
            self._cell.reopen()

    async def _wait_for_readiness(self, wait: float) -> None:
        if wait > 0:
            with anyio.move_on_after(wait):
                await self._prepared.wait()
                await self._cell.readiness.wait()
            return
        for _ in range(LAST_CYCLES):
            # Preparations that wait for nothing end within a few cycles of the loop.
            if self._prepared.is_set():
                return
            await asyncio.sleep(0)

    def _log_start(self, wait: float, took: float) -> None:
        report = self._cell.newest
        has_data = report.status in {Status.READY, Status.STALE} or self._cell.snapshot.has_data
        if has_data or report.source_state is SourceState.OFF:
            # Why no source is left was logged as an error, and why the data may be old as a warning.
            self._logger.info("started: %s, %s", report.status.value, self._cell.data_summary)
        elif wait > 0 and not self._cell.is_closed:
            what, until = ("a connection", "there is one") if self._cell.server_evaluates else ("flag data", "some arrive")
            level = logging.INFO if self._cell.is_outage_logged else logging.WARNING
            reason = self._why_no_data()
            self._logger.log(level, "started without %s after %.3g s (%s): defaults are served until %s", what, took, reason, until)
            self._cell.is_start_logged = True

    def _why_no_data(self) -> str:
        """Why no source has brought data: the newest error, or that the server is silent."""
        by = "" if self._server is None else f" from {printable(self._server)}"
        return str(self._cell.newest.last_error or f"no answer{by}, and no failure so far")

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Waits until the status is ``READY``.

        Raises:
            LifecycleError: the client was not started.
            NotReadyError: ``timeout`` seconds are over, or no source is left, or the client is closed. Sources that the service
                refused may start again later, at :attr:`StatusReport.next_attempt`.
            ConfigError: ``timeout`` is not a number of seconds.
        """

        def is_ready(report: StatusReport) -> bool:
            is_off = report.source_state is SourceState.OFF and not self._cell.is_closed and not self._cell.revives
            if is_off or report.status is Status.FATAL:
                again = "" if report.next_attempt is None else f"; next attempt in {max(report.next_attempt - now(), 0):.0f} s"
                raise NotReadyError(f"no source of flag data is left{again}", report)
            return report.status is Status.READY

        await self.wait_until(is_ready, timeout)

    async def wait_until(self, matches: Callable[[StatusReport], bool], timeout: float | None = None) -> StatusReport:
        """Waits for a report for which ``matches`` returns true. Returns that report.

        Raises:
            LifecycleError: the client was not started.
            NotReadyError: ``timeout`` seconds are over, or the client is closed.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        time_limit("timeout", timeout)
        self.check_loop()
        if self._root is None and not self._cell.is_closed:
            raise LifecycleError("this client was not started, so there is nothing to wait for")
        with anyio.move_on_after(timeout):
            while not matches(report := self._cell.newest):
                if self._cell.is_closed:
                    raise NotReadyError("the client is closed", report)
                await self._cell.reports.changed.wait()
            return report
        raise NotReadyError(f"not ready after {timeout:g} s", self._cell.newest)

    async def refresh(self, request: Callable[[], Awaitable[None]], timeout: float | None = None) -> StatusReport:
        """Waits for the end of the start, then for ``request``; in all at most ``timeout`` seconds, by default ``start_wait``.

        Raises:
            LifecycleError: the client was not started, or belongs to another event loop.
            ConfigError: ``timeout`` is not a number of seconds.
        """
        time_limit("timeout", timeout)
        self.check_loop()
        if self._root is None and not self._cell.is_closed:
            raise LifecycleError("this client was not started, so it cannot request flags")
        default = self.start_wait if self.start_wait > 0 else START_WAIT
        with anyio.move_on_after(default if timeout is None else timeout):
            await self._cell.readiness.wait()
            await request()
        return self._cell.newest

    def check_loop(self) -> None:
        """Raises :class:`LifecycleError` on another event loop than the client's, and under another library than asyncio."""
        running = asyncio_loop()
        if self.loop is not None and self.loop is not running:
            raise LifecycleError(
                "this client was started on another event loop: make one client for each asyncio.run(), "
                "or run all calls on one loop, with asyncio.Runner; in tests, give the fixture and its tests one loop_scope"
            )

    # -- the root task

    async def _run(self, start_wait: float) -> None:
        async with self.workload.open(), anyio.create_task_group() as group:
            for background in self.background:
                group.start_soon(self._run_background, background)
            data_scope, data_ended = anyio.CancelScope(), anyio.Event()
            group.start_soon(self._run_workload, group, data_scope, data_ended, start_wait if start_wait > 0 else START_WAIT)
            await self._closing.wait()
            data_scope.cancel()
            with anyio.move_on_after(self._seconds_left() / 2):
                await data_ended.wait()
            seconds = self._seconds_left()
            async with anyio.create_task_group() as finishing:
                for background in self.background:
                    finishing.start_soon(background.finish, seconds - min(_LAST_STEP, seconds / 10))
            group.cancel_scope.cancel()

    def _root_ended(self, root: asyncio.Task[None]) -> None:
        """The root task is done, possibly before its first step."""
        if root is self._root and not self._cell.is_closed:
            # The status must not stay READY.
            error: BaseException | None = asyncio.CancelledError("the client's task was cancelled by other code")
            if not root.cancelled() and (error := root.exception()) is not None:
                self._logger.error("stopped after an internal error (please report)", exc_info=error)
            elif root.cancelled():
                # asyncio.run does so at its end, also after sys.exit.
                text = "the client's task was cancelled, and what was not sent is lost: await aclose(), or use async with"
                self._logger.warning(text)
            self._cell.failed(unexpected(error or RuntimeError("the client's task ended by itself")))
        self._prepared.set()

    async def _run_workload(self, group: TaskGroup, scope: anyio.CancelScope, ended: anyio.Event, start_wait: float) -> None:
        """Keeps the data current until ``scope`` is cancelled, then sets ``ended``."""
        try:
            with scope:
                async with anyio.create_task_group() as tasks:
                    # Tasks take their first steps in the order of these calls.
                    tasks.start_soon(self.workload.monitor)
                    tasks.start_soon(self._keep_current, group, start_wait)
        finally:
            await self.workload.release()
            ended.set()

    async def _keep_current(self, group: TaskGroup, start_wait: float) -> None:
        group.start_soon(self._limit_start, start_wait)
        try:
            await self.workload.prepare()
            await self._register()
        finally:
            self._prepared.set()
        await self._update_data()

    async def _update_data(self) -> None:
        """An internal error ends the updates, but not the evaluations: they continue on the newest data."""
        if self._cell.is_fatal:
            # A fatal code of an earlier start: no attempt can succeed.
            return
        try:
            with contain_cancellation():
                await self.workload.run()
        except Exception as error:
            self._logger.exception("stopped updating flag data after an internal error (please report)")
            self._cell.failed(unexpected(error))

    async def _run_background(self, background: Background) -> None:
        """An internal error loses the work of this task, and nothing else."""
        try:
            with contain_cancellation():
                await background.run()
        except Exception:
            self._logger.exception("%s stopped after an internal error (please report)", type(background).__name__)

    async def _limit_start(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._cell.readiness.wait()
            return
        self._cell.start_timed_out(self._why_no_data())

    def _seconds_left(self) -> float:
        """Seconds until the deadline of the close."""
        return max(self._deadline - loop_time(), 0.0)

    # -- close

    async def aclose(self, timeout: float | None = None, *, caller: asyncio.Task[Any] | None = None) -> None:
        """Closes everything within ``timeout`` seconds. A second call waits for the end of the first.

        Sources get half of the time, events that are left to send the rest. What is not done by then is abandoned, with one
        warning. ``caller``: the task of the program that waits for the end, by default the calling one. If it is the task of a
        handler, the close does not wait for that.

        Raises:
            LifecycleError: the client runs on another event loop.
            ConfigError: ``timeout`` is not a number of seconds. Earlier failures of the client raise nothing here.
        """
        time_limit("timeout", timeout)
        root, limit = self._root, self._close_timeout if timeout is None else timeout
        if root is not None and not root.done():
            self.check_loop()
        self._stop(limit)
        self._cell.observers.closed_by(caller or asyncio.current_task())
        if root is None or root.done():
            await self.workload.release()
            return
        # Even with a limit of 0 every task needs a cycle of the loop to give up and to count what is lost.
        await asyncio.wait({root}, timeout=max(limit, _LAST_STEP))
        for _ in range(LAST_CYCLES):
            # If a callback blocked the loop at the end, the limit and the last step of the root task expire together.
            if root.done():
                break
            await asyncio.sleep(0)
        if not root.done():
            root.cancel()
            self._logger.warning("closing took longer than %g s: a source that does not end was abandoned", limit)
        elif not root.cancelled() and (error := root.exception()) is not None:
            self._logger.error("closed after an internal error (please report)", exc_info=error)
        else:
            self._logger.info("closed")

    def abandon(self, *, warns: bool) -> None:
        """Closes a client that was collected: the program cannot. From any thread, also while the interpreter exits."""
        if self.loop is not None:
            try:
                self.loop.call_soon_threadsafe(self._stop_abandoned, warns)
            except RuntimeError:
                return  # the loop is closed, and its tasks have ended

    def _stop_abandoned(self, warns: bool) -> None:  # noqa: FBT001 -- an event loop passes it
        if not self._cell.is_closed:
            if warns:
                self._logger.warning("closing a client that the program dropped: await aclose(), or use async with")
            self._stop()

    def _stop(self, limit: float | None = None) -> None:
        """The first step of closing, and the only one that does not wait."""
        if not self._closing.is_set():
            self._deadline = asyncio.get_running_loop().time() + (self._close_timeout if limit is None else limit)
        for background in self.background:
            background.stop()
        self._cell.close()
        self.workload.stop()
        self._closing.set()

    def after_fork(self) -> None:
        """After a fork, in the child: the parent's tasks do not run here. Evaluations continue; ``start`` starts again."""
        if self._root is not None:
            self._reset()
            self._cell.after_fork()

    def _reset(self) -> None:
        """No task of the last start runs any more."""
        self._root = self.loop = None
        self._closing, self._prepared = anyio.Event(), anyio.Event()
