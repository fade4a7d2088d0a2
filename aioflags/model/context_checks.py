"""Checks of the properties of a context. Each returns an error message, or ``None`` for a valid value.

Source: ``evaluation.md`` 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from aioflags.runtime.logs import class_name

__all__ = ["anonymous_error", "is_absent", "key_error", "kind_error", "name_error", "type_error"]

_KIND: Final = re.compile(r"[A-Za-z0-9._-]+")
_RESERVED_KINDS: Final = frozenset({"kind", "multi"})


def kind_error(kind: object) -> str | None:
    """Check a kind: letters, digits and ``. _ -``, not a reserved word."""
    if not isinstance(kind, str):
        error = type_error("kind", kind, "a string")
        return f"{error}; name the attributes: Context(key, attributes={{…}})" if isinstance(kind, Mapping) else error
    if kind in _RESERVED_KINDS:
        return f"kind: {kind!r} is reserved"
    return None if _KIND.fullmatch(kind) else "kind: only the characters A-Z a-z 0-9 . _ - are allowed, and at least one of them"


def key_error(key: object) -> str | None:
    """Check a key: a string that is not empty."""
    if not isinstance(key, str):
        return type_error("key", key, "a string")
    return None if key else "key: expected a string that is not empty"


def is_absent(key: object) -> bool:
    """Whether the key is ``None`` or empty."""
    return key is None or (isinstance(key, str) and not key)


def name_error(name: object) -> str | None:
    """Check a name: a string or ``None``."""
    return None if isinstance(name, str | None) else type_error("name", name, "a string")


def anonymous_error(anonymous: object) -> str | None:
    """Check ``anonymous``: a boolean."""
    return None if isinstance(anonymous, bool) else type_error("anonymous", anonymous, "a boolean")


def type_error(name: str, value: object, expected: str) -> str:
    """The error message for a value of a wrong type."""
    return f"{name}: expected {expected}, got {'None' if value is None else class_name(value)}"
