"""OFREP, the OpenFeature Remote Evaluation Protocol: URLs and bodies of its requests, and the meaning of its responses.

No function here raises because of what a server sent. A text of a server is cut before it gets into a result.

Source: ``flagd.md`` 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from aioflags.model.detail import NO_METADATA, ErrorKind, FlagMetadata, ReasonKind, ResolvedFlag, read_reason
from aioflags.model.values import check_depth, is_array, is_object
from aioflags.protocol.failures import status_text
from aioflags.protocol.problems import UNREADABLE, read_problem
from aioflags.runtime.cooperative import Cooperative, sliced
from aioflags.runtime.logs import printable

_DOUBLE_BITS: Final = 1023
"""A double can hold every integer with at most so many bits, rounded if necessary."""
_DOUBLE_DIGITS: Final = 308
"""Integers with fewer digits have at most so many bits."""
FLAGS_PATH: Final = "/ofrep/v1/evaluate/flags"
"""The path of evaluations of all flags. The key of a flag follows it."""

NOT_OFREP: Final = "not in OFREP's format"
"""What the message of an unknown flag contains if perhaps something else than an OFREP server answered."""

HINTS: Final[Mapping[int, str]] = {401: "are the headers right?", 403: "are the headers right?"}
"""What to check after some statuses."""
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
    errorDetails: Any = None  # noqa: N815 -- the protocol's name


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
    entry = _decode(body)
    if status == 200:
        if isinstance(entry, str):
            return ResolvedFlag.failed(key, ErrorKind.PARSE_ERROR, entry)
        return _flag_of(key, entry, NO_METADATA)
    details = _Entry() if isinstance(entry, str) else entry
    if status == 400:
        error = _error_kind(details.errorCode)
    elif status == 404:
        error = ErrorKind.FLAG_NOT_FOUND
    else:
        error = ErrorKind.GENERAL
    message = _text(details.errorDetails) or status_text(status, HINTS)
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


# -- OFREP for all flags at once: responses, the event streams that they name, and the events of such streams.
#
# No function here raises because of what a server sent, and the number and length of what they return is limited.
#
# Source: ``flagd.md`` 9.


_MAX_STREAMS: Final = 8
_MAX_URL: Final = 8192
_MAX_CURSOR: Final = 1024
"""Characters of a cursor that goes back to the server in a URL. A longer one is ignored."""
_FLAGS_PER_SLICE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Refetch:
    """A request of the server to fetch all flags again. ``etag`` and ``last_modified`` go back to the server."""

    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStreamAddress:
    """An event stream that reports changes. The URL is secret: do not log it."""

    url: str = field(repr=False)

    @property
    def origin(self) -> str:
        """The part of the URL that is not secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedFlags:
    """All flags, evaluated for one context.

    ``unusable``: how many entries have no key or cannot be read. They are left out.
    """

    flags: tuple[ResolvedFlag, ...]
    metadata: FlagMetadata = NO_METADATA
    event_streams: tuple[EventStreamAddress, ...] = ()
    unusable: int = 0


class _Answer(msgspec.Struct, gc=False):
    flags: list[msgspec.Raw]
    metadata: Any = None
    eventStreams: Any = None  # noqa: N815 -- the protocol's name


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_EVENT: Final = msgspec.json.Decoder(dict[str, Any])


def flags_url(base_url: str, refetch: Refetch | None = None) -> str:
    """The URL that evaluates all flags. ``refetch``: the event that causes the request."""
    cursor = {} if refetch is None else {"flagConfigEtag": refetch.etag, "flagConfigLastModified": refetch.last_modified}
    query = urlencode({name: value for name, value in cursor.items() if value is not None})
    return f"{base_url}{FLAGS_PATH}?{query}" if query else f"{base_url}{FLAGS_PATH}"


def read_flags(body: bytes, base_url: str) -> Cooperative[ResolvedFlags | str]:
    """The flags of a response with status 200, or why it is unusable. ``base_url``: of the request."""
    try:
        check_depth(body)
        answer = _ANSWER.decode(body)
    except UNREADABLE as error:
        return f"the service sent an unusable answer: {read_problem(error, body)}"
    metadata = read_metadata(answer.metadata)
    flags: dict[str, ResolvedFlag] = {}
    unusable = 0
    for entries in sliced(answer.flags, _FLAGS_PER_SLICE):
        for entry in entries:
            flag = read_entry(entry, metadata)
            if flag is None:
                unusable += 1
            else:
                flags[flag.key] = flag
        yield
    return ResolvedFlags(
        flags=tuple(flags.values()),
        metadata=metadata,
        event_streams=read_event_streams(answer.eventStreams, base_url),
        unusable=unusable,
    )


def read_failure(status: int, body: bytes) -> tuple[ErrorKind, str]:
    """Why a response with another status than 200 has no flags: for evaluations, and in words."""
    result = read_flag("", status, body)
    kind = result.error if status == 400 and result.error is not None else ErrorKind.GENERAL
    text = status_text(status, HINTS)
    return kind, (text if result.error_message in (None, text) else f"{text}: {result.error_message}")


def read_event_streams(value: object, base_url: str) -> tuple[EventStreamAddress, ...]:
    """The event streams of type ``sse`` in a response, at most eight. Others, and those without a usable URL, are left out."""
    if not isinstance(value, list):
        return ()
    streams: dict[str, EventStreamAddress] = {}
    for entry in cast("list[object]", value):
        if len(streams) < _MAX_STREAMS and isinstance(entry, dict):
            members = cast("dict[str, Any]", entry)
            url = _stream_url(members, base_url) if members.get("type") == "sse" else None
            if url is not None:
                streams.setdefault(url, EventStreamAddress(url=url))
    return tuple(streams.values())


def read_refetch(data: str) -> Refetch | None:
    """The request to fetch all flags again in the data of an event; ``None`` for any other event."""
    try:
        check_depth(data)
        event = _EVENT.decode(data)
    except UNREADABLE:
        return None
    if event.get("type") != "refetchEvaluation":
        return None
    return Refetch(etag=_cursor(event.get("etag")), last_modified=_cursor(event.get("lastModified")))


def _stream_url(stream: dict[str, Any], base_url: str) -> str | None:
    url, endpoint = stream.get("url"), stream.get("endpoint")
    if not isinstance(url, str) and isinstance(endpoint, dict):
        url = _endpoint_url(cast("dict[str, Any]", endpoint), base_url)
    if not isinstance(url, str) or len(url) > _MAX_URL or not url.isprintable():
        return None
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an incomplete IPv6 address, or a port that is not a number
        return None
    return url if is_usable else None


def _endpoint_url(endpoint: dict[str, Any], base_url: str) -> str | None:
    target = endpoint.get("requestUri")
    base = urlsplit(base_url)
    origin = endpoint.get("origin", f"{base.scheme}://{base.netloc}")
    # Without a slash the target could continue the name of the host.
    if not isinstance(origin, str) or not isinstance(target, str) or not target.startswith("/"):
        return None
    return f"{origin.rstrip('/')}{target}"


def _cursor(value: object) -> str | None:
    """The text of an ``etag`` or ``lastModified``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(int(value)) if abs(value) < 2**53 else None
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_CURSOR else None
