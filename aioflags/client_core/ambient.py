"""The ambient context: set around a block of code, used by every call in it that names no context."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Final

from aioflags.model.context import Context, required_context

__all__ = ["current_context", "use_context"]


class _Block:
    """A :func:`use_context` block. ``is_over``: it ended, and the code that entered it may still have it in its variable."""

    __slots__ = ("context", "is_over", "outer")

    def __init__(self, context: Context | None, outer: _Block | None) -> None:
        self.context = context
        self.outer = outer
        self.is_over = False


_OUTSIDE: Final = _Block(None, None)
_INNERMOST: Final[ContextVar[_Block]] = ContextVar("aioflags ambient context", default=_OUTSIDE)
_innermost: Final = _INNERMOST.get  # evaluations without a context call it: this saves the look-up of the attribute


@contextmanager
def use_context(context: Context) -> Generator[Context, None, None]:
    """Makes ``context`` the default of evaluations inside the block and in tasks started in it.

    Blocks nest. Tasks, and threads started by ``asyncio.to_thread``, do not affect each other. A task that outlives the block keeps
    its context. If another task or thread closes a generator with such a block, the block ends everywhere.

    Raises:
        ConfigTypeError: ``context`` is not a :class:`Context`.
    """
    outer = _INNERMOST.get()
    while outer.is_over and outer.outer is not None:  # otherwise a task that leaves many blocks to others would keep them all
        outer = outer.outer
    context = required_context(context)
    block = _Block(context, outer)
    token = _INNERMOST.set(block)
    try:
        yield context
    finally:
        # A block that ends where it began, after all inner ones, is not marked: tasks that outlive it keep its context.
        block.is_over = not _is_reset(block, token)


def current_context() -> Context | None:
    """The context of the innermost :func:`use_context` block, or ``None``."""
    block = _innermost()
    return _outer_context(block) if block.is_over else block.context


def _outer_context(block: _Block) -> Context | None:
    """The context of the innermost block around ``block`` that is not over."""
    while block.is_over and block.outer is not None:
        block = block.outer
    return block.context


def _is_reset(block: _Block, token: Token[_Block]) -> bool:
    """Set the variable to what it was before the block. ``False`` if it has another value, or was set in another context."""
    if _INNERMOST.get() is not block:
        return False
    try:
        _INNERMOST.reset(token)
    except ValueError:  # a generator that is closed by another task runs in a copy of the variables
        return False
    return True
