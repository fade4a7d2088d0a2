"""The fast path of an evaluation, and the ambient context. ``answers.py`` decides whether the path may be taken.

Most evaluations look a flag up, call it and count the answer. ``variation`` and ``variation_nowait`` of ``Client``,
``Flags.variation`` and ``MobileClient.variation`` do that inline, each with the same lines, since a call from one of them to
another would add a fifth to the time. What the fast path cannot do makes it raise, or fall through, to the slow path below it,
which handles every case.

``docs/explanation/performance.md`` has the targets. Measure T1, T1a and T9 before and after a change.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final, cast

from aioflags.client_core.typed import decoder_of, own_default, required_context
from aioflags.model.context import Context

if TYPE_CHECKING:
    from aioflags.evaluation.snapshot import Snapshot
    from aioflags.model.detail import EvaluationDetail

# -- The ambient context: set around a block of code, used by every call in it that names no context.


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


# -- Parts of the fast path that the methods call.


ambient: Final = cast("Callable[[], Context]", current_context)
"""The ambient context, for code whose types leave out that there may be none: it raises then, and the slow path follows."""


def plain_default(key: object, default: Any) -> Any:
    """The default of a call, by default the one of the typed flag.

    Raises:
        LookupError: the flag decodes its values. The values of the fast path are JSON, and one may have the type of the default.
    """
    if decoder_of(key) is not None:
        raise LookupError
    return own_default(key) if default is None else default


def fast_detail(snapshot: Snapshot, key: str, context: Any, default: object) -> EvaluationDetail[Any] | None:
    """The fast path of a method that returns a detail: the detail that the flag's answer has. ``None``: take the slow path.

    Call it only where evaluations are not reported: events need the reason, which the fast path does not count.
    """
    try:
        if key.__class__ is str or decoder_of(key) is None:
            answer = snapshot.direct_flags[key](context, snapshot.scope)
            # `by_type` has the answer's own value only if it needs no conversion and no copy.
            if answer.by_type[default.__class__] is answer.value and context.error is None:
                return answer.detail
    except Exception:  # noqa: BLE001, S110 -- the slow path meets the cause again, and handles it
        pass
    return None
