"""LAUNCHDARKLY: the dialect of LaunchDarkly's flags and segments.

Source: ``evaluation.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from aioflags.evaluation.answers import Answer, malformed
from aioflags.evaluation.clauses import named_segments
from aioflags.evaluation.compiled import CompiledFlag, CompiledSegment, ReportProblem
from aioflags.evaluation.decoding import Decoder
from aioflags.evaluation.dialect import Comparison, Dialect, ErrorKinds
from aioflags.evaluation.flags import compile_flag, tracking_of
from aioflags.evaluation.items import Item, Items
from aioflags.evaluation.ordering import prerequisite_keys
from aioflags.evaluation.override_marks import overridden_flag
from aioflags.evaluation.scope import Scope
from aioflags.evaluation.segments import compile_segment
from aioflags.evaluation.trees import Tree, tree_of
from aioflags.evaluation.value_types import fit, mismatch
from aioflags.evaluation.visits import MalformedError
from aioflags.model.change import ObjectKind, RuledDefinition
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind
from aioflags.model.flag import FlagDefinition, FlagRule
from aioflags.model.segment import SegmentDefinition

SLOW_PATTERN_LENGTH: Final = 500
"""In characters, all patterns of a definition together. Shorter patterns compile in 1 to 3 ms."""
SLOW_PARTS: Final = 5000
"""Values of clauses, shares of rollouts and prerequisites. A rule is ten parts; ten listed keys are one. They take some ms."""
_PARTS_PER_RULE: Final = 10
_KEYS_PER_PART: Final = 10

_encode: Final = msgspec.json.Encoder().encode


class LaunchDarklyDialect(Dialect):
    """The compilers of flags and segments, and LaunchDarkly's rules for everything else."""

    name = "launchdarkly"
    errors: ErrorKinds = ErrorKinds(
        not_ready=ErrorKind.CLIENT_NOT_READY,
        not_found=ErrorKind.FLAG_NOT_FOUND,
        unusable_context=ErrorKind.USER_NOT_SPECIFIED,
        wrong_type=ErrorKind.WRONG_TYPE,
        bug=ErrorKind.EXCEPTION,
    )
    explains_errors = False

    def __init__(
        self,
        compile_flag: Callable[[FlagDefinition, ReportProblem], CompiledFlag] = compile_flag,
        compile_segment: Callable[[SegmentDefinition, ReportProblem], CompiledSegment] = compile_segment,
    ) -> None:
        self._compile_flag = compile_flag
        self._compile_segment = compile_segment

    def flag(self, definition: FlagDefinition, note: ReportProblem) -> CompiledFlag:
        return _compiled(definition, note, self._compile_flag)

    def overridden_flag(self, definition: FlagDefinition, note: ReportProblem) -> CompiledFlag:
        compile_one = partial(compile_flag, is_override=True)
        return overridden_flag(_compiled(definition, note, compile_one, is_override=True))

    def segment(self, definition: SegmentDefinition, note: ReportProblem) -> CompiledSegment:
        try:
            return self._compile_segment(definition, note)
        except RecursionError:
            raise
        except Exception as problem:  # noqa: BLE001  # as above
            message = f"needs segment {definition.key!r}, which does not compile: {problem!r}"

            def fails(context: Context, scope: Scope) -> bool:
                raise MalformedError(message)

            return CompiledSegment(frozenset(), fails)

    def malformed(self, problem: str) -> Answer:
        return malformed(problem)

    def fit(self, value: Any, expected: type | Decoder) -> Any:
        return fit(value, expected)

    def mismatch(self, value: object, expected: type | Decoder) -> str:
        return mismatch(value, expected)

    def subject(self, context: object) -> Context | None:
        return context if isinstance(context, Context) and context.error is None else None

    def comparison(self) -> Comparison:
        return same_definition

    def prerequisites(self, definition: FlagDefinition) -> Sequence[str]:
        return prerequisite_keys(definition)

    def dependencies(self, definition: Any) -> set[Item]:
        if definition is None:
            return set()
        items: set[Item] = {(ObjectKind.SEGMENT, key) for key in named_segments(definition.rules)}
        if isinstance(definition, FlagDefinition):
            items.update((ObjectKind.FLAG, prerequisite.key) for prerequisite in definition.prerequisites or ())
        return items

    def is_direct(self, definition: FlagDefinition, items: Items, measured: dict[str, Tree]) -> bool:
        return tree_of(definition, items, measured) is not None

    def is_slow(self, definition: Any) -> bool:
        """Whether it has long patterns or very many parts. Python's ``re`` takes a millisecond for some hundred characters."""
        return definition is not None and _is_slow(definition)


def _compiled(
    definition: FlagDefinition,
    note: ReportProblem,
    compile_one: Callable[[FlagDefinition, ReportProblem], CompiledFlag],
    *,
    is_override: bool = False,
) -> CompiledFlag:
    try:
        return compile_one(definition, note)
    except RecursionError:
        raise
    except Exception as problem:  # noqa: BLE001  # any error concerns this flag only
        answer = malformed(f"does not compile: {problem!r}", is_override=is_override)
        tracking = tracking_of(definition)
        return CompiledFlag(definition.key, definition.version, lambda context, scope: answer, tracking=tracking)


def same_definition(present: RuledDefinition, new: RuledDefinition) -> bool:
    """Whether two definitions have the same version and the same JSON."""
    # Compared as JSON, since 1 == True in Python. The version does not suffice: a transfer can bring another definition with the
    # same version.
    return present.version == new.version and _encode(present) == _encode(new)


def _is_slow(definition: RuledDefinition) -> bool:
    # All definitions of a payload come here, so each clause is read once.
    length = parts = 0
    for rule in definition.rules or ():
        parts += _PARTS_PER_RULE
        for clause in rule.clauses or ():
            if values := clause.values:
                parts += len(values)
                if clause.op == "matches":
                    length += sum(len(value) for value in values if isinstance(value, str))
        if isinstance(rule, FlagRule) and rule.rollout is not None:
            parts += len(rule.rollout.variations or ())
    if length > SLOW_PATTERN_LENGTH or parts > SLOW_PARTS:
        return True
    keys = 0
    if isinstance(definition, SegmentDefinition):
        keys = len(definition.included or ()) + len(definition.excluded or ())
    else:
        for targets in (definition.targets, definition.context_targets):
            for target in targets or ():
                keys += len(target.values or ())
        parts += len(definition.prerequisites or ())
        if definition.fallthrough is not None and definition.fallthrough.rollout is not None:
            parts += len(definition.fallthrough.rollout.variations or ())
    return parts + keys // _KEYS_PER_PART > SLOW_PARTS


LAUNCHDARKLY: Final = LaunchDarklyDialect()
