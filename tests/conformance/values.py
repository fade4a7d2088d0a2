"""Values in steps: the text of a cell becomes a value of the type that the step names."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

__all__ = ["EXPECTED", "converted"]


def _boolean(text: str) -> bool:
    assert text.lower() in {"true", "false"}, text
    return text.lower() == "true"


def _object(text: str) -> Any:
    return json.loads(text.replace('\\"', '"'))


def _strings(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")] if text.strip() else []


_CONVERSIONS: Final[dict[str, Callable[[str], Any]]] = {
    "Boolean": _boolean,
    "Integer": int,
    "Long": int,
    "Float": float,
    "String": str,
    "Object": _object,
    "ResolverType": str.lower,
    "CacheType": str.lower,
    "StringList": _strings,
}

EXPECTED: Final[dict[str, type]] = {"Boolean": bool, "Integer": int, "Float": float, "String": str, "Object": dict}
"""The type that an evaluation of a flag asks for."""


def converted(text: str, kind: str) -> Any:
    """The value of a cell. Backslashes in a string are kept as they are."""
    return _CONVERSIONS[kind](text)
