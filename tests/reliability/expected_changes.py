"""What a client may take from bytes, worked out a second time with the standard library: the oracle for half-updates.

Each function returns the change sets in the bytes, as far as they are sound. A client may stop earlier, because it is stricter. It
must not return another change set, or more of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

from aioflags.model.change import Change, ChangeKind, ChangeSet
from aioflags.model.detail import FlagEvaluation
from aioflags.model.flag import FlagDefinition
from aioflags.model.flagd import FlagdFlag

Contents: TypeAlias = tuple[bool, list[tuple[str, str, Any]]]
"""A change set: whether it replaces everything, and kind, key and content of each object. ``None``: the object is deleted."""
Event: TypeAlias = tuple[str, str]

_NUMBERS: Final = json.JSONDecoder(parse_int=float)
"""A reader may have a float for an integer that has more than 64 bits."""
_BREAK: Final = re.compile("\r\n|\r|\n")


class Expected:
    """The change sets in some bytes: ``read`` yields them until it raises, or ends."""

    def __init__(self, change_sets: Iterator[Contents]) -> None:
        self.sound: list[Contents] = []
        try:
            for each in change_sets:
                self.sound.append(each)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            pass


def only_change_sets_of(taken: list[ChangeSet], expected: Expected) -> None:
    """Every change set that a client took is in the bytes, whole, in the same order."""
    for at, change_set in enumerate(taken):
        assert at < len(expected.sound), f"a change set that is not in the bytes: {contents(change_set)!r:.500}"
        is_full, objects = contents(change_set)
        expects_full, sound = expected.sound[at]
        assert is_full is expects_full, expected.sound[at]
        assert [each[:2] for each in objects] == [each[:2] for each in sound]
        for (_, key, content), (_, _, read) in zip(objects, sound, strict=True):
            assert ... in (content, read) or content == read, f"{key}: {content!r:.500} in place of {read!r:.500}"


def contents(change_set: ChangeSet) -> Contents:
    """What the change set does."""
    return change_set.kind is ChangeKind.FULL, [(str(each.kind), each.key, _content(each)) for each in change_set.changes]


def _content(change: Change) -> Any:
    match change.definition:
        case None:
            return None
        case FlagDefinition(variations=variations):
            return _plain(list(variations or ()))
        case FlagEvaluation(value=value):
            return _plain(value)
        case FlagdFlag(problem=None, variants=variants):
            return _plain(dict(variants))
        case _:
            return ...


def _plain(value: Any) -> Any:
    return _read(json.dumps(value))


def _read(text: str) -> Any:
    return _NUMBERS.decode(text)


def _object(text: str) -> dict[str, Any]:
    value = _read(text)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return cast("dict[str, Any]", value)


# -- server-sent events, by https://html.spec.whatwg.org/multipage/server-sent-events.html


def events_of_stream(data: bytes) -> Iterator[Event]:
    """Name and data of each event that has its end in the bytes, as far as these are UTF-8."""
    name, lines = "", list[str]()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        text = data[: error.start].decode()
    *whole, _ = _BREAK.split(text.removeprefix("\ufeff"))
    for line in whole:
        if not line:
            if lines or name:
                yield name or "message", "\n".join(lines)
            name, lines = "", []
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            lines.append(value)


# -- FDv2


def fdv2_stream(data: bytes) -> Iterator[Contents]:
    """The completed transfers of a stream."""
    return _transfers(events_of_stream(data))


def fdv2_poll(data: bytes) -> Iterator[Contents]:
    """The first completed transfer of a poll."""
    events = [(each.get("event"), json.dumps(each.get("data"))) for each in _object(data.decode())["events"]]
    yield from list(_transfers(iter(events)))[:1]


def _transfers(events: Iterator[Event]) -> Iterator[Contents]:
    is_full: bool | None = None
    objects: list[tuple[str, str, Any]] = []
    for name, data in events:
        match name:
            case "server-intent":
                intent, objects = _object(data)["payloads"][0]["intentCode"], []
                if intent == "none":
                    yield False, []
                is_full = {"xfer-full": True, "xfer-changes": False, "none": False}[intent]
            case "put-object" | "delete-object":
                named = _object(data)
                if named["kind"] in {"flag", "segment", "flag-eval"} and is_full is not None:
                    definition = named["object"] if name == "put-object" else {"deleted": True}
                    objects.append(_entry(named["kind"], named["key"], definition))
            case "payload-transferred":
                if is_full is None:
                    return
                yield is_full, objects
                is_full, objects = False, []
            case "goodbye":
                return
            case "error":
                objects = []
            case _:
                pass


def _entry(kind: str, key: str, definition: Mapping[str, Any]) -> tuple[str, str, Any]:
    kind = kind.removesuffix("-eval")
    if definition.get("deleted"):
        return kind, key, None
    if kind == "segment":
        return kind, key, ...
    return kind, key, definition["value"] if "value" in definition else (definition.get("variations") or [])


# -- FDv1


def fdv1_poll(data: bytes) -> Iterator[Contents]:
    """All flags and segments."""
    yield _all(_object(data.decode()))


def _all(sections: Mapping[str, Any]) -> Contents:
    flags, segments = sections.get("flags") or {}, sections.get("segments") or {}
    return True, [
        *(_entry("flag", key, each) for key, each in flags.items()),
        *(_entry("segment", key, each) for key, each in segments.items()),
    ]


def fdv1_stream(data: bytes) -> Iterator[Contents]:
    """Each put, and after the first one each patch and delete."""
    has_put = False
    for name, text in events_of_stream(data):
        if name == "put":
            yield _all(_object(text)["data"])
            has_put = True
        elif name in {"patch", "delete"}:
            update = _object(text)
            path = re.fullmatch("/(flag|segment)s/(.*)", update["path"], re.DOTALL)
            if path is not None and has_put:
                yield False, [_entry(path[1], path[2], update["data"] if name == "patch" else {"deleted": True})]


# -- evaluated flags


def evaluated_map(data: bytes) -> Iterator[Contents]:
    """All evaluated flags."""
    yield True, [_entry("flag", key, each) for key, each in _object(data.decode()).items()]


def evaluated_stream(data: bytes) -> Iterator[Contents]:
    """Each put, patch and delete."""
    for name, text in events_of_stream(data):
        if name == "put":
            yield from evaluated_map(text.encode())
        elif name == "patch":
            yield False, [_entry("flag", (patch := _object(text))["key"], patch)]
        elif name == "delete":
            yield False, [("flag", _object(text)["key"], None)]


# -- flagd


def flag_set(data: bytes) -> Iterator[Contents]:
    """All flags of a document. Variants of a flag that is malformed are not compared."""
    flags = _object(data.decode())["flags"]
    by_key = flags if isinstance(flags, dict) else {each["key"]: each for each in flags}
    yield True, [("flag", key, _variants(each)) for key, each in by_key.items()]


def _variants(flag: Any) -> Any:
    variants = flag.get("variants") if isinstance(flag, dict) else None
    return {name: value for name, value in variants.items() if name} if isinstance(variants, dict) else ...
