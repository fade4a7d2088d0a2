"""Decodes one flag or segment into a change, and gives versions to those whose authors do not.

Decoding one flag or segment into a change. All formats share this; each format has its own module.

Source: ``evaluation.md`` 2; ``data-system.md`` 2.1 and 3.1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import msgspec

from aioflags.model.change import Change, ChangeSet, ObjectKind, RuledDefinition, SegmentDefinition
from aioflags.model.flag import FlagDefinition, VariationOrRollout
from aioflags.model.values import plain_text
from aioflags.runtime.fork import Lock

# -- Versions for objects of documents that are read repeatedly, and whose authors do not increase the version with each edit.
#
# A changed object must get another version, because changes are detected by version. An unchanged object must keep its
# version.
#
# Source: ``data-system.md`` 7.3 and 9.1.


class Versions:
    """The newest version of each object with its content. From any thread: a thread that was given up may still count."""

    def __init__(self) -> None:
        self._newest: dict[tuple[ObjectKind, str], tuple[int, bytes]] = {}
        """The version, and the definition as JSON without its version. In JSON, 1 and true differ."""
        self._lock = Lock()

    def counted(self, change_set: ChangeSet) -> ChangeSet:
        """The change set with new versions: a version increases if the object changed, and never decreases."""
        with self._lock:
            return replace(change_set, changes=tuple(map(self._counted, change_set.changes)))

    def _counted(self, change: Change) -> Change:
        name, content = (change.kind, change.key), _content(change)
        previous = self._newest.get(name)
        version = change.version
        if previous is not None and version <= previous[0]:
            version = previous[0] if content == previous[1] else previous[0] + 1
        self._newest[name] = version, content
        if version == change.version:
            return change
        definition = None if change.definition is None else msgspec.structs.replace(change.definition, version=version)
        return Change(change.kind, change.key, version, definition)


def _content(change: Change) -> bytes:
    return msgspec.json.encode(None if change.definition is None else msgspec.structs.replace(change.definition, version=0))


SECTIONS: Final = {"flags": ObjectKind.FLAG, "segments": ObjectKind.SEGMENT}
"""The section of a document with all definitions → the kind of object in it."""

_DECODERS: Final[dict[ObjectKind, msgspec.json.Decoder[Any]]] = {
    ObjectKind.FLAG: msgspec.json.Decoder(FlagDefinition),
    ObjectKind.SEGMENT: msgspec.json.Decoder(SegmentDefinition),
}


class Stated(msgspec.Struct):
    """The version that an object states, if it does."""

    version: int | msgspec.UnsetType = msgspec.UNSET


_STATED: Final = msgspec.json.Decoder(Stated)


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
