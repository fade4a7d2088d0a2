"""LaunchDarkly's file data: a document with ``flags``, ``flagValues`` and ``segments`` becomes one change set.

It is JSON, or YAML where its name says so. Documents are written by people, so every mistake is named with its place.
Opening files is left to others.

Source: ``data-system.md`` 9.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, cast

import msgspec

from aioflags.errors import ConfigError
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.nesting import MAX_DEPTH, NestingError, check_depth
from aioflags.model.values import JsonValue, is_array, is_number, type_name
from aioflags.protocol.definitions import SECTIONS, put, read_definition, states_version, value_flag
from aioflags.protocol.documents.places import Path, Places, places_of_json
from aioflags.protocol.documents.problems import UNREADABLE, line_and_column, read_problem
from aioflags.protocol.documents.yaml_text import YamlError, read_yaml
from aioflags.runtime.logs import printable
from aioflags.runtime.suggest import did_you_mean

__all__ = ["DocumentError", "decoded", "is_yaml", "joined", "plain_json", "read_document", "read_documents", "utf8"]

_VALUES: Final = "flagValues"
_KNOWN: Final = ("flags", _VALUES, "segments")
_KEYS_DEPTH: Final = 2
"""How deep keys stand: ``flags``, then the flag's."""
_BOM: Final = b"\xef\xbb\xbf"
_SIMPLE: Final = re.compile(r"[\w-]+")
_TABLE: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class DocumentError(ConfigError):
    """A mistake in a flag document: in which ``file``, on which ``line`` (bad syntax) or at which JSON ``path``, and what.

    What is not known is ``None``. ``line`` and ``column`` count from 1, ``column`` in characters.
    """

    def __init__(
        self, problem: str, *, file: str | None = None, path: str | None = None, line: int | None = None, column: int | None = None
    ) -> None:
        place = f"line {line}, column {column}" if line is not None else path
        super().__init__(": ".join(printable(part) for part in (file, place, problem) if part))
        self.file = file
        self.path = path
        self.line = line
        self.column = column
        self.problem = problem


def read_document(data: bytes | str | Mapping[str, object], *, name: str | None = None) -> ChangeSet:
    """All definitions of a document, as text or as what JSON text decodes to.

    ``name`` is the file's, for messages; one that ends in ``.yaml`` or ``.yml`` means that the text is YAML, else it is JSON.

    A full change set without a selector, that no persistent store may keep. Raises :class:`DocumentError`.
    """
    text = _encoded(decoded(data, name), name)
    sections = _top_level(text, name)
    for section in sections:
        if section not in _KNOWN:
            raise DocumentError(f"unknown property{_nearest(section)}", file=name, path=joined("", section))
    flags = _section(sections, "flags", name)
    values = _section(sections, _VALUES, name)
    for key in values:
        if key in flags:
            raise DocumentError("this flag is in flags, too", file=name, path=joined(_VALUES, key))
    segments = _section(sections, "segments", name)
    if not isinstance(data, Mapping) and not is_yaml(name):
        _refuse_repeated_keys(text, name)
    changes = (
        *_definitions("flags", flags, name),
        *(_value(key, raw, name) for key, raw in values.items()),
        *_definitions("segments", segments, name),
    )
    return ChangeSet(kind=ChangeKind.FULL, changes=changes, persist=False)


def read_documents(texts: Iterable[tuple[str, bytes]]) -> ChangeSet:
    """All definitions of several files, given with their names, as one set. Raises :class:`DocumentError`."""
    changes: list[Change] = []
    places: dict[tuple[ObjectKind, str], str] = {}
    for name, text in texts:
        read = read_document(text, name=name).changes  # in which a key stands but once
        for change in read:
            if (other := places.get((change.kind, change.key))) is not None:
                raise DocumentError(f'{change.kind} "{change.key}" is in {other}, too', file=name)
        places.update({(change.kind, change.key): name for change in read})
        changes += read
    return ChangeSet(kind=ChangeKind.FULL, changes=tuple(changes), persist=False)


def is_yaml(name: str | None) -> bool:
    """Whether a file of that name has YAML in it."""
    return name is not None and name.lower().endswith((".yaml", ".yml"))


def decoded(data: bytes | str | Mapping[str, object], name: str | None) -> bytes | str | Mapping[str, object]:
    """The document, of which YAML is decoded; all else is left as it is. Raises :class:`DocumentError`."""
    if isinstance(data, Mapping) or not is_yaml(name):
        return data
    try:
        found = read_yaml(utf8(data, name).decode())
    except YamlError as mistake:
        raise DocumentError(mistake.problem, file=name, line=mistake.line, column=mistake.column) from None
    if not isinstance(found.value, dict):
        raise DocumentError(f"expected object, got {type_name(found.value)}", file=name)
    for path in found.places.repeated:
        raise _repeated(path, found.places, name)
    return found.value


def plain_json(value: object, path: str = "", depth: int = 0) -> JsonValue:
    """A deep copy of ``value`` made of what JSON decodes to. Raises :class:`DocumentError` where it is not JSON.

    ``depth``: how many arrays and objects are around it.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if is_number(value):
        number = cast("int | float", value)
        if isinstance(number, float) and not math.isfinite(number):
            raise DocumentError(f"{number} is no number in JSON", path=path)
        return number
    if depth >= MAX_DEPTH and (is_array(value) or isinstance(value, Mapping)):
        raise DocumentError("nested too deeply", path=path[:100])
    if is_array(value):
        return [plain_json(inner, f"{path}[{i}]", depth + 1) for i, inner in enumerate(cast("list[object]", value))]
    if isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value)
        return {_name(key, path): plain_json(inner, joined(path, str(key)), depth + 1) for key, inner in members.items()}
    raise DocumentError(f"expected a JSON value, got {type_name(value)}", path=path)


def _text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DocumentError("half a surrogate pair", path=path) from None
    return str(text)  # a typed flag is more than its key


def _name(key: object, path: str) -> str:
    if isinstance(key, str):
        return _text(key, path)
    raise DocumentError(f"expected strings as names, got {type_name(key)}", path=path)


def _encoded(data: bytes | str | Mapping[str, object], name: str | None) -> bytes:
    """The document as UTF-8 without a byte order mark."""
    if isinstance(data, Mapping):
        try:
            return msgspec.json.encode(plain_json(data))
        except DocumentError as mistake:
            raise DocumentError(mistake.problem, file=name, path=mistake.path) from None
    return utf8(data, name)


def utf8(data: bytes | str, name: str | None) -> bytes:
    """A text as UTF-8 without a byte order mark. Raises :class:`DocumentError`."""
    try:
        text = data.encode() if isinstance(data, str) else data
        text.decode()
    except UnicodeDecodeError as error:
        raise _at(error.start, error.object, "text that is not UTF-8", name) from None
    except UnicodeEncodeError as error:
        raise _at(error.start, error.object[: error.start].encode(), "half a surrogate pair", name) from None
    return text.removeprefix(_BOM)


def _top_level(text: bytes, name: str | None) -> dict[str, msgspec.Raw]:
    try:
        check_depth(text)
        return _TABLE.decode(text)
    except (NestingError, RecursionError) as error:
        raise DocumentError(read_problem(error).text, file=name) from None
    except UNREADABLE as error:
        problem = read_problem(error)
        if isinstance(error, msgspec.ValidationError):
            raise DocumentError(problem.text, file=name) from None
        raise _at(problem.offset, text, problem.text, name) from None


def _at(offset: int | None, text: bytes, problem: str, name: str | None) -> DocumentError:
    """Bad syntax at an offset in bytes; ``None`` is the end."""
    line, column = line_and_column(text, offset)
    return DocumentError(problem, file=name, line=line, column=column)


def _section(sections: Mapping[str, msgspec.Raw], path: str, name: str | None) -> dict[str, msgspec.Raw]:
    """The members of a top-level object, undecoded; none if it is missing or null."""
    text = sections.get(path)
    if text is None or bytes(text) == b"null":
        return {}
    try:
        return _TABLE.decode(text)
    except UNREADABLE as error:
        raise _mistake(error, path, name) from None


def _refuse_repeated_keys(text: bytes, name: str | None) -> None:
    """Refuses JSON with a section or a key that is there twice, of which decoding keeps the last without a word.

    Members that got lost show in the length of the text without its spaces: with them it is longer than what was decoded. So is
    one whose keys have escapes that they could do without; only then is the text searched for places, which takes its time.
    """
    compact = msgspec.json.format(text, indent=-1)
    sections = _TABLE.decode(compact)
    if _length(sections) == len(compact) and all(
        _length(_TABLE.decode(s)) == len(bytes(s)) for s in sections.values() if bytes(s) != b"null"
    ):
        return
    places = places_of_json(text.decode())
    for path in places.repeated:
        if len(path) <= _KEYS_DEPTH:
            raise _repeated(path, places, name)


def _length(members: Mapping[str, msgspec.Raw]) -> int:
    """How long an object with these members is if it has each of them once, and no spaces."""
    commas = max(len(members) - 1, 0)
    return (
        len("{}") + commas + sum(len(msgspec.json.encode(name)) + len(":") + len(bytes(value)) for name, value in members.items())
    )


def _repeated(path: Path, places: Places, name: str | None) -> DocumentError:
    place = places.at(path)
    return DocumentError(f'"{path[-1]}" stands here twice', file=name, line=place.line, column=place.column)


def _definitions(section: str, entries: Mapping[str, msgspec.Raw], name: str | None) -> Iterator[Change]:
    kind = SECTIONS[section]
    for key, text in entries.items():
        path = joined(section, key)
        try:
            definition = read_definition(kind, text)
            version = definition.version if states_version(definition, text) else 1
        except UNREADABLE as error:
            raise _mistake(error, path, name) from None
        if definition.key not in {"", key}:
            problem = f'expected "{key}", the key of the entry, got "{definition.key}"'
            raise DocumentError(problem, file=name, path=f"{path}.key")
        if version != definition.version:
            definition = msgspec.structs.replace(definition, version=version)
        yield put(kind, key, version, definition)


def _value(key: str, text: msgspec.Raw, name: str | None) -> Change:
    try:
        value = msgspec.json.decode(text)
    except UNREADABLE as error:
        raise _mistake(error, joined(_VALUES, key), name) from None
    return put(ObjectKind.FLAG, key, 1, value_flag(key, value))


def _mistake(error: Exception, path: str, name: str | None) -> DocumentError:
    """A mistake in the content of a piece; its syntax was found to be good with that of the whole."""
    problem = read_problem(error)
    return DocumentError(problem.text, file=name, path=f"{path}.{problem.path}" if problem.path else path)


def joined(path: str, key: str) -> str:
    """The JSON path of a member; a name that would be hard to tell from the path is quoted."""
    if not _SIMPLE.fullmatch(key):
        return f"{path}[{msgspec.json.encode(printable(key)).decode()}]"
    return f"{path}.{key}" if path else key


def _nearest(section: str) -> str:
    expected = f": expected {', '.join(_KNOWN[:-1])} or {_KNOWN[-1]}"
    return did_you_mean(section, _KNOWN, before=", ", quote='"{}"'.format) or expected
