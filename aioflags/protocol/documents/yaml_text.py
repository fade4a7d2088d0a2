"""YAML becomes what JSON would decode to: the core schema of YAML 1.2, and nothing that a document of data has no use for.

So ``on:`` is the name "on" and not a boolean, a date is a string, and no tag makes an object. What aliases stand for is
counted, since a few lines of them can stand for more than a machine can hold. It needs the extra ``yaml``.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

from aioflags.errors import ConfigError
from aioflags.model.nesting import MAX_DEPTH
from aioflags.model.values import JsonValue
from aioflags.protocol.documents.places import Path, Place, Places

__all__ = ["YamlError", "YamlText", "read_yaml"]

_MOST_REPEATED: Final = 250_000
"""Values that all aliases of a text may stand for together."""
_TAG: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset(_TAG + name for name in ("null", "bool", "int", "float", "map", "seq"))
_STRING_TAGS: Final = frozenset({"!", _TAG + "str"})
_PLAIN: Final = re.compile(
    r"(?P<null>~|null|Null|NULL|)|(?P<true>true|True|TRUE)|(?P<false>false|False|FALSE)|(?P<int>[-+]?[0-9]+)"
    r"|0o(?P<octal>[0-7]+)|0x(?P<hex>[0-9a-fA-F]+)|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<beyond>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)


class YamlError(ValueError):
    """What is wrong with the text, and where; counted from 1."""

    def __init__(self, problem: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class YamlText:
    """What a text says, and where. Values that aliases repeat are shared, so do not change them."""

    value: JsonValue
    places: Places


@dataclass(frozen=True, slots=True)
class _Node:
    value: Any
    place: Place
    size: int = 1
    """How many values it stands for, its own included."""


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end is still to come."""

    value: dict[str, Any] | list[Any]
    place: Place
    anchor: str | None
    size: int = 1
    name: tuple[str, Place] | None = None
    is_merge: bool = False
    merged: list[_Node] = field(default_factory=list[_Node])


def read_yaml(text: str) -> YamlText:
    """What the one document of a text says. Raises :class:`YamlError`, or ``ConfigError`` where the extra is not installed."""
    try:
        yaml: Any = importlib.import_module("yaml")
    except ModuleNotFoundError:
        raise ConfigError('reading YAML needs PyYAML: pip install "aioflags[yaml]"') from None
    reading = _Reading()
    try:
        # Events, not yaml.load: nothing is made but what is made here, and nothing recurses.
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            reading.take(type(event).__name__, event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(error.problem or error.context or "no YAML", mark and mark.line + 1, mark and mark.column + 1) from None
    except yaml.YAMLError as error:
        raise YamlError(f"no YAML: {getattr(error, 'reason', error)}") from None
    return reading.result()


class _Reading:
    def __init__(self) -> None:
        self._document: _Node | None = None
        self._open: list[_Open] = []
        self._anchors: dict[str, _Node] = {}
        self._repeated: list[Path] = []
        self._expanded = 0

    def result(self) -> YamlText:
        if self._document is None:
            return YamlText(None, Places(Place(1, 1)))
        return YamlText(self._document.value, Places(self._document.place, tuple(self._repeated)))

    def take(self, kind: str, event: Any) -> None:
        """One event of the parser, by the name of its class."""
        match kind:
            case "ScalarEvent":
                self._scalar(event)
            case "MappingStartEvent" | "SequenceStartEvent":
                self._begin({} if kind == "MappingStartEvent" else [], event)
            case "MappingEndEvent" | "SequenceEndEvent":
                self._end(self._open.pop())
            case "AliasEvent":
                self._alias(event)
            case "DocumentStartEvent" if self._document is not None:
                raise _mistake("a second document: there is one a file", event)
            case _:
                pass

    def _scalar(self, event: Any) -> None:
        if self._wants_name():
            self._name(event.value, event, is_merge=event.value == "<<" and event.tag is None and event.implicit[0])
            return
        is_text = event.tag in _STRING_TAGS or (event.tag is None and not event.implicit[0])
        if not is_text and event.tag is not None:
            _check_tag(event)
        value = event.value if is_text else _plain(event)
        self._close(_Node(value, _place(event)), event.anchor)

    def _begin(self, value: dict[str, Any] | list[Any], event: Any) -> None:
        if event.tag is not None:
            _check_tag(event)
        if self._wants_name():
            raise _mistake("a name that is no text", event)
        if len(self._open) >= MAX_DEPTH:
            raise _mistake("nested too deeply", event)
        place = _place(event)
        place.inner = {} if isinstance(value, dict) else []
        self._open.append(_Open(value, place, event.anchor))

    def _end(self, ended: _Open) -> None:
        if isinstance(ended.value, dict):
            for node in ended.merged:
                _merge(ended, node)
        self._close(_Node(ended.value, ended.place, ended.size), ended.anchor)

    def _alias(self, event: Any) -> None:
        # An anchor counts from its end on, so that nothing can contain itself.
        node = self._anchors.get(event.anchor)
        if node is None:
            raise _mistake(f"*{event.anchor} stands for nothing that ended before it", event)
        self._expanded += node.size
        if self._expanded > _MOST_REPEATED:
            raise _mistake(f"aliases stand for more than {_MOST_REPEATED} values", event)
        if self._wants_name():
            raise _mistake("a name that is an alias", event)
        self._close(_Node(node.value, Place(*_position(event), node.place.inner), node.size), None)

    def _wants_name(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].value, dict) and self._open[-1].name is None

    def _name(self, name: str, event: Any, *, is_merge: bool) -> None:
        outer = self._open[-1]
        if event.anchor is not None:
            raise _mistake("an anchor at a name", event)
        if not is_merge and name in outer.value:
            self._repeated.append((*self._path(), name))
        outer.name, outer.is_merge = (name, _place(event)), is_merge

    def _path(self) -> Iterator[str | int]:
        for outer in self._open[:-1]:
            yield outer.name[0] if outer.name is not None else len(outer.value)

    def _close(self, node: _Node, anchor: str | None) -> None:
        """A value is complete: it goes where it belongs."""
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self._document = node
            return
        outer = self._open[-1]
        outer.size += node.size
        if isinstance(outer.value, list):
            outer.place.put(len(outer.value), node.place)
            outer.value.append(node.value)
        elif outer.name is not None:
            (name, place), outer.name = outer.name, None
            if outer.is_merge:
                outer.merged.append(node)
                return
            outer.value[name] = node.value
            place.inner = node.place.inner
            outer.place.put(name, place)


def _merge(target: _Open, node: _Node) -> None:
    """What ``<<`` brings into a mapping: members of one mapping, or of several, where there are none of that name yet."""
    several = isinstance(node.value, list)
    for index, value in enumerate(node.value if several else [node.value]):
        place = node.place.inside(index) if several else node.place
        if not isinstance(value, dict) or not isinstance(target.value, dict) or place is None:
            raise YamlError("<< merges mappings, and nothing else", node.place.line, node.place.column)
        for name, member in cast("dict[str, Any]", value).items():
            if name not in target.value:
                target.value[name] = member
                target.place.put(name, place.inside(name) or place)


def _plain(event: Any) -> JsonValue:
    """What a scalar without quotes means."""
    found = _PLAIN.fullmatch(event.value)
    match found.lastgroup if found else None:
        case "null":
            return None
        case "true" | "false" as word:
            return word == "true"
        case "int" | "octal" | "hex" as base:
            return _whole(event, event.value.removeprefix("0o").removeprefix("0x"), {"int": 10, "octal": 8, "hex": 16}[base])
        case "float":
            return float(event.value)
        case "beyond":
            raise _mistake(f"{event.value} is no number in JSON", event)
        case _:
            return str(event.value)


def _whole(event: Any, digits: str, base: int) -> int:
    try:
        return int(digits, base)
    except ValueError:
        raise _mistake("a number with too many digits", event) from None


def _check_tag(event: Any) -> None:
    if event.tag not in _TAGS:
        raise _mistake(f"the tag {event.tag.replace(_TAG, '!!')}: there are none in flag documents", event)


def _position(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _place(event: Any) -> Place:
    return Place(*_position(event))


def _mistake(problem: str, event: Any) -> YamlError:
    return YamlError(problem, *_position(event))
