"""EarlyEvents: calls of ``track`` before the context of a client has its key and attributes.

They are recorded when the context is active: before that, events would be those of a context that the service does not know.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aioflags.model.context import Context
from aioflags.model.values import fresh
from aioflags.runtime.fork import Lock, reset_after_fork
from aioflags.runtime.logs import Once

__all__ = ["EarlyEvents", "RecordTracked"]

_LIMIT: Final = 100


class RecordTracked(Protocol):
    """Records a call of ``track``."""

    def __call__(self, name: str, context: Context, data: Any, metric_value: float | None, /) -> object: ...


@dataclass(frozen=True, slots=True)
class _Call:
    given: Context
    name: str
    data: Any
    metric_value: float | None


class EarlyEvents:
    """The calls of one environment before its first context is active, at most 100. ``record`` gets them when it is."""

    def __init__(self, record: RecordTracked, is_complete: Callable[[Context], bool], logger: logging.Logger) -> None:
        self._record = record
        self._is_complete = is_complete
        self._logger = logger
        self._once = Once()
        self._lock = Lock()
        self._calls: list[_Call] = []
        self._is_active = False
        """Whether a context was active."""
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: the parent records the calls."""
        self._calls = []

    def add(self, given: Context, name: str, data: Any, metric_value: float | None) -> bool:
        """Keep a call until the context ``given`` is active. From any thread.

        Returns:
            ``False`` if the caller can record it now: the context lacks nothing, or one is active.
        """
        if self._is_complete(given):
            return False
        call = _Call(given, name, _copy(data), metric_value)
        with self._lock:
            if self._is_active:
                return False
            has_room = len(self._calls) < _LIMIT
            if has_room:
                self._calls.append(call)
        if not has_room and self._once("full"):
            self._logger.warning("track: dropped, more than %d calls before the context is active", _LIMIT)
        return True

    def activated(self, given: Context, context: Context) -> None:
        """Record what waits for the context ``given``, which is active now as ``context``. Drop what waits for another one."""
        with self._lock:
            self._is_active = True
            calls, self._calls = self._calls, []
        for call in calls:
            if call.given is given:
                self._record(call.name, context, call.data, call.metric_value)
        self._log_dropped([call for call in calls if call.given is not given])

    def closed(self) -> None:
        """Drop what waits: the client closes."""
        with self._lock:
            calls, self._calls = self._calls, []
        self._log_dropped(calls)

    def _log_dropped(self, calls: list[_Call]) -> None:
        if calls:
            self._logger.warning("track: %d calls dropped, because their context was never active", len(calls))


def _copy(data: Any) -> Any:
    try:
        return fresh(data)
    except Exception:  # noqa: BLE001 -- objects of the program raise anything; what is not JSON is left out when it is recorded
        return data
