"""What is wrong with a piece of JSON, in the words of JSON instead of those of the decoder.

It reads messages like ``Expected `str`, got `int` - at `$.rules[0].op```, whose wording is msgspec's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from aioflags.logs import printable
from aioflags.model.nesting import NestingError

__all__ = ["UNREADABLE", "Problem", "read_problem"]

UNREADABLE: Final = (ValueError, RecursionError)
"""What decoding may raise: malformed JSON, wrong types, text that is not UTF-8, JSON that nests too deeply."""

_MESSAGE: Final = re.compile(r"(?P<text>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_OFFSET: Final = re.compile(r"JSON is malformed: (?P<text>.*) \(byte (?P<offset>\d+)\)", re.DOTALL)
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


def _syntax(message: str) -> Problem:
    found = _OFFSET.fullmatch(message)
    if found is None:
        return Problem(text="it ends too early")
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
