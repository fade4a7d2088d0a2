"""Feature files of flagd and OpenFeature, read into cases.

The files lie beside the project and are never copied into it; their README describes the steps.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from gherkin.parser import Parser
from gherkin.pickles.compiler import Compiler

__all__ = ["DIRECTORY", "REASON", "Case", "Step", "cases", "cases_of", "needs_data", "parameters", "read_cases", "versions"]

DIRECTORY: Final = Path(__file__).parents[3] / "shared" / "conformance" / "flagd"
REASON: Final = f"the conformance data is not there: {Path('..', 'shared', 'conformance')} beside the project"

needs_data: Final = pytest.mark.skipif(not DIRECTORY.is_dir(), reason=REASON)

FOLDERS: Final = {
    "evaluator": Path("evaluator", "gherkin"),
    "provider": Path("provider", "gherkin"),
    "openfeature": Path("openfeature"),
}
"""The folder of feature files for each layer of tests."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step, with the rows of its table, the head included."""

    text: str
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario, or one row of an outline's examples."""

    file: str
    name: str
    line: int
    tags: frozenset[str]
    steps: tuple[Step, ...]

    @property
    def id(self) -> str:
        """The file, the scenario, and the line of the scenario or of its row."""
        return f"{self.file}: {self.name}: line {self.line}"


def read_cases(file: str, text: str) -> Iterator[Case]:
    """The cases of a feature file. Tags have no ``@``; a case inherits those of its feature, scenario and examples."""
    document: Any = {**Parser().parse(text), "uri": file}
    compiled: list[Any] = Compiler().compile(document)
    for pickle in compiled:
        yield Case(
            file=file,
            name=pickle["name"],
            line=pickle["location"]["line"],
            tags=frozenset(tag["name"].removeprefix("@") for tag in pickle["tags"]),
            steps=tuple(_step(step) for step in pickle["steps"]),
        )


def _step(step: Mapping[str, Any]) -> Step:
    rows = step.get("argument", {}).get("dataTable", {}).get("rows", [])
    return Step(step["text"], tuple(tuple(cell["value"] for cell in row["cells"]) for row in rows))


@functools.cache
def cases() -> tuple[Case, ...]:
    """The cases of all files; none if the data is not there."""
    return tuple(
        case
        for layer, folder in FOLDERS.items()
        for path in sorted((DIRECTORY / folder).glob("*.feature"))
        for case in read_cases(f"{layer}/{path.stem}", path.read_text("utf-8"))
    )


def cases_of(*files: str) -> list[Case]:
    """The cases of these files, such as ``provider/events``, or of the files of a layer, such as ``evaluator/``."""
    return [case for case in cases() if case.file in files or f"{case.file.partition('/')[0]}/" in files]


SUPERSEDED: Final = {
    "deprecated": "upstream marks the case as deprecated: another case replaces it",
    "fractional-v1": "version 1 of fractional was superseded twice",
}
"""Why no layer runs the cases with a tag."""


def versions(case: Case) -> list[int]:
    """The versions of ``fractional`` that a case is about. The others give the same with each."""
    return [int(tag[-1]) for tag in case.tags if tag.startswith("fractional-v")] or ([2, 3] if "fractional" in case.tags else [3])


def parameters(listed: Iterable[Case], left_out: Mapping[str, str] | None = None) -> list[Any]:
    """Parameters for a test of each case. ``left_out``: why this layer does not run the cases with a tag, or of a scenario."""
    reasons = {**SUPERSEDED, **(left_out or {})}
    return [pytest.param(case, id=case.id, marks=_marks(case, reasons)) for case in listed]


def _marks(case: Case, reasons: Mapping[str, str]) -> list[pytest.MarkDecorator]:
    return [pytest.mark.skip(reason=reason) for name, reason in reasons.items() if name in case.tags or name == case.name][:1]
