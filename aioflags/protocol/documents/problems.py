"""What is wrong with a piece of JSON, in the words of JSON instead of those of the decoder.

It reads messages like ``Expected `str`, got `int` - at `$.rules[0].op```, whose wording is msgspec's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from aioflags.model.nesting import NestingError
from aioflags.runtime.logs import printable

__all__ = ["UNREADABLE", "Problem", "line_and_column", "located_problem", "read_problem"]

UNREADABLE: Final = (ValueError, RecursionError)
"""What decoding may raise: malformed JSON, wrong types, text that is not UTF-8, JSON that nests too deeply."""

_MESSAGE: Final = re.compile(r"(?P<text>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_OFFSET: Final = re.compile(r"JSON is malformed: (?P<text>.*) \(byte (?P<offset>\d+)\)", re.DOTALL)
_KEY: Final = re.compile(rb'"key"\s*:\s*"(?P<key>[^"\\]+)"(?P<section>)')
_PATH: Final = re.compile(rb'"path"\s*:\s*"/(?P<section>flags|segments)/(?P<key>[^"\\]+)"')
_CUT_OFF: Final = "the JSON ends too early"
_QUOTED: Final = re.compile(r"`([^`]*)`")
_EXPECTED: Final = {"str": "string", "int": "whole number", "float": "number", "bool": "boolean"}
_GOT: Final = {"str": "string", "int": "number", "float": "fractional number", "bool": "boolean"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake. ``path`` leads to it within what was decoded, empty for the whole; ``offset`` is in bytes, for bad syntax."""

    text: str
    path: str = ""
    offset: int | None = None

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.text}" if self.path else self.text)


def read_problem(error: Exception) -> Problem:
    """What one of ``UNREADABLE`` says."""
    match error:
        case msgspec.ValidationError():
            return _content(str(error))
        case msgspec.DecodeError():
            return _syntax(str(error))
        case NestingError() | RecursionError():
            return Problem(text="nested too deeply")
        case _:
            return Problem(text="text that is not UTF-8")


def line_and_column(text: bytes, offset: int | None) -> tuple[int, int]:
    """Where an offset in bytes is, both from 1, the column in characters; ``None`` is the end."""
    before = text[:offset]
    start = before.rfind(b"\n") + 1
    return before.count(b"\n") + 1, len(before[start:].decode(errors="replace")) + 1


def located_problem(document: str, error: Exception, text: bytes | str, *, names_item: bool = False) -> str:
    """One of ``UNREADABLE`` in one line: which document, where in its text for bad syntax, and what.

    ``names_item``: the text is about one flag or segment, or is a poll; its key is named if it comes before the bad syntax.
    """
    problem = read_problem(error)
    if problem.offset is None and problem.text != _CUT_OFF:
        return f"{document}: {problem}" if document else str(problem)
    data = text.encode(errors="replace") if isinstance(text, str) else text
    line, column = line_and_column(data, problem.offset)
    places = [document, _item(data[: problem.offset]) if names_item else "", f"line {line}, column {column}"]
    return ": ".join([*filter(None, places), str(problem)])


def _item(text: bytes) -> str:
    """The flag or segment that the last event of a text is about; empty if its key does not come at its beginning."""
    # Behind the first array keys may be those of prerequisites.
    head = text[max(text.rfind(b'"event"'), 0) :].partition(b"[")[0]
    found = _PATH.search(head) or _KEY.search(head)
    if found is None:
        return ""
    kind = "segment" if found["section"] == b"segments" or b'"segment"' in head else "flag"
    return f'{kind} "{printable(found["key"].decode(errors="replace"))}"'


def _syntax(message: str) -> Problem:
    found = _OFFSET.fullmatch(message)
    if found is None:
        return Problem(text=_CUT_OFF)
    return Problem(text=found["text"], offset=int(found["offset"]))


def _content(message: str) -> Problem:
    found = _MESSAGE.fullmatch(message)
    text, path = (found["text"], found["path"] or "") if found else (message, "")
    if text.startswith("Object missing required field "):
        text = text.replace("Object missing required field ", "missing required property ").replace("`", '"')
    elif text.startswith("Expected "):
        expected, separator, got = text.partition(", got ")
        text = _renamed(expected, _EXPECTED) + separator + _renamed(got, _GOT)
    return Problem(text=text[:1].lower() + text[1:], path=path)


def _renamed(text: str, names: dict[str, str]) -> str:
    """Type names of Python in backquotes, as JSON calls them: "`int | null`" becomes "whole number or null"."""
    return _QUOTED.sub(lambda found: " or ".join(names.get(name, name) for name in found[1].split(" | ")), text)
