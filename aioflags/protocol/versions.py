"""Versions for objects of documents that are read repeatedly, and whose authors do not increase the version with each edit.

A changed object must get another version, because changes are detected by version. An unchanged object must keep its version.

Source: ``data-system.md`` 7.3 and 9.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from aioflags.model.change import Change, ChangeSet, ObjectKind
from aioflags.runtime.fork import Lock

__all__ = ["Versions"]


@dataclass(frozen=True, slots=True)
class _Counted:
    version: int
    content: bytes
    """The definition as JSON without its version. In JSON, 1 and true differ."""


class Versions:
    """The newest version of each object with its content. From any thread: a thread that was given up may still count."""

    def __init__(self) -> None:
        self._newest: dict[tuple[ObjectKind, str], _Counted] = {}
        self._lock = Lock()

    def counted(self, change_set: ChangeSet) -> ChangeSet:
        """The change set with new versions: a version increases if the object changed, and never decreases."""
        with self._lock:
            return replace(change_set, changes=tuple(map(self._counted, change_set.changes)))

    def _counted(self, change: Change) -> Change:
        name, content = (change.kind, change.key), _content(change)
        previous = self._newest.get(name)
        version = change.version
        if previous is not None and version <= previous.version:
            version = previous.version if content == previous.content else previous.version + 1
        self._newest[name] = _Counted(version, content)
        if version == change.version:
            return change
        definition = None if change.definition is None else msgspec.structs.replace(change.definition, version=version)
        return Change(change.kind, change.key, version, definition)


def _content(change: Change) -> bytes:
    return msgspec.json.encode(None if change.definition is None else msgspec.structs.replace(change.definition, version=0))
