"""The fast path of an evaluation, and the ambient context. ``answers.py`` decides whether the path may be taken.

Most evaluations look a flag up, call it and count the answer. ``Client.variation``, ``Client.variation_nowait`` and
``Flags.variation`` do that inline, since a call from one of them to another would add a fifth to the time. The code stands
once, in ``_TEMPLATE``: :func:`with_fast_path` compiles it into each of these methods, in front of the slow path that the
method itself contains. ``MobileClient.variation`` has a shorter one, of :func:`with_constant_path`, since the answer of a flag
is a constant of its data. Their methods that return details have a simpler one, of :func:`with_fast_detail`.

``docs/explanation/performance.md`` has the targets. Measure T1, T1a and T9 before and after a change to the template.
"""

from __future__ import annotations

import functools
import inspect
import linecache
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Final

import msgspec

from aioflags.client_core.typed import decoder_of, own_default
from aioflags.model.context import Context, required_context

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


class Bindings(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between classes with a fast path: expressions, and two statements that load what several expressions need.

    ``parameters`` and ``arguments`` are the slow path's; ``target`` is what
    :func:`aioflags.client_core.answers.report_target` returned; ``expected`` is the type of the value.
    """

    parameters: str
    arguments: str
    load_context: str = ""
    load_snapshot: str = ""
    context: str
    snapshot: str
    answer: str
    is_valid: str
    target: str
    expected: str = "default.__class__"


CLIENT: Final = Bindings(
    parameters="key, context=None, default=None",
    arguments="key, context, default",
    load_context="if context is None: context = current_context()",
    load_snapshot="snapshot = self._holder.snapshot",
    context="context",
    snapshot="snapshot",
    answer="snapshot.direct_flags[key](context, snapshot.scope)",
    is_valid="context.error is None",
    target="self._report_to",
)
"""For :class:`Client`: the context of the call, or the ambient one, on the newest data."""

PINNED: Final = Bindings(
    parameters="key, default=None",
    arguments="key, default",
    context="self._subject",
    snapshot="self._snapshot",
    answer="self._direct_flags[key](self._subject, self._snapshot.scope)",
    is_valid="True",  # for an invalid context `_direct_flags` is empty
    target="self._evaluator.report_to",
)
"""For :class:`Flags`: the context and the data of the object."""

MOBILE: Final = Bindings(
    parameters="key, default=None",
    arguments="key, default",
    load_snapshot="snapshot = self._holder.snapshot",
    context="snapshot.evaluated_for",
    snapshot="snapshot",
    answer="snapshot.constant_answers[key]",
    is_valid="True",  # before the first context `constant_answers` is empty
    target="self._report_to",
)
"""For the details of :class:`MobileClient`: the newest data, and the context that they were evaluated for."""

TYPED: Final = Bindings(
    parameters="holder, key, context, default, expect",
    arguments="holder, key, context, default, expect",
    load_snapshot="snapshot = holder.snapshot",
    context="context",
    snapshot="snapshot",
    answer="snapshot.direct_flags[key](context, snapshot.scope)",
    is_valid="context.error is None",
    target="self.report_to",
    expected="expect",
)
"""For :class:`Evaluator`: the context, the data and the type of the call."""

# `by_type` lacks a value whose type differs from the default's, and arrays and objects, which the slow path copies. The hot context
# is valid, and an entry of `increments` counts one more evaluation without a lock. Any exception leads to the slow path, which
# meets its cause again and handles it. A typed flag that decodes takes the slow path, since data have JSON. A typed flag without
# another default fails at first, and is evaluated again with its own.
_TEMPLATE: Final = """\
{define} {name}(self, {bound.parameters}):
    {bound.load_context}
    try:
        if key.__class__ is not str and decoder_of(key) is not None:
            raise LookupError
        {bound.load_snapshot}
        answer = {bound.answer}
        value = answer.by_type[default.__class__]
        recorder = {bound.target}
        if recorder is None:
            if {bound.is_valid}:
                return value
        else:
            hot_context = recorder.hot_context
            if hot_context.context is {bound.context}:
                try:
                    hot_context.increments[answer]()
                    return value
                except KeyError:
                    pass
            if recorder.is_open and {bound.is_valid}:
                recorder.answered({bound.snapshot}, key, {bound.context}, answer, default, value=value)
                return value
    except Exception:
        pass
    if default is None:
        default = own_default(key)
        if default is not None:
            return {wait}self.{name}({bound.arguments})
    return {wait}slow_path(self, {bound.arguments})
"""


# `by_type` has the answer's own value if it needs no conversion and no copy; then the answer's own detail is the result. Analytics
# events need the reason, so with events on the slow path is taken.
_DETAIL_TEMPLATE: Final = """\
{define} {name}(self, {bound.parameters}):
    {bound.load_context}
    try:
        if key.__class__ is not str and decoder_of(key) is not None:
            raise LookupError
        {bound.load_snapshot}
        answer = {bound.answer}
        if {bound.target} is None and {bound.is_valid} and answer.by_type[{bound.expected}] is answer.value:
            return answer.detail
    except Exception:
        pass
    return {wait}slow_path(self, {bound.arguments})
"""

# `constant_answers` is empty before the first context. Each branch loads only what it needs: a local variable costs some 5 ns.
_CONSTANT_TEMPLATE: Final = """\
def {name}(self, key, default=None):
    try:
        if key.__class__ is not str and decoder_of(key) is not None:
            raise LookupError
        if self._report_to is None:
            return self._holder.snapshot.constant_answers[key].by_type[default.__class__]
        hot_context = self._report_to.hot_context
        snapshot = self._holder.snapshot
        if hot_context.context is snapshot.evaluated_for:
            answer = snapshot.constant_answers[key]
            value = answer.by_type[default.__class__]
            try:
                hot_context.increments[answer]()
                return value
            except KeyError:
                pass
        recorder = self._report_to
        if recorder.is_open:
            answer = snapshot.constant_answers[key]
            value = answer.by_type[default.__class__]
            recorder.answered(snapshot, key, snapshot.evaluated_for, answer, default, value=value)
            return value
    except Exception:
        pass
    if default is None:
        default = own_default(key)
        if default is not None:
            return self.{name}(key, default)
    return slow_path(self, key, default)
"""


def with_fast_path(bindings: Bindings) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a method that contains the slow path: evaluations try the fast path first.

    The result has the method's name, signature and docstring, and is a coroutine function if the method is. Its source is
    registered for tracebacks and debuggers.
    """
    return _compiled(_TEMPLATE, bindings)


def with_constant_path(slow_path: Callable[..., Any]) -> Callable[..., Any]:
    """:func:`with_fast_path` for a client whose flags a service evaluated: the answer of a flag is a constant of the snapshot."""
    return _compiled(_CONSTANT_TEMPLATE)(slow_path)


def with_fast_detail(bindings: Bindings) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """:func:`with_fast_path` for a method that returns the :class:`~aioflags.model.detail.EvaluationDetail`."""
    return _compiled(_DETAIL_TEMPLATE, bindings)


def _compiled(template: str, bindings: Bindings | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(slow_path: Callable[..., Any]) -> Callable[..., Any]:
        waits = inspect.iscoroutinefunction(slow_path)
        source = template.format(
            define="async def" if waits else "def", wait="await " if waits else "", name=slow_path.__name__, bound=bindings
        )
        filename = f"<aioflags fast path of {slow_path.__qualname__}>"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        namespace: dict[str, Any] = {
            "__name__": __name__,
            "current_context": current_context,
            "decoder_of": decoder_of,
            "own_default": own_default,
            "slow_path": slow_path,
        }
        exec(compile(source, filename, "exec"), namespace)  # noqa: S102 -- the text above and the constants of this file
        return functools.wraps(slow_path)(namespace[slow_path.__name__])

    return decorate
