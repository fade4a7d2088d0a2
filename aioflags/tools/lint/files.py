"""Lints files: reads each as far as possible, and checks the flags and segments of all files together.

Source: ``data-system.md`` 9.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec

from aioflags.model.change import ObjectKind, RuledDefinition
from aioflags.model.flag import FlagDefinition
from aioflags.model.nesting import check_depth
from aioflags.model.segment import SegmentDefinition
from aioflags.model.values import type_name
from aioflags.protocol.definitions import SECTIONS, value_flag
from aioflags.protocol.documents.document import DocumentError, is_yaml, plain_json, read_document, utf8
from aioflags.protocol.documents.places import Path, Place, Places, places_of_json
from aioflags.protocol.documents.problems import UNREADABLE, read_problem
from aioflags.protocol.documents.yaml_text import YamlError, read_yaml
from aioflags.protocol.flagd import is_flag_set
from aioflags.runtime.suggest import did_you_mean
from aioflags.tools.lint.findings import RULES, LintFinding, LintRemark, quoted, spelled
from aioflags.tools.lint.flagd import check_flag_set
from aioflags.tools.lint.flags import check_flag
from aioflags.tools.lint.references import (
    Edge,
    check_cycles,
    check_prerequisites,
    check_segments_of,
    prerequisite_edges,
    segment_edges,
)
from aioflags.tools.lint.segments import check_segment
from aioflags.tools.lint.shapes import check_shape

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
