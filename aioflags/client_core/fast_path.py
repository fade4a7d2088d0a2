"""The fast path of an evaluation: its code. ``report_target.py`` decides whether it may be taken.

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
from collections.abc import Callable
from typing import Any, Final

import msgspec

from aioflags.client_core.ambient import current_context
from aioflags.client_core.typed import decoder_of, own_default

__all__ = ["CLIENT", "MOBILE", "PINNED", "Bindings", "with_constant_path", "with_fast_detail", "with_fast_path"]


class Bindings(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between classes with a fast path: expressions, and two statements that load what several expressions need.

    ``parameters`` and ``arguments`` are those of the slow path; ``target`` is what
    :func:`aioflags.client_core.report_target.report_target` returned.
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

# `by_type` lacks a value whose type differs from the default's, and arrays and objects, which the slow path copies. The hot context
# is valid, and an entry of `increments` counts one more evaluation without a lock. Any exception leads to the slow path, which
# meets its cause again and handles it. A typed flag that decodes takes the slow path, since data have JSON. A typed flag without
# another default fails at first, and is evaluated again with its own.
_TEMPLATE: Final = """\
{define} {name}(self, {bound.parameters}, *, expect=None):
    {bound.load_context}
    try:
        if key.__class__ is not str and decoder_of(key) is not None:
            raise LookupError
        {bound.load_snapshot}
        answer = {bound.answer}
        value = answer.by_type[default.__class__]
        if expect is None:
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
    if default is None and expect is None:
        default = own_default(key)
        if default is not None:
            return {wait}self.{name}({bound.arguments})
    return {wait}slow_path(self, {bound.arguments}, expect=expect)
"""


# `by_type` has the answer's own value if it needs no conversion and no copy; then the answer's own detail is the result. Analytics
# events need the reason, so with events on the slow path is taken.
_DETAIL_TEMPLATE: Final = """\
{define} {name}(self, {bound.parameters}, *, expect=None):
    {bound.load_context}
    try:
        if key.__class__ is not str and decoder_of(key) is not None:
            raise LookupError
        {bound.load_snapshot}
        answer = {bound.answer}
        if (
            {bound.target} is None
            and {bound.is_valid}
            and answer.by_type[default.__class__ if expect is None else expect] is answer.value
        ):
            return answer.detail
    except Exception:
        pass
    return {wait}slow_path(self, {bound.arguments}, expect=expect)
"""

# `constant_answers` is empty before the first context. Each branch loads only what it needs: a local variable costs some 5 ns.
_CONSTANT_TEMPLATE: Final = """\
def {name}(self, key, default=None, *, expect=None):
    if expect is not None:
        return slow_path(self, key, default, expect=expect)
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
