"""How pydantic validates and writes classes that are not dataclasses. This module does not need pydantic.

Source: https://docs.pydantic.dev/latest/concepts/types/#customizing-validation-with-__get_pydantic_core_schema__
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

__all__ = ["PydanticSerializer", "pydantic_schema"]


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
