"""What is wrong with an analytics event, place by place: a table of what each kind carries, and one reader of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

from aioflags.model.context import Context
from aioflags.model.values import is_array, is_number, type_name

__all__ = ["DIAGNOSTIC_KINDS", "event_problems"]

DIAGNOSTIC_KINDS: Final = frozenset({"diagnostic-init", "diagnostic"})

_Check: TypeAlias = Callable[[str, Any], Iterator[str]]


def _must_be(expected: str, is_fine: Callable[[Any], bool]) -> _Check:
    def check(place: str, value: Any) -> Iterator[str]:
        if not is_fine(value):
            yield f"{place}: expected {expected}, got {type_name(value)}"

    return check


def _is_whole(value: Any) -> bool:
    return is_number(value) and (isinstance(value, int) or float(value).is_integer())


def _anything(_place: str, _value: Any) -> Iterator[str]:
    return iter(())


def _context(place: str, value: Any) -> Iterator[str]:
    context = Context.from_dict(value)
    if context.error is not None:
        yield f"{place}: {context.error}"
    elif any(single.private for single in context):
        yield f"{place}: it declares private attributes, which are to be left out of events, and named as redacted"


_STRING: Final = _must_be("string", lambda value: isinstance(value, str))
_BOOLEAN: Final = _must_be("boolean", lambda value: isinstance(value, bool))
_NUMBER: Final = _must_be("number", is_number)
_WHOLE: Final = _must_be("whole number", _is_whole)
_OBJECT: Final = _must_be("object", lambda value: isinstance(value, Mapping))
_ARRAY: Final = _must_be("array", is_array)
_TIME: Final = _must_be("milliseconds since 1970, as a whole number", lambda value: _is_whole(value) and value >= 0)


def _counter(place: str, value: Any) -> Iterator[str]:
    yield from _members(place, value, _COUNTER)
    if isinstance(value, Mapping) and ("version" in value) is ("unknown" in value):
        yield f'{place}: expected either "version" or "unknown", since a flag is known or not'


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


# By property; those with a question mark may be absent.
_COUNTER: Final[dict[str, _Check]] = {
    "count": _WHOLE,
    "value?": _anything,
    "variation?": _WHOLE,
    "version?": _WHOLE,
    "unknown?": _BOOLEAN,
}
_FEATURE: Final[dict[str, _Check]] = {"default?": _anything, "contextKinds": _ARRAY, "counters": _counters}
_ABOUT_A_FLAG: Final[dict[str, _Check]] = {
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
    "feature": {"creationDate": _TIME, "context?": _context, "contextKeys?": _OBJECT, **_ABOUT_A_FLAG},
    "debug": {"creationDate": _TIME, "context": _context, **_ABOUT_A_FLAG},
    "custom": {
        "creationDate": _TIME,
        "key": _STRING,
        "context?": _context,
        "contextKeys?": _OBJECT,
        "data?": _anything,
        "metricValue?": _NUMBER,
        "samplingRatio?": _NUMBER,
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
    "summary": {"startDate": _TIME, "endDate": _TIME, "features": _features},
}
_DIAGNOSTIC: Final[dict[str, _Check]] = {"kind": _STRING, "creationDate": _TIME, "id": _OBJECT}


def event_problems(event: Any, flags: Collection[str]) -> Iterator[str]:
    """What is wrong with an event, for a server that has these flags."""
    if not isinstance(event, Mapping):
        yield f"expected object, got {type_name(event)}"
        return
    found = cast("Mapping[str, Any]", event)
    kind = found.get("kind")
    if isinstance(kind, str) and kind in DIAGNOSTIC_KINDS:
        for name, check in _DIAGNOSTIC.items():
            yield from check(name, found.get(name))
        return
    shape = _KINDS.get(kind) if isinstance(kind, str) else None
    if shape is None:
        yield f"kind: expected one of {', '.join(_KINDS)}, got {kind!r:.60}"
        return
    yield from _members("", found, {"kind": _STRING, **shape})
    if "context?" in shape and "context" not in found and "contextKeys" not in found:
        yield 'expected "context"'
    for key in _flags_of(found):
        if key not in flags:
            yield f"no flag {key!r:.100} is served here"


def _members(place: str, value: Any, shape: Mapping[str, _Check]) -> Iterator[str]:
    """What is wrong with the properties of an object: missing, unknown, or of another type."""
    if not isinstance(value, Mapping):
        yield f"{place}: expected object, got {type_name(value)}"
        return
    found = cast("Mapping[str, Any]", value)
    for name, check in shape.items():
        plain = name.removesuffix("?")
        if plain in found:
            yield from check(f"{place}.{plain}".lstrip("."), found[plain])
        elif plain == name:
            yield f"{place}.{plain}: missing".lstrip(".")
    for name in found:
        if name not in shape and f"{name}?" not in shape:
            yield f"{place}.{name:.100}: unknown property".lstrip(".")


def _flags_of(event: Mapping[str, Any]) -> Iterator[str]:
    """The keys of the flags that an event is about."""
    if event["kind"] in {"feature", "debug"} and isinstance(event.get("key"), str):
        yield event["key"]
    features = event.get("features")
    if event["kind"] == "summary" and isinstance(features, Mapping):
        yield from cast("Mapping[str, Any]", features)
