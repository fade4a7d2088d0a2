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

from aioflags.evaluation.flagd.context_data import context_data
from aioflags.model.context import Context, invalid_context, unchecked_context
from aioflags.model.context_json import NOT_CUSTOM
from aioflags.model.nesting import SCALARS, NestingError
from aioflags.model.values import type_name

if TYPE_CHECKING:
    from openfeature.evaluation_context import EvaluationContext

__all__ = ["NO_KEY", "ConvertContext", "context_with_kinds", "context_without_kinds", "remembering"]

ConvertContext: TypeAlias = "Callable[[EvaluationContext | None], Context]"

_TARGETING_KEY: Final = "targetingKey"
_PRIVATE: Final = "privateAttributes"
_IDENTITY: Final = frozenset({"kind", "key", _TARGETING_KEY, _PRIVATE})
"""Attributes that do not become custom attributes of a context with kinds."""
_ARE_CUSTOM: Final = (_IDENTITY | NOT_CUSTOM).isdisjoint
_ARE_SCALARS: Final = SCALARS.issuperset
_MULTI: Final = "multi"

_NO_CONTEXT: Final = object()
_AMBIGUOUS: Final = frozenset({0, 1})
"""Values that equal a boolean, which is another value. Booleans and small integers are the same objects everywhere."""

NO_KEY: Final = invalid_context("no targeting key")
"""The context of an evaluation without a targeting key."""


def context_with_kinds(given: EvaluationContext | None) -> Context:
    """The context for LaunchDarkly's flags; :data:`NO_KEY` without a targeting key. Never raises.

    The targeting key wins over the attribute ``targetingKey``, and this over the attribute ``key``. ``name``, ``anonymous`` and
    ``privateAttributes`` set the properties of these names. Datetimes become texts in UTC.
    """
    if given is None:
        return NO_KEY
    key, attributes = given.targeting_key, given.attributes
    if (
        key.__class__ is str
        and key
        and attributes.__class__ is dict
        and _ARE_CUSTOM(attributes)
        and _ARE_SCALARS(map(type, attributes.values()))
    ):
        return unchecked_context(key, attributes)
    try:
        return _of_any_kind(key or _key(attributes), context_data(attributes, None))
    except NestingError as problem:
        return invalid_context(f"an attribute is {problem}")


def remembering(convert: ConvertContext) -> ConvertContext:
    """``convert`` with a memory of the last context whose attributes are scalars.

    OpenFeature makes a new evaluation context for each evaluation, but programs often evaluate several flags for one user. If key
    and attributes are equal, the client gets the same object again: that is faster, and evaluations of the same object are counted
    without a lock.
    """
    remembered: tuple[object, Mapping[str, object], tuple[tuple[str, object], ...], Context] = (_NO_CONTEXT, {}, (), NO_KEY)

    def converted(given: EvaluationContext | None) -> Context:
        nonlocal remembered
        if given is not None:
            key, attributes, ambiguous, context = remembered
            given_attributes = given.attributes
            try:
                if given.targeting_key == key and given_attributes == attributes:
                    for name, value in ambiguous:
                        if given_attributes[name] is not value:
                            break
                    else:
                        return context
            except Exception:  # noqa: BLE001, S110 - an attribute that cannot be compared
                pass
        context = convert(given)
        if given is not None and _can_be_remembered(given, context):
            attributes = context.attributes
            ambiguous = tuple(each for each in attributes.items() if each[1] in _AMBIGUOUS)
            remembered = context.key, attributes, ambiguous, context
        return context

    return converted


def _can_be_remembered(given: EvaluationContext, context: Context) -> bool:
    """Whether equal evaluation contexts give this context: its key and attributes are all that was given, and cannot change."""
    return (
        context.error is None
        and context.members is None
        and context.key == given.targeting_key
        and len(context.attributes) == len(given.attributes)
        and _ARE_SCALARS(map(type, context.attributes.values()))
    )


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


def context_without_kinds(given: EvaluationContext | None) -> Context:
    """The context for flagd's flags, with or without a targeting key. Never raises."""
    if given is None:
        return unchecked_context(None, {})
    key = given.targeting_key or cast("str | None", given.attributes.get(_TARGETING_KEY))
    return unchecked_context(key or None, given.attributes)
