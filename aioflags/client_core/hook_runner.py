"""HookRunner: runs the stages of one client's hooks around a call: once for calls that can wait, once for calls that cannot.

Source: ``client-surface.md`` 6.2 to 6.6.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar, cast

import anyio
import msgspec

from aioflags.hooks import Data, EvaluationCall, Hook, IdentifyCall, TrackCall
from aioflags.model.defaults import GUEST_LIMIT
from aioflags.model.detail import EvaluationDetail
from aioflags.model.status import IdentifyResult
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.event_loops import contain_cancellation
from aioflags.runtime.fork import reset_after_fork
from aioflags.runtime.logs import Once, printable
from aioflags.runtime.suggest import nearest, suggestion

# -- DeferredHooks: hook callbacks that run after the call that caused them, in a task of the client.
# Source: ``client-surface.md`` 6.6.


_MAX_WAITING: Final = 1000


class DeferredHooks:
    """Runs hook callbacks one after the other in one task of the client: a ``Background`` of its life cycle.

    At most 1000 wait; further ones are dropped, with one warning until the queue is empty again. Callbacks must not raise.
    ``is_open`` from the start of the client to its close.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._once = Once()
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """After a fork, in the child: the parent runs the callbacks that wait."""
        self._waiting: deque[Callable[[], Awaitable[None]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_open: bool = False
        self._is_busy = False
        self._added = Signal()
        self._idle = Signal()

    def offer(self, callback: Callable[[], Awaitable[None]]) -> bool:
        """Adds a callback; any thread may call this. Returns whether it was accepted. A close that runs out of time drops it."""
        if not self.is_open or self._loop is None:
            return False
        if len(self._waiting) >= _MAX_WAITING:
            if self._once("full"):
                self._logger.warning("%d hook callbacks are pending; dropping new ones", _MAX_WAITING)
            return False
        self._waiting.append(callback)
        try:
            self._loop.call_soon_threadsafe(self._added.send)
        except RuntimeError:  # the loop is closed
            return False
        return True

    # -- life cycle

    def open(self) -> None:
        """Accepts callbacks, to run them on the running event loop. Those that an earlier close dropped do not run."""
        self.after_fork()
        self._loop, self.is_open = asyncio.get_running_loop(), True

    def stop(self) -> None:
        """Accepts no more callbacks."""
        self.is_open = False

    async def run(self) -> None:
        """Runs callbacks until it is cancelled."""
        while True:
            while self._waiting:
                self._is_busy = True
                await self._waiting.popleft()()
            self._is_busy = False
            self._once.forget("full")
            self._idle.send()
            await self._added.wait()

    async def finish(self, seconds: float) -> None:
        """Runs the callbacks that are left within ``seconds``, and abandons the rest, with a warning."""
        with anyio.move_on_after(seconds):
            while self._waiting or self._is_busy:
                await self._idle.wait()
        if left := len(self._waiting) + self._is_busy:
            self._logger.warning("closed with %d hook callbacks pending", left)


T = TypeVar("T")

AfterIdentify: TypeAlias = Callable[[IdentifyResult], Awaitable[None]]
"""Runs the stages after a change of the context."""


_RUNNING: Final[ContextVar[frozenset[int]]] = ContextVar("aioflags_running_hooks", default=frozenset())
"""The hooks, by ``id``, of which a stage is running. Otherwise a hook that evaluates flags would be run for that without an end."""


class _Stage(msgspec.Struct, frozen=True):
    """A stage that a hook overrides. ``waits``: it is a coroutine function."""

    hook: Hook
    name: str
    run: Callable[..., object]
    waits: bool

    def begin(self) -> frozenset[int] | None:
        """Note that the stage runs. Returns the value of :data:`_RUNNING` for afterwards; ``None`` if the stage must not run."""
        before = _RUNNING.get()
        hook = id(self.hook)
        if hook in before:
            return None
        _RUNNING.set(before | {hook})
        return before


_STAGES: Final = (
    "before_evaluation",
    "after_evaluation",
    "evaluation_cancelled",
    "after_track",
    "before_identify",
    "after_identify",
)
_Stages: TypeAlias = Mapping[str, _Stage]
"""The stages of one hook that it overrides, by name."""


def _stages_of(hook: Hook) -> _Stages:
    overridden: dict[str, _Stage] = {}
    for name in _STAGES:
        run = getattr(hook, name)
        if getattr(run, "__func__", None) is not getattr(Hook, name):
            overridden[name] = _Stage(hook, name, run, inspect.iscoroutinefunction(run))
    return overridden


class HookRunner:
    """The hooks of one client, in order. False if there are none.

    A call reads the list once: a hook that is added during the call runs around the next call.
    """

    def __init__(self, hooks: Iterable[Hook], logger: logging.Logger) -> None:
        self.deferred: DeferredHooks = DeferredHooks(logger)
        """Runs the stages after an event that are coroutine functions."""
        self._hooks: tuple[_Stages, ...] = ()
        self._logger = logger
        self._once = Once()
        self._once_a_key = Once()
        """Separate, so that many failing flag keys do not use up the limit of messages about hooks."""
        self.add(hooks)

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def add(self, hooks: Iterable[Hook]) -> None:
        """Adds hooks after the present ones. The caller prevents concurrent calls."""
        added = [(hook, _stages_of(hook)) for hook in hooks]
        self._hooks += tuple(stages for _, stages in added)
        for hook, stages in added:
            self._check(hook, stages)

    def _check(self, hook: Hook, stages: _Stages) -> None:
        """Warn, once per class, about a hook that overrides no stage: it would never be called."""
        if stages or not self._once((type(hook), "stages")):
            return
        names = ", ".join(_misspelt_stages(type(hook)))
        guess = f"; {suggestion(names, str)}" if names else ""
        self._logger.warning(
            "hook %s overrides no stage and is never called (stages: %s)%s", _name(hook), ", ".join(_STAGES), guess
        )

    # -- around an evaluation

    def around(self, call: EvaluationCall, evaluate: Callable[[], EvaluationDetail[T]]) -> EvaluationDetail[T]:
        """Runs an evaluation with the plain stages around it. Stages that are coroutine functions are skipped."""
        started: list[tuple[_Stages, Data]] = []
        try:
            for stages in self._hooks:
                started.append((stages, self._run(stages.get("before_evaluation"), call, {})))  # noqa: PERF401 -- each is needed if the next raises
            detail = evaluate()
            while started:
                stages, data = started.pop()
                self._run(stages.get("after_evaluation"), call, data, detail)
        except BaseException:
            self._cancelled(call, started)
            raise
        return detail

    async def around_awaited(
        self, call: EvaluationCall, evaluate: Callable[[], Awaitable[EvaluationDetail[T]]]
    ) -> EvaluationDetail[T]:
        """Runs an evaluation with all stages around it, one after the other, in the calling task."""
        started: list[tuple[_Stages, Data]] = []
        try:
            for stages in self._hooks:
                started.append((stages, await self._run_awaited(stages.get("before_evaluation"), call, {})))  # noqa: PERF401 -- each is needed if the next raises
            detail = await evaluate()
            while started:
                stages, data = started.pop()
                await self._run_awaited(stages.get("after_evaluation"), call, data, detail)
        except BaseException:
            self._cancelled(call, started)
            raise
        return detail

    def _cancelled(self, call: EvaluationCall, started: Sequence[tuple[_Stages, Data]]) -> None:
        """The evaluation ended without a result. Call ``evaluation_cancelled`` of each hook in ``started``, the last one first.

        A hook in whose stage the task was cancelled is not in ``started``: it can catch the cancellation itself.
        """
        for stages, data in reversed(started):
            stage = stages.get("evaluation_cancelled")
            if stage is None or not stage.waits:
                self._run(stage, call, data)
            elif self._once(id(stage)):
                self._logger.warning("hook %s: evaluation_cancelled must be a plain function; it is skipped", _name(stage.hook))

    def _run(self, stage: _Stage | None, call: EvaluationCall, data: Data, *more: object) -> Data:
        """Run a plain stage. Returns its data, ``data`` itself if it returns no mapping, or an empty dictionary if it fails."""
        if stage is None:
            return data
        if stage.waits:
            self._skipped(stage)
            return data
        if (before := stage.begin()) is None:
            return data
        try:
            returned = stage.run(call, data, *more)
            if returned is not data and inspect.isawaitable(returned):
                # A plain function that returns an awaitable.
                _close(returned)
                self._skipped(stage)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 -- the program's own code; the caller gets a result anyway
            # This call never waits, so its task cannot be cancelled here: the stage read the result of a cancelled future.
            self._failed(stage, call.key, error)
            return {}
        finally:
            _RUNNING.set(before)
        return _data_for_next_stage(returned, data)

    async def _run_awaited(self, stage: _Stage | None, call: EvaluationCall | IdentifyCall, data: Data, *more: object) -> Data:
        """Runs any stage, as :meth:`_run` does, and awaits it. A cancellation of the calling task is passed on."""
        if stage is None or (before := stage.begin()) is None:
            return data
        try:
            with contain_cancellation():
                returned = stage.run(call, data, *more)
                if stage.waits or (returned is not data and inspect.isawaitable(returned)):
                    returned = await cast("Awaitable[object]", returned)
        except Exception as error:  # noqa: BLE001 -- the program's own code; the caller gets a result anyway
            self._failed(stage, call.key if isinstance(call, EvaluationCall) else "a context", error)
            return {}
        finally:
            _RUNNING.set(before)
        return _data_for_next_stage(returned, data)

    # -- around a change of the context

    async def before_identify(self, call: IdentifyCall) -> AfterIdentify:
        """Runs all stages before a change of the context. Call what it returns when the result is known."""
        started = [(stages, await self._run_limited(stages.get("before_identify"), call, {})) for stages in self._hooks]

        async def after(result: IdentifyResult) -> None:
            for stages, data in reversed(started):
                await self._run_limited(stages.get("after_identify"), call, data, result)

        return after

    async def _run_limited(self, stage: _Stage | None, call: IdentifyCall, data: Data, *more: object) -> Data:
        """Runs a stage, as :meth:`_run_awaited` does, for at most 5 seconds: the next context waits for it."""
        if stage is None:
            return data
        with anyio.move_on_after(GUEST_LIMIT):
            return await self._run_awaited(stage, call, data, *more)
        self._overdue(stage)
        return {}

    # -- after an event

    def tracked(self, call: TrackCall) -> None:
        """Runs the plain stages now, and defers the others in the same order."""
        if not self.deferred.is_open:
            return
        for stages in self._hooks:
            stage = stages.get("after_track")
            if stage is None or (before := stage.begin()) is None:
                continue
            try:
                if stage.waits:
                    self.deferred.offer(partial(self._run_deferred, stage, call))
                    continue
                returned = stage.run(call)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 -- the program's own code; the caller gets a result anyway
                self._failed(stage, call.key, error)
                continue
            finally:
                _RUNNING.set(before)
            if inspect.isawaitable(returned) and not self.deferred.offer(partial(self._run_deferred, stage, call, returned)):
                _close(returned)

    async def _run_deferred(self, stage: _Stage, call: TrackCall, awaitable: object = None) -> None:
        """Runs a stage, or awaits what it returned, for at most 5 seconds: other stages wait for it."""
        before = stage.begin()
        try:
            with contain_cancellation(), anyio.move_on_after(GUEST_LIMIT) as limit:
                await cast("Awaitable[object]", stage.run(call) if awaitable is None else awaitable)
        except Exception as error:  # noqa: BLE001 -- the program's own code; the caller gets a result anyway
            self._failed(stage, call.key, error)
        else:
            if limit.cancelled_caught:
                self._overdue(stage)
        finally:
            _RUNNING.set(before or frozenset())

    # -- logging

    def _failed(self, stage: _Stage, key: str, error: BaseException) -> None:
        """Logs a failure once for each hook, stage, and flag or event."""
        if self._once_a_key((id(stage), key)):
            self._logger.error("hook %s: %s failed for %s", _name(stage.hook), stage.name, printable(key), exc_info=error)

    def _overdue(self, stage: _Stage) -> None:
        """Logs once that a stage took too long."""
        if self._once((id(stage), "late")):
            self._logger.error("hook %s: %s took longer than %g s, and was cancelled", _name(stage.hook), stage.name, GUEST_LIMIT)

    def _skipped(self, stage: _Stage) -> None:
        """Logs, once a hook, that calls that never wait skip its coroutine functions."""
        if self._once(id(stage.hook)):
            self._logger.warning(
                "hook %s: calls that never wait (variation_nowait, Flags) skip its coroutine functions", _name(stage.hook)
            )


def _name(hook: Hook) -> str:
    """The hook's name for the log; the name of its class if ``metadata`` raises or has no name."""
    try:
        return printable(hook.metadata.name)
    except Exception:  # noqa: BLE001 -- ``metadata`` is the program's own code
        return printable(type(hook).__name__)


def _misspelt_stages(kind: type[Hook]) -> Iterator[str]:
    """The stages that public methods of a hook's class resemble by name."""
    for name in dir(kind):
        if name.startswith("_") or hasattr(Hook, name) or not callable(inspect.getattr_static(kind, name, None)):
            continue
        if (stage := nearest(name, _STAGES)) is not None:
            yield stage


def _close(returned: object) -> None:
    """Close a coroutine that will not be awaited, so that Python does not warn about it."""
    if inspect.iscoroutine(returned):
        returned.close()


def _data_for_next_stage(returned: object, data: Data) -> Data:
    """The data for the next stage: what a stage returned, or ``data`` if that is not a mapping."""
    if returned is data or not isinstance(returned, Mapping):
        return data
    return cast("Data", returned) if isinstance(returned, dict) else dict(cast("Mapping[str, Any]", returned))
