"""Compiles a flag of flagd to one function: disabled, no rule, or a rule that chooses a variant.

Source: ``flagd.md`` 5.2 to 5.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.compiled import CompiledFlag
from aioflags.evaluation.jsonlogic.coercion import Kind, kind_of, to_text
from aioflags.evaluation.jsonlogic.work import RuleError
from aioflags.evaluation.openfeature.answers import default_answer, error_answer, reason_of, variant_answer
from aioflags.evaluation.openfeature.context_data import UnusableContextError, data_of
from aioflags.evaluation.scope import Evaluate, Scope
from aioflags.model.detail import ErrorKind, Reason, ReasonKind
from aioflags.model.flagd import FlagdFlag

if TYPE_CHECKING:
    from aioflags.model.context import Context


CompileRule: TypeAlias = Callable[[FlagdFlag], Callable[[Mapping[str, Any]], Any]]
"""Compiles the rule of a flag to a function of the data. It raises :class:`RuleError`, and the function does."""

_STATIC: Final = reason_of(ReasonKind.STATIC)
_TARGETING_MATCH: Final = reason_of(ReasonKind.TARGETING_MATCH)
_DEFAULT: Final = reason_of(ReasonKind.DEFAULT)
_DISABLED: Final = reason_of(ReasonKind.DISABLED)
_SHOWN: Final = 100


def compile_flag(flag: FlagdFlag, compile_rule: CompileRule) -> CompiledFlag:
    """Compiles a flag. Its answers are made now, except those of errors."""
    return CompiledFlag(flag.key, flag.version, _evaluate(flag, compile_rule))


def always(answer: Answer) -> Evaluate:
    """The function of a flag that has the same answer for every context."""
    return lambda context, scope: answer


def _evaluate(flag: FlagdFlag, compile_rule: CompileRule) -> Evaluate:
    if flag.problem is not None:
        return always(_malformed(flag, flag.problem))
    if not flag.is_enabled:
        return always(default_answer(_DISABLED, flag.metadata))
    if flag.targeting is None:
        return always(_default(flag, _STATIC))
    try:
        return _targeted(flag, compile_rule(flag))
    except RuleError as problem:
        return always(_malformed(flag, str(problem)))


def _targeted(flag: FlagdFlag, rule: Callable[[Mapping[str, Any]], Any]) -> Evaluate:
    default = _default(flag, _DEFAULT)
    answers = {name: variant_answer(value, name, _TARGETING_MATCH, flag.metadata) for name, value in flag.variants.items()}

    def evaluate(context: Context, scope: Scope) -> Answer:
        derived, static = context.derived, scope.data.static_context
        if derived is not None and derived[0] is static:  # data_of reads this memory, too; here it saves the call
            data = derived[1]
        else:
            try:
                data = data_of(context, static)
            except UnusableContextError as problem:
                return error_answer(ErrorKind.INVALID_CONTEXT, str(problem), flag.metadata)
        try:
            result = rule(data)
        except RuleError as problem:
            return _malformed(flag, str(problem))
        if result.__class__ is str:
            answer = answers.get(result)
            return _unknown(flag, result) if answer is None else answer
        if result is None:
            return default
        if kind_of(result) >= Kind.ARRAY:
            message = "the targeting rule gave an array or object instead of the name of a variant"
            return error_answer(ErrorKind.GENERAL, message, flag.metadata, problem="has a rule that gave an array or object")
        name = to_text(result)
        return answers.get(name) or _unknown(flag, name)

    return evaluate


def _default(flag: FlagdFlag, reason: Reason) -> Answer:
    """The answer with the default variant; if the flag has none, the one with the caller's default."""
    name = flag.default_variant
    if name is None:
        return default_answer(_DEFAULT, flag.metadata)
    if name not in flag.variants:
        message = f"the default variant {name[:_SHOWN]!r} does not exist"
        return error_answer(ErrorKind.GENERAL, message, flag.metadata)
    return variant_answer(flag.variants[name], name, reason, flag.metadata)


def _unknown(flag: FlagdFlag, name: str) -> Answer:
    message = f"the targeting rule chose the variant {name[:_SHOWN]!r}, which does not exist"
    problem = "has a rule that chose a variant which does not exist"  # the name may come from the context: it is not logged
    return error_answer(ErrorKind.GENERAL, message, flag.metadata, problem=problem)


def _malformed(flag: FlagdFlag, problem: str) -> Answer:
    return error_answer(ErrorKind.PARSE_ERROR, problem, flag.metadata, problem=f"is malformed: {problem}")
