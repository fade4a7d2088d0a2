"""``python -m tests.benchmarks``: aioflags beside its peers, as tables in Markdown on standard output.

It reports and does not judge: its exit status is 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks import documents, server
from tests.benchmarks.columns.base import FlagLocation
from tests.benchmarks.drive import measured
from tests.benchmarks.flagset import large, thousand
from tests.benchmarks.plan import COLUMNS, JOBS, installed
from tests.benchmarks.report import markdown


def main() -> None:
    """Prepares the flags, measures every SDK that is installed, and prints."""
    options = _options()
    began = time.monotonic()
    jobs = {kind: [job for job in JOBS[kind] if installed(job.column)] for kind in options.only}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        documents.write(folder, "thousand", thousand())
        documents.write(folder, "large", large(1_000, 50) if options.quick else large())
        with server.running(folder) as service:
            location = FlagLocation(folder, service)
            rounds, seconds = (1, 0.001) if options.quick else (options.rounds, 0.005)
            record = measured(jobs, location, rounds=rounds, seconds=seconds, log=lambda text: print(text, file=sys.stderr))
    print(_conditions(rounds, time.monotonic() - began), end="\n\n")
    if options.quick:
        print("One round of short samples, and a small set to load: this shows that everything runs, and no more.", end="\n\n")
    print(markdown(record), end="")
    if options.json:
        options.json.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="aioflags beside its peers, as ratios.")
    parser.add_argument(
        "--rounds", type=int, default=7, help="rounds of evaluating and sending events; loading and starting take half as many"
    )
    parser.add_argument("--quick", action="store_true", help="one round, to see that everything runs")
    parser.add_argument("--only", nargs="+", choices=JOBS, default=list(JOBS), help="what to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write every reading")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least one")
    return options


def _conditions(rounds: int, took: float) -> str:
    """The conditions of the run: the machine, the rounds and the versions."""
    versions = [f"{name} {_version(name)}" for name in dict.fromkeys(home.distribution for home in COLUMNS.values())]
    machine = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores"
    return f"{machine}; rounds: {rounds}, minutes: {took / 60:.0f}; {', '.join(versions)}."


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    main()
