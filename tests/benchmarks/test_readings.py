"""Ratios are made within a round. The report lists the readings, and whether each target is met."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.plan import COLUMNS
from tests.benchmarks.readings import Quantity, Ratio, Reading, Record
from tests.benchmarks.report import amount, markdown, share
from tests.benchmarks.targets import TARGETS, Target

OURS, THEIRS = Quantity("aioflags", "E1"), Quantity("Eppo", "E1")


def record(ours: dict[int, float], theirs: dict[int, float]) -> Record:
    pairs = ((OURS, ours), (THEIRS, theirs))
    return Record([Reading(number, *quantity, value) for quantity, values in pairs for number, value in values.items()])


@pytest.mark.parametrize(
    ("ours", "theirs", "ratio"),
    [
        pytest.param({0: 1.0}, {0: 4.0}, (0.25, 0.25, 0.25), id="one round"),
        pytest.param({0: 1.0, 1: 9.0}, {0: 2.0, 1: 18.0}, (0.5, 0.5, 0.5), id="a slow round is slow for both"),
        pytest.param({0: 1.0, 1: 2.0, 2: 9.0}, {0: 10.0, 1: 10.0, 2: 10.0}, (0.2, 0.1, 0.9), id="the median, not the mean"),
        pytest.param({0: 1.0, 1: 3.0}, {0: 1.0, 1: 1.0}, (2.0, 1.0, 3.0), id="the median of two rounds is their mean"),
        pytest.param({0: 5.0, 1: 1.0}, {1: 2.0}, (0.5, 0.5, 0.5), id="a round without a peer does not count"),
        pytest.param({0: 1.0, 1: 1.0}, {0: 0.0, 1: 2.0}, (0.5, 0.5, 0.5), id="a round in which the peer reads 0 does not count"),
        pytest.param({0: 1.0}, {}, None, id="no peer, no ratio"),
    ],
)
def test_a_ratio_is_the_median_of_the_rounds(
    ours: dict[int, float], theirs: dict[int, float], ratio: tuple[float, float, float] | None
) -> None:
    wanted = ratio and Ratio(median=ratio[0], least=ratio[1], greatest=ratio[2])
    assert record(ours, theirs).ratio(OURS, THEIRS) == wanted


@pytest.mark.parametrize(
    ("ours", "theirs", "peer", "met"),
    [
        pytest.param(1.0, 2.0, THEIRS, True, id="within the share"),
        pytest.param(1.0, 1.9, THEIRS, False, id="beyond the share"),
        pytest.param(0.5, 9.0, None, True, id="within the figure, without a peer"),
        pytest.param(0.6, 9.0, None, False, id="beyond the figure, without a peer"),
    ],
)
def test_a_target_is_met(ours: float, theirs: float, peer: Quantity | None, met: bool) -> None:
    target = Target(number="T0", description="half", ours=OURS, theirs=peer, most=0.5)
    assert target.is_met(record({0: ours}, {0: theirs})) is met


def test_a_target_that_was_not_measured_is_neither_met_nor_missed() -> None:
    assert [target.is_met(Record([])) for target in TARGETS] == [None] * len(TARGETS)


@pytest.mark.parametrize(
    ("value", "measure", "text"),
    [
        pytest.param(1.454e-7, "E1", "145 ns", id="nanoseconds"),
        pytest.param(2.884e-6, "E6", "2.88 µs", id="microseconds"),
        pytest.param(0.0917, "fdv2-poll ready", "91.7 ms", id="milliseconds"),
        pytest.param(8.066, "fdv2-stream ready", "8.07 s", id="seconds"),
        pytest.param(1234.5, "import", "1234 s", id="many seconds"),
        pytest.param(52_367_360.0, "fdv2-poll kept", "52 MB", id="bytes"),
        pytest.param(2.0 / 3, "wake-ups", "0.667", id="a count"),
        pytest.param(None, "E1", "-", id="not measured"),
    ],
)
def test_a_figure_has_its_unit(value: float | None, measure: str, text: str) -> None:
    assert amount(value, measure) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(1 / 108, "1/108", id="a small part"),
        pytest.param(0.199, "1/5", id="a fifth"),
        pytest.param(1 / 5.26, "1/5.3", id="a part with a fraction"),
        pytest.param(0.25, "0.25", id="a quarter is a decimal number"),
        pytest.param(1.1, "1.1", id="more than the whole"),
        pytest.param(0.0, "0", id="zero"),
    ],
)
def test_a_small_share_is_a_fraction_and_a_large_one_a_decimal(value: float, text: str) -> None:
    assert share(value) == text


def test_the_report_lists_what_was_measured_what_was_not_and_what_failed() -> None:
    targets = [
        Target(number="T1", description="plain", ours=OURS, theirs=THEIRS, most=0.5),
        Target(number="T2", description="one rule", ours=Quantity("aioflags", "E2"), theirs=Quantity("Eppo", "E2"), most=0.5),
    ]
    found = record({0: 1e-7, 1: 3e-7}, {0: 1e-6, 1: 1e-6})
    text = markdown(Record(found.readings, ["Statsig, load, round 1: no such file"]), targets)
    assert "### Targets: 1 met, 0 not met, 1 not measured" in text
    assert "| T1 | plain | 200 ns | Eppo | 1 µs | 0.2 [1/10 … 0.3] | ≤ 0.5 | yes |" in text
    assert "| T2 | one rule | - | Eppo | - | - | ≤ 0.5 | - |" in text
    assert "| aioflags | 200 ns | - |" in text
    assert "- Statsig, load, round 1: no such file" in text


def test_the_page_has_the_table_of_these_targets() -> None:
    def promised(text: str) -> list[tuple[str, ...]]:
        """Number, description, peer and target, for each row of a table."""
        rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| T")]
        return [(row[0], row[1], row[3], row[6]) for row in rows]

    page = Path(__file__).parents[2] / "docs" / "explanation" / "performance.md"
    assert promised(page.read_text(encoding="utf-8")) == promised(markdown(Record([])))


def test_all_targets_compare_existing_columns() -> None:
    named = {quantity.column for target in TARGETS for quantity in (target.ours, target.theirs) if quantity}
    assert named <= set(COLUMNS)
