"""Daemon threads for calls that may hang: such a call delays neither the end of the event loop nor the exit of the process.

The threads of asyncio's default executor are joined when the loop closes, and again when the interpreter exits.

The interpreter stops daemon threads wherever they are. A thread that is stopped in an import keeps the locks of the import, and the
process never ends if anything is imported after that: ``warnings`` imports a module to show the first warning. So the exit waits,
for a limited time, for a thread of this module that imports.

Source: ``data-system.md`` 1.7; ``client-surface.md`` 1.4.
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Final, ParamSpec, TypeVar

from aioflags.runtime.fork import reset_after_fork

P = ParamSpec("P")
T = TypeVar("T")

_MAX_IMPORT: Final = 5.0
"""Seconds that the exit of the process waits for imports in threads of this module."""
_MAX_WORK: Final = 0.1
"""Seconds that it waits for their other work: an import may come next."""
_IMPORT_MACHINERY: Final = "<frozen importlib._bootstrap>"
"""The file name of every frame that imports a module."""


class DaemonThreads(Executor):
    """An executor for ``loop.run_in_executor`` that starts one thread per call, called ``name``. It ends with the call."""

    def __init__(self, name: str) -> None:
        self._name: Final = name

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start the call. Raises ``RuntimeError`` if the system cannot start another thread."""
        future: Future[T] = Future()
        # A started call cannot be cancelled. Mark it before the thread starts, so that a cancellation cannot come in between.
        future.set_running_or_notify_cancel()

        def work() -> None:
            try:
                result = fn(*args, **kwargs)
            except StopIteration as error:  # asyncio cannot raise it where a future is awaited
                future.set_exception(RuntimeError(f"StopIteration: {error}"))
            except BaseException as error:  # noqa: BLE001 -- raised where the result is awaited
                future.set_exception(error)
            else:
                future.set_result(result)

        _Thread(target=work, name=self._name, daemon=True).start()
        return future


class _Thread(threading.Thread):
    """A thread that the exit of the process may wait for."""

    @property
    def imports(self) -> bool:
        """Whether an import runs in this thread."""
        frame = None if self.ident is None else sys._current_frames().get(self.ident)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - documented
        while frame is not None and frame.f_code.co_filename != _IMPORT_MACHINERY:
            frame = frame.f_back
        return frame is not None


def _wait_for_imports() -> None:
    """Wait until no thread of this module imports anything, and does not look as if it soon will."""
    began = time.monotonic()
    while threads := [thread for thread in threading.enumerate() if isinstance(thread, _Thread)]:
        waited = time.monotonic() - began
        if waited > _MAX_IMPORT or (waited > _MAX_WORK and not any(thread.imports for thread in threads)):
            return
        time.sleep(0.005)  # not a join, which raises for a thread that is being started


atexit.register(_wait_for_imports)


class ThreadBusyError(TimeoutError):
    """An earlier call has run for too long, so the call did not start."""


class ThreadStartError(OSError):
    """The system cannot start another thread now, so the call did not start. It may be tried again."""


class SerialThread:
    """Runs one call at a time in a daemon thread called ``name``. While a call hangs, no other starts: threads do not pile up."""

    def __init__(self, name: str) -> None:
        self._threads: Final = _ThreadsWithNewestCall(name)
        self._started_at = 0.0
        """When the newest call started, on the event loop's clock."""
        self._call: asyncio.Future[Any] | None = None
        """The newest call, on the event loop that started it."""
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: the thread of the newest call exists in the parent only."""
        self._threads.newest = self._call = None

    async def run(self, work: Callable[[], T], *, timeout: float | None = None, max_wait_for_earlier: float | None = None) -> T:
        """What ``work`` returns or raises. A call that is cancelled goes on in its thread; its result is dropped.

        ``max_wait_for_earlier``: if an earlier call has run for that many seconds, do not wait for it any longer. ``None``: no
        limit.

        Raises:
            ThreadBusyError: an earlier call has run for longer than ``max_wait_for_earlier`` seconds.
            ThreadStartError: the system cannot start another thread.
            TimeoutError: ``work``, or an earlier call that was given up and still runs, did not end within ``timeout`` seconds.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout):
            while (earlier := self._threads.newest) is not None and not earlier.done():
                # On its own loop wait for the call itself: a second future would be done a moment later.
                ended = self._call
                if ended is None or ended.done() or ended.get_loop() is not loop:
                    ended = asyncio.wrap_future(earlier)
                await _wait(ended, None if max_wait_for_earlier is None else self._started_at + max_wait_for_earlier)
            self._started_at = loop.time()
            try:
                call = loop.run_in_executor(self._threads, work)
            except RuntimeError as error:
                raise ThreadStartError(errno.EAGAIN, str(error)) from error
            self._call = call
            call.add_done_callback(_retrieve)
            await asyncio.wait({call})  # unlike await, it leaves the call alone when it is cancelled
            return call.result()


def _retrieve(call: asyncio.Future[Any]) -> None:
    """Retrieve the exception of a call that was given up: asyncio would log it otherwise."""
    if not call.cancelled():
        call.exception()


async def _wait(call: asyncio.Future[Any], deadline: float | None) -> None:
    """Wait for the end of ``call``. Raises :class:`ThreadBusyError` at ``deadline``, on the event loop's clock."""
    call.add_done_callback(_retrieve)  # the caller of that call got its exception, or gave up
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            await asyncio.wait({call})  # unlike await, it leaves the call alone when it is cancelled
    except TimeoutError:
        if limit.expired():
            raise ThreadBusyError("an earlier call still runs") from None
        raise


class _ThreadsWithNewestCall(DaemonThreads):
    """Keeps the future of the newest call."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.newest: Future[Any] | None = None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        self.newest = future = super().submit(fn, *args, **kwargs)
        return future
