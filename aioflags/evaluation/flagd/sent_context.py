"""The context as a server that evaluates flags gets it.

Source: ``flagd.md`` 7.1 and 9.
"""

from __future__ import annotations

from typing import Any

from aioflags.evaluation.flagd.context_data import context_data
from aioflags.model.context import Context

__all__ = ["sent_context"]


def sent_context(context: Context | None) -> dict[str, Any]:
    """The attributes of the context, and ``targetingKey``, which is ``None`` without a key.

    Raises:
        ValueError: the context is invalid, has several kinds, or nests too deeply. The message is for the caller of an evaluation.
    """
    if context is None:
        return context_data({}, None)
    if context.error is not None and not context.is_keyless:
        raise ValueError(context.error)
    if context.members is not None:
        raise ValueError("a context of several kinds; flagd's contexts have no kinds")
    properties = {"name": context.name, "anonymous": context.anonymous or None}
    attributes = {**context.attributes, **{name: value for name, value in properties.items() if value is not None}}
    return context_data(attributes, context.key or None)
