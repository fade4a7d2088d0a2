"""Bodies of requests, and what people write for the server: a fault, a scenario, a call of the control API.

A mistake becomes a one-line error.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request

from aioflags.errors import ConfigError
from aioflags.model.values import check_depth
from aioflags.protocol.problems import UNREADABLE, located_problem, read_problem
from aioflags.runtime.logs import printable
from aioflags.runtime.suggest import did_you_mean

# -- Reads the body of a request, up to a limit, and JSON that has half of a surrogate pair.


MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""The largest accepted body of a request."""
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class TooLargeError(ConfigError):
    """The body of a request is too large."""


async def read_body(request: Request, limit: int = MAX_REQUEST_BYTES) -> bytes:
    """The body of a request.

    Raises:
        TooLargeError: as soon as more than ``limit`` bytes have come.
        ClientDisconnect: the body is not complete.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLargeError(f"the body has too many bytes; {limit} are accepted")
    return bytes(body)


def decode_json(text: bytes) -> Any:
    """Decode JSON text.

    msgspec refuses escaped lone surrogates, which JSON allows and SDKs send. Such text is decoded by Python's decoder.

    Raises:
        ValueError: the text is not JSON.
        RecursionError: the text is nested too deeply.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        if _SURROGATE.search(text) is None:
            raise
        try:
            return json.loads(text, parse_constant=_refuse_constant)
        except ValueError:
            pass
        raise  # the error of msgspec


def _refuse_constant(name: str) -> None:
    """Refuse ``NaN`` and ``Infinity``, which Python's decoder accepts."""
    raise ValueError(f"JSON has no {name}")


_T = TypeVar("_T", bound=msgspec.Struct)

_AT: Final = r"(?: - at `\$\.?(?P<path>.*)`)?"
_UNKNOWN_FIELD: Final = re.compile(r"Object contains unknown field `(?P<word>.*?)`" + _AT, re.DOTALL)
_UNKNOWN_VALUE: Final = re.compile(r"Invalid enum value '(?P<word>.*?)'" + _AT, re.DOTALL)
_STEP: Final = re.compile(r"\[[^\]]*\]|[^.\[\]]+")


def decode(shape: type[_T], written: object, *, name: str | None = None) -> _T:
    """Convert JSON text (bytes), or decoded JSON, to a struct of type ``shape``.

    ``name`` is the file name for error messages.

    Raises:
        ConfigError: the JSON does not fit. The message has the place, and a suggestion for an unknown word.
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


def check_field(name: str, value: object, shape: Any) -> None:
    """Check a field that Python code set: msgspec checks types when it decodes, not in constructors.

    Raises:
        ConfigError: the value does not fit. The message has the field, and a suggestion for an unknown word.
    """
    try:
        msgspec.convert(value, shape)
    except UNREADABLE as error:
        problem = _unknown_word(str(error), msgspec.inspect.type_info(shape)) or str(read_problem(error))
        raise ConfigError(f"{name}{problem}" if problem.startswith("[") else f"{name}: {problem}") from None


def _unknown_word(message: str, shape: Any) -> str | None:
    """The error for an unknown property or enum value, with a suggestion; ``None`` if msgspec's message is about something else."""
    if match := _UNKNOWN_FIELD.fullmatch(message):
        place, what = ".".join(filter(None, (match["path"], match["word"]))), "unknown property"
    elif match := _UNKNOWN_VALUE.fullmatch(message):
        place, what = match["path"] or "", f'"{match["word"]}" is unknown'
    else:
        return None
    words = _words(_type_at(shape, match["path"] or ""))
    hint = did_you_mean(match["word"], words, before=", ", quote='"{}"'.format) or f": expected one of {', '.join(words)}"
    return printable(": ".join(filter(None, (place, what)))) + hint


def _type_at(info: Any, path: str) -> Any:
    for step in _STEP.findall(path):
        info = _inner_type(info, step)
    return info


def _inner_type(info: Any, step: str) -> Any:
    match info:
        case msgspec.inspect.StructType():
            return next((member.type for member in info.fields if member.encode_name == step), None)
        case msgspec.inspect.UnionType():
            inner: list[Any] = [_inner_type(alternative, step) for alternative in info.types]
            return next((info for info in inner if info is not None), None)
        case _:
            return getattr(info, "item_type", None)


def _words(info: Any) -> list[str]:
    """The property names of a struct type, or the values of an enum type."""
    match info:
        case msgspec.inspect.StructType():
            return [member.encode_name for member in info.fields]
        case msgspec.inspect.EnumType():
            return [str(member.value) for member in info.cls]
        case msgspec.inspect.UnionType():
            return [word for alternative in info.types for word in _words(alternative)]
        case _:
            return []
