"""The report: the readings as tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tests.benchmarks.plan import COLUMNS
from tests.benchmarks.readings import Quantity, Ratio, Record
from tests.benchmarks.targets import TARGETS, Target

_CALLS: Final = ("E1", "E2", "E3", "E4", "E5", "E6", "E7 state", "E7 values", "E10")
_EVENTS: Final = ("E9", "E9 without events", "E2 events", "not received", "flush")
_LOADS: Final = ("ready", "kept", "peak", "block")
_PROTOCOLS: Final = ("fdv2-poll", "fdv2-stream", "fdv1-poll", "memory")
_AT_REST: Final = ("import", "client import", "memory", "threads", "wake-ups")


def markdown(record: Record, targets: Sequence[Target] = TARGETS) -> str:
    """All tables, and all failures. A quantity that was not measured is a dash."""
    verdicts = [target.is_met(record) for target in targets]
    parts = [
        f"### Targets: {verdicts.count(True)} met, {verdicts.count(False)} not met, {verdicts.count(None)} not measured",
        _table(
            ("#", "what", "aioflags", "beside", "its figure", "share, median [range]", "target", "met"),
            (_target(target, record) for target in targets),
        ),
        "### Time a call (all flags: a flag)",
        _table(("column", *_CALLS), _rows(record, _CALLS)),
        "### With events: E1, and without; E2 for 1,000 people in rotation; a flush of 1,000 flags",
        _table(("column", "E9", "silent", "1,000 people", "not received", "longest hold of the loop"), _rows(record, _EVENTS)),
        "### Loading the large flag set",
        _table(("column", "by", "ready in", "memory kept", "memory, peak", "longest hold of the loop"), _loads(record)),
        "### Import, and a client with 1,000 flags at rest",
        _table(("column", "import", "import of the client", "memory", "threads", "wake-ups a second"), _rows(record, _AT_REST)),
    ]
    if record.failures:
        parts += ["### What went wrong", "\n".join(f"- {sentence}" for sentence in record.failures)]
    return "\n\n".join(parts) + "\n"


def amount(value: float | None, measure: str) -> str:
    """A figure with its unit, to three digits; the unit hangs on the measure."""
    if value is None:
        return "-"
    if measure.endswith(("kept", "peak", "memory")):
        return f"{value / 1e6:.0f} MB"
    if measure.endswith(("threads", "wake-ups", "not received")):
        return f"{value:.3g}"
    unit, size = next(((unit, size) for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)) if value >= size), ("ns", 1e-9))
    figure = value / size
    return f"{figure:.0f} {unit}" if figure >= 100 else f"{figure:.3g} {unit}"


def share(value: float) -> str:
    """A ratio as text: a small one is a fraction with numerator 1."""
    if not 0 < value < 0.2:
        return f"{value:.2g}"
    parts = 1 / value
    return f"1/{parts:.0f}" if parts >= 10 else f"1/{parts:.2g}"


def _target(target: Target, record: Record) -> Iterable[str]:
    yield target.number
    yield target.description
    yield amount(record.typical(target.ours), target.ours.measure)
    if target.theirs is None:
        yield from ("-", "-")
    else:
        yield target.theirs.column if target.theirs.column != target.ours.column else "itself"
        yield amount(record.typical(target.theirs), target.theirs.measure)
    yield _range(target.reached(record))
    yield f"≤ {share(target.most)}"
    yield {True: "yes", False: "**no**", None: "-"}[target.is_met(record)]


def _range(ratio: Ratio | None) -> str:
    return "-" if ratio is None else f"{share(ratio.median)} [{share(ratio.least)} … {share(ratio.greatest)}]"


def _rows(record: Record, measures: Sequence[str]) -> Iterable[list[str]]:
    """A row for each column that has any of the measures."""
    for column in COLUMNS:
        found = [record.typical(Quantity(column, measure)) for measure in measures]
        if any(value is not None for value in found):
            yield [column, *(amount(value, measure) for value, measure in zip(found, measures, strict=True))]


def _loads(record: Record) -> Iterable[list[str]]:
    for protocol in _PROTOCOLS:
        for column, *figures in _rows(record, [f"{protocol} {measure}" for measure in _LOADS]):
            yield [column, protocol, *figures]


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
