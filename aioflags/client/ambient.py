"""The ambient evaluation context: set around a piece of work, found by every call in it that names no context."""

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
    """Evaluations inside the block, and in tasks started in it, are made for ``context`` unless they name another.

    Blocks nest; each task and each thread started by ``asyncio.to_thread`` sees its own.

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
