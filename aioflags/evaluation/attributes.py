"""Context kinds and attributes as definitions name them, and the functions that read the attributes.

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


Find: TypeAlias = "Callable[[Context], Any]"
"""Reads one attribute of a single-kind context; ``None`` if it is missing."""


def clean_kind(kind: str | None) -> str:
    """The kind that a definition means, safe to compare with ``context.kind``.

    ``None`` and the empty string mean ``user``. A multi-kind context has the kind ``multi``. A definition can name that
    kind, but no single-kind context has it. It is replaced by ``kind``, which is not a valid kind of context.
    """
    return "kind" if kind == "multi" else kind or "user"


def reference(text: str, kind: str | None) -> AttributeReference:
    """The attribute that a definition means by ``text``. Without a context kind it is a literal name: old data has no paths."""
    return AttributeReference.parse(text) if kind else AttributeReference.literal(text)


def finder(attribute: AttributeReference) -> Find:
    """The function that reads the attribute."""
    if len(attribute.path) != 1:
        return lambda single: single.resolve(attribute)
    name = attribute.path[0]
    if name in BUILT_IN:
        return operator.attrgetter(name)
    return lambda single: single.attributes.get(name)
