"""What lint finds in what is served, for people to read: a flag that makes no sense is served all the same, as a service would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

import msgspec

from aioflags.model.values import is_array
from aioflags.tools.lint import LintFinding, lint
from aioflags.tools.lint.findings import spelled

__all__ = ["remarks_on_document", "remarks_on_file", "remarks_on_object"]

_Document: TypeAlias = Mapping[str, Mapping[str, Any]]

_MOST: Final = 20


def remarks_on_file(name: str, text: bytes) -> list[str]:
    """One line a finding, each with its place. It takes its time: ask in a thread."""
    found = lint([(name, text)])
    lines = [f"{finding.level}: {finding}" for finding in found[:_MOST]]
    if len(found) > _MOST:
        lines.append(f"and {len(found) - _MOST} more: aioflags lint {name}")
    return lines


def remarks_on_document(document: _Document) -> list[str]:
    """One line a finding. It takes its time: ask in a thread."""
    return [_line(finding) for finding in lint([("", msgspec.json.encode(document))])[:_MOST]]


def remarks_on_object(document: _Document, section: str, key: str) -> list[str]:
    """The same of one flag or segment alone, with a look at nothing but what it refers to."""
    path = spelled((section, key))
    found = lint([("", msgspec.json.encode(_connected(document, section, key)))])
    return [_line(finding) for finding in found if finding.path.startswith((f"{path}.", f"{path}[")) or finding.path == path][
        :_MOST
    ]


def _line(finding: LintFinding) -> str:
    hint = f"; {finding.suggestion}" if finding.suggestion else ""
    return f"{finding.path}: {finding.message}{hint} [{finding.rule}]"


def _connected(document: _Document, section: str, key: str) -> _Document:
    """The object, and whatever is called by a text that stands somewhere in it, and so on: perhaps too much, never too little."""
    found: dict[str, dict[str, Any]] = {name: {} for name in document}
    ahead = [(section, key)]
    while ahead:
        section, key = ahead.pop()
        if key in found[section] or key not in document[section]:
            continue
        found[section][key] = document[section][key]
        ahead += [(name, text) for text in _texts(document[section][key]) for name in document]
    return found


def _texts(value: Any) -> Iterator[str]:
    ahead: list[Any] = [value]
    while ahead:
        found = ahead.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, Mapping):
            ahead += cast("Mapping[str, Any]", found).values()
        elif is_array(found):
            ahead += found
