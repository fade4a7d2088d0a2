"""OFREP for all flags at once: responses, the event streams that they name, and the events of such streams.

No function here raises because of what a server sent, and the number and length of what they return is limited.

Source: ``flagd.md`` 9.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlencode, urlsplit

import msgspec

from aioflags.model.detail import ErrorKind
from aioflags.model.metadata import NO_METADATA, FlagMetadata
from aioflags.model.nesting import check_depth
from aioflags.model.resolved import ResolvedFlag
from aioflags.protocol.documents.problems import UNREADABLE, read_problem
from aioflags.protocol.ofrep import FLAGS_PATH, read_entry, read_flag, read_metadata, status_text
from aioflags.runtime.cooperative import Cooperative, sliced

__all__ = [
    "EventStreamAddress",
    "Refetch",
    "ResolvedFlags",
    "flags_url",
    "read_event_streams",
    "read_failure",
    "read_flags",
    "read_refetch",
]

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
    """The flags of a response with status 200, or why it is unusable. ``base_url``: that of the request."""
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
    text = status_text(status)
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
