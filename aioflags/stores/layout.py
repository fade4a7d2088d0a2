"""The layout of databases that LaunchDarkly's SDKs and its Relay Proxy share: the names in it, and its items as they are read.

Source: ``data-system.md`` 7.4; LaunchDarkly's SDKs, which use the same names in all databases.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from aioflags.errors import StoreError
from aioflags.model.change import ObjectKind
from aioflags.runtime.logs import Once, printable
from aioflags.stores.base import StoredItem
from aioflags.stores.items import stored_version

__all__ = ["COLLECTIONS", "MARKER", "ItemReader", "items_lost", "listed_kinds", "marker_text"]

COLLECTIONS: Final[Mapping[ObjectKind, str]] = {ObjectKind.SEGMENT: "segments", ObjectKind.FLAG: "features"}
"""The name under which a database has all items of a kind. Segments are read and written first, since flags need them."""
MARKER: Final = "$inited"
"""The name of what is set when a whole data set was written."""


def marker_text(kinds: Collection[ObjectKind]) -> str:
    """The value of the marker of a data set that has items of ``kinds``. Other SDKs read no value of a marker."""
    return " ".join([MARKER, *(name for kind, name in COLLECTIONS.items() if kind in kinds)])


def listed_kinds(text: bytes | None) -> frozenset[ObjectKind] | None:
    """The kinds of a :func:`marker_text`; ``None`` without a marker, and for that of another SDK."""
    words = [] if text is None else text.split(b" ")
    if not words or words[0] != MARKER.encode():
        return None
    return frozenset(kind for kind, name in COLLECTIONS.items() if name.encode() in words)


def items_lost(database: str, places: Sequence[str]) -> StoreError:
    """The error of a data set that lacks the items in these places, which its marker lists."""
    return StoreError(f"{database} has lost all items of {' and '.join(places)}: a client that writes to it writes them again")


class ItemReader:
    """Makes items of the texts in a database, and logs each one that cannot be read once."""

    __slots__ = ("_database", "_logger", "_unreadable")

    def __init__(self, database: str, logger: logging.Logger) -> None:
        self._database = database
        self._logger = logger
        self._unreadable = Once()

    def __call__(self, kind: ObjectKind, key: str, text: bytes | None) -> StoredItem | None:
        """The item; ``None`` without a text, or if it cannot be read.

        ``key`` is the one under which the database has the text: a tombstone may have another key in its text.
        """
        version = None if text is None else stored_version(text)
        if text is not None and version is not None:
            return StoredItem(kind, key, version, text)
        if self._unreadable((kind, key)):
            self._logger.warning("%s: %s %s cannot be read and is ignored", self._database, kind, printable(key))
        return None
