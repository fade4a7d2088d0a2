"""Marks public functions that will be removed: they warn at each call, with their successor and the version of their end.

The policy is in ``CONTRIBUTING.md``. ``tests/package/test_surface.py`` fails once a marked name should have been removed.
"""

from __future__ import annotations

import functools
import inspect
import re
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

_MARK: Final = "__aioflags_deprecation__"
_VERSION: Final = re.compile(r"(?P<major>\d{1,6})\.(?P<minor>\d{1,6})(\.(?P<patch>\d{1,6}))?((a|b|rc|\.dev)\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprecation:
    """Since when a name is deprecated, what to use instead, and the version that no longer has it.

    Raises:
        ValueError: a version is not of the form ``1.4`` or ``1.4.2``, or the end is not after the beginning.
    """

    name: str
    since: str
    instead: str
    removed_in: str

    def __post_init__(self) -> None:
        """Refuse an end that users could not prepare for."""
        if release(self.removed_in)[:2] <= release(self.since)[:2]:
            msg = f"{self.name}: removed_in={self.removed_in!r} has to be a later minor or major version than {self.since}"
            raise ValueError(msg)

    @property
    def message(self) -> str:
        """The text of the warning."""
        return f"{self.name} is deprecated since aioflags {self.since} and removed in {self.removed_in}: use {self.instead}"

    def is_due(self, version: str) -> bool:
        """Whether ``version`` of aioflags should no longer have the name."""
        return release(version) >= release(self.removed_in)

    def warn(self, *, stacklevel: int = 2) -> None:
        """Warn the caller of the function that calls this. With ``stacklevel`` as in :func:`warnings.warn`, from there."""
        warnings.warn(self.message, DeprecationWarning, stacklevel=stacklevel + 1)


def deprecated_since(since: str, *, instead: str, removed_in: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Deprecate a function or a method: ``@deprecated_since("1.4", instead="Client.flags", removed_in="2.0")``.

    It works as before, and warns with a ``DeprecationWarning`` at each call; a coroutine function warns where it is awaited.
    For an argument, an option or a class, call :meth:`Deprecation.warn` where it is used.

    Raises:
        ValueError: see :class:`Deprecation`.
        TypeError: it decorates something else, such as a class, a ``classmethod`` or a ``property``: decorate the function in it.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        if not inspect.isfunction(function):
            msg = f"deprecated_since: expected a function, got {type(function).__name__}"
            raise TypeError(msg)
        deprecation = Deprecation(name=function.__qualname__, since=since, instead=instead, removed_in=removed_in)
        wrapper = (
            _warning_coroutine(function, deprecation) if inspect.iscoroutinefunction(function) else _warning(function, deprecation)
        )
        setattr(wrapper, _MARK, deprecation)
        return cast("Callable[P, T]", wrapper)

    return decorate


def deprecation_of(thing: object) -> Deprecation | None:
    """The mark of a function that :func:`deprecated_since` decorated, also inside a property or a class method."""
    if isinstance(thing, property):
        thing = thing.fget
    found = getattr(getattr(thing, "__func__", thing), _MARK, None)
    return found if isinstance(found, Deprecation) else None


def release(version: str) -> tuple[int, int, int]:
    """``1.4.2rc1`` as ``(1, 4, 2)``, to compare."""
    match = _VERSION.fullmatch(version)
    if match is None:
        msg = f"expected a version like 1.4 or 1.4.2, got {version!r}"
        raise ValueError(msg)
    return int(match["major"]), int(match["minor"]), int(match["patch"] or 0)


def _warning(function: Callable[..., Any], deprecation: Deprecation) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        deprecation.warn()
        return function(*args, **kwargs)

    return call


def _warning_coroutine(function: Callable[..., Awaitable[Any]], deprecation: Deprecation) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        deprecation.warn()
        return await function(*args, **kwargs)

    return call
