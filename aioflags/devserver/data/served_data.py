"""ServedData: what a request asks for, by the format of the document and the audience of the flags.

Server-side SDKs get all definitions, client-side SDKs the evaluated flags of a context.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, TypeAlias

from aioflags.devserver.data.flagd_flags import FlagdDocument, has_no_flags, is_flagd_document, read_flagd_document
from aioflags.devserver.data.history import Objects, ServedObject, Transfer, read_objects
from aioflags.model.flag import FlagDefinition

# -- Reads a flag document in either format, LaunchDarkly's or flagd's.


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


# -- Audience: which client-side SDKs may see a flag, as LaunchDarkly's service decides it.
# Source: ``evaluation.md`` 2.1.


class Audience(StrEnum):
    """The client-side SDKs by their kind of credential: a mobile key, or a client-side id."""

    MOBILE = "mobile"
    JAVASCRIPT = "JavaScript"

    def sees(self, flag: FlagDefinition) -> bool:
        """Whether these SDKs get the flag."""
        return flag.is_mobile_visible if self is Audience.MOBILE else flag.is_client_visible


class ServedData(Protocol):
    """Flag data that change."""

    @property
    def version(self) -> int:
        """How many times the data changed."""
        ...

    def transfer(self, basis: str | None = None) -> Transfer:
        """What a client with that basis needs."""
        ...

    def changed_since(self, version: int) -> tuple[ServedObject, ...]:
        """The objects that changed after that version, deleted objects included."""
        ...

    async def wait_for_edit(self, since: int) -> None:
        """Wait until the data has changed since that version."""
