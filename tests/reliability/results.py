"""The results of the scoreboard: what each line did, in a file that several runs of pytest add to, and as a table."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

import aioflags
from tests.reliability.scoreboard import FORM, LINES, TOTALS, Form, Total, amount, read_totals, seeds
from tests.support.slowness import slowness


class Figure(msgspec.Struct, frozen=True):
    """One measurement, or with ``is_sum`` an amount."""

    name: str
    value: float
    unit: str = ""
    is_sum: bool = False

    def __str__(self) -> str:
        value = f"{self.value:,.0f}" if self.value == int(self.value) else f"{self.value:.3g}"
        return f"{self.name} {value} {self.unit}".rstrip()


class LineResult(msgspec.Struct):
    """What a run found for one line."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    figures: dict[str, Figure] = {}

    @property
    def holds(self) -> bool:
        """Whether something was tried, and nothing failed."""
        return self.passed > 0 and self.failed == 0


class Results(msgspec.Struct):
    """The results of all lines of a run."""

    form: Form = FORM
    date: str = ""
    versions: str = ""
    lines: dict[str, LineResult] = {}
    crashes: list[str] = []
    """What failed without the mark of a line: a process of tests that crashed cannot say which lines its test belongs to."""

    @classmethod
    def read(cls, path: Path) -> Results:
        """The results in a file; without a file, none."""
        if path.exists():
            return msgspec.json.decode(path.read_bytes(), type=cls)
        versions = f"aioflags {aioflags.__version__}, {platform.python_implementation()} {platform.python_version()}"
        if slowness() > 1:
            versions += f", bars of time times {slowness():.2f} for this machine"
        return cls(date=f"{datetime.now(UTC):%Y-%m-%d}", versions=versions)

    def write(self, path: Path) -> None:
        """Replaces the file."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self)))

    def add(
        self, line: str, outcome: Literal["passed", "failed", "skipped"], seconds: float, figures: Iterable[Figure] = ()
    ) -> None:
        """Adds one test."""
        result = self.lines.setdefault(line, LineResult())
        setattr(result, outcome, getattr(result, outcome) + 1)
        result.seconds += seconds
        for figure in figures:
            before = result.figures.get(figure.name)
            value = figure.value
            if before is not None:
                value = before.value + value if figure.is_sum else max(before.value, value)
            result.figures[figure.name] = Figure(figure.name, value, figure.unit, figure.is_sum)

    @property
    def holds(self) -> bool:
        """Whether something was tried for each line of this run, and nothing failed."""
        return bool(self.lines) and not self.crashes and all(result.holds for result in self.lines.values())

    def missing(self) -> list[str]:
        """The lines that nothing was tried for."""
        return [line for line in LINES if line not in self.lines]

    def add_to_totals(self, path: Path = TOTALS) -> None:
        """Adds the seeds of a full run to the totals, for the lines that hold. After a crash nothing is added."""
        if self.crashes:
            return
        totals = read_totals(path)
        for line, result in self.lines.items():
            if result.holds:
                before = totals.get(line, Total())
                totals[line] = Total(before.passed + amount(line), max(before.next_seed, seeds(line).stop))
        ordered = {line: totals[line] for line in LINES if line in totals}
        path.write_bytes(msgspec.json.format(msgspec.json.encode(ordered)) + b"\n")

    def __str__(self) -> str:
        rows = [
            f"Form {self.form}, {self.date}, {self.versions}",
            "",
            "| line | what | bar | result | tests | time | measured |",
            "|---|---|---|---|---|---|---|",
        ]
        for number, line in LINES.items():
            if (result := self.lines.get(number)) is not None:
                verdict = "holds" if result.holds else "FAILS" if result.failed else "skipped"
                measured = "; ".join(map(str, result.figures.values()))
                rows.append(
                    f"| {number} | {line.what} | {line.bar} | {verdict} | {result.passed} | {result.seconds:.0f} s | {measured} |"
                )
        return "\n".join([*rows, *(f"failed, of no line: {name}" for name in self.crashes)])
