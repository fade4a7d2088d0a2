"""``aioflags lint``: finds mistakes in flag files, with output as text, JSON or SARIF."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import msgspec

from aioflags.cli.usage_errors import UsageMistake, file_mistakes
from aioflags.runtime.files import read_regular
from aioflags.runtime.version import __version__
from aioflags.tools.lint import Level, lint
from aioflags.tools.lint.findings import RULES, LintFinding

# -- Findings in SARIF 2.1.0, the format that code hosts and editors show beside the lines.


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


@click.command("lint", short_help="Find mistakes in flag files.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each finding, one per line.")
@click.option("--sarif", "as_sarif", is_flag=True, help="Print SARIF 2.1.0, for code hosts and editors.")
@click.pass_context
def command(ctx: click.Context, files: tuple[Path, ...], *, as_json: bool, as_sarif: bool) -> None:
    """Print every mistake in the FILEs, with its line, its path and a suggestion.

    Files that end in .yaml or .yml are YAML, others JSON. Several files are checked as one data set. The exit status is 0
    without findings, or with notes alone, 1 with findings, and 2 if a file cannot be read; the findings in the other FILEs are
    printed.
    """
    if as_json and as_sarif:
        raise click.UsageError("--json and --sarif cannot be used together")
    texts: list[tuple[str, bytes]] = []
    for file in files:
        try:
            with file_mistakes(file):
                texts.append((str(file), read_regular(file)))
        except UsageMistake as mistake:
            mistake.show()
    with file_mistakes(files[0]):  # PyYAML is missing
        findings = lint(texts)
    is_complete = len(texts) == len(files)
    if as_sarif:
        click.echo(msgspec.json.format(msgspec.json.encode(sarif(findings)), indent=2))
    elif as_json:
        for finding in findings:
            click.echo(msgspec.json.encode(finding))
    else:
        for finding in findings:
            click.echo(str(finding))
        if findings or is_complete:
            click.echo(_counts(findings), err=True)
    if not is_complete:
        ctx.exit(2)
    ctx.exit(1 if any(finding.level is not Level.NOTE for finding in findings) else 0)


def _counts(findings: Sequence[LintFinding]) -> str:
    notes = sum(finding.level is Level.NOTE for finding in findings)
    count = len(findings) - notes
    text = "no findings" if not count else f"{count} finding{'s' if count > 1 else ''}"
    return f"{text}, {notes} note{'s' if notes > 1 else ''}" if notes else text
