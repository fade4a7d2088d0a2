"""The data that rules read: the attributes of the context, and the targeting key.

Source: ``flagd.md`` 5.1.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from aioflags.evaluation.jsonlogic.coercion import is_array, is_object
from aioflags.model.nesting import SCALARS, check_value_depth

__all__ = ["context_data"]


def context_data(attributes: Mapping[str, Any], targeting_key: str | None) -> dict[str, Any]:
    """The data of a context. Datetimes become texts in UTC; other values are used as they are, without a copy.

    ``targetingKey`` is always there, and null without a key. An attribute of that name is hidden.

    Raises:
        NestingError: An attribute nests more than 128 levels deep.
    """
    data = dict(attributes)
    for name, value in attributes.items():
        if value.__class__ not in SCALARS:
            check_value_depth(value)
            data[name] = _json(value)
    data["targetingKey"] = targeting_key
    return data


def _json(value: Any) -> Any:
    """The value with datetimes as texts. A container without datetimes is returned as it is."""
    if value.__class__ in SCALARS:
        return value
    if isinstance(value, dt.datetime):
        return _utc(value)
    if is_array(value):
        elements = [_json(element) for element in value]
        return elements if _differ(elements, value) else value
    if is_object(value):
        members = {name: _json(element) for name, element in value.items()}
        return members if _differ(members.values(), value.values()) else value
    return value


def _differ(new: Any, old: Any) -> bool:
    return any(one is not other for one, other in zip(new, old, strict=True))


def _utc(moment: dt.datetime) -> str:
    """RFC 3339 in UTC. A time without zone counts as UTC."""
    if moment.tzinfo is not None:
        try:
            moment = moment.astimezone(dt.UTC)
        except OverflowError:  # in the year 1 or 9999
            return moment.isoformat()
    return moment.replace(tzinfo=None).isoformat() + "Z"
