"""Findings in SARIF 2.1.0, the format that code hosts and editors show beside the lines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aioflags.runtime.version import __version__
from aioflags.tools.lint.findings import RULES, LintFinding


def sarif(findings: Iterable[LintFinding]) -> dict[str, Any]:
    """A SARIF document with one run of this tool."""
    driver = {"name": "aioflags", "version": __version__, "rules": [_rule(name) for name in RULES]}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": [_result(finding) for finding in findings]}
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def _rule(name: str) -> dict[str, Any]:
    level, meaning = RULES[name]
    return {"id": name, "shortDescription": {"text": meaning}, "defaultConfiguration": {"level": str(level)}}


def _result(finding: LintFinding) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.file)}}
    if finding.line is not None:
        physical["region"] = {"startLine": finding.line, "startColumn": finding.column or 1}
    location: dict[str, Any] = {"physicalLocation": physical}
    if finding.path:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.path}]
    text = f"{finding.message}; {finding.suggestion}" if finding.suggestion else finding.message
    return {
        "ruleId": finding.rule,
        "ruleIndex": list(RULES).index(finding.rule),
        "level": str(finding.level),
        "message": {"text": text},
        "locations": [location],
    }


def _uri(file: str) -> str:
    """A file as a URI. A relative path stays relative."""
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
