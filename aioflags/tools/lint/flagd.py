"""Lints flag sets in flagd's format: flags, variants, targeting rules with their arguments, shared evaluators.

Source: ``flagd.md`` 4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from aioflags.evaluation.flagd.explain import argument_problem, bucket_problem, count_problem, sum_problem
from aioflags.evaluation.flagd.fractional import read_buckets
from aioflags.evaluation.flagd.targeting import FLAGD_PATHS, OPERATOR_NAMES
from aioflags.evaluation.jsonlogic.coercion import to_text
from aioflags.model.values import is_array, is_object, type_name
from aioflags.protocol.problems import Path
from aioflags.runtime.suggest import did_you_mean
from aioflags.tools.lint.findings import LintRemark, quoted

# -- Lints the literal arguments of flagd's operators: those with which a rule always gives null.
#
# Explanations have the same messages.
#
# Source: ``flagd.md`` 6.


_FLAGD: Final = "$flagd."


def check_arguments(name: str, arguments: object, path: Path) -> Iterator[LintRemark]:
    """Check the literals among the arguments of operator ``name``. ``arguments``: as written; ``path``: theirs."""
    values: Sequence[object] = arguments if is_array(arguments) else [arguments]
    paths = [(*path, index) for index in range(len(values))] if is_array(arguments) else [path]
    match name:
        case "var":
            yield from _check_variable(values, paths)
        case "fractional":
            yield from _check_rollout(values, paths, path)
        case _:
            if problem := count_problem(name, len(values)):
                yield LintRemark("never-matches", path, problem)
                return
            for index, value in enumerate(values):
                if not is_object(value) and (problem := argument_problem(name, index, value)):
                    is_comparison = name == "sem_ver" and index == 1
                    yield LintRemark("unknown-operator" if is_comparison else "useless-value", paths[index], problem)


def _check_variable(values: Sequence[object], paths: Sequence[Path]) -> Iterator[LintRemark]:
    name = values[0] if values else None
    if isinstance(name, str) and name.startswith(_FLAGD) and name not in FLAGD_PATHS:
        suggestion = did_you_mean(name, FLAGD_PATHS, quote=quoted)
        yield LintRemark("unknown-property", paths[0], f"{quoted(name)} is always null", suggestion or None)


def _check_rollout(values: Sequence[object], paths: Sequence[Path], path: Path) -> Iterator[LintRemark]:
    first = 0 if values and is_array(values[0]) else 1  # otherwise the first argument is the seed
    buckets = values[first:]
    is_certain = bool(buckets)
    for bucket, place in zip(buckets, paths[first:], strict=True):
        if _is_computed(bucket):
            is_certain = False
        elif problem := bucket_problem(bucket):
            is_certain = False
            yield LintRemark("wrong-type", place, problem)
        elif is_array(bucket) and len(bucket) == 2 and bucket[1] < 0:
            yield LintRemark("weights", (*place, 1), f"the weight {bucket[1]} is negative, so it counts as 0")
    if is_certain and read_buckets(buckets) is None:
        yield LintRemark("weights", path, sum_problem())


def _is_computed(bucket: object) -> bool:
    """Whether a bucket, or a part of it, is an operation."""
    return is_object(bucket) or (is_array(bucket) and any(is_object(part) for part in bucket))


_FLAGS: Final = "flags"
_EVALUATORS: Final = "$evaluators"
_REFERENCE: Final = "$ref"
_STATES: Final = ("ENABLED", "DISABLED")
_PROPERTIES: Final = ("state", "variants", "defaultVariant", "targeting", "metadata")
_CONDITIONAL: Final = frozenset({"if", "?:"})


def check_flag_set(document: Mapping[str, Any]) -> Iterator[LintRemark]:
    """Every mistake in a flag set."""
    flags: object = document.get(_FLAGS)
    stated: object = document.get(_EVALUATORS, {})
    evaluators: Mapping[str, Any] = stated if is_object(stated) else {}
    if not is_object(stated):
        yield _wrong_type((_EVALUATORS,), "object", stated)
    for name, rule in evaluators.items():
        yield from _check_rule(rule, (_EVALUATORS, name), None)
    yield from _check_metadata(document, ())
    if is_object(flags):
        for key, flag in flags.items():
            yield from _check_flag(flag, (_FLAGS, key), evaluators)
    elif is_array(flags):
        for index, flag in enumerate(flags):
            if is_object(flag) and not (isinstance(flag.get("key"), str) and flag["key"]):
                yield LintRemark("missing-property", (_FLAGS, index), 'missing required property "key"')
            yield from _check_flag(flag, (_FLAGS, index), evaluators)
    else:
        yield _wrong_type((_FLAGS,), "object or array", flags)


def _check_flag(flag: object, path: Path, evaluators: Mapping[str, Any]) -> Iterator[LintRemark]:
    if not is_object(flag):
        yield _wrong_type(path, "object", flag)
        return
    for name in ("state", "variants"):
        if name not in flag:
            yield LintRemark("missing-property", path, f"missing required property {quoted(name)}")
    for name in flag.keys() - _PROPERTIES:
        if suggestion := did_you_mean(name, _PROPERTIES, quote=quoted):
            yield LintRemark("unknown-property", (*path, name), "unknown property", suggestion)
    if "state" in flag and flag["state"] not in _STATES:
        yield _wrong_type((*path, "state"), '"ENABLED" or "DISABLED"', flag["state"])
    yield from _check_metadata(flag, path)
    if "variants" in flag:
        yield from _check_served(flag, path, evaluators)


def _check_served(flag: Mapping[str, Any], path: Path, evaluators: Mapping[str, Any]) -> Iterator[LintRemark]:
    """The variants, the default variant and the rule."""
    variants: object = flag["variants"]
    if not is_object(variants) or not variants:
        yield _wrong_type((*path, "variants"), "object with at least one variant", variants)
        return
    kinds = {type_name(value) for value in variants.values()}
    if len(kinds) > 1:
        yield LintRemark("mixed-types", (*path, "variants"), f"the variants have different types: {', '.join(sorted(kinds))}")
    default: object = flag.get("defaultVariant")
    if isinstance(default, str):
        if default:
            yield from _check_variant(default, (*path, "defaultVariant"), variants)
    elif default is not None:
        yield _wrong_type((*path, "defaultVariant"), "string or null", default)
    targeting: object = flag.get("targeting")
    if is_object(targeting):
        yield from _check_rule(targeting, (*path, "targeting"), evaluators)
        yield from _check_outcomes(targeting, (*path, "targeting"), variants)
    elif targeting is not None:
        yield _wrong_type((*path, "targeting"), "object or null", targeting)


def _check_metadata(owner: Mapping[str, Any], path: Path) -> Iterator[LintRemark]:
    metadata: object = owner.get("metadata", {})
    if not is_object(metadata):
        yield _wrong_type((*path, "metadata"), "object", metadata)
        return
    for name, value in metadata.items():
        if not isinstance(value, (str, bool, int, float)):
            yield _wrong_type((*path, "metadata", name), "string, number or boolean", value)


def _check_rule(rule: object, path: Path, evaluators: Mapping[str, Any] | None) -> Iterator[LintRemark]:
    """Operators and references. ``evaluators``: ``None`` inside a shared evaluator, where references are not resolved."""
    if is_array(rule):
        for index, element in enumerate(rule):
            yield from _check_rule(element, (*path, index), evaluators)
    operation = _operation(rule)
    if operation is None:
        return
    name, arguments = operation
    if name == _REFERENCE:
        yield from _check_reference(arguments, (*path, name), evaluators)
    elif name not in OPERATOR_NAMES:
        suggestion = did_you_mean(name, OPERATOR_NAMES, quote=quoted)
        yield LintRemark("unknown-operator", (*path, name), f"unknown operator {quoted(name)}", suggestion or None)
    else:
        yield from check_arguments(name, arguments, (*path, name))
        yield from _check_rule(arguments, (*path, name), evaluators)


def _check_reference(name: object, path: Path, evaluators: Mapping[str, Any] | None) -> Iterator[LintRemark]:
    if evaluators is None:
        yield LintRemark("missing-evaluator", path, "a shared evaluator cannot refer to another one")
    elif not isinstance(name, str) or name not in evaluators:
        text = quoted(name) if isinstance(name, str) else type_name(name)
        suggestion = did_you_mean(name, evaluators, quote=quoted) if isinstance(name, str) else None
        yield LintRemark("missing-evaluator", path, f"there is not a shared evaluator {text}", suggestion or None)


def _check_outcomes(rule: object, path: Path, variants: Collection[str]) -> Iterator[LintRemark]:
    """The texts, numbers and booleans that a rule can give: each is the name of a variant."""
    if isinstance(rule, (str, bool, int, float)):
        yield from _check_variant(to_text(rule), path, variants)
    operation = _operation(rule)
    if operation is None:
        return
    name, arguments = operation
    path = (*path, name)
    if not is_array(arguments):
        return
    if name in _CONDITIONAL:
        for index, argument in enumerate(arguments):
            if index % 2 or index == len(arguments) - 1:
                yield from _check_outcomes(argument, (*path, index), variants)
    elif name == "fractional":
        for index, bucket in enumerate(arguments):
            if is_array(bucket) and bucket and isinstance(bucket[0], (str, bool, int, float)):
                yield from _check_variant(to_text(bucket[0]), (*path, index, 0), variants)


def _check_variant(name: str, path: Path, variants: Collection[str]) -> Iterator[LintRemark]:
    if name not in variants:
        suggestion = did_you_mean(name, variants, quote=quoted)
        yield LintRemark("missing-variant", path, f"the flag does not have a variant {quoted(name)}", suggestion or None)


def _wrong_type(path: Path, expected: str, value: object) -> LintRemark:
    got = quoted(value) if isinstance(value, str) else type_name(value)
    return LintRemark("wrong-type", path, f"expected {expected}, got {got}")


def _operation(rule: object) -> tuple[str, object] | None:
    if not is_object(rule) or len(rule) != 1:
        return None
    ((name, arguments),) = rule.items()
    return name, arguments
