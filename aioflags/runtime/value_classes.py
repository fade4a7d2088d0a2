"""What value classes have in common: a short repr, a mapping that cannot be changed, and how pydantic treats them.

How pydantic validates and writes classes that are not dataclasses. This module does not need pydantic.

Source: https://docs.pydantic.dev/latest/concepts/types/#customizing-validation-with-__get_pydantic_core_schema__
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, final

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


# -- The repr of frozen dataclasses: only the fields that differ from their default.


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


# -- ReadOnlyMapping: a mapping of options that cannot be changed, but copied and pickled.


K = TypeVar("K")
V_co = TypeVar("V_co", covariant=True)


@final
class ReadOnlyMapping(Mapping[K, V_co]):
    """A copy of ``values``. ``types.MappingProxyType`` cannot be copied deeply or pickled."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[K, V_co]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: K) -> V_co:
        return self._values[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)


def pydantic_schema(
    cls: type, plain: Mapping[str, Any], *, read: Callable[[Any], Any] | None = None, write: Callable[[Any], Any]
) -> dict[str, Any]:
    """The result of ``__get_pydantic_core_schema__`` for a class that is written as a plain mapping.

    Args:
        cls: the class, whose instances are accepted as they are.
        plain: the schema of the mapping.
        read: makes an instance of a mapping. It raises ``ValueError`` for one that cannot be used. ``None``: none can.
        write: makes a mapping of an instance.
    """

    def validate(value: object, validate_plain: Callable[[object], Any]) -> Any:
        if isinstance(value, cls):
            return value
        if read is None:
            raise ValueError(f"expected an instance of {cls.__name__}")
        return read(validate_plain(value))

    return {
        "type": "function-wrap",
        "function": {"type": "no-info", "function": validate},
        "schema": plain,
        "serialization": {"type": "function-plain", "function": write, "return_schema": plain},
    }


class PydanticSerializer:
    """The attribute ``__pydantic_serializer__`` of a class with a :func:`pydantic_schema`.

    Where no type is known, such as in ``dict[str, Any]`` or for the default of a field in a JSON schema, pydantic does not ask a
    class for its schema. It asks an instance for this attribute.
    """

    def __get__(self, instance: object, owner: type) -> Any:
        pydantic = sys.modules.get("pydantic")
        if instance is None or pydantic is None:
            raise AttributeError("__pydantic_serializer__")
        return _serializer(owner, pydantic)


@cache
def _serializer(cls: type, pydantic: Any) -> Any:
    return pydantic.TypeAdapter(cls).serializer
