"""The served flags and segments with their versions, split from documents, with defaults filled in.

The served flags and segments with their versions, so that a client gets only what changed since its basis.

Deletions are kept as well. Beyond a thousand deletions the oldest is forgotten, and a client with an older basis gets a full
transfer.

Source: ``data-system.md`` 2.1 and 3.1.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import is_
from typing import Any, Final, TypeAlias

import msgspec

from aioflags.model.change import ChangeKind, ObjectKind
from aioflags.model.values import check_depth
from aioflags.protocol.definitions import SECTIONS
from aioflags.protocol.flag_documents import DocumentError, decoded, plain_json, read_document, utf8
from aioflags.protocol.problems import UNREADABLE, read_problem
from aioflags.runtime.suggest import did_you_mean

# -- Splits a flag document into its flags and segments, each as it was written, unknown properties included.
#
# ``aioflags/protocol/documents`` validates the document.


ObjectName: TypeAlias = tuple[ObjectKind, str]
Objects: TypeAlias = Mapping[ObjectName, Mapping[str, Any]]
"""Flags and segments as JSON objects. Each has its ``key`` and a ``version``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedObject:
    """A flag or segment as clients get it, or a deleted one.

    ``body`` is its JSON; ``None`` if it is deleted. ``since`` is the payload version in which it got this state.
    """

    kind: ObjectKind
    key: str
    version: int
    body: msgspec.Raw | None
    since: int


def read_objects(document: bytes | str | Mapping[str, object], *, name: str | None = None) -> Objects:
    """The flags and segments of a document.

    Args:
        document: JSON or YAML text, or decoded JSON.
        name: the file name, which selects the format and appears in errors.

    Raises:
        DocumentError: the document has a mistake.
    """
    document = decoded(document, name)
    read_document(document, name=name)
    try:
        content = decoded_document(document, name)
    except UNREADABLE as error:
        # Validation skips unknown properties, so only their content can fail here.
        raise DocumentError(str(read_problem(error)), file=name) from None
    sections: dict[str, Any] = {section: written for section, written in content.items() if written is not None}
    objects: dict[ObjectName, Mapping[str, Any]] = {}
    for section, kind in SECTIONS.items():
        for key, written in sections.get(section, {}).items():
            if not written.get("deleted"):
                objects[kind, key] = {"key": key, "version": 1, **written}
    for key, value in sections.get("flagValues", {}).items():
        objects[ObjectKind.FLAG, key] = constant_flag(key, value)
    return objects


def not_found_message(kind: ObjectKind, key: str, keys: Iterable[str]) -> str:
    """The error for an unknown key, with a suggestion from the known keys."""
    return f"there is no {kind.value} {key!r}{did_you_mean(key, keys, before=', ')}"


def constant_flag(key: str, value: object) -> dict[str, Any]:
    """The flag for an entry of ``flagValues``: it serves one value to every context."""
    return {"key": key, "version": 1, "on": True, "variations": [value], "fallthrough": {"variation": 0}, "offVariation": None}


def decoded_document(document: bytes | str | Mapping[str, object], name: str | None) -> Any:
    """A document in JSON as decoded JSON. Raises :class:`DocumentError`, or one of ``UNREADABLE``."""
    if isinstance(document, Mapping):
        return plain_json(document)
    text = utf8(document, name)
    check_depth(text)
    return msgspec.json.decode(text)


# -- Fills in the default of each property that a flag or segment leaves out.
#
# LaunchDarkly always writes these properties, so SDKs rely on them: some refuse the whole payload if one clause has no
# ``attribute``. A property without a default, such as the variation of a target, is required in a document.


@dataclass(frozen=True, slots=True)
class _Shape:
    """The defaults of an object, and the shapes of its nested objects: lists of objects, except for the names in ``_SINGLE``."""

    defaults: Mapping[str, object]
    parts: Mapping[str, _Shape] = field(default_factory=dict[str, "_Shape"])


_SINGLE: Final = frozenset({"fallthrough", "rollout"})
_CLAUSE: Final = _Shape({"attribute": "", "op": "", "values": []})
"""Without ``contextKind``, because it changes the meaning of ``attribute`` from a plain name to a reference."""
_TARGET: Final = _Shape({"values": []})
_TARGET_OF_KIND: Final = _Shape({"contextKind": "user", "values": []})
_FALLTHROUGH: Final = _Shape({}, {"rollout": _Shape({"variations": []})})
_FLAG_RULE: Final = _Shape({"clauses": [], "trackEvents": False}, {**_FALLTHROUGH.parts, "clauses": _CLAUSE})
_SEGMENT_RULE: Final = _Shape({"clauses": []}, {"clauses": _CLAUSE})

_SHAPES: Final = {
    ObjectKind.FLAG: _Shape(
        {"on": False, "variations": [], "fallthrough": {}, "prerequisites": [], "targets": [], "rules": [], "salt": ""},
        {"targets": _TARGET, "contextTargets": _TARGET_OF_KIND, "rules": _FLAG_RULE, "fallthrough": _FALLTHROUGH},
    ),
    ObjectKind.SEGMENT: _Shape(
        {"included": [], "excluded": [], "rules": [], "salt": ""},
        {"rules": _SEGMENT_RULE, "includedContexts": _TARGET_OF_KIND, "excludedContexts": _TARGET_OF_KIND},
    ),
}


def fill_defaults(kind: ObjectKind, written: Mapping[str, Any]) -> Mapping[str, Any]:
    """A flag or segment as decoded JSON, with defaults for properties that are missing or ``null``. Its meaning does not change.

    ``written`` is not modified. If nothing is missing, it is returned itself.
    """
    return _filled(written, _SHAPES[kind])


def _filled(written: Mapping[str, Any], shape: _Shape) -> Mapping[str, Any]:
    """Returns the object itself if nothing is missing, so that most of a large document is not copied."""
    filled: dict[str, Any] = {name: default for name, default in shape.defaults.items() if written.get(name) is None}
    for name, part in shape.parts.items():
        nested: Any = written.get(name)
        if nested is None:
            continue
        if name in _SINGLE:
            if (complete := _filled(nested, part)) is not nested:
                filled[name] = complete
            continue
        complete_items = [_filled(item, part) for item in nested]
        if not all(map(is_, complete_items, nested)):
            filled[name] = complete_items
    return {**written, **filled} if filled else written


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
