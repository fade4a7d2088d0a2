"""The newest analytics events that clients sent, with the problems in each.

Every payload is accepted, as LaunchDarkly does; a mistake in it is listed as a problem. Diagnostic events are kept without their
id, which contains a part of the SDK key.
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from aioflags.devserver.bodies import decode_json
from aioflags.devserver.events.schema import DIAGNOSTIC_KINDS, event_problems
from aioflags.model.nesting import check_depth
from aioflags.model.values import is_array
from aioflags.protocol.documents.problems import UNREADABLE, located_problem
from aioflags.runtime.clock import now_ms
from aioflags.runtime.logs import printable

_MAX_EVENTS: Final = 200
_MAX_TEXT_LENGTH: Final = 4000
_MAX_PROBLEMS: Final = 20
_MAX_INFLATED_BYTES: Final = 16 * 1024 * 1024
_MAX_EVENTS_IN_PAYLOAD: Final = 1000
_SCHEMA_VERSION: Final = "4"
_UNREADABLE: Final = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """One event, or a payload without a readable event.

    ``client``: the number of the client that sent it. ``text``: its JSON, at most 4,000 characters.
    """

    number: int
    at_ms: int
    client: int
    kind: str
    text: str
    problems: tuple[str, ...]

    @property
    def json(self) -> dict[str, Any] | None:
        """The decoded event; ``None`` if it is not an object, or if its text was cut."""
        try:
            event = decode_json(self.text.encode())
        except UNREADABLE:
            return None
        return cast("dict[str, Any]", event) if isinstance(event, dict) else None


class ReceivedEvents:
    """The newest events. ``count``: events received. ``faulty``: those with problems. ``revision`` grows with each change."""

    def __init__(self) -> None:
        self.count: int = 0
        self.faulty: int = 0
        self.revision: int = 0
        self._events: deque[ReceivedEvent] = deque(maxlen=_MAX_EVENTS)
        self._faulty: deque[ReceivedEvent] = deque(maxlen=_MAX_EVENTS)

    @property
    def newest(self) -> Sequence[ReceivedEvent]:
        """The last 200 events, and the last 200 with problems, newest first: a problem is listed however many events follow it."""
        kept = {event.number: event for event in (*self._faulty, *self._events)}
        return tuple(kept[number] for number in sorted(kept, reverse=True))

    def clear(self) -> None:
        """Drop all events and reset the counts."""
        self._events.clear()
        self._faulty.clear()
        self.count = self.faulty = 0
        self.revision += 1

    def add_payload(
        self, body: bytes, headers: Mapping[str, str], *, client: int, flags: Collection[str], is_analytics: bool
    ) -> None:
        """Add the events of a request.

        Args:
            body: the body of the request.
            headers: the headers of the request.
            client: the number of the client.
            flags: the keys of the served flags.
            is_analytics: whether the body is an array of analytics events. Otherwise it is one diagnostic event.
        """
        text = body
        try:
            if headers.get("content-encoding", "").strip().lower() == "gzip":
                text = _inflated(body)
            check_depth(text)
            payload: Any = decode_json(text)
        except UNREADABLE as error:
            self._add(client, _UNREADABLE, "", [located_problem("the payload", error, text)])
            return
        except (zlib.error, OverflowError) as error:
            self._add(client, _UNREADABLE, "", [f"the payload is not valid gzip: {error}"])
            return
        if not is_analytics:
            self._add_event(payload, client, flags, [])
            return
        events: Sequence[Any] | None = payload if is_array(payload) else None
        problems = _payload_problems(events, headers)
        if not events:
            self._add(client, _UNREADABLE, _json_text(payload), problems)
            return
        *others, last = events[:_MAX_EVENTS_IN_PAYLOAD]
        for event in others:
            self._add_event(event, client, flags, [])
        self._add_event(last, client, flags, problems)

    def add_refused(self, problem: str, *, client: int) -> None:
        """Add a payload that was refused unread."""
        self._add(client, _UNREADABLE, "", [f"the payload: {problem}"])

    def _add_event(self, event: Any, client: int, flags: Collection[str], problems: Sequence[str]) -> None:
        properties: Mapping[str, Any] = cast("Mapping[str, Any]", event) if isinstance(event, Mapping) else {}
        kind = properties.get("kind")
        name = printable(kind) if isinstance(kind, str) else _UNREADABLE
        without_id = {key: value for key, value in properties.items() if key != "id"}
        text = _json_text(without_id if name in DIAGNOSTIC_KINDS else cast("Any", event))
        self._add(client, name, text, [*problems, *event_problems(event, flags)])

    def _add(self, client: int, kind: str, text: str, problems: Sequence[str]) -> None:
        self.count += 1
        self.faulty += bool(problems)
        self.revision += 1
        event = ReceivedEvent(
            number=self.count,
            at_ms=now_ms(),
            client=client,
            kind=kind,
            text=text,
            problems=tuple(map(printable, problems[:_MAX_PROBLEMS])),
        )
        self._events.append(event)
        if problems:
            self._faulty.append(event)


def _payload_problems(events: Sequence[Any] | None, headers: Mapping[str, str]) -> list[str]:
    """The problems of a payload as a whole. They are listed with the last event, which is kept longest."""
    problems: list[str] = []
    if events is None:
        problems.append("the payload: expected an array of events")
    elif not events:
        problems.append("the payload: it has no events, so it should not be sent")
    elif len(events) > _MAX_EVENTS_IN_PAYLOAD:
        problems.append(f"the payload: only the first {_MAX_EVENTS_IN_PAYLOAD} events are checked")
    if "x-launchdarkly-payload-id" not in headers:
        problems.append("the payload: the header X-LaunchDarkly-Payload-ID is missing")
    if headers.get("x-launchdarkly-event-schema") != _SCHEMA_VERSION:
        problems.append(f"the payload: the header X-LaunchDarkly-Event-Schema is not {_SCHEMA_VERSION}")
    return problems


def _inflated(body: bytes) -> bytes:
    """Decompress gzip. Raises :class:`OverflowError` if the result has more than 16 MiB."""
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
    text = inflater.decompress(body, _MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise OverflowError("more than 16 MiB uncompressed")
    return text


def _json_text(event: Any) -> str:
    try:
        text = msgspec.json.encode(event).decode()
    except UnicodeEncodeError:
        # Show a lone surrogate escaped, as it was sent.
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace").decode()
    return text if len(text) <= _MAX_TEXT_LENGTH else f"{text[:_MAX_TEXT_LENGTH]}…"
