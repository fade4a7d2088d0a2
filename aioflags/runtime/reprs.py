"""The repr of frozen dataclasses: only the fields that differ from their default."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["repr_of_set_fields"]


def repr_of_set_fields(thing: DataclassInstance) -> str:
    """``Reason(kind='RULE_MATCH', rule_index=0)``: a dataclass without the fields that have their default value.

    A member of a ``StrEnum`` is shown as its text. Since it equals its text, the repr is an expression for an equal value.
    """
    shown: list[str] = []
    for field in fields(thing):
        value: Any = getattr(thing, field.name)
        if not (value.__class__ is field.default.__class__ and value == field.default):
            shown.append(f"{field.name}={str.__repr__(value) if isinstance(value, str) else repr(value)}")
    return f"{type(thing).__name__}({', '.join(shown)})"
