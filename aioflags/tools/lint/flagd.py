"""Lints flag sets in flagd's format: flags, variants, targeting rules and shared evaluators.

Source: ``flagd.md`` 4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from aioflags.evaluation.flagd.targeting import OPERATOR_NAMES
from aioflags.evaluation.jsonlogic.coercion import to_text
from aioflags.model.values import is_array, is_object, type_name
from aioflags.protocol.documents.places import Path
from aioflags.runtime.suggest import did_you_mean
from aioflags.tools.lint.findings import LintRemark, quoted
from aioflags.tools.lint.flagd_arguments import check_arguments

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
