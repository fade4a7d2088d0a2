"""Reads flag documents in either format, LaunchDarkly's or flagd's. The content of a document shows its format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from aioflags.model.change import ChangeSet
from aioflags.protocol.documents.document import DocumentError, decoded, read_document, read_documents, utf8
from aioflags.protocol.documents.problems import UNREADABLE
from aioflags.protocol.flagd import FlagSetError, is_flag_set, read_flag_set
from aioflags.runtime.cooperative import run_at_once

__all__ = ["FlagDocument", "read_flag_document", "read_flag_documents"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagDocument:
    """The content of a flag document. ``is_flagd``: it has flagd's format, and its flags are :class:`FlagdFlag`."""

    change_set: ChangeSet
    is_flagd: bool


def read_flag_document(data: bytes | str | Mapping[str, object], *, name: str | None = None) -> FlagDocument:
    """Read a document. ``name``: the name of the file, which selects JSON or YAML and appears in errors.

    Raises:
        DocumentError: the document is invalid.
    """
    document = decoded(data if isinstance(data, Mapping) else utf8(data, name), name)
    if not is_flag_set(_content(document)):
        return FlagDocument(change_set=read_document(data, name=name), is_flagd=False)
    try:
        return FlagDocument(change_set=run_at_once(read_flag_set(document)), is_flagd=True)
    except FlagSetError as error:
        raise DocumentError(str(error), file=name) from None


def read_flag_documents(texts: Iterable[tuple[str, bytes]]) -> ChangeSet:
    """Read all definitions of several files, given as pairs of name and text. Raises :class:`DocumentError`."""
    return read_documents(texts, lambda text, name: read_flag_document(text, name=name).change_set)


def _content(document: bytes | str | Mapping[str, object]) -> object:
    """The decoded document; ``None`` if it is not JSON: reading it as flags then says what is wrong."""
    if isinstance(document, Mapping):
        return document
    try:
        return msgspec.json.decode(document)
    except UNREADABLE:
        return None
