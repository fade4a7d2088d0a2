"""Stored items and what they mean: a definition becomes text for a store, and text becomes a definition again.

The text is LaunchDarkly's JSON, since other SDKs read it, too: without what is ``None``, which not all of them take for absent.

Source: ``data-system.md`` 7.4 and 7.8; ``evaluation.md`` 2.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from typing import Any, Final, cast

import msgspec

from aioflags.evaluation.items import Items, completed
from aioflags.evaluation.ordering import prerequisites_first
from aioflags.model.change import Change, Definition, ObjectKind
from aioflags.model.flag import FlagDefinition
from aioflags.model.nesting import check_depth
from aioflags.protocol.definitions import put, read_definition
from aioflags.protocol.documents.problems import UNREADABLE
from aioflags.runtime.logs import printable
from aioflags.stores.base import StoredItem, StoredItems

__all__ = ["complete", "read_item", "read_items", "stored_items", "stored_version", "write_items"]

_A_SLICE: Final = 50
"""How many items are read or written before others get a turn: a millisecond's work or less. Counted, to need no clock."""


class _Stored(msgspec.Struct):
    """What every stored object says of itself, a deleted one too."""

    version: int = 0


_STORED: Final = msgspec.json.Decoder(_Stored)


def stored_version(text: bytes) -> int | None:
    """Which version a stored object is of; ``None`` if nobody can tell."""
    try:
        check_depth(text)
        return _STORED.decode(text).version
    except UNREADABLE:
        return None


# -- from text


def read_items(items: StoredItems, complain: Callable[[str], None]) -> Generator[None, None, tuple[Change, ...]]:
    """The changes that put, or delete, every item; pauses now and then. What cannot be read is left out, after a complaint."""
    changes: list[Change] = []
    for kind in ObjectKind:
        for count, item in enumerate(items.get(kind, {}).values(), 1):
            if (change := read_item(item, complain)) is not None:
                changes.append(change)
            if count % _A_SLICE == 0:
                yield
    return tuple(changes)


def read_item(item: StoredItem, complain: Callable[[str], None]) -> Change | None:
    """One item, under the key that it was stored by: what its text is called, or says to be called, is no matter."""
    try:
        check_depth(item.text)
        definition = read_definition(item.kind, item.text)
    except (*UNREADABLE, TypeError) as error:
        complain(f"{item.kind} {printable(item.key)}: {printable(error)}")
        return None
    if definition.key != item.key and not definition.deleted:
        definition = msgspec.structs.replace(definition, key=item.key)
    return put(item.kind, item.key, definition.version, definition)


# -- to text


def write_items(items: Items) -> Generator[None, None, StoredItems]:
    """All there is, deleted ones included, in the order in which a store writes it; pauses now and then."""
    segments: dict[str, StoredItem] = {}
    flags: dict[str, StoredItem] = {}
    for count, (key, segment) in enumerate(items.segments.items(), 1):
        segments[key] = _live(ObjectKind.SEGMENT, key, segment)
        if count % _A_SLICE == 0:
            yield
    for count, key in enumerate(prerequisites_first(items.flags), 1):
        flags[key] = _live(ObjectKind.FLAG, key, items.flags[key])
        if count % _A_SLICE == 0:
            yield
    for (kind, key), version in items.tombstones.items():
        (flags if kind is ObjectKind.FLAG else segments)[key] = _deleted(kind, key, version)
    return {ObjectKind.SEGMENT: segments, ObjectKind.FLAG: flags}


def stored_items(changes: Collection[Change]) -> list[StoredItem]:
    """What complete changes put or delete, in the order in which a store writes it: at most one of each item."""
    items = {(change.kind, change.key): _written(change) for change in changes}
    flags = {change.key: change.definition for change in changes if change.kind is ObjectKind.FLAG}
    live = {key: flag for key, flag in flags.items() if isinstance(flag, FlagDefinition)}
    order = [*prerequisites_first(live), *(key for key in flags if key not in live)]
    segments = [item for item in items.values() if item.kind is ObjectKind.SEGMENT]
    return segments + [items[ObjectKind.FLAG, key] for key in order]


def complete(change: Change) -> Change:
    """The change with the version that a store compares: the definition's own, else that of its transfer."""
    definition = completed(change)
    if definition is None:
        return change
    return Change(change.kind, change.key, definition.version, None if definition.deleted else definition)


def _written(change: Change) -> StoredItem:
    if change.definition is None:
        return _deleted(change.kind, change.key, change.version)
    return _live(change.kind, change.key, change.definition)


def _live(kind: ObjectKind, key: str, definition: Definition) -> StoredItem:
    return StoredItem(kind, key, definition.version, msgspec.json.encode(_without_none(definition)))


def _deleted(kind: ObjectKind, key: str, version: int) -> StoredItem:
    return StoredItem(kind, key, version, msgspec.json.encode({"key": key, "version": version, "deleted": True}))


def _without_none(part: Any) -> Any:
    """A definition as JSON has it, without what is ``None``. Values of flags are left as they are: a ``None`` there is a value."""
    if not isinstance(part, msgspec.Struct):
        return part
    written: dict[str, Any] = {}
    for name, field in _names(type(part)):
        value: Any = getattr(part, name)
        if value is None:
            continue
        if isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
            written[field] = [_without_none(inner) for inner in cast("tuple[msgspec.Struct, ...]", value)]
        else:
            written[field] = _without_none(value)
    return written


_NAMES: Final[dict[type[msgspec.Struct], tuple[tuple[str, str], ...]]] = {}


def _names(part: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    """The names of a part's fields here and in JSON."""
    if part not in _NAMES:
        _NAMES[part] = tuple(zip(part.__struct_fields__, part.__struct_encode_fields__, strict=True))
    return _NAMES[part]
