"""Overrides: values that a test sets for flags, on every client of the process and for every evaluation method.

:func:`overrides` is limited to a task; :class:`FlagOverrides` (the fixture ``flag_overrides``) is not. The reason of an overridden
value is ``OVERRIDE``. A flag with an overridden prerequisite is evaluated with the data of the prerequisite.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, cast

from aioflags.client_core.overrides import OVERRIDES
from aioflags.errors import ConfigTypeError, LifecycleError
from aioflags.model.values import type_name
from aioflags.protocol.documents.document import plain_json
from aioflags.runtime.process_bound import ProcessBound

__all__ = ["FlagOverrides", "OverrideScope", "checked", "overrides"]


def overrides(values: Mapping[str, object] | None = None, /, **more: object) -> OverrideScope:
    """A block in which flags have these values, in the current task and the tasks that it starts.

    ``with overrides({"new-checkout": True}):`` applies to every client and every evaluation method. Other tasks are not affected.
    A thread is affected if it runs with the context of the task, as in ``asyncio.to_thread``. Blocks nest; the inner one wins.
    Keys that are Python names can be keywords: ``overrides(theme="dark")``.

    Raises:
        ConfigError: a value is not a JSON value.
    """
    return OverrideScope(checked(values, more))


class OverrideScope:
    """The block of :func:`overrides`. It cannot be a decorator, because it would not cover the run of a coroutine."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._block: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        if self._block is not None:
            raise LifecycleError("overrides: this block is already entered; call overrides() again for another block")
        self._block = OVERRIDES.in_task(self._values)
        self._block.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        block, self._block = self._block, None
        if block is not None:
            block.__exit__(kind, error, trace)


class FlagOverrides(ProcessBound, MutableMapping[str, Any]):
    """A mapping of flag keys to their values, on every client of the process, until the test ends.

    ``flag_overrides["new-checkout"] = True`` has immediate effect; ``del`` removes the override. Call it for a block:
    ``with flag_overrides(theme="dark"):``. Tests that run concurrently in one process share it; use :func:`overrides` there.
    """

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def __call__(self, values: Mapping[str, object] | None = None, /, **more: object) -> AbstractContextManager[None]:
        """A block with additional values. Raises :class:`ConfigError` if one is not a JSON value."""
        return self._block(checked(values, more))

    @contextmanager
    def _block(self, values: Mapping[str, Any]) -> Generator[None, None, None]:
        before = dict(self._values)
        self._values.update(values)
        try:
            yield
        finally:
            for key in values:
                self._values.pop(key, None)
            self._values.update({key: before[key] for key in values if key in before})

    @contextmanager
    def in_force(self) -> Generator[FlagOverrides, None, None]:
        """A block in which the mapping applies. Used by the fixture."""
        with OVERRIDES.everywhere(self._values):
            yield self

    def __setitem__(self, key: str, value: object) -> None:
        self._values.update(checked({key: value}, {}))

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<FlagOverrides {self._values!r}>"


def checked(values: Mapping[str, object] | None, more: Mapping[str, object]) -> dict[str, Any]:
    """A copy of the values. Raises :class:`ConfigError` if ``values`` is not a mapping, or a value is not a JSON value."""
    if not isinstance(cast("Any", values), Mapping | None):
        raise ConfigTypeError(f"expected a mapping of flag keys to values, or keywords, got {type_name(values)}")
    copy = plain_json({**(values or {}), **more})
    assert isinstance(copy, dict)  # noqa: S101 -- plain_json returns a dict for a mapping
    return copy
