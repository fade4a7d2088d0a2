"""OverrideRegistry: the flags that tests override, and the observers of evaluations and events that tests register.

While the registry is empty, evaluations take the fast path and never read it. The first entry disables the fast path of all
clients of the process; the removal of the last one enables it again.

Source: ``architecture.md`` 5.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias
from weakref import WeakKeyDictionary

from aioflags.model.context import Context
from aioflags.model.detail import EvaluationDetail
from aioflags.runtime.fork import Lock


@dataclass(frozen=True, slots=True)
class Observation:
    """One evaluation: the flag, the context and the default of the call, and its result.

    ``flags`` and ``overrides`` are those that existed at that moment, by key.
    """

    key: str
    context: Context | None
    default: Any
    detail: EvaluationDetail[Any]
    flags: Mapping[str, object] = field(repr=False)
    overrides: Mapping[str, Any] = field(repr=False)


Observer: TypeAlias = Callable[[Observation], None]
"""Called for every evaluation of one flag, on the thread of the call; must not raise."""


@dataclass(frozen=True, slots=True)
class ObservedEvent:
    """One call of ``track`` or ``identify``. ``key`` is the name of a tracked event, otherwise empty."""

    kind: Literal["track", "identify"]
    key: str
    context: Context
    data: Any = None
    metric_value: float | None = None


EventObserver: TypeAlias = Callable[[ObservedEvent], None]
"""Called for every tracked event and every identified context, on the thread of the call; must not raise."""


class OverrideRegistry:
    """The overrides and observers of one process. Overrides apply everywhere, or, by a context variable, in one task."""

    def __init__(self) -> None:
        self.observers: tuple[Observer, ...] = ()
        self.event_observers: tuple[EventObserver, ...] = ()
        self._global: tuple[dict[str, Any], ...] = ()
        self._in_task: ContextVar[tuple[dict[str, Any], ...]] = ContextVar("aioflags overrides", default=())
        self._clients: WeakKeyDictionary[object, Callable[..., object]] = WeakKeyDictionary()
        self._lock = Lock()
        self._count = 0

    def watch(self, client: object, update: Callable[..., object]) -> None:
        """Calls ``update(client, overridden=…)`` now and at each change, as long as the client lives, in the order of the calls."""
        with self._lock:
            self._clients[client] = update
            update(client, overridden=self._count > 0)

    def overrides(self) -> dict[str, Any]:
        """The values that apply in this task now, by flag key. Those of a task outrank global ones, inner blocks outer ones."""
        values: dict[str, Any] = {}
        for layer in (*self._global, *self._in_task.get()):
            values.update(layer)  # in one step: another thread may change the layer at the same time
        return values

    @contextmanager
    def everywhere(self, layer: dict[str, Any]) -> Generator[None, None, None]:
        """Inside the block ``layer`` applies to all clients, in all tasks and threads. It may change inside the block."""
        with self._active():
            with self._lock:
                self._global = (*self._global, layer)
            try:
                yield
            finally:
                with self._lock:
                    self._global = tuple(other for other in self._global if other is not layer)

    @contextmanager
    def in_task(self, values: Mapping[str, Any]) -> Generator[None, None, None]:
        """Inside the block ``values`` apply to all clients, in this task and in tasks started from it."""
        layer = dict(values)
        with self._active():
            self._in_task.set((*self._in_task.get(), layer))
            try:
                yield
            finally:
                # No token: a fixture may be left in another context than it was entered in.
                self._in_task.set(tuple(other for other in self._in_task.get() if other is not layer))
                # Tasks that outlive the block still refer to it.
                layer.clear()

    @contextmanager
    def observed(self, observer: Observer) -> Generator[None, None, None]:
        """Inside the block ``observer`` is called for every evaluation of the process."""
        with self._active():
            with self._lock:
                self.observers = (*self.observers, observer)
            try:
                yield
            finally:
                with self._lock:
                    self.observers = tuple(other for other in self.observers if other is not observer)

    @contextmanager
    def events_observed(self, observer: EventObserver) -> Generator[None, None, None]:
        """Inside the block ``observer`` is called for every event of the process. Evaluations stay on the fast path."""
        with self._lock:
            self.event_observers = (*self.event_observers, observer)
        try:
            yield
        finally:
            with self._lock:
                self.event_observers = tuple(other for other in self.event_observers if other is not observer)

    @contextmanager
    def _active(self) -> Generator[None, None, None]:
        self._changed(1)
        try:
            yield
        finally:
            self._changed(-1)

    def _changed(self, by: int) -> None:
        with self._lock:
            self._count += by
            if self._count == (1 if by > 0 else 0):
                for client, update in tuple(self._clients.items()):
                    update(client, overridden=by > 0)


OVERRIDES: Final = OverrideRegistry()
