"""Whether a definition has the properties and types that it has to have: every mistake, not the first.

The types are read off the structs that definitions are decoded to, so the two cannot disagree.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from aioflags.model.change import Definition, ObjectKind
from aioflags.model.flag import FlagDefinition
from aioflags.model.segment import SegmentDefinition
from aioflags.model.values import is_number, type_name
from aioflags.protocol.documents.places import Path
from aioflags.runtime.suggest import did_you_mean
from aioflags.tools.lint.findings import LintRemark, quoted

__all__ = ["shaped"]

_STRUCTS: Final[dict[ObjectKind, type[Definition]]] = {ObjectKind.FLAG: FlagDefinition, ObjectKind.SEGMENT: SegmentDefinition}
_NAMES: Final[tuple[tuple[type[inspect.Type], str], ...]] = (
    (inspect.BoolType, "boolean"),
    (inspect.IntType, "whole number"),
    (inspect.FloatType, "number"),
    (inspect.StrType, "string"),
    (inspect.VarTupleType, "array"),
    (inspect.StructType, "object"),
    (inspect.NoneType, "null"),
)
_UNUSABLE: Final = object()


def shaped(kind: ObjectKind, written: object, path: Path) -> tuple[Definition, list[LintRemark]]:
    """The definition that is written at ``path``, and its mistakes; where these are, it has a default or nothing in particular."""
    struct = _STRUCTS[kind]
    walk = _Walk()
    found = walk.value(_type_of(struct), written, path)
    return msgspec.convert({} if found is _UNUSABLE else found, struct), walk.remarks


@functools.cache
def _type_of(struct: type[Definition]) -> inspect.Type:
    return inspect.type_info(struct)


class _Walk:
    """One walk through one definition: answers each value without its mistakes, and collects these."""

    def __init__(self) -> None:
        self.remarks: list[LintRemark] = []

    def value(self, wanted: inspect.Type, value: Any, path: Path) -> Any:
        options = wanted.types if isinstance(wanted, inspect.UnionType) else (wanted,)
        for option in options:
            if _fits(option, value):
                return self._inside(option, value, path)
        expected = " or ".join(name for option in options for kind, name in _NAMES if isinstance(option, kind))
        got = "fractional number" if isinstance(value, float) and "whole" in expected else type_name(value)
        self.remarks.append(LintRemark("wrong-type", path, f"expected {expected}, got {got}"))
        return _UNUSABLE

    def _inside(self, wanted: inspect.Type, value: Any, path: Path) -> Any:
        match wanted:
            case inspect.StructType():
                return self._struct(wanted, value, path)
            case inspect.VarTupleType():
                found = [self.value(wanted.item_type, inner, (*path, index)) for index, inner in enumerate(value)]
                return [_stand_in(wanted.item_type) if inner is _UNUSABLE else inner for inner in found]
            case _:
                return value

    def _struct(self, wanted: inspect.StructType, value: Mapping[str, Any], path: Path) -> dict[str, Any]:
        fields = {field.encode_name: field for field in wanted.fields}
        found: dict[str, Any] = {}
        for name, inner in value.items():
            if name in fields:
                found[name] = self.value(fields[name].type, inner, (*path, name))
            # The service writes properties that nobody here needs, so only what looks like a slip is worth a word.
            elif suggestion := did_you_mean(name, set(fields) - set(value), quote=quoted):
                self.remarks.append(LintRemark("unknown-property", (*path, name), "unknown property", suggestion))
        for name, field in fields.items():
            if field.required and name not in found:
                self.remarks.append(LintRemark("missing-property", path, f"missing required property {quoted(name)}"))
                found[name] = _UNUSABLE
        usable = {name: inner for name, inner in found.items() if inner is not _UNUSABLE}
        return usable | {name: _stand_in(fields[name].type) for name in found if fields[name].required and name not in usable}


def _fits(wanted: inspect.Type, value: object) -> bool:
    """Whether the outside of a value is of that type."""
    match wanted:
        case inspect.AnyType():
            return True
        case inspect.NoneType():
            return value is None
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return is_number(value)
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.VarTupleType():
            return isinstance(value, list)
        case inspect.StructType():
            return isinstance(value, dict)
        case _:
            raise AssertionError(f"no definition has a {wanted!r}")


def _stand_in(wanted: inspect.Type) -> Any:
    """Something of that type, for the walk to go on."""
    match wanted:
        case inspect.StructType():
            return {field.encode_name: _stand_in(field.type) for field in wanted.fields if field.required}
        case inspect.IntType():
            return 0
        case _:
            return ""
