"""Validates analytics events: a table of the properties of each kind, and a function that lists the problems of an event."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

from aioflags.model.context import Context
from aioflags.model.values import is_array, is_number, type_name

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
    """The flag keys in an event."""
    if event["kind"] in {"feature", "debug"} and isinstance(event.get("key"), str):
        yield event["key"]
    features = event.get("features")
    if event["kind"] == "summary" and isinstance(features, Mapping):
        yield from cast("Mapping[str, Any]", features)
