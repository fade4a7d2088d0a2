"""YAML: reads it into JSON values, and writes JSON values that it reads as the same values.

Reads YAML into JSON values: the core schema of YAML 1.2, without types that JSON does not have.

``on:`` is the name "on" and not a boolean, a date is a string, and tags do not create objects. The values behind aliases are
counted, because a few lines of aliases can expand to more than the memory of a machine. It needs the extra ``yaml``.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

from aioflags.errors import ConfigError
from aioflags.model.values import MAX_DEPTH, JsonValue
from aioflags.protocol.problems import Path, Place, Places

_MAX_ALIASED_VALUES: Final = 250_000
"""The number of values that all aliases of a text may expand to."""
_TOO_DEEP: Final = "nested too deeply"
_OWN_LIMIT: Final = "exceeded maximum nesting depth"
"""How libyaml reports text that exceeds its own limit, 1,000 levels. It may look that far ahead before the first event."""
_TAG: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset(_TAG + name for name in ("null", "bool", "int", "float", "map", "seq"))
_STRING_TAGS: Final = frozenset({"!", _TAG + "str"})
_PLAIN: Final = re.compile(
    r"(?P<null>~|null|Null|NULL|)|(?P<true>true|True|TRUE)|(?P<false>false|False|FALSE)|(?P<int>[-+]?[0-9]+)"
    r"|0o(?P<octal>[0-7]+)|0x(?P<hex>[0-9a-fA-F]+)|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<beyond>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)


class YamlError(ValueError):
    """An error in YAML text. ``line`` and ``column`` count from 1."""

    def __init__(self, problem: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class YamlText:
    """The value of a text, with the places of its parts. Aliases share their values, so do not change them."""

    value: JsonValue
    places: Places


@dataclass(frozen=True, slots=True)
class _Node:
    value: Any
    place: Place
    size: int = 1
    """The number of values in it, including itself."""


@dataclass(slots=True)
class _Open:
    """A mapping or sequence that the parser has not finished."""

    value: dict[str, Any] | list[Any]
    place: Place
    anchor: str | None
    size: int = 1
    name: tuple[str, Place] | None = None
    is_merge: bool = False
    merged: list[_Node] = field(default_factory=list[_Node])


def read_yaml(text: str) -> YamlText:
    """Read the single document of a text. Raises :class:`YamlError`, or ``ConfigError`` if the extra is not installed."""
    try:
        yaml: Any = importlib.import_module("yaml")
    except ModuleNotFoundError:
        raise ConfigError('reading YAML needs PyYAML: pip install "aioflags[yaml]"') from None
    reader = _Reader()
    try:
        # Parser events instead of yaml.load: PyYAML constructs no objects, and does not recurse.
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            reader.take(type(event).__name__, event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = _TOO_DEEP if error.problem == _OWN_LIMIT else error.problem or error.context or "not YAML"
        raise YamlError(problem, mark and mark.line + 1, mark and mark.column + 1) from None
    except yaml.YAMLError as error:
        raise YamlError(f"not YAML: {getattr(error, 'reason', error)}") from None
    return reader.result()


def is_plain_text(text: str) -> bool:
    """Whether this text without quotes is read as a string, as far as its type goes."""
    return _PLAIN.fullmatch(text) is None


class _Reader:
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
        """Handle one event of the parser. ``kind`` is the name of its class."""
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
                raise _mistake("a second document: expected one per file", event)
            case _:
                pass

    def _scalar(self, event: Any) -> None:
        if self._expects_name():
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
        if self._expects_name():
            raise _mistake("a name that is not text", event)
        if len(self._open) >= MAX_DEPTH:
            raise _mistake(_TOO_DEEP, event)
        place = _place(event)
        place.inner = {} if isinstance(value, dict) else []
        self._open.append(_Open(value, place, event.anchor))

    def _end(self, ended: _Open) -> None:
        if isinstance(ended.value, dict):
            for node in ended.merged:
                _merge(ended, node)
        self._close(_Node(ended.value, ended.place, ended.size), ended.anchor)

    def _alias(self, event: Any) -> None:
        # An anchor is defined at the end of its value, so that a value cannot contain itself.
        node = self._anchors.get(event.anchor)
        if node is None:
            raise _mistake(f"*{event.anchor} does not refer to an anchor before it", event)
        self._expanded += node.size
        if self._expanded > _MAX_ALIASED_VALUES:
            raise _mistake(f"aliases expand to more than {_MAX_ALIASED_VALUES} values", event)
        if self._expects_name():
            raise _mistake("a name that is an alias", event)
        self._close(_Node(node.value, Place(*_position(event), node.place.inner), node.size), None)

    def _expects_name(self) -> bool:
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
        """Add a complete value to the mapping or sequence around it."""
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
    """Merge ``<<``: add the members of one or several mappings, except names that the target already has."""
    several = isinstance(node.value, list)
    for index, value in enumerate(node.value if several else [node.value]):
        place = node.place.inside(index) if several else node.place
        if not isinstance(value, dict) or not isinstance(target.value, dict) or place is None:
            raise YamlError("<< merges only mappings", node.place.line, node.place.column)
        for name, member in cast("dict[str, Any]", value).items():
            if name not in target.value:
                target.value[name] = member
                target.place.put(name, place.inside(name) or place)


def _plain(event: Any) -> JsonValue:
    """The value of a scalar without quotes."""
    plain = _PLAIN.fullmatch(event.value)
    match plain.lastgroup if plain else None:
        case "null":
            return None
        case "true" | "false" as word:
            return word == "true"
        case "int" | "octal" | "hex" as base:
            return _whole(event, event.value.removeprefix("0o").removeprefix("0x"), {"int": 10, "octal": 8, "hex": 16}[base])
        case "float":
            return _finite(event)
        case "beyond":
            raise _mistake(f"{event.value} is not a number in JSON", event)
        case _:
            return str(event.value)


def _finite(event: Any) -> float:
    number = float(event.value)
    if math.isinf(number):
        raise _mistake("a number out of range", event)
    return number


def _whole(event: Any, digits: str, base: int) -> int:
    try:
        return int(digits, base)
    except ValueError:
        raise _mistake("a number with too many digits", event) from None


def _check_tag(event: Any) -> None:
    if event.tag not in _TAGS:
        raise _mistake(f"the tag {event.tag.replace(_TAG, '!!')}: flag documents have no tags", event)


def _position(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _place(event: Any) -> Place:
    return Place(*_position(event))


def _mistake(problem: str, event: Any) -> YamlError:
    return YamlError(problem, *_position(event))


# -- Writes JSON values as YAML that :mod:`aioflags.protocol.yaml_text` reads as the same values.
#
# PyYAML writes YAML 1.1, in which other texts without quotes are numbers than in YAML 1.2. It needs the extra ``yaml``.


def yaml_text(value: JsonValue) -> str:
    """The value as a YAML document, in lines. Raises ``ConfigError`` if the extra is not installed."""
    try:
        yaml: Any = importlib.import_module("yaml")
    except ModuleNotFoundError:
        raise ConfigError('writing YAML needs PyYAML: pip install "aioflags[yaml]"') from None

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
        def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 -- PyYAML's signature
            return True

    def represent_text(dumper: Any, text: str) -> Any:
        return dumper.represent_scalar(
            "tag:yaml.org,2002:str", text, style=None if is_plain_text(text) and text.isprintable() else '"'
        )

    Dumper.add_representer(str, represent_text)
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False))
