"""What people write for the server (a fault, a scenario, a control call) becomes a value, and a mistake one sentence."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec

from aioflags.errors import ConfigError
from aioflags.model.nesting import check_depth
from aioflags.protocol.documents.problems import UNREADABLE, located_problem, read_problem
from aioflags.runtime.logs import printable
from aioflags.runtime.suggest import did_you_mean

__all__ = ["read", "read_field"]

_T = TypeVar("_T", bound=msgspec.Struct)

_AT: Final = r"(?: - at `\$\.?(?P<path>.*)`)?"
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<word>.*?)`" + _AT, re.DOTALL)
_NO_WORD: Final = re.compile(r"Invalid enum value '(?P<word>.*?)'" + _AT, re.DOTALL)
_STEP: Final = re.compile(r"\[[^\]]*\]|[^.\[\]]+")


def read(shape: type[_T], written: object, *, name: str | None = None) -> _T:
    """The value of that shape that is described by JSON text in bytes, or by what such text decodes to.

    ``name`` is for messages: the file's.

    Raises:
        ConfigError: it describes none. The message names the place, and what a word that is unknown may have meant.
    """
    text = written if isinstance(written, bytes) else b""
    try:
        if isinstance(written, bytes):
            check_depth(written)
            written = msgspec.json.decode(written)
        return msgspec.convert(written, shape)
    except UNREADABLE as error:
        problem = _unknown_word(str(error), msgspec.inspect.type_info(shape)) or located_problem("", error, text)
    raise ConfigError(f"{name}: {problem}" if name else problem)


def read_field(name: str, value: object, shape: Any) -> Any:
    """``value`` as that type, for a field that code has given: msgspec checks types when it decodes, not in constructors.

    Raises:
        ConfigError: the value does not fit. The message names the field, and what an unknown word may have meant.
    """
    try:
        return msgspec.convert(value, shape)
    except UNREADABLE as error:
        problem = _unknown_word(str(error), msgspec.inspect.type_info(shape)) or str(read_problem(error))
    raise ConfigError(f"{name}{problem}" if problem.startswith("[") else f"{name}: {problem}")


def _unknown_word(message: str, shape: Any) -> str | None:
    """The sentence about a property, or one of a few words, that is unknown; ``None`` if the message is about something else."""
    if found := _UNKNOWN.fullmatch(message):
        place, what = ".".join(filter(None, (found["path"], found["word"]))), "unknown property"
    elif found := _NO_WORD.fullmatch(message):
        place, what = found["path"] or "", f'"{found["word"]}" is unknown'
    else:
        return None
    words = _words(_at(shape, found["path"] or ""))
    hint = did_you_mean(found["word"], words, before=", ", quote='"{}"'.format) or f": expected one of {', '.join(words)}"
    return printable(": ".join(filter(None, (place, what)))) + hint


def _at(info: Any, path: str) -> Any:
    """The type at a JSON path."""
    for step in _STEP.findall(path):
        info = _inner(info, step)
    return info


def _inner(info: Any, step: str) -> Any:
    match info:
        case msgspec.inspect.StructType():
            return next((member.type for member in info.fields if member.encode_name == step), None)
        case msgspec.inspect.UnionType():
            found: list[Any] = [_inner(one, step) for one in info.types]
            return next((one for one in found if one is not None), None)
        case _:
            return getattr(info, "item_type", None)


def _words(info: Any) -> list[str]:
    """The names or words that a type knows."""
    match info:
        case msgspec.inspect.StructType():
            return [member.encode_name for member in info.fields]
        case msgspec.inspect.EnumType():
            return [str(word.value) for word in info.cls]
        case msgspec.inspect.UnionType():
            return [word for one in info.types for word in _words(one)]
        case _:
            return []
