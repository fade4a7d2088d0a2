"""A flag document taken apart: every object as it was written, unknown properties included.

Whether the document makes sense is for ``protocol/document.py`` to say; here it is only taken apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from aioflags.model.change import ObjectKind
from aioflags.model.nesting import check_depth
from aioflags.protocol.definitions import SECTIONS
from aioflags.protocol.documents.document import DocumentError, decoded, plain_json, read_document, utf8
from aioflags.protocol.documents.problems import UNREADABLE, read_problem
from aioflags.runtime.suggest import did_you_mean

__all__ = ["ObjectName", "Objects", "ServedObject", "absent", "read_objects", "serving"]

ObjectName: TypeAlias = tuple[ObjectKind, str]
Objects: TypeAlias = Mapping[ObjectName, Mapping[str, Any]]
"""JSON objects of flags and segments; each has its ``key`` and a ``version``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedObject:
    """A flag or segment in the state in which clients get it, or the memory that it was deleted.

    ``body`` is its JSON, ``None`` once it is deleted. ``since`` is the version of the payload that brought this state.
    """

    kind: ObjectKind
    key: str
    version: int
    body: msgspec.Raw | None
    since: int


def read_objects(document: bytes | str | Mapping[str, object], *, name: str | None = None) -> Objects:
    """The objects of a document, as text or as what JSON text decodes to; ``name`` is the file's, as ``read_document`` takes it.

    Raises:
        DocumentError: the document has a mistake.
    """
    document = decoded(document, name)
    read_document(document, name=name)
    sections = _sections(document, name)
    found: dict[ObjectName, Mapping[str, Any]] = {}
    for section, kind in SECTIONS.items():
        for key, written in sections.get(section, {}).items():
            if not written.get("deleted"):
                found[kind, key] = {"key": key, "version": 1, **written}
    for key, value in sections.get("flagValues", {}).items():
        found[ObjectKind.FLAG, key] = serving(key, value)
    return found


def absent(kind: ObjectKind, key: str, keys: Iterable[str]) -> str:
    """The sentence about a key that nothing has, and which of those there are may have been meant."""
    return f"there is no {kind.value} {key!r}{did_you_mean(key, keys, before=', ')}"


def serving(key: str, value: object) -> dict[str, Any]:
    """The flag that an entry of ``flagValues`` stands for: it serves one value to everybody."""
    return {"key": key, "version": 1, "on": True, "variations": [value], "fallthrough": {"variation": 0}, "offVariation": None}


def _sections(document: bytes | str | Mapping[str, object], name: str | None) -> dict[str, dict[str, Any]]:
    """The sections of a document that has been read without a complaint."""
    try:
        if isinstance(document, Mapping):
            decoded: Any = plain_json(document)
        else:
            text = utf8(document, name)
            check_depth(text)
            decoded = msgspec.json.decode(text)
        return {section: content for section, content in decoded.items() if content is not None}
    except UNREADABLE as error:
        # Only what reading skips, in properties it does not know, can still be unusable here.
        raise DocumentError(str(read_problem(error)), file=name) from None
