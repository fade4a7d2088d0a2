"""Observers: what follows the steps of one client, and the tasks of its handlers.

Each step of the status is published once, as a :class:`Step`. All ways to observe a client read these steps: ``events()`` and
``on_event`` each event, ``changes()`` the flags that changed or the values of one flag, ``reports()``, ``on_status`` and
``wait_until`` the newest report alone. Each reader keeps what it has not read yet, within a limit of its own
(:mod:`aioflags.client_core.readers`). A list that all readers share could not do that: a value has to be read from the data of its
step, which must not be kept, and neighbouring changes are merged from where a slow reader stands.

Source: ``openfeature.md`` 4.4 to 4.8.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextvars import Context as VariableContext
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, Self, TypeAlias, TypeVar
from weakref import ref

import anyio
from anyio.abc import TaskGroup

from aioflags.model.status import Event, StatusReport
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.daemon_threads import DaemonThreads
from aioflags.runtime.event_loops import contain_cancellation, running_loop
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.logs import printable
from aioflags.runtime.validation import is_coroutine_function

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot

T = TypeVar("T")
Handler: TypeAlias = Callable[[T], object] | Callable[[T], Awaitable[object]]
"""Called with a :class:`StatusReport` or an :class:`Event`. What it returns is ignored, or awaited."""

_THREADS: Final = DaemonThreads("aioflags-handler")


class Step(NamedTuple):
    """One step of the status of a client."""

    report: StatusReport
    """The newest report, with the number of the step. A step that observers of reports and events do not see has no new one."""
    events: Sequence[Event]
    keys: frozenset[str]
    """The flags that changed, as far as their keys are known."""
    snapshot: Snapshot
    """The data since this step."""


class Observer(Protocol):
    """Follows the steps, on the event loop. ``finish``: the client is closed."""

    def notify(self, step: Step) -> None: ...

    def finish(self) -> None: ...


class Observers:
    """The observers of one client: a :class:`aioflags.client_core.lifecycle.Background` that runs the tasks of handlers.

    Handlers and readers register from any thread. No lock is needed: one assignment or deletion adds or removes one, and the event
    loop reads a copy.

    Args:
        log: The client's logger.
        restartable: Whether a closed client can be started again. Its handlers then follow the next start too.
    """

    def __init__(self, log: logging.Logger, *, restartable: bool = False) -> None:
        self.log: logging.Logger = log
        self._restartable = restartable
        self._is_closed = False
        # Weak: steps do not pile up in a reader that the program dropped.
        self._observers: dict[int, ref[Observer]] = {}
        self._handlers: dict[int, HandlerTask[Any]] = {}
        self._group: TaskGroup | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closers: set[asyncio.Task[Any]] = set()
        self._registered, self._ended = Signal(), Signal()

    # -- called by the status cell

    @property
    def follow(self) -> bool:
        """Whether there are observers of events or flags."""
        return bool(self._observers)

    def notify(self, step: Step) -> None:
        """Hands a step to each observer. One that fails does not stop the others."""
        for observer in self._alive():
            try:
                observer.notify(step)
            except Exception:
                self.log.exception("an observer was not notified, after an internal error (please report)")

    def close(self) -> None:
        """Ends each observer after what it has not read yet. Handlers follow the next start, if there is one."""
        self._is_closed = True
        for observer in self._alive():
            observer.finish()

    def reset(self) -> None:
        """Before another start, or in the child of a fork: the tasks of the last start do not run any more."""
        self._is_closed = False
        self._group = self._loop = None
        self._closers, self._registered, self._ended = set(), Signal(), Signal()
        for handler in self._handlers.copy().values():
            handler.reset()

    def _alive(self) -> list[Observer]:
        return [observer for reference in self._observers.copy().values() if (observer := reference()) is not None]

    # -- registration

    def add(self, observer: Observer) -> None:
        """Notifies ``observer`` from the next step on, as long as the program keeps it, unless the client is closed for good."""
        number = id(observer)
        self._observers[number] = ref(observer, lambda _: self._observers.pop(number, None))
        if self._is_closed and not self._restartable:  # read last: another thread may close it
            observer.finish()

    def remove(self, observer: object) -> None:
        """Removes an observer, if it was added."""
        self._observers.pop(id(observer), None)

    def handle(self, handler: Handler[T], read: Callable[[str], AsyncIterator[T]], *, inline: bool) -> Subscription:
        """Calls ``handler`` for each item of ``read(name)``, in a task of the client. ``name`` describes it for the log."""
        task = HandlerTask(self, handler, read, inline=inline)
        if self._is_closed and not self._restartable:
            self.remove_handler(task)
            return Subscription(task)
        # The dictionary first: the start reads it after it has set the loop.
        self._handlers[id(task)] = task
        if (loop := self._loop) is not None:
            if loop is running_loop() and asyncio.current_task() is not None:
                self._start(task)
            else:
                # Not in a callback of the loop: where sniffio is installed, anyio starts tasks in tasks alone.
                with contextlib.suppress(RuntimeError):  # the loop is closed: there are no more events
                    loop.call_soon_threadsafe(self._registered.send)
        return Subscription(task)

    def remove_handler(self, task: HandlerTask[Any]) -> None:
        """Removes a handler, if it was added."""
        self.remove(task.reader)
        self._handlers.pop(id(task), None)

    def _start(self, task: HandlerTask[Any]) -> None:
        """Starts the task of a handler, once. On the event loop. One that comes while the client is closed waits for the start."""
        if self._group is not None and id(task) in self._handlers and not self._is_closed:
            task.start(self._group)

    # -- called by the life cycle

    def open(self) -> None:
        """The client starts on the running event loop."""
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """Nothing: the status cell closes the observers with its last report."""

    async def run(self) -> None:
        """Runs the tasks of the handlers until it is cancelled."""
        async with anyio.create_task_group() as group:
            self._group = group
            while True:
                for task in list(self._handlers.values()):
                    self._start(task)
                await self._registered.wait()

    def closed_by(self, task: asyncio.Task[Any] | None) -> None:
        """``task`` waits for the end of the client. If it is the task of a handler, the client does not wait for that."""
        if task is not None:
            self._closers.add(task)
            self._ended.send()

    async def finish(self, seconds: float) -> None:
        """Waits at most ``seconds`` until the handlers have seen all events."""
        running: list[HandlerTask[Any]] = []
        with anyio.move_on_after(seconds):
            while running := [each for each in self._handlers.values() if each.is_running and each.task not in self._closers]:
                await self._ended.wait()
        for task in running:
            self.log.warning("%s did not end in time when the client was closed; abandoning it", task.name)

    def ended(self, task: HandlerTask[Any]) -> None:
        """The task of a handler has ended. If the client can be started again, a handler that was not cancelled stays."""
        if task.is_cancelled or not self._restartable:
            self.remove_handler(task)
        self._ended.send()


class ClientIterator(ProcessBound, ABC, Generic[T]):
    """An async iterator over what a client reports, and a context manager that ends it. Iterate and close it on the client's event
    loop.

    It starts with the call that makes it: nothing is lost before the first ``anext``. It ends at :meth:`close`, or when the client
    closes, after the items before that. On another event loop than the client's ``anext`` raises :class:`LifecycleError`, because
    nothing would wake the reader.
    """

    def __init__(self, observers: Observers, check_loop: Callable[[], None]) -> None:
        self._observers = observers
        self._check_loop = check_loop
        self._waiting: deque[T] = deque()
        self._changed = Signal()
        self._finished = False
        observers.add(self)

    @abstractmethod
    def notify(self, step: Step) -> None:
        """Adds the items of a step to those that wait. Called by the client."""

    def _add(self, item: T) -> None:
        self._waiting.append(item)
        self._changed.send()

    def _take(self) -> T | None:
        """Removes and returns the oldest item that waits, if any."""
        return self._waiting.popleft() if self._waiting else None

    def finish(self) -> None:
        """Deregisters, and ends the iteration after the items that wait."""
        self._observers.remove(self)
        self._finished = True
        self._changed.send()

    def close(self) -> None:
        """Deregisters, and drops the items that were not read."""
        self._observers.remove(self)
        self._waiting.clear()
        self.finish()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{', ended' if self._finished else ''}, {len(self._waiting)} waiting>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while (item := self._take()) is None:
            if self._finished:
                raise StopAsyncIteration
            self._check_loop()
            await self._changed.wait()
        return item

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class HandlerTask(Generic[T]):
    """One handler, and the task that calls it: never twice at once, and in order. A slow handler delays no other.

    Coroutine functions run on the event loop, other functions in a thread, unless they are ``inline``.
    """

    def __init__(self, observers: Observers, handler: Handler[T], read: Callable[[str], AsyncIterator[T]], *, inline: bool) -> None:
        self._observers = observers
        self._handler = handler
        self._is_inline = inline or is_coroutine_function(handler)
        self._variables: VariableContext = copy_context()
        self._scope: anyio.CancelScope | None = None
        self._run_in_thread: Future[None] | None = None
        """Done when the newest run in a thread has ended. If the client is closed before that, it may end after the next start."""
        function = printable(getattr(handler, "__qualname__", None) or type(handler).__name__)
        self.name: str = f"the handler {function}"
        self._read = read
        self.reader: AsyncIterator[T] = read(self.name)
        """What the handler is called for."""
        self.task: asyncio.Task[Any] | None = None
        self.is_running: bool = False
        self.is_cancelled: bool = False

    def start(self, group: TaskGroup) -> None:
        """Starts the task, unless it runs. On the event loop."""
        if not self.is_running and not self.is_cancelled:
            self.is_running = True
            self._variables.run(group.start_soon, self._run)

    def reset(self) -> None:
        """The task does not run any more."""
        self.is_running, self.task, self._scope = False, None, None
        self._observers.remove(self.reader)
        self.reader = self._read(self.name)

    async def _run(self) -> None:
        self.task = asyncio.current_task()
        try:
            with anyio.CancelScope() as self._scope:
                # Checked before each wait: a handler that cancels itself, or is cancelled before its first step, ends here.
                while not self.is_cancelled and (item := await anext(self.reader, None)) is not None:
                    if not self.is_cancelled:
                        await self._call(item)
        except Exception:
            # The other handlers go on. A log that raises may be what failed.
            self._observers.remove_handler(self)
            with contextlib.suppress(Exception):
                self._observers.log.exception("%s ended after an internal error (please report)", self.name)
        finally:
            self.is_running = False
            self._observers.ended(self)

    async def _call(self, item: T) -> None:
        """One run of the handler. Its exceptions are logged."""
        try:
            with contain_cancellation():
                if self._is_inline:
                    result = self._handler(item)
                else:
                    result = await self._call_in_thread(item)
                if inspect.isawaitable(result):
                    await result
        except Exception:
            self._observers.log.exception("%s failed", self.name)

    async def _call_in_thread(self, item: T) -> object:
        if (earlier := self._run_in_thread) is not None and not earlier.done():
            await asyncio.wait({asyncio.wrap_future(earlier)})
        variables, ended = copy_context(), Future[None]()

        def run() -> object:
            try:
                return variables.run(self._handler, item)
            finally:
                ended.set_result(None)

        call = asyncio.get_running_loop().run_in_executor(_THREADS, run)
        self._run_in_thread = ended
        return await call

    def cancel(self) -> None:
        """No run starts after this call. A coroutine that runs is cancelled, unless it makes this call itself."""
        if self.is_cancelled:
            return
        self.is_cancelled = True
        self._observers.remove_handler(self)
        loop = None if self.task is None else self.task.get_loop()
        if loop is None or not self.is_running:
            return
        if loop is not running_loop():
            with contextlib.suppress(RuntimeError):  # the loop is closed, and with it the task
                loop.call_soon_threadsafe(self._cancel_task)
        else:
            self._cancel_task()

    def _cancel_task(self) -> None:
        if self._scope is not None and asyncio.current_task() is not self.task:
            self._scope.cancel()


class Subscription(ProcessBound):
    """A registered handler. :meth:`cancel` removes it, and so does the end of a ``with`` block."""

    def __init__(self, task: HandlerTask[Any]) -> None:
        self._task = task

    def cancel(self) -> None:
        """Removes the handler. From any thread, at any time, and as often as you like.

        On the client's event loop no run of the handler starts after this call. A coroutine that runs is cancelled; a plain
        function that runs in a thread ends by itself.
        """
        self._task.cancel()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._task.name}{', cancelled' if self._task.is_cancelled else ''}>"
