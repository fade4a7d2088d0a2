"""Explains the targeting rule of a flag of flagd: which conditions hold, and what it chooses.

Each part of the rule is evaluated by itself. The tests compare explanations with evaluations.

Source: ``flagd.md`` 5.2 and 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from aioflags.evaluation.flagd.fractional import MAX_WEIGHT, read_buckets, read_weight, seed_hash, subject_hash
from aioflags.evaluation.flagd.targeting import COMPARISONS, read_version
from aioflags.evaluation.jsonlogic.coercion import Kind, RuleError, kind_of, truthy
from aioflags.evaluation.openfeature import TARGETING_KEY
from aioflags.model.explanation import ExplanationStep, StepKind, as_json, shown
from aioflags.model.flagd import FlagdFlag
from aioflags.model.values import is_array

_COUNTS: Final = {"sem_ver": 3, "starts_with": 2, "ends_with": 2}
"""Operators that give null for another number of arguments."""
_MAX_STEPS: Final = 200
_MAX_VARIABLES: Final = 5
_REFERENCE: Final = "$ref"
_CONDITIONAL: Final = frozenset({"if", "?:"})
_JUNCTIONS: Final = {"and": False, "or": True}
"""The truth of an argument that ends the evaluation."""


def flagd_steps(
    flag: FlagdFlag, evaluate: Callable[[Any], Any] | None, place: Callable[[Sequence[Any]], str] = str
) -> Iterator[ExplanationStep]:
    """The steps of an evaluation, up to a problem.

    ``evaluate`` returns the result of a rule, or of a part of one, for the context, or raises :class:`RuleError` or
    ``RecursionError``. ``None``: the context cannot be used. ``place`` describes where the evaluated
    arguments of a rollout put the context.
    """
    if flag.problem is not None:
        return
    text = "the flag is enabled" if flag.is_enabled else "the flag is disabled, so callers get their default"
    yield ExplanationStep(kind=StepKind.SWITCH, path="state", text=text, holds=flag.is_enabled)
    if not flag.is_enabled:
        return
    if flag.targeting is None:
        yield from _default(flag, "the flag has no targeting rule")
        return
    if evaluate is None:
        return
    try:
        rule = flag.rule
        result = evaluate(rule)
        steps = tuple(_Walk(flag, evaluate, place).steps(rule, "targeting"))
    except (RuleError, RecursionError):
        return
    text = f"the targeting rule gives {shown(result)}"
    yield ExplanationStep(kind=StepKind.TARGETING, path="targeting", text=text, facts={"result": as_json(result)}, steps=steps)
    if result is None:
        yield from _default(flag, "the targeting rule chooses no variant")
    else:
        yield from _variant(flag, result if isinstance(result, str) else shown(result), "the targeting rule chooses")


def _default(flag: FlagdFlag, why: str) -> Iterator[ExplanationStep]:
    if flag.default_variant is None:
        text = f"{why}, and the flag has no default variant, so callers get their default"
        yield ExplanationStep(kind=StepKind.VARIANT, path="defaultVariant", text=text)
    else:
        yield from _variant(flag, flag.default_variant, f"{why}, so the default is served:")


def _variant(flag: FlagdFlag, name: str, why: str) -> Iterator[ExplanationStep]:
    if name in flag.variants:
        text = f"{why} the variant {shown(name)}, which is {shown(flag.variants[name])}"
        yield ExplanationStep(kind=StepKind.VARIANT, path=f"variants.{name}", text=text, facts={"variant": name})


class _Walk:
    """Walks through the parts of a rule that its evaluation reaches."""

    def __init__(self, flag: FlagdFlag, evaluate: Callable[[Any], Any], place: Callable[[Sequence[Any]], str]) -> None:
        self._rules = flag.evaluators.rules
        self._evaluate = evaluate
        self._place = place
        self._left = _MAX_STEPS

    def steps(self, rule: Any, path: str) -> Iterator[ExplanationStep]:
        """The steps of an operation. Comparisons and other operators have none."""
        operation = _operation(rule)
        if operation is None or self._left <= 0:
            return
        name, arguments = operation
        path = f"{path}.{name}"
        if name in _CONDITIONAL:
            yield from self._branches(arguments, path)
        elif name in _JUNCTIONS:
            for index, argument in enumerate(arguments):
                step = self._condition(argument, f"{path}[{index}]", StepKind.CLAUSE)
                yield step
                if step.holds is _JUNCTIONS[name]:
                    return
        elif name == "!" and arguments:
            yield self._condition(arguments[0], path, StepKind.CLAUSE)
        elif name == "fractional":
            place = self._place(self._evaluate([*arguments]))
            text = f"the rollout gives {shown(self._evaluate(rule))}: {place}"
            yield ExplanationStep(kind=StepKind.BUCKET, path=path, text=text)
        elif name == _REFERENCE and arguments and arguments[0] in self._rules:
            yield from self.steps(self._rules[arguments[0]], f"$evaluators.{arguments[0]}")

    def _branches(self, arguments: Sequence[Any], path: str) -> Iterator[ExplanationStep]:
        for index in range(0, len(arguments) - 1, 2):
            step = self._condition(arguments[index], f"{path}[{index}]", StepKind.RULE)
            yield step
            if step.holds:
                yield from self.steps(arguments[index + 1], f"{path}[{index + 1}]")
                return
        if len(arguments) % 2:
            yield from self.steps(arguments[-1], f"{path}[{len(arguments) - 1}]")

    def _condition(self, rule: Any, path: str, kind: StepKind) -> ExplanationStep:
        self._left -= 1
        value = self._evaluate(rule)
        name, arguments = _operation(rule) or ("", ())
        if name == _REFERENCE and arguments and arguments[0] in self._rules:
            step = self._condition(self._rules[arguments[0]], f"$evaluators.{arguments[0]}", StepKind.CLAUSE)
            text = f"{shown(rule)} is {shown(value)}"
            return ExplanationStep(kind=kind, path=path, text=text, holds=truthy(value), steps=(step,))
        variables = {name: as_json(self._evaluate({"var": name})) for name in _variables(rule)}
        values = ", ".join(f"{name} is {shown(value)}" for name, value in variables.items())
        problem = None if value is not None else null_problem(name, self._evaluate([*arguments]))
        text = f"{shown(rule)} is {shown(value)}" + (f" ({values})" if values else "") + (f": {problem}" if problem else "")
        return ExplanationStep(
            kind=kind, path=path, text=text, holds=truthy(value), facts=variables, steps=tuple(self.steps(rule, path))
        )


def _operation(rule: Any) -> tuple[str, Sequence[Any]] | None:
    if not isinstance(rule, dict):
        return None
    members = cast("Mapping[str, Any]", rule)
    if len(members) != 1:
        return None
    ((name, arguments),) = members.items()
    return name, cast("Sequence[Any]", arguments) if isinstance(arguments, list) else (arguments,)


def _variables(rule: Any) -> Sequence[str]:
    """The names of the first variables in a rule, without those in the rules of loops, which read elements."""
    names: dict[str, None] = {}
    parts: list[Any] = [rule]
    while parts and len(names) < _MAX_VARIABLES:
        operation = _operation(parts.pop())
        if operation is None:
            continue
        name, arguments = operation
        if name == "var":
            if arguments and isinstance(arguments[0], str) and arguments[0]:
                names[arguments[0]] = None
        elif name in {"map", "filter", "reduce", "all", "some", "none"}:
            parts += arguments[:1]
        else:
            parts += reversed(arguments[:_MAX_STEPS])
    return tuple(names)


# -- Where a seed falls in a rollout, and why the result of an operator is null.
# Source: ``flagd.md`` 6.4 to 6.6.


def rollout_text(flag_key: str, version: int, data: Mapping[str, Any], values: Sequence[Any]) -> str:
    """Where the seed of ``fractional`` falls, or why it has no result. ``values``: the evaluated arguments."""
    if values and not is_array(values[0]):
        name, seed, written = "seed", values[0], values[1:]
        hash_ = seed_hash(version)(seed)
    else:
        name, seed, written = "targeting key", data.get(TARGETING_KEY), values
        hash_ = subject_hash(flag_key, version)(seed)
    buckets = read_buckets(written)
    if seed is None:
        return f"there is no {name}"
    if hash_ is None:
        return f"the {name} cannot be hashed: {shown(seed)}"
    if buckets is None:
        return next(filter(None, map(bucket_problem, written)), None) or sum_problem()
    return f"the {name} {shown(seed)} is at {buckets.position(hash_)} of {buckets.total}, by version {version} of fractional"


def bucket_problem(bucket: Any) -> str | None:
    """Why no rollout with this bucket has a result; ``None`` if it has one. ``bucket``: evaluated."""
    if not is_array(bucket) or not 1 <= len(bucket) <= 2 or kind_of(bucket[0]) >= Kind.ARRAY:
        return f"the bucket {shown(bucket)} is not an array with a variant and a weight"
    if len(bucket) == 2 and read_weight(bucket[1]) is None:
        return f"the weight {shown(bucket[1])} is not a whole number up to {MAX_WEIGHT}"
    return None


def sum_problem() -> str:
    """Why a rollout has no result although each bucket is correct."""
    return f"the sum of the weights is 0, or above {MAX_WEIGHT}"


def null_problem(name: str, values: Sequence[Any]) -> str | None:
    """Why this operator gives null for these arguments; ``None`` for other operators."""
    if name not in _COUNTS:
        return None
    in_order = (1, 0, 2) if name == "sem_ver" else (0, 1)
    return count_problem(name, len(values)) or next(
        filter(None, (argument_problem(name, index, values[index]) for index in in_order)), None
    )


def count_problem(name: str, count: int) -> str | None:
    """Why this operator gives null for that many arguments."""
    expected = _COUNTS.get(name, count)
    return None if count == expected else f"{name} needs {expected} arguments, and has {count}"


def argument_problem(name: str, index: int, value: Any) -> str | None:
    """Why this operator gives null if the argument at the index has this value; ``None`` for other operators."""
    match name:
        case "sem_ver" if index == 1:
            is_usable, expected = isinstance(value, str) and value in COMPARISONS, f"one of {', '.join(COMPARISONS)}"
        case "sem_ver":
            is_usable, expected = read_version(value) is not None, "a version"
        case "starts_with" | "ends_with":
            is_usable, expected = isinstance(value, str), "a text"
        case _:
            return None
    return None if is_usable else f"{shown(value)} is not {expected}"
