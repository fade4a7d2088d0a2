"""Shared evaluators: the references to them in rules, and the comparison of flags that use them.

A reference is replaced when the rule is compiled, so data with references stay as small as their document.

Source: ``flagd.md`` 4.4 and 4.6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec

from aioflags.model.detail import FlagMetadata
from aioflags.model.flagd import REFERENCE, Evaluators, FlagdFlag
from aioflags.model.values import SCALARS, is_array, is_object, same_json

_REFERENCE: Final = "$ref"
_NOTHING: Final[Mapping[str, Any]] = {}
_encode: Final = msgspec.json.Encoder().encode


def resolved(rule: Any, rules: Mapping[str, Any]) -> Any:
    """The rule of a flag with the shared evaluators in place of its references. They are the objects in ``rules``, not copies.

    A reference to an unknown name stays, and references inside evaluators do, too. A part without references is not copied.
    """
    return _resolved(rule, rules) if rules else rule


def _resolved(part: Any, rules: Mapping[str, Any]) -> Any:
    if part.__class__ is dict:
        name = _name(part)
        if name is not None:
            return rules.get(name, part)
        members = {key: value if value.__class__ in SCALARS else _resolved(value, rules) for key, value in part.items()}
        return members if any(members[key] is not value for key, value in part.items()) else part
    if part.__class__ is list and not SCALARS.issuperset(map(type, part)):
        elements = [value if value.__class__ in SCALARS else _resolved(value, rules) for value in part]
        return elements if any(new is not value for new, value in zip(elements, part, strict=True)) else part
    return part


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
