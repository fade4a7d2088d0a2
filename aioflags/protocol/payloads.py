"""Analytics events become schema-4 JSON, one record at a time, so that one that cannot be carried takes no other with it.

Source: ``events.md`` 4, 5 and 11.3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, cast

import msgspec

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
from aioflags.model.nesting import check_value_depth
from aioflags.model.values import is_small
from aioflags.protocol.redaction import Redaction, is_large, plain

__all__ = ["EVENT_SCHEMA", "Shaper", "as_json", "try_json"]

EVENT_SCHEMA: Final = "4"
_NULL: Final = msgspec.Raw(b"null")
_AT_ONCE: Final = 64
"""How many members or elements of something large are looked at together."""
_encode: Final = msgspec.json.Encoder().encode


def as_json(value: Any) -> msgspec.Raw:
    """``value`` as JSON, which nobody can change any more. Lone surrogates are escaped.

    Raises:
        TypeError: it is, or holds, what JSON has not.
        ValueError: a number that is not finite, or has thousands of digits; or it nests too deeply, or holds itself.
    """
    check_value_depth(value)
    return _encoded(plain(value))


def try_json(value: Any) -> msgspec.Raw | Exception:
    """The same of a value that a program gives, which may be anything; or why JSON cannot carry it."""
    try:
        return as_json(value)
    except (TypeError, ValueError, RecursionError) as problem:
        return problem
    except Exception as odd:  # noqa: BLE001 -- a mapping of the program's own may raise anything when it is read
        # Without its text, which is the program's and may show what nobody should see, or raise in its turn.
        return TypeError(f"reading it raised {type(odd).__name__}")


def _encoded(value: Any) -> msgspec.Raw:
    """What is made of JSON's types, encoded."""
    try:
        return msgspec.Raw(_encode(value))
    except UnicodeEncodeError:
        return msgspec.Raw(json.dumps(value, allow_nan=False, separators=(",", ":")).encode())


def _encoding(value: Any, into: list[bytes]) -> Iterator[None]:
    """The same in pieces, each of which is a slice of work."""
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
    """An object or array, cut into shorter ones."""
    if isinstance(value, dict):
        members = iter(cast("dict[str, Any]", value).items())
        while part := dict(islice(members, _AT_ONCE)):
            yield part
    else:
        yield from (value[start : start + _AT_ONCE] for start in range(0, len(value), _AT_ONCE))


class Shaper:
    """Shapes the events of one payload. A context that stands in several of them is shaped once."""

    __slots__ = ("_contexts", "_redaction")

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._contexts: dict[tuple[int, bool], tuple[Context, msgspec.Raw]] = {}

    def preparing(self, event: AnalyticsEvent) -> Iterator[None]:
        """The steps of shaping an event's context, for one that is large, if that was not done yet. The record finds it then."""
        place = _place(event.context, hides_anonymous=_hides_anonymous(event))
        if place in self._contexts or not is_large(event.context):
            return
        pieces: list[bytes] = []
        shaped = yield from self._redaction.shaping(event.context, hides_anonymous=place[1])
        yield from _encoding(shaped, pieces)
        self._contexts[place] = (event.context, msgspec.Raw(b"".join(pieces)))

    def record(self, event: AnalyticsEvent) -> bytes:
        """One event."""
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

    def summary(self, start_ms: int, end_ms: int, features: Iterable[FlagCounts]) -> Iterator[bytes]:
        """The pieces of the summary of a period, a flag a piece; joined they are one record."""
        opening = b'{"kind":"summary","startDate":%d,"endDate":%d,"features":{' % (start_ms, end_ms)
        for feature in features:
            yield opening + bytes(_encoded(feature.key)) + b":" + _feature(feature)
            opening = b","
        yield b"}}" if opening == b"," else opening + b"}}"

    def _about(self, kind: str, event: IndexEvent | IdentifyEvent) -> bytes:
        return _encode({"kind": kind, "creationDate": event.at_ms, "context": self._context(event)})

    def _evaluation(self, event: EvaluationEvent) -> bytes:
        record: dict[str, Any] = {
            "kind": "debug" if event.is_debug else "feature",
            "creationDate": event.at_ms,
            "key": _text(event.key),
            "context": self._context(event),
            "value": _value(event.value),
            "default": _value(event.default),
            "version": event.version,
        }
        if event.variation is not None:
            record["variation"] = event.variation
        if event.reason is not None:
            record["reason"] = _encoded(event.reason.to_dict())
        if event.prerequisite_of is not None:
            record["prereqOf"] = _text(event.prerequisite_of)
        return _encode(_sampled(record, event.sampling_ratio))

    def _custom(self, event: CustomEvent) -> bytes:
        record: dict[str, Any] = {
            "kind": "custom",
            "creationDate": event.at_ms,
            "key": _text(event.key),
            "context": self._context(event),
        }
        if event.data is not None:
            record["data"] = event.data
        if event.metric_value is not None:
            record["metricValue"] = event.metric_value
        return _encode(record)

    def _migration(self, event: MigrationEvent) -> bytes:
        evaluation: dict[str, Any] = {
            "key": _text(event.key),
            "value": _text(event.value),
            "default": _text(event.default),
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
            "context": self._context(event),
            "evaluation": evaluation,
            "measurements": list(_measurements(event)),
        }
        return _encode(_sampled(record, event.sampling_ratio))

    def _context(self, event: AnalyticsEvent) -> msgspec.Raw:
        context = event.context
        place = _place(context, hides_anonymous=_hides_anonymous(event))
        known = self._contexts.get(place)
        if known is None:
            shaped = _encoded(self._redaction.shape(context, hides_anonymous=place[1]))
            known = self._contexts[place] = (context, shaped)
        return known[1]


def _hides_anonymous(event: AnalyticsEvent) -> bool:
    """Whether nothing is told of an anonymous context but its key. Events that describe one, or help to debug, tell all of it."""
    match event:
        case IndexEvent() | IdentifyEvent():
            return False
        case EvaluationEvent():
            return not event.is_debug
        case CustomEvent() | MigrationEvent():
            return True


def _place(context: Context, *, hides_anonymous: bool) -> tuple[int, bool]:
    """Where a context's shape is kept: by identity, beside the context, so that its number is not given to another one meanwhile.

    Nothing is hidden of one that is not anonymous: it has one shape.
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
        counters.append(counter)
    shaped = {"default": _value(feature.default), "contextKinds": list(feature.context_kinds), "counters": counters}
    return _encode(shaped)


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


def _text(text: str) -> msgspec.Raw:
    return _encoded(text)


def _value(value: Any) -> msgspec.Raw:
    """A flag's value, or a caller's default, which may be anything: what JSON cannot carry is null."""
    if isinstance(value, msgspec.Raw):
        return value
    found = try_json(value)
    return _NULL if isinstance(found, Exception) else found
