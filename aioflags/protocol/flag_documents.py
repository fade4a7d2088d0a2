"""Reads flag documents in either format, LaunchDarkly's or flagd's.

The content of a document shows its format.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, cast

import msgspec

from aioflags.errors import ConfigError
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.flag import FlagDefinition
from aioflags.model.values import MAX_DEPTH, JsonValue, NestingError, check_depth, is_array, is_number, plain_text, type_name
from aioflags.protocol.definitions import SECTIONS, has_version, put, read_definition, value_flag
from aioflags.protocol.flagd import FlagSetError, is_flag_set, read_flag_set
from aioflags.protocol.problems import UNREADABLE, Path, Places, line_and_column, places_of_json, read_problem
from aioflags.protocol.yaml_text import YamlError, read_yaml
from aioflags.runtime.cooperative import run_at_once
from aioflags.runtime.logs import printable
from aioflags.runtime.suggest import did_you_mean

# -- LaunchDarkly's file data: a document with ``flags``, ``flagValues`` and ``segments`` becomes one change set.
#
# A document is JSON, or YAML if its file name ends in ``.yaml`` or ``.yml``. People write documents, so every error has its
# place. This module does not open files.
#
# Source: ``data-system.md`` 9.1.


_VALUES: Final = "flagValues"
_SECTION_NAMES: Final = ("flags", _VALUES, "segments")
_KEYS_DEPTH: Final = 2
"""The length of the path to a key: ``flags``, then the key of the flag."""
_BOM: Final = b"\xef\xbb\xbf"
_SIMPLE: Final = re.compile(r"[\w-]+")
_TABLE: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class DocumentError(ConfigError):
    """An error in a flag document: the ``file``, the ``line`` (for a syntax error) or the JSON ``path``, and the ``problem``.

    Unknown fields are ``None``. ``line`` and ``column`` count from 1, ``column`` in characters.
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


def read_document(
    data: bytes | str | Mapping[str, object],
    *,
    name: str | None = None,
    as_yaml: bool | None = None,
    flag_of_value: Callable[[str, JsonValue], FlagDefinition] = value_flag,
) -> ChangeSet:
    """Read all definitions of a document.

    Args:
        data: The text, or a mapping of JSON values.
        name: The name of the file, for messages. If it ends in ``.yaml`` or ``.yml`` the text is YAML, otherwise JSON.
        as_yaml: Whether the text is YAML, whatever its name is; ``None``: its name says so.
        flag_of_value: Makes the flag for an entry of ``flagValues``.

    Returns:
        A full change set without a selector. Persistent stores must not keep it.

    Raises:
        DocumentError: The document is invalid.
    """
    as_yaml = is_yaml(name) if as_yaml is None else as_yaml
    text = _encoded(decoded(data, name, as_yaml=as_yaml), name)
    sections = _top_level(text, name)
    for section in sections:
        if section not in _SECTION_NAMES:
            raise DocumentError(f"unknown property{_nearest(section)}", file=name, path=joined("", section))
    flags = _section(sections, "flags", name)
    values = _section(sections, _VALUES, name)
    for key in values:
        if key in flags:
            raise DocumentError("this flag is in flags, too", file=name, path=joined(_VALUES, key))
    segments = _section(sections, "segments", name)
    if not isinstance(data, Mapping) and not as_yaml:
        _refuse_repeated_keys(text, name)
    changes = (
        *_definitions("flags", flags, name),
        *(_value(key, raw, name, flag_of_value) for key, raw in values.items()),
        *_definitions("segments", segments, name),
    )
    return ChangeSet(kind=ChangeKind.FULL, changes=changes, persist=False)


def read_documents(texts: Iterable[tuple[str, bytes]], read: Callable[[bytes, str], ChangeSet] | None = None) -> ChangeSet:
    """Read all definitions of several files, given as pairs of name and text. Raises :class:`DocumentError`.

    ``read``: reads one text, with its name. By default each is in LaunchDarkly's format.
    """
    changes: list[Change] = []
    places: dict[tuple[ObjectKind, str], str] = {}
    for name, text in texts:
        added = (read_document(text, name=name) if read is None else read(text, name)).changes  # has each key once
        for change in added:
            if (other := places.get((change.kind, change.key))) is not None:
                raise DocumentError(f'{change.kind} "{change.key}" is in {other}, too', file=name)
        places.update({(change.kind, change.key): name for change in added})
        changes += added
    return ChangeSet(kind=ChangeKind.FULL, changes=tuple(changes), persist=False)


def is_yaml(name: str | None) -> bool:
    """Whether a file with this name contains YAML."""
    return name is not None and name.lower().endswith((".yaml", ".yml"))


def decoded(
    data: bytes | str | Mapping[str, object], name: str | None, *, as_yaml: bool | None = None
) -> bytes | str | Mapping[str, object]:
    """Decode a YAML document. JSON text and mappings are returned unchanged. Raises :class:`DocumentError`.

    ``as_yaml``: whether the text is YAML; ``None``: its name says so.
    """
    if isinstance(data, Mapping) or not (is_yaml(name) if as_yaml is None else as_yaml):
        return data
    try:
        document = read_yaml(utf8(data, name).decode())
    except YamlError as error:
        raise DocumentError(error.problem, file=name, line=error.line, column=error.column) from None
    if not isinstance(document.value, dict):
        raise DocumentError(f"expected object, got {type_name(document.value)}", file=name)
    for path in document.places.repeated:
        raise _duplicate(path, document.places, name)
    return document.value


def plain_json(value: object, path: str = "", depth: int = 0) -> JsonValue:
    """A deep copy of ``value`` that consists of JSON types. Raises :class:`DocumentError` if it is not JSON.

    ``depth``: how many arrays and objects contain it.
    """
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if is_number(value):
        number = cast("int | float", value)
        if isinstance(number, float) and not math.isfinite(number):
            raise DocumentError(f"{number} is not a number in JSON", path=path)
        return number
    if depth >= MAX_DEPTH and (is_array(value) or isinstance(value, Mapping)):
        raise DocumentError("nested too deeply", path=path[:100])
    if is_array(value):
        return [plain_json(inner, f"{path}[{i}]", depth + 1) for i, inner in enumerate(cast("list[object]", value))]
    if isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value)
        return {_name(key, path): plain_json(inner, joined(path, str(key)), depth + 1) for key, inner in members.items()}
    advice = "" if type(value).__module__ == "builtins" else "; give its JSON, such as the dict of a model"
    raise DocumentError(f"expected a JSON value, got {type_name(value)}{advice}", path=path)


def _text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DocumentError("half a surrogate pair", path=path) from None
    return plain_text(text)  # the key of a typed flag is of a subclass


def _name(key: object, path: str) -> str:
    if isinstance(key, str):
        return _text(key, path)
    raise DocumentError(f"expected strings as names, got {type_name(key)}", path=path)


def _encoded(data: bytes | str | Mapping[str, object], name: str | None) -> bytes:
    """The document as UTF-8 without a byte order mark."""
    if isinstance(data, Mapping):
        try:
            return msgspec.json.encode(plain_json(data))
        except DocumentError as error:
            raise DocumentError(error.problem, file=name, path=error.path) from None
    return utf8(data, name)


def utf8(data: bytes | str, name: str | None) -> bytes:
    """A text as UTF-8 without a byte order mark. Raises :class:`DocumentError`."""
    try:
        text = data.encode() if isinstance(data, str) else data
        if not text.isascii():  # decoding makes a second copy of the text
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
    """The error for a syntax error at an offset in bytes; ``None`` is the end."""
    line, column = line_and_column(text, offset)
    return DocumentError(problem, file=name, line=line, column=column)


def _section(sections: Mapping[str, msgspec.Raw], path: str, name: str | None) -> dict[str, msgspec.Raw]:
    """The members of a section as JSON text. Empty if the section is missing or null."""
    text = sections.get(path)
    if text is None or bytes(text) == b"null":
        return {}
    try:
        return _TABLE.decode(text)
    except UNREADABLE as error:
        raise _mistake(error, path, name) from None


def _refuse_repeated_keys(text: bytes, name: str | None) -> None:
    """Raise an error for JSON with a duplicate section or key. Decoding silently keeps the last one.

    With a duplicate, the text without spaces is longer than the decoded members. So it is if keys have unnecessary escapes. Only in
    these two cases the text is searched for places, which is slow.
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
            raise _duplicate(path, places, name)


def _length(members: Mapping[str, msgspec.Raw]) -> int:
    """The length of a JSON object without spaces that has each of these members once."""
    commas = max(len(members) - 1, 0)
    return (
        len("{}") + commas + sum(len(msgspec.json.encode(name)) + len(":") + len(bytes(value)) for name, value in members.items())
    )


def _duplicate(path: Path, places: Places, name: str | None) -> DocumentError:
    place = places.at(path)
    return DocumentError(f'duplicate "{path[-1]}"', file=name, line=place.line, column=place.column)


def _definitions(section: str, entries: Mapping[str, msgspec.Raw], name: str | None) -> Iterator[Change]:
    kind = SECTIONS[section]
    for key, text in entries.items():
        path = joined(section, key)
        try:
            definition = read_definition(kind, text)
            version = definition.version if has_version(definition, text) else 1
        except UNREADABLE as error:
            raise _mistake(error, path, name) from None
        if definition.key not in {"", key}:
            problem = f'expected "{key}", the key of the entry, got "{definition.key}"'
            raise DocumentError(problem, file=name, path=f"{path}.key")
        if version != definition.version:
            definition = msgspec.structs.replace(definition, version=version)
        yield put(kind, key, version, definition)


def _value(key: str, text: msgspec.Raw, name: str | None, flag_of_value: Callable[[str, JsonValue], FlagDefinition]) -> Change:
    try:
        value = msgspec.json.decode(text)
    except UNREADABLE as error:
        raise _mistake(error, joined(_VALUES, key), name) from None
    return put(ObjectKind.FLAG, key, 1, flag_of_value(key, value))


def _mistake(error: Exception, path: str, name: str | None) -> DocumentError:
    """The error for the content of a section or definition. Its syntax was checked with the whole document."""
    problem = read_problem(error)
    return DocumentError(problem.text, file=name, path=f"{path}.{problem.path}" if problem.path else path)


def joined(path: str, key: str) -> str:
    """The JSON path of a member. A name with other characters than letters, digits, ``_`` and ``-`` is quoted."""
    if not _SIMPLE.fullmatch(key):
        return f"{path}[{msgspec.json.encode(printable(key)).decode()}]"
    return f"{path}.{key}" if path else key


def _nearest(section: str) -> str:
    expected = f": expected {', '.join(_SECTION_NAMES[:-1])} or {_SECTION_NAMES[-1]}"
    return did_you_mean(section, _SECTION_NAMES, before=", ", quote='"{}"'.format) or expected


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagDocument:
    """The content of a flag document. ``is_flagd``: it has flagd's format, and its flags are :class:`FlagdFlag`."""

    change_set: ChangeSet
    is_flagd: bool


def read_flag_document(data: bytes | str | Mapping[str, object], *, name: str | None = None) -> FlagDocument:
    """Read a document. ``name``: the name of the file, which selects JSON or YAML and appears in errors.

    Raises:
        DocumentError: the document is invalid.
    """
    document = decoded(data if isinstance(data, Mapping) else utf8(data, name), name)
    if not is_flag_set(_content(document)):
        return FlagDocument(change_set=read_document(data, name=name), is_flagd=False)
    try:
        return FlagDocument(change_set=run_at_once(read_flag_set(document)), is_flagd=True)
    except FlagSetError as error:
        raise DocumentError(str(error), file=name) from None


def read_flag_documents(texts: Iterable[tuple[str, bytes]]) -> ChangeSet:
    """Read all definitions of several files, given as pairs of name and text. Raises :class:`DocumentError`."""
    return read_documents(texts, lambda text, name: read_flag_document(text, name=name).change_set)


def _content(document: bytes | str | Mapping[str, object]) -> object:
    """The decoded document; ``None`` if it is not JSON: reading it as flags then says what is wrong."""
    if isinstance(document, Mapping):
        return document
    try:
        return msgspec.json.decode(document)
    except UNREADABLE:
        return None
