"""The data that rules read: the attributes of the context, and the targeting key.

Source: ``flagd.md`` 4.7 and 5.1.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from aioflags.evaluation.jsonlogic.coercion import is_array, is_object
from aioflags.model.context import Context
from aioflags.model.nesting import SCALARS, is_too_deep
from aioflags.model.values import plain_text, utc_text

__all__ = ["TARGETING_KEY", "NotJsonError", "context_data", "data_of", "json_value"]

TARGETING_KEY: Final = "targetingKey"
_NO_ATTRIBUTES: Final[Mapping[str, Any]] = {}


class NotJsonError(ValueError):
    """A context that is not JSON, so that rules cannot read it. The message names the attribute, and not its value."""


def data_of(context: Context, static: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a context, from memory if it was made for the same object ``static`` before. Do not change it.

    ``static`` has attributes that hide those of the context with the same name.

    Raises:
        NotJsonError: the context cannot be represented as JSON, has several kinds, or is invalid.
    """
    derived = context.derived
    if derived is not None and derived[0] is static:
        kept: dict[str, Any] = derived[1]
        return kept
    if not context.is_valid_for_flagd:
        raise NotJsonError(f"the context cannot be used: {context.error}")
    if context.members is not None:
        raise NotJsonError("the context has several kinds, so it has no targeting key; use a context of one kind")
    properties: dict[str, Any] = {}
    if context.name is not None:
        properties["name"] = context.name
    if context.anonymous:
        properties["anonymous"] = True
    attributes = {**properties, **context.attributes} if properties else context.attributes
    data = context_data(attributes, context.key or context.other_key, static)
    context.keep(static, data)
    return data


def context_data(
    attributes: Mapping[str, Any], targeting_key: object, static: Mapping[str, Any] = _NO_ATTRIBUTES
) -> dict[str, Any]:
    """The data of a context. Datetimes become texts in UTC; other values are used as they are, without a copy.

    ``targetingKey`` is always there, and null without a key. It hides an attribute of that name. Rules see a key that is not text;
    ``fractional`` without a seed does not.

    Raises:
        NotJsonError: an attribute or the key is not JSON, or nests more than 128 levels deep.
    """
    data = {**attributes, **static, TARGETING_KEY: targeting_key}
    for name, value in data.items():
        if value.__class__ not in SCALARS:
            try:
                data[name] = json_value(value)
            except ValueError as error:
                raise NotJsonError(f"the attribute {plain_text(str(name))!r:.100} {error}") from None
    return data


def json_value(value: Any) -> Any:
    """One attribute as JSON: datetimes as texts in UTC. Raises ``ValueError`` if it is not JSON, or nests too deeply."""
    if is_too_deep(value):
        raise NotJsonError("is nested too deeply")
    return _json(value)


def _json(value: Any) -> Any:
    """The value with datetimes as texts. A container without datetimes is returned as it is."""
    if value.__class__ in SCALARS or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, dt.datetime):
        return utc_text(value)
    if is_array(value):
        elements = [_json(element) for element in value]
        return elements if _differ(elements, value) else value
    if is_object(value):
        members = {_name(name): _json(element) for name, element in value.items()}
        return members if _differ(members.values(), value.values()) else value
    raise NotJsonError(f"is not JSON: it contains a value of the type {type(value).__name__:.100}")


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise NotJsonError(f"is not JSON: an object in it has a name of the type {type(name).__name__:.100}")
    return name


def _differ(new: Any, old: Any) -> bool:
    return any(one is not other for one, other in zip(new, old, strict=True))
