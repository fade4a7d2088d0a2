"""The dialect of flagd: flags with named variants, a targeting rule and shared evaluators; how each is compiled and compared.

Source: ``flagd.md`` 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from weakref import WeakKeyDictionary

import msgspec

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.dialect import Comparison, Dialect
from aioflags.evaluation.flagd.explain import flagd_steps, rollout_text
from aioflags.evaluation.flagd.fractional import LATEST_VERSION, VERSIONS
from aioflags.evaluation.flagd.targeting import compile_targeting
from aioflags.evaluation.items import ReportProblem
from aioflags.evaluation.jsonlogic.coercion import Kind, RuleError, kind_of, to_text
from aioflags.evaluation.jsonlogic.compiler import NOTHING_SHARED, SharedRules
from aioflags.evaluation.openfeature import (
    OpenFeatureDialect,
    UnusableContextError,
    data_of,
    default_answer,
    error_answer,
    reason_of_kind,
    variant_answer,
)
from aioflags.evaluation.scope import CompiledFlag, Evaluate, Scope, constant
from aioflags.model.detail import ErrorKind, FlagMetadata, Reason, ReasonKind
from aioflags.model.explanation import ExplanationStep
from aioflags.model.flagd import REFERENCE, Evaluators, FlagdFlag
from aioflags.model.values import SCALARS, is_array, is_object, same_json, type_name
from aioflags.runtime.clock import now_ms

if TYPE_CHECKING:
    from aioflags.model.context import Context


# -- Shared evaluators: the references to them in rules, and the comparison of flags that use them.
#
# A reference is replaced when the rule is compiled, so data with references stay as small as their document.
#
# Source: ``flagd.md`` 4.4 and 4.6.


_REFERENCE: Final = "$ref"
_NOTHING: Final[Mapping[str, Any]] = {}
_encode: Final = msgspec.json.Encoder().encode


def resolved(rule: Any, rules: Mapping[str, Any]) -> Any:
    """The rule of a flag with the shared evaluators in place of its references. They are the objects in ``rules``, not copies.

    A reference to an unknown name stays, and references inside evaluators do, too. A part without references is not copied.
    """
    if rules and rule.__class__ is dict:
        name = _name(rule)
        if name is not None:
            return rules.get(name, rule)
        members = {key: value if value.__class__ in SCALARS else resolved(value, rules) for key, value in rule.items()}
        return members if any(members[key] is not value for key, value in rule.items()) else rule
    if rules and rule.__class__ is list and not SCALARS.issuperset(map(type, rule)):
        elements = [value if value.__class__ in SCALARS else resolved(value, rules) for value in rule]
        return elements if any(new is not value for new, value in zip(elements, rule, strict=True)) else rule
    return rule


def referenced(rule: Any) -> Iterator[str]:
    """The names in the references of a rule, each as often as it occurs."""
    parts: list[Any] = [rule]
    while parts:
        part = parts.pop()
        if part.__class__ is dict:
            name = _name(part)
            if name is None:
                parts += part.values()
            else:
                yield name
        elif part.__class__ is list and not SCALARS.issuperset(map(type, part)):
            parts += part


def reference_problems(flag: FlagdFlag) -> Iterator[str]:
    """The references in the rule of a flag that fail when an evaluation reaches them."""
    evaluators = flag.evaluators
    for text in dict.fromkeys(REFERENCE.findall(flag.targeting or b"")):
        name = text.decode()
        if name not in evaluators.rules:
            yield f"refers to the shared evaluator {name!r}, which does not exist"
        elif name in evaluators.nested:
            inner = evaluators.nested[name]
            yield f"refers to the shared evaluator {name!r}, which refers to another one, {inner!r}: that is not supported"


def _name(part: Mapping[str, Any]) -> str | None:
    """The name in a reference; ``None`` for any other object."""
    if len(part) != 1:
        return None
    name = part.get(_REFERENCE)
    return name if isinstance(name, str) else None


class FlagComparison:
    """Compares the flags of two documents, by JSON value.

    A reference equals the evaluator that it stands for. What the flags of a document share is compared once, so the time is
    proportional to the size of the two documents.
    """

    __slots__ = ("_evaluators", "_metadata", "_pairs")

    def __init__(self) -> None:
        # By the identities of the two objects, which live as long as the flags that are compared.
        self._evaluators: dict[tuple[int, int], frozenset[str]] = {}
        self._metadata: dict[tuple[int, int], frozenset[str]] = {}
        self._pairs: dict[tuple[int, int], bool] = {}

    def __call__(self, present: FlagdFlag, new: FlagdFlag) -> bool:
        """Whether the two definitions are the same."""
        return (
            present.is_enabled is new.is_enabled
            and present.default_variant == new.default_variant
            and present.problem == new.problem
            and _same(present.variants, new.variants)
            and self._has_same_metadata(present.metadata, new.metadata)
            and self._has_same_targeting(present, new)
        )

    def _has_same_metadata(self, present: FlagMetadata, new: FlagMetadata) -> bool:
        old_base, new_base = present.base or _NOTHING, new.base or _NOTHING
        pair = id(old_base), id(new_base)
        if pair not in self._metadata:
            self._metadata[pair] = _differing(old_base, new_base)
        names = self._metadata[pair] | present.values_of_its_own.keys() | new.values_of_its_own.keys()
        return all(name in present and name in new and same_json(present[name], new[name]) for name in names)

    def _has_same_targeting(self, present: FlagdFlag, new: FlagdFlag) -> bool:
        old, after = present.evaluators, new.evaluators
        if present.targeting != new.targeting:
            try:
                return self._is_same_rule(present.rule, new.rule, old, after)
            except (ValueError, RecursionError):  # one of the two rules cannot be parsed
                return False
        pair = id(old), id(after)
        if pair not in self._evaluators:
            self._evaluators[pair] = _differing(old.rules, after.rules)
        differing = self._evaluators[pair]
        return not differing or differing.isdisjoint(referenced(new.rule))

    def _is_same_rule(self, present: Any, new: Any, old: Evaluators | None, after: Evaluators | None) -> bool:
        """Whether two parts of rules are the same. ``None``: a shared evaluator, where references are not resolved."""
        if old is not None and present.__class__ is dict and (name := _name(present)) in old.rules:
            return self._is_same_rule(old.rules[cast("str", name)], new, None, after)
        if after is not None and new.__class__ is dict and (name := _name(new)) in after.rules:
            return self._is_same_rule(present, after.rules[cast("str", name)], old, None)
        if old is None and after is None:
            pair = id(present), id(new)
            if pair not in self._pairs:
                self._pairs[pair] = _same(present, new)
            return self._pairs[pair]
        if is_object(present) and is_object(new):
            return present.keys() == new.keys() and all(
                self._is_same_rule(value, new[key], old, after) for key, value in present.items()
            )
        if is_array(present) and is_array(new):
            return len(present) == len(new) and all(
                self._is_same_rule(one, other, old, after) for one, other in zip(present, new, strict=True)
            )
        return _same(present, new)


def _same(present: Any, new: Any) -> bool:
    """Whether two JSON values are the same. Most have the same text, which is quick to see."""
    return present is new or _encode(present) == _encode(new) or same_json(present, new)


def _differing(present: Mapping[str, Any], new: Mapping[str, Any]) -> frozenset[str]:
    """The names whose values differ, or that only one of the two has."""
    both = present.keys() & new.keys()
    return frozenset((present.keys() ^ new.keys()) | {name for name in both if not _same(present[name], new[name])})


# -- Compiles a flag of flagd to one function: disabled, no rule, or a rule that chooses a variant.
# Source: ``flagd.md`` 5.2 to 5.4.


CompileRule: TypeAlias = Callable[[FlagdFlag], Callable[[Mapping[str, Any]], Any]]
"""Compiles the rule of a flag to a function of the data. It raises :class:`RuleError`, and the function does."""

_STATIC: Final = reason_of_kind(ReasonKind.STATIC)
_TARGETING_MATCH: Final = reason_of_kind(ReasonKind.TARGETING_MATCH)
_DEFAULT: Final = reason_of_kind(ReasonKind.DEFAULT)
_DISABLED: Final = reason_of_kind(ReasonKind.DISABLED)
_SHOWN: Final = 100


def _evaluate(flag: FlagdFlag, compile_rule: CompileRule) -> Evaluate:
    """The function of a flag. Its answers are made now; only errors get theirs later."""
    if flag.problem is not None:
        return constant(_malformed(flag, flag.problem))
    if not flag.is_enabled:
        return constant(default_answer(_DISABLED, flag.metadata))
    if flag.targeting is None:
        return constant(_default(flag, _STATIC))
    try:
        return _targeted(flag, compile_rule(flag))
    except RuleError as problem:
        return constant(_malformed(flag, str(problem)))


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
        except RecursionError:
            return _malformed(flag, "the rule is nested too deeply for the stack of the interpreter")
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


MAX_REFERENCED: Final = 1 << 25
"""The characters of JSON in the shared evaluators that one rule refers to, each counted as often as it occurs."""
SLOW_RULE_LENGTH: Final = 50_000
"""A rule with fewer characters of JSON compiles in some milliseconds."""


def flagd_dialect(
    fractional_version: int = LATEST_VERSION,
    *,
    now_ms: Callable[[], int] = now_ms,
    on_fractional: Callable[[], object] = lambda: None,
) -> Dialect:
    """The dialect of flagd.

    Args:
        fractional_version: how ``fractional`` hashes, 2 or 3. It must be the server's if both evaluate the same flags.
        now_ms: returns the Unix time in milliseconds, for rules that read ``$flagd.timestamp``.
        on_fractional: called when a rule with ``fractional`` is compiled, on the thread of its first evaluation.

    Raises:
        ValueError: ``fractional_version`` is another number.
    """
    if fractional_version not in VERSIONS:
        raise ValueError(f"expected 2 or 3 as version of fractional, got {fractional_version!r}")
    return _FlagdDialect(fractional_version, now_ms, on_fractional)


class _FlagdDialect(OpenFeatureDialect):
    name = "flagd"
    reports_problems = True

    def __init__(self, fractional_version: int, now_ms: Callable[[], int], on_fractional: Callable[[], object]) -> None:
        self._fractional_version = fractional_version
        self._now_ms = now_ms
        self._on_fractional = on_fractional
        self._shared: WeakKeyDictionary[Evaluators, SharedRules] = WeakKeyDictionary()

    def flag(self, definition: FlagdFlag, note: ReportProblem) -> CompiledFlag:
        try:
            evaluate = _evaluate(definition, self._compile_rule)
        except RecursionError:
            raise
        except Exception as problem:  # noqa: BLE001  # any error concerns this flag only
            evaluate = constant(self.malformed(f"does not compile: {problem!r}"))
        return CompiledFlag(definition.key, definition.version, evaluate)

    def steps(self, definition: FlagdFlag, context: object, static_context: Mapping[str, Any]) -> Iterator[ExplanationStep]:
        subject = self.subject(context)
        try:
            data = None if subject is None else data_of(subject, static_context)
        except UnusableContextError:
            data = None
        if data is None:
            return flagd_steps(definition, None)

        def evaluate(part: Any) -> Any:
            return self._compile_rule(msgspec.structs.replace(definition, targeting=msgspec.json.encode(part)))(data)

        def place(values: Sequence[Any]) -> str:
            return rollout_text(definition.key, self._fractional_version, data, values)

        return flagd_steps(definition, evaluate, place)

    def _compile_rule(self, flag: FlagdFlag) -> Callable[[Mapping[str, Any]], Any]:
        own_rule, lengths = flag.rule, flag.evaluators.lengths
        if lengths and sum(lengths.get(name, 0) for name in referenced(own_rule)) > MAX_REFERENCED:
            raise RuleError(f"the rule is too much work: it refers to more than {MAX_REFERENCED} characters of shared evaluators")
        rule = resolved(own_rule, flag.evaluators.rules)
        shared = NOTHING_SHARED if rule is own_rule else self._shared_rules(flag.evaluators)
        return compile_targeting(
            rule, flag.key, self._fractional_version, shared, now_ms=self._now_ms, on_fractional=self._on_fractional
        )

    def _shared_rules(self, evaluators: Evaluators) -> SharedRules:
        """The compiled evaluators of a document. Two threads that ask at the same time may get two objects, which does no harm."""
        shared = self._shared.get(evaluators)
        if shared is None:
            # A scalar may be the same object as one elsewhere in a rule.
            shared = SharedRules(rule for rule in evaluators.rules.values() if rule.__class__ not in SCALARS)
            self._shared[evaluators] = shared
        return shared

    def comparison(self) -> Comparison:
        return FlagComparison()

    def reads_static_context(self, definition: FlagdFlag) -> bool:
        return definition.is_enabled and definition.targeting is not None

    def is_slow(self, definition: FlagdFlag | None) -> bool:
        return definition is not None and definition.rule_length > SLOW_RULE_LENGTH

    def problems(self, definition: FlagdFlag | None) -> Iterator[str]:
        if definition is None:
            return
        if definition.problem is not None:
            yield f"is malformed: {definition.problem}"
            return
        if definition.default_variant is not None and definition.default_variant not in definition.variants:
            yield f"has the default variant {definition.default_variant!r}, which does not exist"
        kinds = {type_name(value) for value in definition.variants.values()}
        if len(kinds) > 1:
            yield f"has variants of several types: {', '.join(sorted(kinds))}"
        yield from reference_problems(definition)
