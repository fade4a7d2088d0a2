"""Series: the hooks of one client, and how their stages are run around a call. Two ways: one that awaits, one that does not.

Source: ``client-surface.md`` 6.2 to 6.6.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

from aioflags.hooks import Data, EvaluationCall, Hook
from aioflags.logs import Once, printable
from aioflags.model.detail import EvaluationDetail

__all__ = ["Series"]

Detail: TypeAlias = EvaluationDetail[Any]

_NOTHING: Final[Data] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Stage:
    """A moment at which a hook wants to be called. ``waits``: it is a coroutine function."""

    hook: Hook
    name: str
    run: Callable[..., object]
    waits: bool

    @classmethod
    def of(cls, hook: Hook, name: str) -> _Stage | None:
        """The hook's own stage of that name; ``None`` where the hook has none of its own, so that nothing is called."""
        run = getattr(hook, name)
        if getattr(run, "__func__", None) is getattr(Hook, name):
            return None
        return cls(hook, name, run, inspect.iscoroutinefunction(run))


@dataclass(frozen=True, slots=True)
class _Stages:
    """Those of one hook."""

    before: _Stage | None
    after: _Stage | None


class Series:
    """The hooks of one client, in order. False while there are none, so that nobody pays for them.

    A call takes the list once: what is added meanwhile sees the next call.
    """

    def __init__(self, hooks: Iterable[Hook], logger: logging.Logger) -> None:
        self._hooks: tuple[_Stages, ...] = ()
        self._logger = logger
        self._once = Once()
        self.add(hooks)

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def add(self, hooks: Iterable[Hook]) -> None:
        """Behind those there are. Not from two threads at once."""
        self._hooks += tuple(_Stages(_Stage.of(hook, "before"), _Stage.of(hook, "after")) for hook in hooks)

    # -- around an evaluation

    def around(self, call: EvaluationCall, evaluate: Callable[[], Detail]) -> Detail:
        """An evaluation with the plain stages around it; those that would wait are passed over."""
        hooks = self._hooks
        passed = [self._run(stages.before, call, _NOTHING) for stages in hooks]
        detail = evaluate()
        for stages, data in zip(reversed(hooks), reversed(passed), strict=True):
            self._run(stages.after, call, data, detail)
        return detail

    async def around_awaited(self, call: EvaluationCall, evaluate: Callable[[], Awaitable[Detail]]) -> Detail:
        """An evaluation with all stages around it, one after the other, in the task that called."""
        hooks = self._hooks
        passed = [await self._run_awaited(stages.before, call, _NOTHING) for stages in hooks]
        detail = await evaluate()
        for stages, data in zip(reversed(hooks), reversed(passed), strict=True):
            await self._run_awaited(stages.after, call, data, detail)
        return detail

    def _run(self, stage: _Stage | None, call: EvaluationCall, data: Data, *more: object) -> Data:
        """What the stage makes of ``data``: the same, if it makes nothing of it, and no data, if it fails."""
        if stage is None:
            return data
        if stage.waits:
            self._passed_over(stage)
            return data
        try:
            returned = stage.run(call, data, *more)
            if isinstance(returned, Mapping):
                return cast("Data", returned)
            if inspect.isawaitable(returned):
                # Only calling it showed that it wants to wait. Closed, lest it be reported as never awaited.
                if inspect.iscoroutine(returned):
                    returned.close()
                self._passed_over(stage)
        except Exception as error:  # noqa: BLE001 -- whatever a hook does, the caller gets an answer
            return self._failed(stage, call, error)
        return data

    async def _run_awaited(self, stage: _Stage | None, call: EvaluationCall, data: Data, *more: object) -> Data:
        """The same, but a stage that waits is waited for. A cancellation is passed on."""
        if stage is None:
            return data
        try:
            returned = stage.run(call, data, *more)
            if inspect.isawaitable(returned):
                returned = await returned
        except Exception as error:  # noqa: BLE001 -- whatever a hook does, the caller gets an answer
            return self._failed(stage, call, error)
        return cast("Data", returned) if isinstance(returned, Mapping) else data

    # -- what the log hears

    def _failed(self, stage: _Stage, call: EvaluationCall, error: Exception) -> Data:
        """Once a hook, stage and flag: the next evaluation would fail in the same way."""
        if self._once((id(stage), call.key)):
            shown = printable(stage.hook.name), stage.name, printable(call.key)
            self._logger.error("hook %s: %s failed for %s", *shown, exc_info=error)
        return _NOTHING

    def _passed_over(self, stage: _Stage) -> None:
        if self._once(id(stage.hook)):
            shown = printable(stage.hook.name)
            self._logger.warning("hook %s: calls that never wait (variation_nowait, Flags) leave out its stages that wait", shown)
