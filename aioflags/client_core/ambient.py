"""The ambient context: set around a block of code, used by every call in it that names no context."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from aioflags.model.context import Context
from aioflags.runtime.validation import require

__all__ = ["current_context", "use_context"]

_AMBIENT: Final[ContextVar[Context | None]] = ContextVar("aioflags ambient context", default=None)


@contextmanager
def use_context(context: Context) -> Generator[Context, None, None]:
    """Makes ``context`` the default of evaluations inside the block and in tasks started in it.

    Blocks nest. Tasks, and threads started by ``asyncio.to_thread``, do not affect each other.

    Raises:
        ConfigTypeError: ``context`` is not a :class:`Context`.
    """
    token = _AMBIENT.set(require("context", context, Context))
    try:
        yield context
    finally:
        _AMBIENT.reset(token)


def current_context() -> Context | None:
    """The context of the innermost :func:`use_context` block, or ``None``."""
    return _AMBIENT.get()
