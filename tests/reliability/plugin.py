"""The plugin of pytest for the scoreboard: a test with ``@pytest.mark.holds("RB-R3")`` belongs to line R3; the fixture ``figures``.

With ``AIOFLAGS_RELIABILITY_RESULTS`` only tests of the scoreboard run, and what they found is added to that file, which ``python -m
tests.reliability`` prints.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Generator, Mapping
from pathlib import Path

import pytest

from tests.reliability.results import Figure, Results
from tests.reliability.scoreboard import LINES

_PROPERTY = "reliability"


class Figures:
    """What a test measured, for the lines of its mark."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    def worst(self, name: str, value: float, unit: str = "") -> None:
        """A measurement of which the largest counts."""
        self._add(Figure(name, value, unit))

    def total(self, name: str, count: float, unit: str = "") -> None:
        """An amount; those of all tests are added up."""
        self._add(Figure(name, count, unit, is_sum=True))

    async def least(self, bars: Mapping[str, float], measure: Callable[[], Awaitable[Mapping[str, float]]], *, rounds: int) -> None:
        """Measure until each of the seconds was within its bar, in at most so many rounds. Fails if one never was.

        Other processes slow the machine down, and what the code itself costs is in every round: the least of each counts.
        """
        least = dict.fromkeys(bars, float("inf"))
        for _ in range(rounds):
            found = await measure()
            least = {name: min(value, found[name]) for name, value in least.items()}
            if all(least[name] <= bar for name, bar in bars.items()):
                break
        for name, value in least.items():
            self.worst(name, value * 1e3, "ms")
        missed = {name: value for name, value in least.items() if value > bars[name]}
        assert not missed, f"seconds: {missed}; bars: {bars}"

    def _add(self, figure: Figure) -> None:
        self._item.user_properties.append((_PROPERTY, [figure.name, figure.value, figure.unit, figure.is_sum]))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Keeps what the test measured; the report of the scoreboard has it."""
    return Figures(request.node)


def _chosen() -> set[str]:
    """The lines that this run is about."""
    return set(os.environ.get("AIOFLAGS_RELIABILITY_LINES", "").split(",")) - {""} or set(LINES)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """In a run of the scoreboard, leaves out the files without a test of it: the others take ten seconds to import."""
    if "AIOFLAGS_RELIABILITY_RESULTS" not in os.environ or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text()
    return None if any(f'"RB-{line}"' in text for line in _chosen()) else True


def _lines(item: pytest.Item) -> list[str]:
    rules = [str(rule) for marker in item.iter_markers("holds") for rule in marker.args]
    return [rule.removeprefix("RB-") for rule in rules if rule.startswith("RB-")]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a run of the scoreboard, deselects all other tests; with ``AIOFLAGS_RELIABILITY_LINES``, those of other lines too."""
    if "AIOFLAGS_RELIABILITY_RESULTS" in os.environ:
        chosen = _chosen()
        others = [item for item in items if chosen.isdisjoint(_lines(item))]
        items[:] = [item for item in items if not chosen.isdisjoint(_lines(item))]
        config.hook.pytest_deselected(items=others)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The report carries the lines of the test: the process that collects the reports has no other way to them."""
    report = yield
    if lines := _lines(item):
        report.user_properties.append(("reliability lines", lines))
    return report


class _Collector:
    """Adds the reports of this run to the results of the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results = Results.read(path)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        lines = [line for name, value in report.user_properties if name == "reliability lines" for line in list(value)]  # type: ignore[call-overload]
        if report.when == "call" or report.failed or report.skipped:
            # The report of a teardown that failed has the figures of the test once more.
            found = report.user_properties if report.when == "call" else []
            measured = [Figure(*value) for name, value in found if name == _PROPERTY]  # type: ignore[misc]
            for line in lines:
                self._results.add(line, report.outcome, report.duration, measured)
        if report.failed and not lines:
            self._results.crashes.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._results.write(self._path)


def pytest_configure(config: pytest.Config) -> None:
    """Registers the collector in the process that collects the reports."""
    path = os.environ.get("AIOFLAGS_RELIABILITY_RESULTS")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collector(Path(path)))
