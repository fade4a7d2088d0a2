"""Marks: the compiled forms of overridden flags and segments, whose evaluations say that they read an override.

The answers of an overridden flag are made with marks. An overridden segment has no answer to mark, so it leaves a note in the
scope, and the answer of the flag that reads it is marked for that note. Flags and segments of the service do nothing for this.

An override can also remove a definition. Then a segment is empty, and a flag is unknown, which the scope notes
(:meth:`Scope.note_unknown_flag`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.compiled import CompiledFlag, CompiledSegment
from aioflags.evaluation.scope import Scope

if TYPE_CHECKING:
    from aioflags.model.context import Context


def overridden_flag(flag: CompiledFlag) -> CompiledFlag:
    """The flag, compiled with ``is_override``. It notes in the scope that it is read, for an evaluation that raises."""
    evaluate = flag.evaluate

    def noted(context: Context, scope: Scope) -> Answer:
        if not scope.is_shared:
            scope.reads_override = True
        return evaluate(context, scope)

    return replace(flag, evaluate=noted, shared_evaluate=evaluate)


def overridden_segment(segment: CompiledSegment) -> CompiledSegment:
    """The segment, which notes in the scope that it is read. In the shared scope it raises: no note is possible there."""
    users, holds_also = segment.users, segment.holds_also

    def noted(context: Context, scope: Scope) -> bool:
        scope.note_override()
        user = context if context.kind == "user" else context.member("user")
        return (user is not None and user.key in users) or holds_also(context, scope)

    return CompiledSegment(frozenset(), noted)


REMOVED_SEGMENT: Final = overridden_segment(CompiledSegment(frozenset(), lambda context, scope: False))
"""A segment that an override removes: it contains no context, like a segment that does not exist."""
