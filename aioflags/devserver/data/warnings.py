"""Warnings about the served flags, as text: the findings of lint. A flag with warnings is served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

import msgspec

from aioflags.devserver.data.flagd_document import FlagdDocument
from aioflags.model.values import is_array
from aioflags.tools.lint import Level, LintFinding, lint
from aioflags.tools.lint.findings import spelled

_Document: TypeAlias = Mapping[str, Mapping[str, Any]]

_MAX_WARNINGS: Final = 20


def file_warnings(name: str, text: bytes) -> list[str]:
    """The lint findings in a file, with line and column, one line for each. Slow: call it in a thread."""
    findings = _findings(name, text)
    lines = [f"{finding.level}: {finding}" for finding in findings[:_MAX_WARNINGS]]
    if len(findings) > _MAX_WARNINGS:
        lines.append(f"and {len(findings) - _MAX_WARNINGS} more: aioflags lint {name}")
    return lines


def flagd_warnings(document: FlagdDocument, key: str | None = None) -> list[str]:
    """The lint findings in a document in flagd's format, or in one flag of it, one line for each. Slow: call it in a thread."""
    flags = document.flags if key is None else {name: flag for name, flag in document.flags.items() if name == key}
    # With the evaluators, even without any, the document cannot be taken for one in LaunchDarkly's format.
    content = {**document.as_json(), "flags": flags, "$evaluators": document.evaluators}
    findings = _findings("", msgspec.json.encode(content))
    if key is not None:
        findings = _of(findings, "flags", key)
    return [_line(finding) for finding in findings[:_MAX_WARNINGS]]


def document_warnings(document: _Document) -> list[str]:
    """The lint findings in a document, one line for each. Slow: call it in a thread."""
    return [_line(finding) for finding in _findings("", msgspec.json.encode(document))[:_MAX_WARNINGS]]


def object_warnings(document: _Document, section: str, key: str) -> list[str]:
    """The lint findings in one flag or segment. Lints only the object and the objects that it refers to."""
    findings = _findings("", msgspec.json.encode(_with_references(document, section, key)))
    return [_line(finding) for finding in _of(findings, section, key)[:_MAX_WARNINGS]]


def _findings(name: str, text: bytes) -> list[LintFinding]:
    """The findings without the notes, which are about programs and not about flags."""
    return [finding for finding in lint([(name, text)]) if finding.level is not Level.NOTE]


def _of(findings: Iterable[LintFinding], section: str, key: str) -> list[LintFinding]:
    """The findings in one flag or segment."""
    path = spelled((section, key))
    return [finding for finding in findings if finding.path.startswith((f"{path}.", f"{path}[")) or finding.path == path]


def _line(finding: LintFinding) -> str:
    hint = f"; {finding.suggestion}" if finding.suggestion else ""
    return f"{finding.path}: {finding.message}{hint} [{finding.rule}]"


def _with_references(document: _Document, section: str, key: str) -> _Document:
    """The object, and all objects whose key is a string anywhere in it, recursively: perhaps too many, never too few."""
    objects: dict[str, dict[str, Any]] = {name: {} for name in document}
    pending = [(section, key)]
    while pending:
        section, key = pending.pop()
        if key in objects[section] or key not in document[section]:
            continue
        objects[section][key] = document[section][key]
        pending += [(name, text) for text in _strings(document[section][key]) for name in document]
    return objects


def _strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value, except property names."""
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            pending += cast("Mapping[str, Any]", item).values()
        elif is_array(item):
            pending += item
