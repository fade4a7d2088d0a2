"""Splits a flag document into its flags and segments, each as it was written, unknown properties included.

``aioflags/protocol/documents`` validates the document.
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
    sections = _sections(document, name)
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


def _sections(document: bytes | str | Mapping[str, object], name: str | None) -> dict[str, dict[str, Any]]:
    """The sections of a valid document, decoded."""
    try:
        if isinstance(document, Mapping):
            decoded: Any = plain_json(document)
        else:
            text = utf8(document, name)
            check_depth(text)
            decoded = msgspec.json.decode(text)
        return {section: content for section, content in decoded.items() if content is not None}
    except UNREADABLE as error:
        # Validation skips unknown properties, so only their content can fail here.
        raise DocumentError(str(read_problem(error)), file=name) from None
