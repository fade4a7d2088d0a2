"""Decoding one flag or segment into a change. All formats share this; each format has its own module.

Source: ``evaluation.md`` 2; ``data-system.md`` 2.1 and 3.1.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from aioflags.model.change import Change, ObjectKind, RuledDefinition
from aioflags.model.flag import FlagDefinition, VariationOrRollout
from aioflags.model.segment import SegmentDefinition
from aioflags.model.values import plain_text

__all__ = ["SECTIONS", "has_version", "off_flag", "put", "read_definition", "value_flag"]

SECTIONS: Final = {"flags": ObjectKind.FLAG, "segments": ObjectKind.SEGMENT}
"""The section of a document with all definitions → the kind of object in it."""

_DECODERS: Final[dict[ObjectKind, msgspec.json.Decoder[Any]]] = {
    ObjectKind.FLAG: msgspec.json.Decoder(FlagDefinition),
    ObjectKind.SEGMENT: msgspec.json.Decoder(SegmentDefinition),
}


class _Stated(msgspec.Struct):
    version: int | msgspec.UnsetType = msgspec.UNSET


_STATED: Final = msgspec.json.Decoder(_Stated)


def read_definition(kind: ObjectKind, text: bytes | msgspec.Raw) -> RuledDefinition:
    """Decode one object. Raises one of ``problems.UNREADABLE``."""
    definition: RuledDefinition = _DECODERS[kind].decode(text)
    return definition


def has_version(definition: RuledDefinition, text: bytes | msgspec.Raw) -> bool:
    """Whether the JSON of the object has a version. Only 0 needs a second look, because it is also the default."""
    return definition.version != 0 or _STATED.decode(text).version is not msgspec.UNSET


def put(kind: ObjectKind, key: str, version: int, definition: RuledDefinition) -> Change:
    """The change that stores ``definition`` under ``key``. A definition that is marked as deleted becomes a delete.

    A definition without a key gets ``key``, because buckets are computed from it. A key of a subclass of ``str`` (a typed flag)
    becomes a plain string, because definitions are encoded as JSON.
    """
    if definition.deleted:
        return Change(kind, plain_text(key), version, None)
    if not definition.key:
        definition = msgspec.structs.replace(definition, key=plain_text(key))
    return Change(kind, plain_text(key), version, definition)


def value_flag(key: str, value: Any, version: int = 1) -> FlagDefinition:
    """A flag that serves ``value``, a JSON value, to all contexts."""
    return FlagDefinition(
        key=plain_text(key), version=version, on=True, variations=(value,), fallthrough=VariationOrRollout(variation=0)
    )


def off_flag(key: str, value: Any) -> FlagDefinition:
    """A flag that is off and serves ``value``, a JSON value, to all contexts. The reason of its evaluations is ``OFF``."""
    return FlagDefinition(key=plain_text(key), version=1, on=False, off_variation=0, variations=(value,))
