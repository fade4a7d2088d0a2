"""Lints files: reads each as far as possible, and checks the flags and segments of all files together.

Source: ``data-system.md`` 9.1.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

import msgspec
from msgspec import inspect

from aioflags.evaluation.clauses import SEGMENT_MATCH
from aioflags.model.change import ObjectKind, RuledDefinition, SegmentDefinition
from aioflags.model.flag import Clause, FlagDefinition
from aioflags.model.values import check_depth, is_number, type_name
from aioflags.protocol.definitions import SECTIONS, value_flag
from aioflags.protocol.flag_documents import DocumentError, is_yaml, plain_json, read_document, utf8
from aioflags.protocol.flagd import is_flag_set
from aioflags.protocol.problems import UNREADABLE, Path, Place, Places, places_of_json, read_problem
from aioflags.protocol.yaml_text import YamlError, read_yaml
from aioflags.runtime.suggest import did_you_mean
from aioflags.tools.lint.findings import RULES, LintFinding, LintRemark, quoted, spelled
from aioflags.tools.lint.flagd import check_flag_set
from aioflags.tools.lint.flags import check_flag, check_segment, check_variation

# -- Checks references between flags and segments: missing prerequisites, missing segments, cycles.


Edge: TypeAlias = tuple[str, Path]
"""A key that a flag or segment refers to, and the path of the reference."""


def prerequisite_edges(flag: FlagDefinition, path: Path) -> list[Edge]:
    """The prerequisites of a flag."""
    return [
        (prerequisite.key, (*path, "prerequisites", index, "key")) for index, prerequisite in enumerate(flag.prerequisites or ())
    ]


def segment_edges(rules: Iterable[Iterable[Clause] | None], path: Path) -> list[Edge]:
    """The segments in the clauses of rules."""
    return [
        (value, (*path, "rules", number, "clauses", index, "values", position))
        for number, clauses in enumerate(rules)
        for index, clause in enumerate(clauses or ())
        if clause.op == SEGMENT_MATCH
        for position, value in enumerate(clause.values or ())
        if isinstance(value, str)
    ]


def check_prerequisites(flag: FlagDefinition, path: Path, flags: Mapping[str, FlagDefinition]) -> Iterator[LintRemark]:
    """Check that the prerequisites of a flag exist, with their variations."""
    for prerequisite, (key, at) in zip(flag.prerequisites or (), prerequisite_edges(flag, path), strict=True):
        needed = flags.get(key)
        if needed is None:
            yield LintRemark(
                "missing-prerequisite", at, f"unknown flag {quoted(key)}", did_you_mean(key, flags, quote=quoted) or None
            )
        else:
            yield from check_variation(needed, prerequisite.variation, (*at[:-1], "variation"))


def check_segments_of(edges: Iterable[Edge], segments: Mapping[str, SegmentDefinition]) -> Iterator[LintRemark]:
    """Check that the segments of these references exist."""
    for key, at in edges:
        if key not in segments:
            yield LintRemark(
                "missing-segment", at, f"unknown segment {quoted(key)}", did_you_mean(key, segments, quote=quoted) or None
            )


def check_cycles(graph: Mapping[str, list[Edge]]) -> Iterator[tuple[str, LintRemark]]:
    """Each cycle of references: the key with the reference that closes it, and a remark at that reference."""
    done: set[str] = set()
    for start in graph:
        # Not recursive: a chain may be longer than the recursion limit.
        stack: dict[str, Iterator[Edge]] = {} if start in done else {start: iter(graph[start])}
        while stack:
            key, edges = next(reversed(stack.items()))
            for needed, at in edges:
                if needed in stack:
                    keys = list(stack)
                    cycle = " → ".join([*keys[keys.index(needed) :], needed])
                    yield key, LintRemark("cycle", at, f"this is a cycle: {cycle}")
                elif needed in graph and needed not in done:
                    stack[needed] = iter(graph[needed])
                    break
            else:
                stack.popitem()
                done.add(key)


# -- Checks the properties and types of a definition, and reports every mistake, not only the first.
#
# The expected types come from the structs that definitions are decoded to, so the two cannot disagree.


_STRUCTS: Final[dict[ObjectKind, type[RuledDefinition]]] = {ObjectKind.FLAG: FlagDefinition, ObjectKind.SEGMENT: SegmentDefinition}
_NAMES: Final[tuple[tuple[type[inspect.Type], str], ...]] = (
    (inspect.BoolType, "boolean"),
    (inspect.IntType, "whole number"),
    (inspect.FloatType, "number"),
    (inspect.StrType, "string"),
    (inspect.VarTupleType, "array"),
    (inspect.StructType, "object"),
    (inspect.NoneType, "null"),
)
_UNUSABLE: Final = object()
_type_of: Final = functools.cache(inspect.type_info)


def check_shape(kind: ObjectKind, data: object, path: Path) -> tuple[RuledDefinition, list[LintRemark]]:
    """The definition in ``data`` at ``path``, and its mistakes. A placeholder or default replaces a wrong value."""
    struct = _STRUCTS[kind]
    walk = _Walk()
    value = walk.value(_type_of(struct), data, path)
    return msgspec.convert({} if value is _UNUSABLE else value, struct), walk.remarks


class _Walk:
    """One walk through a definition: returns each value without its mistakes, and collects remarks on them."""

    def __init__(self) -> None:
        self.remarks: list[LintRemark] = []

    def value(self, expected_type: inspect.Type, value: Any, path: Path) -> Any:
        options = expected_type.types if isinstance(expected_type, inspect.UnionType) else (expected_type,)
        for option in options:
            if _fits(option, value):
                return self._inside(option, value, path)
        expected = " or ".join(name for option in options for kind, name in _NAMES if isinstance(option, kind))
        got = "fractional number" if isinstance(value, float) and "whole" in expected else type_name(value)
        self.remarks.append(LintRemark("wrong-type", path, f"expected {expected}, got {got}"))
        return _UNUSABLE

    def _inside(self, expected_type: inspect.Type, value: Any, path: Path) -> Any:
        match expected_type:
            case inspect.StructType():
                return self._struct(expected_type, value, path)
            case inspect.VarTupleType():
                items = [self.value(expected_type.item_type, inner, (*path, index)) for index, inner in enumerate(value)]
                return [_placeholder(expected_type.item_type) if inner is _UNUSABLE else inner for inner in items]
            case _:
                return value

    def _struct(self, expected_type: inspect.StructType, value: Mapping[str, Any], path: Path) -> dict[str, Any]:
        fields = {struct_field.encode_name: struct_field for struct_field in expected_type.fields}
        values: dict[str, Any] = {}
        for name, inner in value.items():
            if name in fields:
                values[name] = self.value(fields[name].type, inner, (*path, name))
            # The service sends properties that aioflags does not use, so report only names that look like a misspelling.
            elif suggestion := did_you_mean(name, set(fields) - set(value), quote=quoted):
                self.remarks.append(LintRemark("unknown-property", (*path, name), "unknown property", suggestion))
        for name, struct_field in fields.items():
            if struct_field.required and name not in values:
                self.remarks.append(LintRemark("missing-property", path, f"missing required property {quoted(name)}"))
                values[name] = _UNUSABLE
        usable = {name: inner for name, inner in values.items() if inner is not _UNUSABLE}
        return usable | {name: _placeholder(fields[name].type) for name in values if fields[name].required and name not in usable}


def _fits(expected_type: inspect.Type, value: object) -> bool:
    """Whether a value has the type, without a look at the values inside it."""
    match expected_type:
        case inspect.AnyType():
            return True
        case inspect.NoneType():
            return value is None
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return is_number(value)
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.VarTupleType():
            return isinstance(value, list)
        case inspect.StructType():
            return isinstance(value, dict)
        case _:
            raise AssertionError(f"unexpected type in a definition: {expected_type!r}")


def _placeholder(expected_type: inspect.Type) -> Any:
    """A value of the type, to replace an unusable one."""
    match expected_type:
        case inspect.StructType():
            return {
                struct_field.encode_name: _placeholder(struct_field.type)
                for struct_field in expected_type.fields
                if struct_field.required
            }
        case inspect.IntType():
            return 0
        case _:
            return ""


_VALUES: Final = "flagValues"
_SECTIONS: Final = (*SECTIONS, _VALUES)


def lint(files: Iterable[tuple[str, bytes]]) -> list[LintFinding]:
    """Every mistake in a data set of one or several files, sorted by file and line. ``files`` has names and contents."""
    linted = [_File(name, text) for name, text in files]
    entries = {kind: _entries(linted, kind) for kind in ObjectKind}
    _check_each(entries)
    _check_together(entries)
    return [finding for file in linted for finding in file.findings()]


@dataclass(slots=True)
class _Entry:
    """A flag or segment with its path, and the paths in it that are malformed."""

    file: _File
    path: Path
    definition: RuledDefinition
    malformed: tuple[Path, ...]

    def remark(self, remarks: Iterable[LintRemark]) -> None:
        """Add remarks, except those at malformed places: these already have a remark."""
        self.file.remarks += [remark for remark in remarks if not any(_touch(remark.path, path) for path in self.malformed)]


@dataclass(slots=True)
class _File:
    name: str
    text: bytes
    remarks: list[LintRemark] = field(default_factory=list[LintRemark])
    unreadable: DocumentError | None = None
    places: Places | None = None
    entries: list[tuple[ObjectKind, str, _Entry]] = field(default_factory=list[tuple[ObjectKind, str, _Entry]])

    def __post_init__(self) -> None:
        try:
            document, self.places = _read(self.text, self.name)
        except DocumentError as mistake:
            self.unreadable = mistake
            return
        self.remarks += [LintRemark("repeated-name", path, f"{quoted(path[-1])} is here twice") for path in self.places.repeated]
        if not isinstance(document, dict):
            self.remarks.append(LintRemark("wrong-type", (), f"expected object, got {type_name(document)}"))
            return
        sections = cast("dict[str, Any]", document)
        if is_flag_set(sections):
            self.remarks += check_flag_set(sections)
            return
        for name, section in sections.items():
            if name not in _SECTIONS:
                suggestion = did_you_mean(name, _SECTIONS, quote=quoted) or f"expected {', '.join(_SECTIONS)}"
                self.remarks.append(LintRemark("unknown-section", (name,), f"unknown property {quoted(name)}", suggestion))
            elif isinstance(section, dict):
                for key, data in cast("dict[str, Any]", section).items():
                    self._add_entry(name, key, data)
            elif section is not None:
                self.remarks.append(LintRemark("wrong-type", (name,), f"expected object, got {type_name(section)}"))

    def _add_entry(self, section: str, key: str, data: Any) -> None:
        path = (section, key)
        if section == _VALUES:
            self.entries.append((ObjectKind.FLAG, key, _Entry(self, path, value_flag(key, data), ())))
            return
        kind = SECTIONS[section]
        definition, remarks = check_shape(kind, data, path)
        self.remarks += remarks
        malformed = tuple(remark.path for remark in remarks if remark.rule != "unknown-property")
        if definition.key not in {"", key}:
            message = f"expected {quoted(key)}, the key of the entry, got {quoted(definition.key)}"
            self.remarks.append(LintRemark("key-mismatch", (*path, "key"), message))
        definition = msgspec.structs.replace(definition, key=key)
        if isinstance(definition, FlagDefinition):
            is_unknown = any(_touch((*path, "variations"), mistake) for mistake in malformed)
            definition = msgspec.structs.replace(definition, variations=None if is_unknown else definition.variations or ())
        self.entries.append((kind, key, _Entry(self, path, definition, malformed)))

    def findings(self) -> Iterator[LintFinding]:
        if self.unreadable is not None:
            mistake = self.unreadable
            place = None if mistake.line is None else Place(mistake.line, mistake.column or 1)
            yield self._finding(LintRemark("syntax", (), mistake.problem), mistake.path or "", place)
        if self.places is not None:
            placed = [(self.places.at(remark.path), remark) for remark in self.remarks]
            for place, remark in sorted(placed, key=lambda placed: (placed[0].line, placed[0].column)):
                yield self._finding(remark, spelled(remark.path), place)

    def _finding(self, remark: LintRemark, path: str, place: Place | None) -> LintFinding:
        level, _ = RULES[remark.rule]
        return LintFinding(
            rule=remark.rule,
            level=level,
            message=remark.message,
            suggestion=remark.suggestion,
            file=self.name,
            path=path,
            line=place.line if place else None,
            column=place.column if place else None,
        )


def _read(text: bytes, name: str) -> tuple[Any, Places]:
    """The document in a text, and the places of its values. Raises :class:`DocumentError`."""
    content = utf8(text, name)
    if is_yaml(name):
        try:
            yaml = read_yaml(content.decode())
        except YamlError as mistake:
            raise DocumentError(mistake.problem, file=name, line=mistake.line, column=mistake.column) from None
        return plain_json(yaml.value), yaml.places
    try:
        check_depth(content)
        document = msgspec.json.decode(content)
    except UNREADABLE as error:
        read_document(content, name=name)  # raises with the place of the mistake
        raise DocumentError(str(read_problem(error)), file=name) from None
    return document, places_of_json(content.decode())


def _entries(files: Iterable[_File], kind: ObjectKind) -> dict[str, _Entry]:
    """The entries of a kind in all files. An entry whose key is taken is reported and left out."""
    by_key: dict[str, _Entry] = {}
    for file in files:
        for other_kind, key, entry in file.entries:
            if other_kind is not kind:
                continue
            first = by_key.setdefault(key, entry)
            if first is not entry:
                where = spelled(first.path) if first.file is file else first.file.name
                file.remarks.append(LintRemark("duplicate-key", entry.path, f"this {kind} is in {where}, too"))
    return {key: entry for key, entry in by_key.items() if not entry.definition.deleted}


def _check_each(entries: dict[ObjectKind, dict[str, _Entry]]) -> None:
    for by_key in entries.values():
        for entry in by_key.values():
            match entry.definition:
                case FlagDefinition() as flag:
                    entry.remark(check_flag(flag, entry.path))
                case SegmentDefinition() as segment:
                    entry.remark(check_segment(segment, entry.path))


def _check_together(entries: dict[ObjectKind, dict[str, _Entry]]) -> None:
    flags = {key: cast("FlagDefinition", entry.definition) for key, entry in entries[ObjectKind.FLAG].items()}
    segments = {key: cast("SegmentDefinition", entry.definition) for key, entry in entries[ObjectKind.SEGMENT].items()}
    graphs: dict[ObjectKind, dict[str, list[Edge]]] = {ObjectKind.FLAG: {}, ObjectKind.SEGMENT: {}}
    for kind, by_key in entries.items():
        for key, entry in by_key.items():
            rules = [rule.clauses for rule in entry.definition.rules or ()]
            used_segments = segment_edges(rules, entry.path)
            entry.remark(check_segments_of(used_segments, segments))
            if isinstance(entry.definition, FlagDefinition):
                entry.remark(check_prerequisites(entry.definition, entry.path, flags))
                graphs[kind][key] = prerequisite_edges(entry.definition, entry.path)
            else:
                graphs[kind][key] = used_segments
    for kind, graph in graphs.items():
        for key, remark in check_cycles(graph):
            entries[kind][key].remark([remark])


def _touch(path: Path, other: Path) -> bool:
    """Whether one of two paths starts with the other."""
    shared = min(len(path), len(other))
    return path[:shared] == other[:shared]
