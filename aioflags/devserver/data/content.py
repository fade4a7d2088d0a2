"""Reads a flag document in either format, LaunchDarkly's or flagd's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from aioflags.devserver.data.flagd_document import FlagdDocument, has_no_flags, is_flagd_document, read_flagd_document
from aioflags.devserver.data.objects import Objects, read_objects

Content: TypeAlias = Objects | FlagdDocument
"""The content of a flag file: flags and segments of LaunchDarkly, or a document of flagd."""


def read_content(document: bytes | str | Mapping[str, object], *, name: str | None = None, expects_flagd: bool = False) -> Content:
    """Read a document. Its content shows the format.

    Args:
        document: JSON or YAML text, or decoded JSON.
        name: the file name, which selects JSON or YAML and appears in errors.
        expects_flagd: a document without flags has flagd's format. By default it has LaunchDarkly's.

    Raises:
        DocumentError: the document has a mistake.
    """
    if is_flagd_document(document, name=name) or (expects_flagd and has_no_flags(document, name=name)):
        return read_flagd_document(document, name=name)
    return read_objects(document, name=name)
