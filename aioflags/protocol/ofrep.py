"""OFREP, the OpenFeature Remote Evaluation Protocol: URLs and bodies of its requests, and the meaning of its responses.

No function here raises because of what a server sent. A text of a server is cut before it gets into a result.

Source: ``flagd.md`` 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType

from aioflags.model.detail import ErrorKind, ReasonKind
from aioflags.model.metadata import NO_METADATA, FlagMetadata
from aioflags.model.nesting import check_depth
from aioflags.model.resolved import ResolvedFlag, read_reason
from aioflags.model.values import is_array, is_object
from aioflags.protocol.documents.problems import UNREADABLE, read_problem
from aioflags.runtime.logs import printable

__all__ = [
    "FLAGS_PATH",
    "NOT_OFREP",
    "flag_url",
    "read_entry",
    "read_flag",
    "read_metadata",
    "request_body",
    "status_text",
]

_DOUBLE_BITS: Final = 1023
"""A double can hold every integer with at most so many bits, rounded if necessary."""
_DOUBLE_DIGITS: Final = 308
"""Integers with fewer digits have at most so many bits."""
FLAGS_PATH: Final = "/ofrep/v1/evaluate/flags"
"""The path of evaluations of all flags. The key of a flag follows it."""

NOT_OFREP: Final = "not in OFREP's format"
"""What the message of an unknown flag contains if perhaps something else than an OFREP server answered."""

_ERRORS: Final[Mapping[str, ErrorKind]] = {
    kind.value: kind
    for kind in (
        ErrorKind.PARSE_ERROR,
        ErrorKind.TARGETING_KEY_MISSING,
        ErrorKind.INVALID_CONTEXT,
        ErrorKind.GENERAL,
        ErrorKind.FLAG_NOT_FOUND,
    )
}


class _Entry(msgspec.Struct, gc=False):
    """A flag in a response. Properties of unexpected types are not an error: most of them can be ignored."""

    key: Any = None
    value: Any = UNSET
    variant: Any = None
    reason: Any = None
    metadata: Any = None
    errorCode: Any = None  # noqa: N815 -- the protocol's name
    errorDetails: Any = None  # noqa: N815 -- as above


_ENTRY: Final = msgspec.json.Decoder(_Entry)


# -- requests


def flag_url(base_url: str, key: str) -> str | None:
    """The URL that evaluates one flag; ``None`` if no flag can have this key, because no URL can have it."""
    try:
        segment = quote(key, safe="")
    except UnicodeEncodeError:  # half a surrogate pair
        return None
    if not segment.strip("."):
        # Dots are not escaped, and "." and ".." as a part of a path would evaluate all flags.
        segment = segment.replace(".", "%2E")
    return f"{base_url}{FLAGS_PATH}/{segment}" if segment else None


def request_body(context: Mapping[str, Any]) -> bytes:
    """The body of an evaluation. ``context``: attributes, and ``targetingKey``; without a key it is ``None`` or missing.

    Raises:
        ValueError: a text has half a surrogate pair, or a number is too large for a server that reads doubles.
    """
    data = {name: value for name, value in context.items() if name != "targetingKey" or value is not None}
    body = msgspec.json.encode({"context": data})
    # Few bodies have room for such a number.
    if len(body) > _DOUBLE_DIGITS and _has_too_large_number(data):
        raise ValueError("a number is too large")
    return body


def _has_too_large_number(value: Any) -> bool:
    """Whether the value is, or contains, an integer that no double can hold."""
    if is_object(value):
        return any(map(_has_too_large_number, value.values()))
    if is_array(value):
        return any(map(_has_too_large_number, value))
    return type(value) is int and value.bit_length() > _DOUBLE_BITS


# -- responses


def read_flag(key: str, status: int, body: bytes, url: str | None = None) -> ResolvedFlag:
    """The result of the evaluation of one flag. ``url``: the address that was asked, for the text of an error."""
    if status == 200:
        return _read_success(key, body)
    entry = _decode(body)
    details = _Entry() if isinstance(entry, str) else entry
    if status == 400:
        error = _error_kind(details.errorCode)
    elif status == 404:
        error = ErrorKind.FLAG_NOT_FOUND
    else:
        error = ErrorKind.GENERAL
    message = _text(details.errorDetails) or status_text(status)
    if status == 404 and url is not None and not isinstance(details.errorCode, str):
        # Also a proxy or the router of another server answers so.
        hint = "flagd has no keys with a slash over OFREP" if "/" in key else "is this the port of OFREP? flagd's is 8016"
        message = f"{message}, {NOT_OFREP}, for {printable(url)}: {hint}"
    return ResolvedFlag.failed(key, error, message, read_metadata(details.metadata))


def read_entry(body: bytes | msgspec.Raw, inherited: FlagMetadata = NO_METADATA) -> ResolvedFlag | None:
    """A flag of a response with all flags; ``None`` if it has no key. ``inherited``: the metadata of the flag set."""
    entry = _decode(body)
    if isinstance(entry, str) or not isinstance(entry.key, str) or not entry.key:
        return None
    return _flag_of(entry.key, entry, inherited)


def read_metadata(value: object, inherited: FlagMetadata = NO_METADATA) -> FlagMetadata:
    """The metadata in a JSON value, added to ``inherited``. Values that are not strings, booleans or numbers are ignored."""
    if not isinstance(value, dict) or not value:
        return inherited
    return FlagMetadata.usable(cast("dict[str, Any]", value), inherited)


def status_text(status: int) -> str:
    """The status of a response in words."""
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    hint = ": are the headers right?" if status in (401, 403) else ""
    return f"the service answered {status}{phrase}{hint}"


def _read_success(key: str, body: bytes) -> ResolvedFlag:
    """The flag in a response with the status 200."""
    entry = _decode(body)
    if isinstance(entry, str):
        return ResolvedFlag.failed(key, ErrorKind.PARSE_ERROR, entry)
    return _flag_of(key, entry, NO_METADATA)


def _flag_of(key: str, entry: _Entry, inherited: FlagMetadata) -> ResolvedFlag:
    """The flag of a decoded entry."""
    metadata = read_metadata(entry.metadata, inherited)
    if entry.errorCode is not None:
        return ResolvedFlag.failed(key, _error_kind(entry.errorCode), _text(entry.errorDetails), metadata)
    reason = read_reason(entry.reason if isinstance(entry.reason, str) else None)
    if reason == ReasonKind.ERROR:
        return ResolvedFlag.failed(key, ErrorKind.GENERAL, "the service could not evaluate the flag", metadata)
    has_value = not isinstance(entry.value, UnsetType)
    return ResolvedFlag(
        key=key,
        value=entry.value if has_value else None,
        has_value=has_value,
        variant=entry.variant if has_value and isinstance(entry.variant, str) and entry.variant else None,
        reason=reason,
        metadata=metadata,
    )


def _decode(body: bytes | msgspec.Raw) -> _Entry | str:
    """The entry, or why the text is not one."""
    try:
        check_depth(body)
        return _ENTRY.decode(body)
    except UNREADABLE as error:
        return f"the service sent an unusable answer: {read_problem(error, body)}"


def _error_kind(code: object) -> ErrorKind:
    return _ERRORS.get(code, ErrorKind.GENERAL) if isinstance(code, str) else ErrorKind.GENERAL


def _text(value: object) -> str | None:
    """A text of the server for people, cut; ``None`` if the value is not a text."""
    return printable(value) if isinstance(value, str) and value else None
