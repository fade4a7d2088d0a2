"""From OpenFeature's evaluation context to the context of a client.

OpenFeature has one targeting key and attributes. For LaunchDarkly the targeting key is the key of a context of one kind, ``user``
unless the attribute ``kind`` names another; with the kind ``multi`` every other attribute that is an object is a member. For flagd
there are no kinds, and every name is an attribute.

Source: ``openfeature.md`` 6.3.
"""

# openfeature is a namespace package, whose py.typed pyright does not see.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from aioflags.evaluation.openfeature.context_data import NotJsonError, context_data
from aioflags.model.context import Context, invalid_context, unchecked_context
from aioflags.model.context_json import NOT_CUSTOM
from aioflags.model.nesting import SCALARS
from aioflags.model.values import type_name

if TYPE_CHECKING:
    from openfeature.evaluation_context import EvaluationContext

__all__ = ["NO_KEY", "ConvertContext", "converter"]

ConvertContext: TypeAlias = "Callable[[EvaluationContext | None], Context]"

_TARGETING_KEY: Final = "targetingKey"
_PRIVATE: Final = "privateAttributes"
_IDENTITY: Final = frozenset({"kind", "key", _TARGETING_KEY, _PRIVATE})
"""Attributes that do not become custom attributes of a context with kinds."""
_ARE_CUSTOM: Final = (_IDENTITY | NOT_CUSTOM).isdisjoint
_MULTI: Final = "multi"

_NO_CONTEXT: Final = object()
_NEVER: Final = object()
_AMBIGUOUS: Final = frozenset({0, 1})
"""Values that equal a boolean, which is another value. Booleans and small integers are the same objects everywhere."""

NO_KEY: Final = invalid_context("no targeting key")
"""The context of an evaluation without a targeting key."""


def converter(*, has_kinds: bool) -> ConvertContext:
    """A function that converts contexts for one client, and never raises. It remembers the last one whose attributes are scalars.

    OpenFeature makes a new evaluation context for each evaluation, but programs often evaluate several flags for one user. If key
    and attributes are equal, the client gets the same object again: that is faster, and evaluations of the same object are counted
    without a lock.
    """
    convert = _with_kinds if has_kinds else _without_kinds
    remembered: _Remembered = _NO_CONTEXT, {}, (), NO_KEY

    def converted(given: EvaluationContext | None) -> Context:
        nonlocal remembered
        if given is None:
            return convert(None, {})
        key, attributes = given.targeting_key, given.attributes
        last_key, last_attributes, ambiguous, context = remembered
        if key == last_key:
            try:
                if attributes == last_attributes:
                    if ambiguous is None:
                        ambiguous = _ambiguous(last_attributes)
                        remembered = last_key, last_attributes, ambiguous, context
                    for name, value in ambiguous:
                        if attributes[name] is not value:
                            break
                    else:
                        return context
            except Exception:  # noqa: BLE001, S110 - an attribute that cannot be compared
                pass
        if key.__class__ is str and key and attributes.__class__ is dict and (not has_kinds or _ARE_CUSTOM(attributes)):
            for value in attributes.values() if has_kinds else ():
                # Most values are strings, for which a comparison of classes is faster than the lookup.
                if type(value) is not str and type(value) not in SCALARS:
                    return convert(key, attributes)
            context = unchecked_context(key, attributes)
            remembered = key, context.attributes, None, context
            return context
        return convert(key, attributes)

    return converted


_Remembered: TypeAlias = tuple[object, Mapping[str, object], tuple[tuple[str, object], ...] | None, Context]
"""Key and attributes of the last context; the attributes to compare by identity, if they were looked for; the context."""


def _ambiguous(attributes: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    """The scalar attributes that equal a value of another type. An attribute that can change is one that is never the same."""
    return tuple(
        (name, value if value.__class__ in SCALARS else _NEVER)
        for name, value in attributes.items()
        if value.__class__ not in SCALARS or value in _AMBIGUOUS
    )


def _with_kinds(key: str | None, attributes: Mapping[str, Any]) -> Context:
    """The context for LaunchDarkly's flags; :data:`NO_KEY` without a targeting key.

    The targeting key wins over the attribute ``targetingKey``, and this over the attribute ``key``. ``name``, ``anonymous`` and
    ``privateAttributes`` set the properties of these names. Datetimes become texts in UTC.
    """
    return _of_any_kind(key or _key(attributes), {name: _json(value) for name, value in attributes.items()})


def _json(value: Any) -> Any:
    """The value with datetimes as texts. What is not JSON stays as it is: rules do not match it."""
    if value.__class__ in SCALARS:
        return value
    try:
        return context_data({"value": value}, None)["value"]
    except NotJsonError:
        return value


def _of_any_kind(key: str | None, attributes: Mapping[str, object]) -> Context:
    kind = attributes.get("kind")
    if kind == _MULTI:
        return _of_several_kinds(attributes)
    if not key:
        return NO_KEY
    return Context(
        key,
        cast("str", "user" if kind is None else kind),
        attributes={name: value for name, value in attributes.items() if name not in _IDENTITY},
        private=cast("tuple[str, ...]", attributes.get(_PRIVATE) or ()),
    )


def _of_several_kinds(attributes: Mapping[str, object]) -> Context:
    members: list[Context] = []
    for kind, member in attributes.items():
        if kind in _IDENTITY:
            continue
        if not isinstance(member, Mapping):
            return invalid_context(f"multi-kind context: expected an object for {kind!r}, got {type_name(member)}")
        properties = cast("Mapping[str, object]", member)
        members.append(_of_any_kind(_key(properties), {**properties, "kind": kind}))
    return Context.multi(*members)


def _key(attributes: Mapping[str, Any]) -> str | None:
    return attributes.get(_TARGETING_KEY) or attributes.get("key")


def _without_kinds(key: str | None, attributes: Mapping[str, Any]) -> Context:
    """The context for flagd's flags, with or without a targeting key."""
    return unchecked_context(key or attributes.get(_TARGETING_KEY) or None, attributes)
