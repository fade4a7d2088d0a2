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
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aioflags.evaluation.openfeature.context_data import TARGETING_KEY
from aioflags.evaluation.openfeature.launchdarkly import IDENTITY, NO_KEY, context_with_kinds
from aioflags.model.context import Context, invalid_context, unchecked_context
from aioflags.model.context_checks import is_absent
from aioflags.model.context_json import NOT_CUSTOM
from aioflags.model.conversion import ALWAYS_JSON, json_attributes
from aioflags.model.nesting import SCALARS
from aioflags.runtime.logs import class_name

if TYPE_CHECKING:
    from openfeature.evaluation_context import EvaluationContext

__all__ = ["ConvertContext", "converter"]

ConvertContext: TypeAlias = "Callable[[EvaluationContext | None], Context]"

_ARE_CUSTOM: Final = (IDENTITY | NOT_CUSTOM).isdisjoint
_NO_CONTEXT: Final = object()
_NEVER: Final = object()
_AMBIGUOUS: Final = frozenset({0, 1})
"""Values that equal a boolean, which is another value. Booleans and small integers are the same objects everywhere."""


def converter(*, has_kinds: bool) -> ConvertContext:
    """A function that converts contexts for one client, and never raises. It remembers the last one whose attributes are scalars.

    OpenFeature makes a new evaluation context for each evaluation, but programs often evaluate several flags for one user. If key
    and attributes are equal, the client gets the same object again: that is faster, and evaluations of the same object are counted
    without a lock.
    """
    remembered: _Remembered = _NO_CONTEXT, {}, (), NO_KEY

    def convert(key: Any, attributes: Mapping[str, Any]) -> Context:
        try:
            return context_with_kinds(key, attributes) if has_kinds else _without_kinds(key, attributes)
        except Exception as error:  # noqa: BLE001 - an object of the program may raise anything when it is read
            return invalid_context(f"reading it raised {class_name(error)}")

    def converted(given: EvaluationContext | None) -> Context:
        nonlocal remembered
        if given is None:
            return convert(None, {})
        key: object = given.targeting_key
        attributes: Mapping[str, Any] = given.attributes
        last_key, last_attributes, ambiguous, context = remembered
        try:
            if key == last_key and attributes == last_attributes:
                if ambiguous is None:
                    ambiguous = _ambiguous(last_attributes)
                    remembered = last_key, last_attributes, ambiguous, context
                for name, value in ambiguous:
                    if attributes[name] is not value:
                        break
                else:
                    return context
            if type(key) is str and key and type(given.attributes) is dict and (not has_kinds or _ARE_CUSTOM(attributes)):
                for value in attributes.values():
                    # As in Context.__post_init__.
                    if type(value) is not str and type(value) not in ALWAYS_JSON and (type(value) is not float or value - value):
                        break
                else:
                    context = unchecked_context(key, attributes)
                    remembered = key, context.attributes, None, context
                    return context
        except Exception:  # noqa: BLE001, S110 - an attribute that cannot be compared
            pass
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


def _without_kinds(key: str | None, attributes: Mapping[str, Any]) -> Context:
    """The context for flagd's flags, with or without a targeting key."""
    usable = json_attributes(attributes)
    return unchecked_context(usable.get(TARGETING_KEY) if is_absent(key) else key, usable)
