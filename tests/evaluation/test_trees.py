"""Which flags are direct: those with few uses of prerequisites that take no notes."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.model.context import Context
from tests.evaluation.data import error, flag, needs, outcome, partial, segment, snapshot_of

K = Context("k")


@pytest.mark.parametrize(
    ("segments", "is_direct"),
    [
        pytest.param([segment()], True, id="a list of keys"),
        pytest.param([segment(unbounded=True, generation=1)], False, id="a big segment"),
        pytest.param(
            [segment(rules=[{"clauses": [{"op": "segmentMatch", "values": ["t"]}]}])], False, id="a segment that names another"
        ),
    ],
)
def test_a_flag_is_direct_unless_its_segment_takes_notes(segments: Any, is_direct: bool) -> None:
    snapshot = snapshot_of(flag(rules=[{"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 2}]), segments=segments)
    snapshot.evaluate("flag", K, None)
    assert ("flag" in snapshot.direct_flags) is is_direct


ASKS = flag("f", rules=[{"clauses": [{"op": "segmentMatch", "values": ["s", "t"]}], "variation": 2}])
BIG = segment("t", unbounded=True)
NESTED = segment("s", rules=[{"clauses": [{"op": "segmentMatch", "values": ["t"]}]}])
CHAIN = [needs(f"f{depth}", f"f{depth + 1}") for depth in range(20)]


def diamonds(levels: int) -> list[dict[str, Any]]:
    """Two flags on each level, each with both flags of the next level as prerequisites."""
    return [needs("f", "a1", "b1"), *(needs(f"{side}{n}", f"a{n + 1}", f"b{n + 1}") for n in range(1, levels) for side in "ab")]


@pytest.mark.parametrize(
    ("flags", "segments", "is_direct"),
    [
        pytest.param([flag("f")], [], True, id="no targeting"),
        pytest.param([flag("f", on=False, prerequisites=[{"key": "g", "variation": 0}])], [], True, id="off"),
        pytest.param([needs("f", "g"), flag("g")], [], True, id="a prerequisite"),
        pytest.param([needs("f", "g")], [], True, id="a missing prerequisite"),
        pytest.param([needs("f", "g"), needs("g", "h"), needs("h", "g")], [], False, id="a circle of prerequisites"),
        pytest.param(
            [needs("f", "g"), {**ASKS, "key": "g"}],
            [segment("t", unbounded=True)],
            False,
            id="a prerequisite that names a big segment",
        ),
        pytest.param([needs("f", "f0"), *CHAIN], [], False, id="a long chain of prerequisites"),
        pytest.param(diamonds(5), [], True, id="shared prerequisites with 62 uses"),
        pytest.param(diamonds(6), [], False, id="shared prerequisites with 126 uses"),
        pytest.param([ASKS], [], True, id="missing segments"),
        pytest.param([ASKS], [segment("s")], True, id="a segment"),
        pytest.param([ASKS], [NESTED, segment("t")], False, id="a nested segment"),
        pytest.param([ASKS], [BIG], False, id="a big segment"),
    ],
)
def test_a_flag_that_takes_no_notes_is_direct(flags: Any, segments: Any, is_direct: bool) -> None:
    complete = snapshot_of(*flags, segments=segments)
    complete.evaluate("f", K, None)
    step_by_step = snapshot_of(*flags)
    step_by_step.evaluate("f", K, None)
    for snapshot in (complete, step_by_step.apply(partial(segments=segments))):
        assert ("f" in snapshot.direct_flags) is is_direct
        expected = snapshot.evaluate("f", K, "").detail
        if is_direct:
            assert snapshot.direct_flags["f"](K, snapshot.scope).detail == expected
        assert [snapshot.scope.notes, snapshot.scope.missing, snapshot.scope.big_segments_status] == [[], [], None]


def test_a_change_of_a_prerequisite_checks_again_whether_a_flag_is_direct() -> None:
    snapshot = snapshot_of(needs("f", "g"), needs("g", "h"))
    snapshot.evaluate("f", K, None)
    assert "f" in snapshot.direct_flags
    circle = snapshot.apply(partial(needs("h", "f")))
    assert "f" not in circle.direct_flags
    assert outcome(circle.evaluate("f", K, None))[2] == error("MALFORMED_FLAG")
    assert "f" in circle.apply(partial(flag("h", version=2))).direct_flags
