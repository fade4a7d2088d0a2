"""RESOLVED: the dialect of flags that a server evaluated. Every context gets the server's answer.

Source: ``flagd.md`` 7.1 and 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.compiled import CompiledFlag, ReportProblem
from aioflags.evaluation.dialect import Comparison, Dialect
from aioflags.evaluation.openfeature.answers import default_answer, error_answer, reason_of, variant_answer
from aioflags.evaluation.openfeature.dialect import OpenFeatureDialect
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.explanation import ExplanationStep, StepKind
from aioflags.model.metadata import FlagMetadata
from aioflags.model.resolved import ResolvedFlag
from aioflags.model.values import same_json
from aioflags.runtime.logs import printable


def change_set_of(flags: Iterable[ResolvedFlag], metadata: FlagMetadata) -> ChangeSet:
    """All flags that a server evaluated, as data that replace older ones."""
    changes = tuple(Change(ObjectKind.FLAG, flag.key, flag.version, flag) for flag in flags)
    return ChangeSet(kind=ChangeKind.FULL, changes=changes, persist=False, metadata=metadata)


class _ResolvedDialect(OpenFeatureDialect):
    name = "resolved"

    def flag(self, definition: ResolvedFlag, note: ReportProblem) -> CompiledFlag:
        answer = _answer(definition)
        return CompiledFlag(definition.key, definition.version, lambda context, scope: answer)

    def steps(self, definition: ResolvedFlag, context: object, static_context: Mapping[str, Any]) -> Iterator[ExplanationStep]:
        if definition.error is None:
            text = f"the server evaluated the flag; its reason is {printable(definition.reason)}"
            yield ExplanationStep(kind=StepKind.SERVER, text=text)

    def comparison(self) -> Comparison:
        return _is_same


def _answer(flag: ResolvedFlag) -> Answer:
    if flag.error is not None:
        return error_answer(flag.error, flag.error_message, flag.metadata)
    reason = reason_of(flag.reason)
    if not flag.has_value:
        return default_answer(reason, flag.metadata)
    return variant_answer(flag.value, flag.variant, reason, flag.metadata)


def _is_same(present: ResolvedFlag, new: ResolvedFlag) -> bool:
    """Whether the server's answers are the same, by JSON value."""
    return (
        (present.has_value, present.variant, present.reason, present.error, present.error_message)
        == (new.has_value, new.variant, new.reason, new.error, new.error_message)
        and same_json(present.value, new.value)
        and same_json(present.metadata, new.metadata)
    )


RESOLVED: Final[Dialect] = _ResolvedDialect()
