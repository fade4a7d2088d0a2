"""The newest analytics events that clients sent, with the problems in each, found by a table of properties.

Every payload is accepted, as LaunchDarkly does; a mistake in it is listed as a problem. Diagnostic events are kept without their
id, which contains a part of the SDK key.
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import msgspec

from aioflags.devserver.decode import decode_json
from aioflags.model.context import Context
from aioflags.model.values import check_depth, is_array, is_number, type_name
from aioflags.protocol.problems import UNREADABLE, located_problem
from aioflags.runtime.clock import now_ms
from aioflags.runtime.logs import printable

# -- Validates analytics events: a table of the properties of each kind, and a function that lists the problems of an event.


DIAGNOSTIC_KINDS: Final = frozenset({"diagnostic-init", "diagnostic", "diagnostic-combined"})
"""SDKs in web pages send ``diagnostic-combined`` in place of the others."""

_Check: TypeAlias = Callable[[str, Any], Iterator[str]]


def _must_be(expected: str, is_valid: Callable[[Any], bool]) -> _Check:
    def check(place: str, value: Any) -> Iterator[str]:
        if not is_valid(value):
            yield f"{place}: expected {expected}, got {type_name(value)}"

    return check


def _is_whole_number(value: Any) -> bool:
    return is_number(value) and (isinstance(value, int) or float(value).is_integer())


def _anything(_place: str, _value: Any) -> Iterator[str]:
    return iter(())


def _context(place: str, value: Any) -> Iterator[str]:
    context = Context.from_dict(value)
    if context.error is not None:
        yield f"{place}: {context.error}"
    elif any(single.private for single in context):
        yield f"{place}: it has privateAttributes; events must omit private attributes and list them as redactedAttributes"


_STRING: Final = _must_be("string", lambda value: isinstance(value, str))
_BOOLEAN: Final = _must_be("boolean", lambda value: isinstance(value, bool))
_NUMBER: Final = _must_be("number", is_number)
_WHOLE: Final = _must_be("whole number", _is_whole_number)
_OBJECT: Final = _must_be("object", lambda value: isinstance(value, Mapping))
_ARRAY: Final = _must_be("array", is_array)
_TIME: Final = _must_be("milliseconds since 1970, as a whole number", lambda value: _is_whole_number(value) and value >= 0)


def _counter(place: str, value: Any) -> Iterator[str]:
    yield from _members(place, value, _COUNTER)
    if isinstance(value, Mapping) and ("version" in value) is ("unknown" in value):
        yield f'{place}: expected either "version" or "unknown"'


def _counters(place: str, value: Any) -> Iterator[str]:
    yield from _ARRAY(place, value)
    if is_array(value):
        for index, counter in enumerate(value):
            yield from _counter(f"{place}[{index}]", counter)


def _features(place: str, value: Any) -> Iterator[str]:
    yield from _OBJECT(place, value)
    if isinstance(value, Mapping):
        for key, feature in cast("Mapping[str, Any]", value).items():
            yield from _members(f"{place}.{key}", feature, _FEATURE)


# By property name. A question mark means that the property is optional.
_COUNTER: Final[dict[str, _Check]] = {
    "count": _WHOLE,
    "value?": _anything,
    "variation?": _WHOLE,
    "version?": _WHOLE,
    "unknown?": _BOOLEAN,
    "override?": _BOOLEAN,
    "overrideAffected?": _BOOLEAN,
}
_FEATURE: Final[dict[str, _Check]] = {"default?": _anything, "contextKinds": _ARRAY, "counters": _counters}
_FLAG_PROPERTIES: Final[dict[str, _Check]] = {
    "key": _STRING,
    "value?": _anything,
    "variation?": _WHOLE,
    "version?": _WHOLE,
    "default?": _anything,
    "reason?": _OBJECT,
    "prereqOf?": _STRING,
    "samplingRatio?": _NUMBER,
}
_KINDS: Final[dict[str, dict[str, _Check]]] = {
    "index": {"creationDate": _TIME, "context": _context},
    "identify": {"creationDate": _TIME, "context": _context},
    "feature": {"creationDate": _TIME, "context?": _context, "contextKeys?": _OBJECT, **_FLAG_PROPERTIES},
    "debug": {"creationDate": _TIME, "context": _context, **_FLAG_PROPERTIES},
    "custom": {
        "creationDate": _TIME,
        "key": _STRING,
        "context?": _context,
        "contextKeys?": _OBJECT,
        "data?": _anything,
        "metricValue?": _NUMBER,
        "samplingRatio?": _NUMBER,
        "url?": _anything,  # JavaScript SDKs send the address of the page, or null
    },
    "migration_op": {
        "creationDate": _TIME,
        "operation": _STRING,
        "context?": _context,
        "contextKeys?": _OBJECT,
        "evaluation": _OBJECT,
        "measurements": _ARRAY,
        "samplingRatio?": _NUMBER,
    },
    "summary": {"startDate": _TIME, "endDate": _TIME, "context?": _context, "features": _features},
}
_DIAGNOSTIC: Final[dict[str, _Check]] = {"kind": _STRING, "creationDate": _TIME, "id": _OBJECT}


def event_problems(event: Any, flags: Collection[str]) -> Iterator[str]:
    """List the problems of an event. ``flags``: the keys of the served flags."""
    if not isinstance(event, Mapping):
        yield f"expected object, got {type_name(event)}"
        return
    properties = cast("Mapping[str, Any]", event)
    kind = properties.get("kind")
    if isinstance(kind, str) and kind in DIAGNOSTIC_KINDS:
        for name, check in _DIAGNOSTIC.items():
            yield from check(name, properties.get(name))
        return
    shape = _KINDS.get(kind) if isinstance(kind, str) else None
    if shape is None:
        yield f"kind: expected one of {', '.join(_KINDS)}, got {kind!r:.60}"
        return
    yield from _members("", properties, {"kind": _STRING, **shape})
    if "contextKeys?" in shape and "context" not in properties and "contextKeys" not in properties:
        yield 'expected "context"'
    for key in _flag_keys(properties):
        if key not in flags:
            yield f"unknown flag {key!r:.100}"


def _members(place: str, value: Any, shape: Mapping[str, _Check]) -> Iterator[str]:
    """List the properties of an object that are missing, unknown or not valid."""
    if not isinstance(value, Mapping):
        yield f"{place}: expected object, got {type_name(value)}"
        return
    properties = cast("Mapping[str, Any]", value)
    for entry, check in shape.items():
        name = entry.removesuffix("?")
        if name in properties:
            yield from check(f"{place}.{name}".lstrip("."), properties[name])
        elif name == entry:
            yield f"{place}.{name}: missing".lstrip(".")
    for name in properties:
        if name not in shape and f"{name}?" not in shape:
            yield f"{place}.{name:.100}: unknown property".lstrip(".")


def _flag_keys(event: Mapping[str, Any]) -> Iterator[str]:
    if event["kind"] in {"feature", "debug"} and isinstance(event.get("key"), str):
        yield event["key"]
    features = event.get("features")
    if event["kind"] == "summary" and isinstance(features, Mapping):
        yield from cast("Mapping[str, Any]", features)


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
