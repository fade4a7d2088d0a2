"""The JSON of analytics events (schema 4). Each record is encoded separately, so that one invalid event does not lose others.

Source: ``events.md`` 4, 5 and 11.3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from aioflags.model.attributes import json_value
from aioflags.model.context import Context
from aioflags.model.event import (
    AnalyticsEvent,
    CustomEvent,
    EvaluationEvent,
    FlagCounts,
    IdentifyEvent,
    IndexEvent,
    MigrationEvent,
)
from aioflags.model.values import is_small
from aioflags.protocol.redaction import Redaction, is_large
from aioflags.protocol.side import SERVER_EVENTS, EventPolicy
from aioflags.runtime.cooperative import sliced

EVENT_SCHEMA: Final = "4"
_NULL: Final = msgspec.Raw(b"null")
_SLICE_PARTS: Final = 64
"""How many members or elements of a large value are encoded in one slice."""
_encode: Final = msgspec.json.Encoder().encode


def as_json(value: Any) -> msgspec.Raw:
    """Encode ``value`` as JSON, by the rule of :mod:`aioflags.model.attributes`. Lone surrogates are escaped.

    Raises:
        ValueError: It is or contains an object that JSON lacks; a number has thousands of digits; or the value nests too deeply, or
            contains itself.
    """
    return _encoded(json_value(value))


def try_json(value: Any) -> msgspec.Raw | Exception:
    """Encode any object of the program as JSON. Returns the exception if JSON does not support it."""
    try:
        return as_json(value)
    except ValueError as problem:
        return problem


def _encoded(value: Any) -> msgspec.Raw:
    """Encode a value that consists of JSON types."""
    try:
        return msgspec.Raw(_encode(value))
    except UnicodeEncodeError:
        return msgspec.Raw(json.dumps(value, allow_nan=False, separators=(",", ":")).encode())


def _encoding(value: Any, into: list[bytes]) -> Iterator[None]:
    """Encode a value that consists of JSON types in slices: append pieces of JSON text to ``into``, and yield after each slice."""
    if not isinstance(value, (dict, list)) or is_small(cast("object", value)):
        into.append(_encoded(value))
        yield
        return
    before, after = (b"{", b"}") if isinstance(value, dict) else (b"[", b"]")
    for part in _parts(value):
        if is_small(part):
            into += before, bytes(_encoded(part))[1:-1]
            before = b","
            yield
        elif isinstance(part, dict):
            for name, inner in part.items():
                into += before, _encoded(name), b":"
                before = b","
                yield from _encoding(inner, into)
        else:
            for inner in part:
                into.append(before)
                before = b","
                yield from _encoding(inner, into)
    into.append(after)


def _parts(value: Any) -> Iterator[dict[str, Any] | Sequence[Any]]:
    """The object or array in parts of at most ``_SLICE_PARTS`` members or elements."""
    if isinstance(value, dict):
        yield from map(dict, sliced(cast("dict[str, Any]", value).items(), _SLICE_PARTS))
    else:
        yield from sliced(value, _SLICE_PARTS)


class EventEncoder:
    """Encodes the events of one payload. A context of several events is encoded once."""

    __slots__ = ("_contexts", "_policy", "_redaction")

    def __init__(self, redaction: Redaction, policy: EventPolicy = SERVER_EVENTS) -> None:
        self._redaction = redaction
        self._policy = policy
        self._contexts: dict[tuple[int, bool], tuple[Context, msgspec.Raw]] = {}

    def preparing(self, event: AnalyticsEvent) -> Iterator[None]:
        """Encode the context of an event in slices, if it is large and not encoded yet. :meth:`record` then uses the result."""
        return self._preparing(event.context, hides_anonymous=self._hides_anonymous(event))

    def preparing_summary(self, context: Context) -> Iterator[None]:
        """The same as :meth:`preparing` for the context of a summary."""
        return self._preparing(context, hides_anonymous=False)

    def _preparing(self, context: Context, *, hides_anonymous: bool) -> Iterator[None]:
        cache_key = _cache_key(context, hides_anonymous=hides_anonymous)
        if cache_key in self._contexts or not is_large(context):
            return
        pieces: list[bytes] = []
        redacted = yield from self._redaction.redact_in_slices(context, hides_anonymous=cache_key[1])
        yield from _encoding(redacted, pieces)
        self._contexts[cache_key] = (context, msgspec.Raw(b"".join(pieces)))

    def record(self, event: AnalyticsEvent) -> bytes:
        """The JSON of one event."""
        match event:
            case EvaluationEvent():
                return self._evaluation(event)
            case IndexEvent():
                return self._about("index", event)
            case IdentifyEvent():
                return self._about("identify", event)
            case CustomEvent():
                return self._custom(event)
            case MigrationEvent():
                return self._migration(event)

    def summary(
        self, start_ms: int, end_ms: int, features: Iterable[FlagCounts], context: Context | None = None
    ) -> Iterator[bytes]:
        """The JSON of the summary of a period, in one piece for each flag. ``context``: the summary counts this context alone."""
        opening = b'{"kind":"summary","startDate":%d,"endDate":%d,' % (start_ms, end_ms)
        if context is not None:
            opening += b'"context":' + bytes(self._context(context, hides_anonymous=False)) + b","
        opening += b'"features":{'
        for feature in features:
            yield opening + bytes(_encoded(feature.key)) + b":" + _feature(feature)
            opening = b","
        yield b"}}" if opening == b"," else opening + b"}}"

    def _about(self, kind: str, event: IndexEvent | IdentifyEvent) -> bytes:
        return _encode({"kind": kind, "creationDate": event.at_ms, "context": self._context_of(event)})

    def _evaluation(self, event: EvaluationEvent) -> bytes:
        record: dict[str, Any] = {
            "kind": "debug" if event.is_debug else "feature",
            "creationDate": event.at_ms,
            "key": _encoded(event.key),
            "context": self._context_of(event),
            "value": _value(event.value),
            "default": _value(event.default),
            "version": event.version,
        }
        if event.variation is not None:
            record["variation"] = event.variation
        if event.reason is not None:
            record["reason"] = _encoded(event.reason.to_dict())
        if event.prerequisite_of is not None:
            record["prereqOf"] = _encoded(event.prerequisite_of)
        return _encode(_sampled(record, event.sampling_ratio))

    def _custom(self, event: CustomEvent) -> bytes:
        record: dict[str, Any] = {
            "kind": "custom",
            "creationDate": event.at_ms,
            "key": _encoded(event.key),
            "context": self._context_of(event),
        }
        if event.data is not None:
            record["data"] = event.data
        if event.metric_value is not None:
            record["metricValue"] = event.metric_value
        return _encode(record)

    def _migration(self, event: MigrationEvent) -> bytes:
        evaluation: dict[str, Any] = {
            "key": _encoded(event.key),
            "value": _encoded(event.value),
            "default": _encoded(event.default),
            "reason": _encoded(event.reason.to_dict()),
        }
        if event.variation is not None:
            evaluation["variation"] = event.variation
        if event.version is not None:
            evaluation["version"] = event.version
        record = {
            "kind": "migration_op",
            "creationDate": event.at_ms,
            "operation": event.operation,
            "context": self._context_of(event),
            "evaluation": evaluation,
            "measurements": list(_measurements(event)),
        }
        return _encode(_sampled(record, event.sampling_ratio))

    def _context_of(self, event: AnalyticsEvent) -> msgspec.Raw:
        return self._context(event.context, hides_anonymous=self._hides_anonymous(event))

    def _context(self, context: Context, *, hides_anonymous: bool) -> msgspec.Raw:
        cache_key = _cache_key(context, hides_anonymous=hides_anonymous)
        cached = self._contexts.get(cache_key)
        if cached is None:
            redacted = self._redaction.redact(context, hides_anonymous=cache_key[1])
            cached = self._contexts[cache_key] = (context, _encoded(redacted))
        return cached[1]

    def _hides_anonymous(self, event: AnalyticsEvent) -> bool:
        """Whether the event contains only the keys of anonymous contexts. Index, identify and debug events have all attributes."""
        match event:
            case IndexEvent() | IdentifyEvent():
                return False
            case EvaluationEvent():
                return not event.is_debug
            case CustomEvent() | MigrationEvent():
                return not self._policy.shows_anonymous_in_custom


def _cache_key(context: Context, *, hides_anonymous: bool) -> tuple[int, bool]:
    """The key of an encoded context: its id, and whether its attributes are hidden.

    The cache also keeps the context, so that no other object gets its id. A context that is not anonymous is encoded once.
    """
    return id(context), hides_anonymous and (context.anonymous or context.members is not None)


def _feature(feature: FlagCounts) -> bytes:
    counters: list[dict[str, Any]] = []
    for count in feature.counts:
        counter: dict[str, Any] = {"count": count.count, "value": _value(count.value)}
        if count.variation is not None:
            counter["variation"] = count.variation
        if count.version is None:
            counter["unknown"] = True
        else:
            counter["version"] = count.version
        if count.mark is not None:
            counter[count.mark.value] = True
        counters.append(counter)
    record = {"default": _value(feature.default), "contextKinds": list(feature.context_kinds), "counters": counters}
    return _encode(record)


def _measurements(event: MigrationEvent) -> Iterator[Mapping[str, Any]]:
    yield {"key": "invoked", "values": dict.fromkeys(event.invoked, True)}
    if event.is_consistent is not None:
        yield _sampled({"key": "consistent", "value": event.is_consistent}, event.check_ratio)
    if event.latency_ms:
        yield {"key": "latency_ms", "values": dict(event.latency_ms)}
    if event.failed:
        yield {"key": "error", "values": dict.fromkeys(event.failed, True)}


def _sampled(record: dict[str, Any], ratio: int | None) -> dict[str, Any]:
    if ratio is not None and ratio != 1:
        record["samplingRatio"] = ratio
    return record


def _value(value: Any) -> msgspec.Raw:
    """Encode the value of a flag or the default of a caller, which may be any object. Null if JSON does not support it."""
    if isinstance(value, msgspec.Raw):
        return value
    encoded = try_json(value)
    return _NULL if isinstance(encoded, Exception) else encoded
