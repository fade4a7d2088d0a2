"""AttributeReference: how flags and lists of private attributes refer to an attribute of a context.

``city`` is a top-level name. ``/address/city`` is a path into objects, with ``~1`` for a slash and ``~0`` for a tilde in a name.

Source: ``evaluation.md`` 1.7.
"""

from __future__ import annotations

import functools
import re

import msgspec

__all__ = ["AttributeReference"]

_BAD_ESCAPE = re.compile(r"~(?![01])")


class AttributeReference(msgspec.Struct, frozen=True):
    """A parsed attribute reference: a path of names, or an error.

    Two references are equal if they have the same path: ``/a`` equals ``a``. An invalid one has an empty path and an ``error``.
    """

    path: tuple[str, ...]
    error: str | None = None

    @staticmethod
    def parse(text: str) -> AttributeReference:
        """Parse ``text`` as a path if it starts with a slash, otherwise as a plain name. Never raises."""
        return _parse(text)

    @staticmethod
    def literal(name: str) -> AttributeReference:
        """A top-level attribute with exactly this name, including slashes and tildes."""
        return AttributeReference((name,)) if name else _EMPTY

    @property
    def is_valid(self) -> bool:
        """Whether it has a path."""
        return self.error is None

    def __str__(self) -> str:
        """The shortest text that parses to this reference; empty for an invalid reference."""
        if len(self.path) == 1 and not self.path[0].startswith("/"):
            return self.path[0]
        return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in self.path)


_EMPTY = AttributeReference((), "an attribute reference cannot be empty")


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> AttributeReference:
    if text in {"", "/"}:
        return _EMPTY
    if not text.startswith("/"):
        return AttributeReference((text,))
    parts = text[1:].split("/")
    if "" in parts:
        return AttributeReference((), "a double or trailing slash leaves a part of the path empty")
    if _BAD_ESCAPE.search(text):
        return AttributeReference((), "a tilde in a path stands before 0 or 1 only")
    return AttributeReference(tuple(part.replace("~1", "/").replace("~0", "~") for part in parts))
