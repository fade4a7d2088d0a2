"""CLIENT_SIDE: the dialect of flags that LaunchDarkly's service evaluated for one context. The context is not read any more.

Source: ``client-side.md`` 2.1 and 6.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from aioflags.evaluation.answers import Answer, PrerequisiteEvaluation, Tracking
from aioflags.evaluation.dialect import Comparison
from aioflags.evaluation.items import Item, Items, ReportProblem
from aioflags.evaluation.launchdarkly import LaunchDarklyDialect
from aioflags.evaluation.scope import MAX_DEPTH, CompiledFlag, Evaluate, EvaluationData, Scope, constant
from aioflags.model.detail import NO_REASON, BigSegmentsStatus, ErrorKind, EvaluationDetail, FlagEvaluation, Reason, ReasonKind
from aioflags.model.values import is_number, same_json
from aioflags.runtime.logs import printable

if TYPE_CHECKING:
    from aioflags.model.context import Context


MAX_PREREQUISITES: Final = 1000
"""How many evaluations of prerequisites one evaluation reports. Their number can double with each level of prerequisites."""

_UNKNOWN: Final = Answer(None, None, Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.FLAG_NOT_FOUND))
"""The answer of a prerequisite that the client does not have."""
_COUNTED: Final = Tracking()
_E = TypeVar("_E", bound=StrEnum)


@dataclass(slots=True, eq=False, frozen=True, kw_only=True)
class _EvaluatedFlag(CompiledFlag):
    own: Answer
    """The answer without its prerequisites."""


class _ClientSideDialect(LaunchDarklyDialect):
    name = "client side"

    def flag(self, definition: FlagEvaluation, note: ReportProblem) -> CompiledFlag:  # type: ignore[override] # other data
        own = _answer(definition)
        prerequisites = definition.prerequisites or ()
        return _EvaluatedFlag(
            key=definition.key,
            version=_version(definition),
            evaluate=_with_prerequisites(definition.key, prerequisites, own) if prerequisites else constant(own),
            prerequisites=prerequisites,
            tracking=Tracking(is_tracked=bool(definition.track_events), debug_until_ms=definition.debug_events_until_date),
            own=own,
        )

    def comparison(self) -> Comparison:
        return _is_same

    def prerequisites(self, definition: FlagEvaluation) -> Sequence[str]:  # type: ignore[override] # other data
        return definition.prerequisites or ()

    def dependencies(self, definition: Any) -> set[Item]:
        # The service evaluates a flag again when one of its prerequisites changes.
        return set()

    def is_direct(self, definition: FlagEvaluation, items: Items, measured: dict[str, Any]) -> bool:  # type: ignore[override]
        return True

    def is_slow(self, definition: Any) -> bool:
        return False


def _answer(flag: FlagEvaluation) -> Answer:
    reason = NO_REASON if flag.reason is None else _read_reason(flag.reason)
    index, is_null = flag.variation, flag.value is None
    detail = EvaluationDetail(flag.value, index, reason, is_unnamed=index is None and not is_null, is_null=is_null)
    return Answer(flag.value, index, reason, is_experiment=bool(flag.track_reason), detail=detail)


def _read_reason(data: Mapping[str, Any]) -> Reason:
    """The reason in LaunchDarkly's JSON. What has another type than expected is left out."""
    kind: object = data.get("kind")
    index: Any = data.get("ruleIndex")
    return Reason(
        kind=_member(ReasonKind, kind) or (printable(kind) if isinstance(kind, str) else NO_REASON.kind),
        rule_index=int(index) if is_number(index) else None,
        rule_id=_text(data.get("ruleId")),
        prerequisite_key=_text(data.get("prerequisiteKey")),
        in_experiment=data.get("inExperiment") is True,
        error_kind=_member(ErrorKind, data.get("errorKind")),
        big_segments_status=_member(BigSegmentsStatus, data.get("bigSegmentsStatus")),
    )


def _member(words: type[_E], word: object) -> _E | None:
    return words(word) if isinstance(word, str) and word in words._value2member_map_ else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _with_prerequisites(key: str, prerequisites: Sequence[str], own: Answer) -> Evaluate:
    """Answers ``own``, with the evaluations of its prerequisites. The same evaluations give the same answer: events count it."""
    answers: dict[tuple[Answer, ...], Answer] = {}

    def evaluate(context: Context, scope: Scope) -> Answer:
        notes: list[PrerequisiteEvaluation] = []
        _note(scope.data, prerequisites, [key], notes)
        if not scope.is_shared:
            scope.notes.extend(notes)
        through = tuple(note.answer for note in notes)
        answer = answers.get(through)
        if answer is None:
            answer = own.noting(notes)
            answers.clear()  # Those of older data do not come again.
            answers[through] = answer
        return answer

    return evaluate


def _note(data: EvaluationData, keys: Sequence[str], path: list[str], notes: list[PrerequisiteEvaluation]) -> None:
    """Appends the evaluations of the prerequisites ``keys`` of the last flag in ``path``, each after its own prerequisites.

    A flag that is a prerequisite of itself is left out there. One that two flags need is noted for both.
    """
    for key in keys:
        if key in path or len(path) > MAX_DEPTH or len(notes) >= MAX_PREREQUISITES:
            continue
        flag = cast("_EvaluatedFlag | None", data.flag(key))
        if flag is None:
            notes.append(PrerequisiteEvaluation(key, None, _COUNTED, _UNKNOWN, None))
            continue
        path.append(key)
        _note(data, flag.prerequisites, path, notes)
        path.pop()
        notes.append(PrerequisiteEvaluation(key, flag.version, flag.tracking, flag.own, None))


def _version(flag: FlagEvaluation) -> int:
    """The version for events."""
    return flag.version if flag.flag_version is None else flag.flag_version


def _is_same(present: FlagEvaluation, new: FlagEvaluation) -> bool:
    """Whether two results are the same for evaluations and events, by JSON value."""
    return (
        _version(present) == _version(new)
        and all(getattr(present, name) == getattr(new, name) for name in _COMPARED)
        and same_json([present.value, present.reason], [new.value, new.reason])
    )


_COMPARED: Final = ("variation", "track_events", "track_reason", "debug_events_until_date", "prerequisites")

CLIENT_SIDE: Final = _ClientSideDialect()
