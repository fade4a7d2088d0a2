"""Versions for objects that come again and again out of documents, whose authors do not count them.

What changed has to have another version, since that is how changes are found; what did not change has to keep its own.

Source: ``data-system.md`` 7.3 and 9.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from aioflags.model.change import Change, ChangeSet, ObjectKind

__all__ = ["Versions"]


@dataclass(frozen=True, slots=True)
class _Counted:
    version: int
    content: bytes
    """The definition as JSON, which tells 1 from true and leaves out its version."""


class Versions:
    """The newest version of each object, and what it said. One thread at a time."""

    def __init__(self) -> None:
        self._newest: dict[tuple[ObjectKind, str], _Counted] = {}

    def counted(self, change_set: ChangeSet) -> ChangeSet:
        """The change set with versions that only grow, and grow exactly where something is new."""
        return replace(change_set, changes=tuple(map(self._counted, change_set.changes)))

    def _counted(self, change: Change) -> Change:
        name, content = (change.kind, change.key), _content(change)
        before = self._newest.get(name)
        version = change.version
        if before is not None and version <= before.version:
            version = before.version if content == before.content else before.version + 1
        self._newest[name] = _Counted(version, content)
        if version == change.version:
            return change
        definition = None if change.definition is None else msgspec.structs.replace(change.definition, version=version)
        return Change(change.kind, change.key, version, definition)


def _content(change: Change) -> bytes:
    return msgspec.json.encode(None if change.definition is None else msgspec.structs.replace(change.definition, version=0))
