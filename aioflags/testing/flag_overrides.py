"""Overrides: a flag has a value because the test says so, on every client of the process and at every door.

:func:`overrides` holds for a task, :class:`FlagOverrides` (the fixture ``flag_overrides``) everywhere. The reason of such a value
is ``OVERRIDE``; a flag that has an overridden one as a prerequisite goes by the data.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, cast

from aioflags.client.overrides import OVERRIDES
from aioflags.errors import ConfigTypeError, LifecycleError
from aioflags.model.values import type_name
from aioflags.protocol.documents.document import plain_json

__all__ = ["FlagOverrides", "OverrideScope", "checked", "overrides"]


def overrides(values: Mapping[str, object] | None = None, /, **more: object) -> OverrideScope:
    """A block in which flags have these values, in the task that is running and in those it starts.

    ``with overrides({"new-checkout": True}):`` holds on every client and at every door. Other tasks see nothing of it. Threads
    see it if they were given the task's context, as ``asyncio.to_thread`` does. Blocks nest; the inner one wins. Keys that are
    names may be keywords: ``overrides(theme="dark")``.

    Raises:
        ConfigError: a value is no JSON value.
    """
    return OverrideScope(checked(values, more))


class OverrideScope:
    """What :func:`overrides` gives: a block in which values hold. It is no decorator, since it could not hold for a coroutine."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._block: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        if self._block is not None:
            raise LifecycleError("overrides: this block is entered already; make another by another call")
        self._block = OVERRIDES.in_task(self._values)
        self._block.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        block, self._block = self._block, None
        if block is not None:
            block.__exit__(kind, error, trace)


class FlagOverrides(MutableMapping[str, Any]):
    """A mapping of flag keys to the values they have, on every client of the process, as long as the test runs.

    ``flag_overrides["new-checkout"] = True`` counts at once; ``del`` lets the data speak again. Called, it gives a block:
    ``with flag_overrides(theme="dark"):``. Tests that run at the same time in one process share it; they want :func:`overrides`.
    """

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def __call__(self, values: Mapping[str, object] | None = None, /, **more: object) -> AbstractContextManager[None]:
        """A block in which these values hold besides. Raises :class:`ConfigError` for what is no JSON value."""
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
        """Inside the block the mapping counts. The fixture's affair."""
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
    """A copy of the values. Raises :class:`ConfigError` for what is no mapping, or no JSON value."""
    if not isinstance(cast("Any", values), Mapping | None):
        raise ConfigTypeError(f"expected a mapping of flag keys to values, or keywords, got {type_name(values)}")
    found = plain_json({**(values or {}), **more})
    assert isinstance(found, dict)  # noqa: S101 -- what plain_json makes of a mapping
    return found
