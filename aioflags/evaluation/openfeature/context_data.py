"""The data that rules read: the attributes of the context, and the targeting key.

Source: ``flagd.md`` 4.7 and 5.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aioflags.model.context import Context
from aioflags.model.conversion import text_names

TARGETING_KEY: Final = "targetingKey"
_NO_ATTRIBUTES: Final[Mapping[str, Any]] = {}


class UnusableContextError(ValueError):
    """A context that rules cannot read. The message says why."""


def data_of(context: Context, static: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a context, from memory if it was made for the same object ``static`` before. Do not change it.

    ``static`` has attributes that hide those of the context with the same name.

    Raises:
        UnusableContextError: the context has several kinds, or is invalid.
    """
    derived = context.derived
    if derived is not None and derived[0] is static:
        kept: dict[str, Any] = derived[1]
        return kept
    if not context.is_valid_for_flagd:
        raise UnusableContextError(f"the context cannot be used: {context.error}")
    if context.members is not None:
        raise UnusableContextError("the context has several kinds, so it has no targeting key; use a context of one kind")
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
    """The data of a context. Values are used as they are, without a copy.

    ``targetingKey`` is always there, and null without a key. It hides an attribute of that name. Rules see a key that is not text;
    ``fractional`` without a seed does not.
    """
    return {**text_names(attributes), **static, TARGETING_KEY: targeting_key}
