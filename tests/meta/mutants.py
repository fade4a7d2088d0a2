"""The results of the last ``nox -s mutants``: a table of scores, and the mutants that no test detected.

    python -m tests.meta.mutants [--again [PATTERN]] [--show [PATTERN]]

mutmut keeps the results of a module in a file next to its mutated copy: for each mutant the result of its tests. It tries mutants
in forks of one process, where modules are imported and tables are built already, so a mutant of code that runs at import is
not detected. ``--again`` tries the mutants that survived in a separate interpreter, each with all tests of its layer.
"""

from __future__ import annotations

import argparse
import fnmatch
import functools
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

MUTANTS: Final = Path("mutants")
LEAST: Final = 85.0
"""The share of mutants that must be detected, in percent."""

_KILLED: Final = frozenset({1, 3})
_TIMED_OUT: Final = frozenset({-24, 24, 36, 152, 255})


@dataclass(frozen=True, slots=True)
class Score:
    """The results of some mutants: detected by a test or by its time limit; not detected; not tried."""

    killed: int = 0
    timed_out: int = 0
    survived: int = 0
    untried: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.killed + other.killed,
            self.timed_out + other.timed_out,
            self.survived + other.survived,
            self.untried + other.untried,
        )

    @property
    def tried(self) -> int:
        """The number of mutants that were tested."""
        return self.killed + self.timed_out + self.survived

    @property
    def share(self) -> float:
        """The percentage of the tested mutants that were detected."""
        return 100.0 * (self.killed + self.timed_out) / self.tried if self.tried else 100.0

    def row(self, name: str) -> str:
        """A row of the table."""
        counts = (self.tried + self.untried, self.killed, self.timed_out, self.survived, self.untried)
        return f"| {name} | {' | '.join(map(str, counts))} | {self.share:.1f} % |"


HEAD: Final = "| module | mutants | killed | timed out | survived | not tried | noticed |\n|---|---|---|---|---|---|---|"


def score_of(ends: Mapping[str, int | None]) -> Score:
    """The score of mutants whose tests ended with these exit codes. A mutant that no test reaches has survived."""
    codes = list(ends.values())
    killed, timed_out, untried = (
        sum(code in _KILLED for code in codes),
        sum(code in _TIMED_OUT for code in codes),
        codes.count(None),
    )
    return Score(killed, timed_out, len(codes) - killed - timed_out - untried, untried)


@dataclass(frozen=True, slots=True)
class Module:
    """The results of one mutated module."""

    path: Path

    @property
    def name(self) -> str:
        """The file, below the package: ``evaluation/flags.py``."""
        return self.path.as_posix().partition("aioflags/")[2].removesuffix(".meta")

    def ends(self) -> dict[str, int | None]:
        """The results of each mutant, as the exit codes of its tests."""
        found: dict[str, int | None] = self._read()["exit_code_by_key"]
        return found

    def survivors(self, pattern: str) -> list[str]:
        """The names of the mutants that no test detected."""
        ends = self.ends().items()
        return [name for name, code in ends if fnmatch.fnmatch(name, pattern) and score_of({name: code}).survived]

    def kill(self, mutant: str) -> None:
        """Records that a test detected a mutant after all."""
        data = self._read()
        data["exit_code_by_key"][mutant] = 1
        self.path.write_bytes(msgspec.json.encode(data))

    def _read(self) -> dict[str, Any]:
        data: dict[str, Any] = msgspec.json.decode(self.path.read_bytes())
        return data


def modules(folder: Path = MUTANTS) -> Iterator[Module]:
    """The modules that have mutants."""
    return (module for path in sorted(folder.rglob("*.py.meta")) if (module := Module(path)).ends())


def is_noticed(module: Module, mutant: str, *, folder: Path = MUTANTS) -> bool:
    """Whether a test of the module's layer fails in an interpreter that has loaded only this mutant."""
    settings = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]
    arguments = [each for each in settings["pytest_add_cli_args"] if not each.startswith("--ignore")]
    environment = {**os.environ, "MUTANT_UNDER_TEST": mutant, "PYTHONPATH": str(folder.resolve())}
    tests = f"tests/{module.name.partition('/')[0]}"
    run = [sys.executable, "-m", "pytest", "-x", "-q", "--rootdir=.", *arguments, tests]
    return subprocess.run(run, cwd=folder, env=environment, capture_output=True, check=False).returncode == 1


def again(pattern: str) -> None:
    """Tries survivors again, two at a time, and records which of them are detected."""
    with ThreadPoolExecutor(2) as pool:
        for module in modules():
            names = module.survivors(pattern)
            for name, noticed in zip(names, pool.map(functools.partial(is_noticed, module), names), strict=True):
                print(f"{name}: {'killed' if noticed else 'survived'}", flush=True)
                if noticed:
                    module.kill(name)


def main() -> int:
    """Prints the table; fails if too few mutants were detected."""
    parser = argparse.ArgumentParser(prog="python -m tests.meta.mutants", description="what became of the mutants of the last run")
    parser.add_argument("--again", metavar="PATTERN", nargs="?", const="*", help="first try survivors in interpreters of their own")
    parser.add_argument("--show", metavar="PATTERN", nargs="?", const="*", help="show how survivors differ from the original")
    options = parser.parse_args()
    if options.again:
        again(options.again)
    total = Score()
    print(HEAD)
    for module in modules():
        score = score_of(module.ends())
        total += score
        print(score.row(f"`{module.name}`"))
    print(total.row("all"), flush=True)
    if options.show:
        for name in (name for module in modules() for name in module.survivors(options.show)):
            subprocess.run(["mutmut", "show", name], check=True)
    return 0 if total.share >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
