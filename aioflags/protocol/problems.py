"""Mistakes in documents: errors of msgspec in the terms of JSON, with the line and column of each.

An example of msgspec's messages: ``Expected `str`, got `int` - at `$.rules[0].op``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from aioflags.model.values import NestingError
from aioflags.runtime.logs import printable

# -- The line and column of each value in a document, for errors that are found after decoding.
#
# The text must be well-formed.


Path: TypeAlias = tuple[str | int, ...]
"""The names and indexes from the top of a document to one of its values."""

_TOKEN: Final = re.compile(r'(?P<open>[{\[])|(?P<close>[}\]])|(?P<string>"[^"\\]*(?:\\.[^"\\]*)*")|(?P<scalar>[^\s{}\[\]:,"]+)')


class Place(msgspec.Struct):
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


class Places(msgspec.Struct, frozen=True):
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


UNREADABLE: Final = (ValueError, RecursionError, msgspec.MsgspecError)  # a ValueError only from msgspec 0.21 on
"""What decoding raises for malformed JSON, wrong types, text that is not UTF-8, and JSON that nests too deeply."""

_MESSAGE: Final = re.compile(r"(?P<text>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_OFFSET: Final = re.compile(r"JSON is malformed: (?P<text>.*) \(byte (?P<offset>\d+)\)", re.DOTALL)
_KEY: Final = re.compile(rb'"key"\s*:\s*"(?P<key>[^"\\]+)"(?P<section>)')
_PATH: Final = re.compile(rb'"path"\s*:\s*"/(?P<section>flags|segments)/(?P<key>[^"\\]+)"')
_CUT_OFF: Final = "the JSON ends too early"
_START: Final = 64
"""Bytes at the start of a text that show whether it is a web page."""
_QUOTED: Final = re.compile(r"`([^`]*)`")
_EXPECTED: Final = {"str": "string", "int": "whole number", "float": "number", "bool": "boolean"}
_GOT: Final = {"str": "string", "int": "number", "float": "fractional number", "bool": "boolean"}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One error. ``path`` is its place in the decoded value, empty for the whole. ``offset`` is in bytes, for a syntax error."""

    text: str
    path: str = ""
    offset: int | None = None

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.text}" if self.path else self.text)


def read_problem(error: Exception, text: bytes | str | msgspec.Raw = b"") -> Problem:
    """The problem of an exception of ``UNREADABLE``. ``text``: what was decoded."""
    match error:
        case msgspec.DecodeError() if _is_markup(text):
            return Problem(text="HTML or XML instead of JSON: is it the right address, or file?")
        case msgspec.ValidationError():
            return _content(str(error))
        case msgspec.DecodeError():
            return _syntax(str(error))
        case NestingError() | RecursionError():
            return Problem(text="nested too deeply")
        case _:
            return Problem(text="text that is not UTF-8")


def line_and_column(text: bytes, offset: int | None) -> tuple[int, int]:
    """The line and column of an offset in bytes, counted from 1, the column in characters. ``None`` is the end of the text."""
    before = text[:offset]
    start = before.rfind(b"\n") + 1
    return before.count(b"\n") + 1, len(before[start:].decode(errors="replace")) + 1


def located_problem(
    document: str, error: Exception, text: bytes | str | msgspec.Raw, *, names_item: bool = False, is_poll: bool = False
) -> str:
    """An exception of ``UNREADABLE`` in one line: the document, the line and column of a syntax error, and the problem.

    ``names_item``: the text is an event with one flag or segment. Its key is included, unless a syntax error comes before it.
    ``is_poll``: the text has many events. For a syntax error the key of the last one before it is included.
    """
    problem = read_problem(error, text)
    data = text.encode(errors="replace") if isinstance(text, str) else bytes(text)
    head = data[: problem.offset]
    is_syntax = problem.offset is not None or problem.text == _CUT_OFF
    if is_poll:
        head, names_item = head[max(head.rfind(b'"event"'), 0) :], is_syntax
    places = [document, _item(head) if names_item else ""]
    if is_syntax:
        line, column = line_and_column(data, problem.offset)
        places.append(f"line {line}, column {column}")
    return ": ".join([*filter(None, places), str(problem)])


def _is_markup(text: bytes | str | msgspec.Raw) -> bool:
    start = text[:_START].encode(errors="replace") if isinstance(text, str) else bytes(memoryview(text)[:_START])
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _item(text: bytes) -> str:
    """The flag or segment of an event. Empty if the event does not start with its key."""
    # After the first array, a key may belong to a prerequisite.
    head = text.partition(b"[")[0]
    match = _PATH.search(head) or _KEY.search(head)
    if match is None:
        return ""
    kind = "segment" if match["section"] == b"segments" or b'"segment"' in head else "flag"
    return f'{kind} "{printable(match["key"].decode(errors="replace"))}"'


def _syntax(message: str) -> Problem:
    match = _OFFSET.fullmatch(message)
    if match is None:
        return Problem(text=_CUT_OFF)
    return Problem(text=match["text"], offset=int(match["offset"]))


def _content(message: str) -> Problem:
    match = _MESSAGE.fullmatch(message)
    text, path = (match["text"], match["path"] or "") if match else (message, "")
    if text.startswith("Object missing required field "):
        text = text.replace("Object missing required field ", "missing required property ").replace("`", '"')
    elif text.startswith("Expected "):
        expected, separator, got = text.partition(", got ")
        text = _renamed(expected, _EXPECTED) + separator + _renamed(got, _GOT)
    return Problem(text=text[:1].lower() + text[1:], path=path)


def _renamed(text: str, names: dict[str, str]) -> str:
    """Replace Python type names in backquotes by JSON type names: "`int | null`" becomes "whole number or null"."""
    return _QUOTED.sub(lambda match: " or ".join(names.get(name, name) for name in match[1].split(" | ")), text)
