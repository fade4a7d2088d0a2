"""Converts JSON objects to protobuf structs and back. All numbers of a struct are floats; whole ones become integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

__all__ = ["from_struct", "to_struct"]


def to_struct(content: Mapping[str, Any]) -> Struct:
    """A JSON object as a struct."""
    struct = Struct()
    struct.update(dict(content))
    return struct


def from_struct(struct: Struct) -> dict[str, Any]:
    """A struct as a JSON object."""
    return {name: _from_value(value) for name, value in struct.fields.items()}


def _from_value(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [_from_value(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None
