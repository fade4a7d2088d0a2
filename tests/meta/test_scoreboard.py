"""The scoreboard of reliability: its amounts, its figures over several tests and runs, and its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability import scoreboard
from tests.reliability.__main__ import main
from tests.reliability.results import Figure, Results
from tests.reliability.scoreboard import LINES, Form, Total, amount, batches, seeds


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIOFLAGS_SEED", "AIOFLAGS_SEEDS", "AIOFLAGS_RELIABILITY_LINES"):
        monkeypatch.delenv(name, raising=False)


def test_each_form_does_at_least_as_much_as_the_one_before() -> None:
    assert all(line.smoke <= line.quick <= line.full for line in LINES.values())


def test_a_failing_seed_can_be_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOFLAGS_SEED", "17")
    monkeypatch.setenv("AIOFLAGS_SEEDS", "1")
    assert (list(seeds("R3")), amount("R3")) == ([17], 1)


def test_the_page_on_reliability_has_a_row_for_each_line() -> None:
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "reliability.md").read_text(encoding="utf-8")
    table = page.partition("\n## The scoreboard\n")[2].partition("\n## ")[0]
    rows = [row.split("|")[1].strip() for row in table.splitlines() if row.startswith("| R")]
    assert sorted(rows) == sorted(LINES)


@pytest.mark.parametrize("count", [1, 3, 8, 100])
def test_batches_have_every_seed_once(count: int) -> None:
    parts = list(batches("R3", count))
    assert [seed for part in parts for seed in part] == list(seeds("R3"))
    assert len(parts) <= count


def test_the_largest_measurement_and_the_sum_of_amounts_count() -> None:
    results = Results()
    results.add("R3", "passed", 1.0, [Figure("slowest", 2.0, "s"), Figure("reads", 10, "", is_sum=True)])
    results.add("R3", "passed", 2.0, [Figure("slowest", 1.5, "s"), Figure("reads", 5, "", is_sum=True)])
    line = results.lines["R3"]
    assert (line.passed, line.seconds, [str(figure) for figure in line.figures.values()]) == (2, 3.0, ["slowest 2 s", "reads 15"])


def test_two_runs_add_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for _ in range(2):
        results = Results.read(path)
        results.add("R3", "passed", 1.0)
        results.write(path)
    assert Results.read(path).lines["R3"].passed == 2


def test_the_report_fails_for_a_failed_line_and_for_one_that_nothing_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    results = Results(form=Form.QUICK)
    results.add("R3", "passed", 1.0)
    results.write(path)
    assert main(path) == 1
    assert "nothing was tried for R2, R4," in capsys.readouterr().out
    monkeypatch.setenv("AIOFLAGS_RELIABILITY_LINES", "R3")
    assert main(path) == 0
    results.add("R3", "failed", 1.0)
    results.write(path)
    assert main(path) == 1
    assert "| R3 | History of reads beside changes | no torn, older or lost state | FAILS | 1 | 2 s |" in capsys.readouterr().out


@pytest.fixture
def results_of_r3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file to which a run of pytest in a process of its own adds what it finds for line R3."""
    path = tmp_path / "results.json"
    monkeypatch.setenv("AIOFLAGS_RELIABILITY_RESULTS", str(path))
    monkeypatch.setenv("AIOFLAGS_RELIABILITY_LINES", "R3")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return path


@pytest.mark.slow
def test_a_test_reports_its_line_and_its_figures_from_another_process(pytester: pytest.Pytester, results_of_r3: Path) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.holds("RB-R3")
        def test_of_the_line(figures):
            figures.worst("slowest", 0.25, "s")

        @pytest.mark.holds("RB-R4")
        def test_of_another_line():
            raise AssertionError
        """
    )
    run = pytester.runpytest_subprocess("-p", "tests.reliability.plugin", "-p", "no:randomly", "-n", "1")
    run.assert_outcomes(passed=1)
    assert [(number, str(line.figures["slowest"])) for number, line in Results.read(results_of_r3).lines.items()] == [
        ("R3", "slowest 0.25 s")
    ]


@pytest.mark.slow
def test_a_teardown_that_fails_fails_the_line_and_counts_no_figure_twice(pytester: pytest.Pytester, results_of_r3: Path) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def _leaves_something():
            yield
            raise AssertionError

        @pytest.mark.holds("RB-R3")
        @pytest.mark.usefixtures("_leaves_something")
        def test_of_the_line(figures):
            figures.total("reads", 7)
        """
    )
    run = pytester.runpytest_subprocess("-p", "tests.reliability.plugin", "-p", "no:randomly", "-n", "1")
    run.assert_outcomes(passed=1, errors=1)
    line = Results.read(results_of_r3).lines["R3"]
    assert (line.passed, line.failed, str(line.figures["reads"])) == (1, 1, "reads 7")


@pytest.mark.slow
def test_a_crash_of_a_process_fails_the_run(
    pytester: pytest.Pytester, results_of_r3: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytester.makepyfile(
        """
        import os
        import pytest

        pytestmark = pytest.mark.holds("RB-R3")

        def test_that_passes():
            pass

        def test_that_crashes():
            os._exit(11)
        """
    )
    pytester.runpytest_subprocess("-p", "tests.reliability.plugin", "-p", "no:randomly", "-n", "1")
    assert main(results_of_r3) == 1
    assert "failed, of no line: test_a_crash_of_a_process_fails_the_run.py::test_that_crashes" in capsys.readouterr().out


def test_a_line_whose_tests_are_all_skipped_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOFLAGS_RELIABILITY_LINES", "R3")
    results = Results(form=Form.QUICK)
    results.add("R3", "skipped", 0.0)
    results.write(tmp_path / "results.json")
    assert main(tmp_path / "results.json") == 1


def test_a_crash_adds_nothing_to_the_totals(tmp_path: Path) -> None:
    results = Results(form=Form.FULL, crashes=["test_faults.py::test_seed"])
    results.add("R3", "passed", 1.0)
    results.add_to_totals(tmp_path / "totals.json")
    assert scoreboard.read_totals(tmp_path / "totals.json") == {}


def test_a_full_run_adds_to_the_totals_of_lines_that_hold(tmp_path: Path) -> None:
    results = Results(form=Form.FULL)
    results.add("R3", "passed", 1.0)
    results.add("R4", "failed", 1.0)
    kept = tmp_path / "totals.json"
    kept.write_text('{"R3": {"passed": 10, "next_seed": 10}}')
    results.add_to_totals(kept)
    assert scoreboard.read_totals(kept) == {"R3": Total(10 + amount("R3"), max(10, seeds("R3").stop))}
