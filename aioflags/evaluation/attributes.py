"""How definitions name a kind of context and an attribute of it, and how the attribute is found.

Source: ``evaluation.md`` 1.7 and 3.4.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from aioflags.model.context import BUILT_IN
from aioflags.model.reference import AttributeReference

if TYPE_CHECKING:
    from aioflags.model.context import Context

__all__ = ["Find", "clean_kind", "finder", "reference"]

Find: TypeAlias = "Callable[[Context], Any]"
"""Finds one attribute in a context of one kind: its value, or ``None``."""


def clean_kind(kind: str | None) -> str:
    """The kind of context that is meant, such that ``context.kind == kind`` can be trusted.

    None or an empty one means ``user``. A context of several kinds says ``multi``, which no single one is, and which a
    definition may still name; it is replaced by ``kind``, which nothing is.
    """
    return "kind" if kind == "multi" else kind or "user"


def reference(text: str, kind: str | None) -> AttributeReference:
    """What a definition means by ``text``: without a kind beside it, it was written when there were no paths."""
    return AttributeReference.parse(text) if kind else AttributeReference.literal(text)


def finder(wanted: AttributeReference) -> Find:
    """The function that finds what a reference names."""
    if len(wanted.path) != 1:
        return lambda single: single.resolve(wanted)
    name = wanted.path[0]
    if name in BUILT_IN:
        return operator.attrgetter(name)
    return lambda single: single.attributes.get(name)
