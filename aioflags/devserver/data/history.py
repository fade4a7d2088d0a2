"""The served flags and segments with their versions, so that a client gets only what changed since its basis.

Deletions are kept as well. Beyond a thousand deletions the oldest is forgotten, and a client with an older basis gets a full
transfer.

Source: ``data-system.md`` 2.1 and 3.1.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from aioflags.devserver.data.fill_defaults import fill_defaults
from aioflags.devserver.data.objects import ObjectName, ServedObject
from aioflags.model.change import ChangeKind, ObjectKind

_BASIS: Final = re.compile(r"\(p:(?P<payload>[^:()]+):(?P<version>\d{1,18})\)")
_MAX_DELETIONS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What brings a client up to date: all objects, the objects that changed since its basis, or none.

    ``since``: the version of the basis, for changes.
    """

    kind: ChangeKind
    reason: str
    payload_id: str
    version: int
    objects: tuple[ServedObject, ...] = ()
    since: int = 0

    @property
    def selector(self) -> str:
        """The basis that the client sends with its next request."""
        return f"(p:{self.payload_id}:{self.version})"


class ObjectHistory:
    """The newest state of each object, deleted objects included. ``version`` counts the calls of :meth:`apply`.

    ``payload_id`` is new in every instance, so that the basis of another server does not match.
    """

    def __init__(self) -> None:
        self.payload_id: str = uuid.uuid4().hex
        self.version: int = 0
        # Deletions before this version are forgotten, so a client with an older basis gets a full transfer.
        self._oldest_known_basis = 1
        self._objects: dict[ObjectName, ServedObject] = {}

    def live(self, kind: ObjectKind) -> tuple[ServedObject, ...]:
        """All objects of a kind that are not deleted."""
        return tuple(served for served in self._objects.values() if served.kind is kind and served.body is not None)

    def live_names(self) -> tuple[ObjectName, ...]:
        """The names of all objects that are not deleted, in the order of their last change."""
        return tuple(name for name, served in self._objects.items() if served.body is not None)

    def is_served(self, name: ObjectName, written: Mapping[str, Any]) -> bool:
        """Whether clients already get what ``written`` says. A version that is not newer is ignored."""
        served = self._objects.get(name)
        if served is None or served.body is None or written["version"] > served.version:
            return False
        return _body(name, written, served.version) == served.body

    def transfer(self, basis: str | None = None) -> Transfer:
        """What a client with that basis needs: everything, if the basis is not one of this server."""
        match = _BASIS.fullmatch(basis or "")
        since = int(match["version"]) if match and match["payload"] == self.payload_id else None
        if since == self.version:
            return self._transfer(ChangeKind.NONE, "up-to-date")
        if since is not None and self._oldest_known_basis <= since < self.version:
            return self._transfer(ChangeKind.CHANGES, "stale", self.changed_since(since), since=since)
        everything = (*self.live(ObjectKind.FLAG), *self.live(ObjectKind.SEGMENT))
        return self._transfer(ChangeKind.FULL, "cant-catchup" if basis else "payload-missing", everything)

    def changed_since(self, version: int) -> tuple[ServedObject, ...]:
        """The objects that changed after that version, deleted objects included, in no particular order."""
        return tuple(served for served in self._objects.values() if served.since > version)

    def apply(self, changes: Mapping[ObjectName, Mapping[str, Any] | None]) -> None:
        """Make one new version from these changes. ``None`` deletes an object."""
        self.version += 1
        for name, written in changes.items():
            before = self._objects.pop(name, None)  # inserted again at the end, so that the oldest deletions come first
            self._objects[name] = _successor(name, written, before, self.version)
        self._forget_deletions()

    def _forget_deletions(self) -> None:
        """Drop the oldest deletions beyond a thousand."""
        deleted = [(name, served) for name, served in self._objects.items() if served.body is None]
        for name, served in deleted[:-_MAX_DELETIONS]:
            self._oldest_known_basis = max(self._oldest_known_basis, served.since)
            del self._objects[name]

    def _transfer(self, kind: ChangeKind, reason: str, objects: tuple[ServedObject, ...] = (), *, since: int = 0) -> Transfer:
        return Transfer(kind=kind, reason=reason, payload_id=self.payload_id, version=self.version, objects=objects, since=since)


def _successor(name: ObjectName, written: Mapping[str, Any] | None, before: ServedObject | None, since: int) -> ServedObject:
    """The next state of an object. Its version always grows, whatever the document says, because FDv1 clients compare versions."""
    kind, key = name
    next_version = before.version + 1 if before else 1
    if written is None:
        return ServedObject(kind=kind, key=key, version=next_version, body=None, since=since)
    version = max(written["version"], next_version) if before else written["version"]
    return ServedObject(kind=kind, key=key, version=version, body=_body(name, written, version), since=since)


def _body(name: ObjectName, written: Mapping[str, Any], version: int) -> msgspec.Raw:
    """The JSON that clients get for an object as it was written."""
    return msgspec.Raw(msgspec.json.encode({**fill_defaults(name[0], written), "version": version}))
