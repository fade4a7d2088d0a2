"""The repr of frozen dataclasses: only the fields that differ from their default."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["as_loop_time", "as_utc", "repr_of_set_fields"]


def repr_of_set_fields(thing: DataclassInstance, **formats: Callable[[float], str]) -> str:
    """``Reason(kind='RULE_MATCH', rule_index=0)``: a dataclass without the fields that have their default value.

    A member of a ``StrEnum`` is shown as its text. ``formats`` shows the times in these fields for people. Without them the repr is
    an expression for an equal value.
    """
    shown: list[str] = []
    for field in fields(thing):
        value: Any = getattr(thing, field.name)
        if not (value.__class__ is field.default.__class__ and value == field.default):
            shown.append(f"{field.name}={formats.get(field.name, _plain)(value)}")
    return f"{type(thing).__name__}({', '.join(shown)})"


def _plain(value: object) -> str:
    return str.__repr__(value) if isinstance(value, str) else repr(value)


def as_utc(seconds: float) -> str:
    """Unix time for people: ``<2026-11-23T16:03:33Z>``. A number that is not a time is shown as it is."""
    try:
        return time.strftime("<%Y-%m-%dT%H:%M:%SZ>", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return repr(seconds)


def as_loop_time(seconds: float) -> str:
    """A time of the event loop's clock, which starts anywhere: ``<loop time 51234.2>``."""
    return f"<loop time {seconds:.9g}>"
