"""How pydantic validates and writes classes that are not dataclasses. This module does not need pydantic.

Source: https://docs.pydantic.dev/latest/concepts/types/#customizing-validation-with-__get_pydantic_core_schema__
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["pydantic_schema"]


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
