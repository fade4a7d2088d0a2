"""Checks the properties and types of a definition, and reports every mistake, not only the first.

The expected types are those of the structs that definitions are decoded to, so the two cannot disagree.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from aioflags.model.change import ObjectKind, RuledDefinition
from aioflags.model.flag import FlagDefinition
from aioflags.model.segment import SegmentDefinition
from aioflags.model.values import is_number, type_name
from aioflags.protocol.documents.places import Path
from aioflags.runtime.suggest import did_you_mean
from aioflags.tools.lint.findings import LintRemark, quoted

_STRUCTS: Final[dict[ObjectKind, type[RuledDefinition]]] = {ObjectKind.FLAG: FlagDefinition, ObjectKind.SEGMENT: SegmentDefinition}
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


def check_shape(kind: ObjectKind, data: object, path: Path) -> tuple[RuledDefinition, list[LintRemark]]:
    """The definition in ``data`` at ``path``, and its mistakes. A placeholder or default replaces a wrong value."""
    struct = _STRUCTS[kind]
    walk = _Walk()
    value = walk.value(_type_of(struct), data, path)
    return msgspec.convert({} if value is _UNUSABLE else value, struct), walk.remarks


@functools.cache
def _type_of(struct: type[RuledDefinition]) -> inspect.Type:
    return inspect.type_info(struct)


class _Walk:
    """One walk through a definition: returns each value without its mistakes, and collects remarks on them."""

    def __init__(self) -> None:
        self.remarks: list[LintRemark] = []

    def value(self, expected_type: inspect.Type, value: Any, path: Path) -> Any:
        options = expected_type.types if isinstance(expected_type, inspect.UnionType) else (expected_type,)
        for option in options:
            if _fits(option, value):
                return self._inside(option, value, path)
        expected = " or ".join(name for option in options for kind, name in _NAMES if isinstance(option, kind))
        got = "fractional number" if isinstance(value, float) and "whole" in expected else type_name(value)
        self.remarks.append(LintRemark("wrong-type", path, f"expected {expected}, got {got}"))
        return _UNUSABLE

    def _inside(self, expected_type: inspect.Type, value: Any, path: Path) -> Any:
        match expected_type:
            case inspect.StructType():
                return self._struct(expected_type, value, path)
            case inspect.VarTupleType():
                items = [self.value(expected_type.item_type, inner, (*path, index)) for index, inner in enumerate(value)]
                return [_placeholder(expected_type.item_type) if inner is _UNUSABLE else inner for inner in items]
            case _:
                return value

    def _struct(self, expected_type: inspect.StructType, value: Mapping[str, Any], path: Path) -> dict[str, Any]:
        fields = {field.encode_name: field for field in expected_type.fields}
        values: dict[str, Any] = {}
        for name, inner in value.items():
            if name in fields:
                values[name] = self.value(fields[name].type, inner, (*path, name))
            # The service sends properties that aioflags does not use, so report only names that look like a misspelling.
            elif suggestion := did_you_mean(name, set(fields) - set(value), quote=quoted):
                self.remarks.append(LintRemark("unknown-property", (*path, name), "unknown property", suggestion))
        for name, field in fields.items():
            if field.required and name not in values:
                self.remarks.append(LintRemark("missing-property", path, f"missing required property {quoted(name)}"))
                values[name] = _UNUSABLE
        usable = {name: inner for name, inner in values.items() if inner is not _UNUSABLE}
        return usable | {name: _placeholder(fields[name].type) for name in values if fields[name].required and name not in usable}


def _fits(expected_type: inspect.Type, value: object) -> bool:
    """Whether a value has the type, without a look at the values inside it."""
    match expected_type:
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
            raise AssertionError(f"unexpected type in a definition: {expected_type!r}")


def _placeholder(expected_type: inspect.Type) -> Any:
    """A value of the type, to replace an unusable one."""
    match expected_type:
        case inspect.StructType():
            return {field.encode_name: _placeholder(field.type) for field in expected_type.fields if field.required}
        case inspect.IntType():
            return 0
        case _:
            return ""
