"""The line and column of each value in a document, for errors that are found after decoding.

The text must be well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

__all__ = ["Path", "Place", "Places", "places_of_json"]

Path: TypeAlias = tuple[str | int, ...]
"""The names and indexes from the top of a document to one of its values."""

_TOKEN: Final = re.compile(r'(?P<open>[{\[])|(?P<close>[}\]])|(?P<string>"[^"\\]*(?:\\.[^"\\]*)*")|(?P<scalar>[^\s{}\[\]:,"]+)')


@dataclass(slots=True)
class Place:
    """Where an array element, or the name of an object member, begins. Lines and columns count from 1, columns in characters."""

    line: int
    column: int
    inner: dict[str, Place] | list[Place] | None = None

    def inside(self, part: str | int) -> Place | None:
        """The place of a member or an element, or ``None``."""
        if isinstance(self.inner, dict):
            return self.inner.get(part) if isinstance(part, str) else None
        if isinstance(self.inner, list) and isinstance(part, int) and part < len(self.inner):
            return self.inner[part]
        return None

    def put(self, part: str | int, place: Place) -> None:
        """Add the place of a member, or of the next element."""
        if isinstance(self.inner, dict) and isinstance(part, str):
            self.inner[part] = place
        elif isinstance(self.inner, list):
            self.inner.append(place)


@dataclass(frozen=True, slots=True)
class Places:
    """All places of a document. ``repeated``: the paths of duplicate names; the last member of a name counts."""

    root: Place
    repeated: tuple[Path, ...] = ()

    def at(self, path: Iterable[str | int]) -> Place:
        """The place of the value at ``path``, or of the last value on the path that exists."""
        place = self.root
        for part in path:
            inner = place.inside(part)
            if inner is None:
                break
            place = inner
        return place


def places_of_json(text: str) -> Places:
    """The places of all values in JSON text."""
    top = Place(1, 1, [])
    around: list[Place] = [top]
    repeated: list[Path] = []
    path: list[str | int] = []
    part: str | int
    name: tuple[str, Place] | None = None
    line, line_start, position = 1, 0, 0
    for token in _TOKEN.finditer(text):
        kind, start = token.lastgroup, token.start()
        if kind == "close":
            around.pop()
            path.pop()
            continue
        if newlines := text.count("\n", position, start):
            line, line_start = line + newlines, text.rfind("\n", position, start) + 1
        position = token.end()
        place = Place(line, start - line_start + 1)
        outer = around[-1]
        if isinstance(outer.inner, dict):
            if name is None:
                name = (msgspec.json.decode(token[0], type=str), place)
                continue
            part, place = name
            name = None
            if part in outer.inner:
                repeated.append((*path[1:], part))
        else:
            part = len(outer.inner or ())
        outer.put(part, place)
        if kind == "open":
            place.inner = {} if token[0] == "{" else []
            around.append(place)
            path.append(part)
    return Places(top.inside(0) or top, tuple(repeated))
