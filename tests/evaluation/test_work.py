"""Work: an evaluation whose clauses would take too many steps ends with an error, others give the right answer."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.explain.flags import explain
from aioflags.evaluation.operators import OPERATORS
from aioflags.evaluation.scope import MAX_WORK, cost_of
from aioflags.model.context import Context
from tests.evaluation.data import flag, outcome, segment, snapshot_of

TEXTS = [f"text{number:05}" for number in range(10_000)]
OBJECTS = [{"a": number} for number in range(1000)]


def clause(op: str, *values: Any) -> dict[str, Any]:
    return {"attribute": "a", "op": op, "values": list(values)}


def rules_of(*clauses: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"clauses": [one], "variation": 0} for one in clauses]


@pytest.mark.parametrize(
    ("rules", "value"),
    [
        pytest.param(rules_of(clause("contains", *TEXTS)), ["no"] * 10_000, id="EV-E173 many texts in many elements"),
        pytest.param(rules_of(clause("contains", *TEXTS)), "no" * 10_000, id="EV-E173 many texts in a long text"),
        pytest.param(rules_of(clause("matches", *TEXTS[:1000])), ["no"] * 1000, id="EV-E173 many patterns in many elements"),
        pytest.param(rules_of(clause("matches", *TEXTS[:1000])), "no" * 2000, id="EV-E173 many patterns in a long text"),
        pytest.param(rules_of(clause("in", *OBJECTS)), [{"b": 1}] * 1000, id="EV-E173 many objects, compared with many"),
        pytest.param(rules_of(*[clause("lessThan", 0)] * 1000), [1] * 1000, id="EV-E173 many rules about many elements"),
        pytest.param(rules_of(*[clause("contains", "x", "y")] * 100), "no" * 500_000, id="EV-E173 many rules about a long text"),
        pytest.param(
            [{"clauses": [clause("lessThan", 2), clause("in", "x")], "variation": 0}] * 50,
            [1] * 10_000,
            id="EV-E173 a list that is searched after another test",
        ),
        pytest.param(
            [{"clauses": [clause("in", 1)] * 5 + [clause("in", "x")], "variation": 0}] * 50,
            [1] * 10_000,
            id="EV-E173 more searches of one attribute than there are tables",
        ),
    ],
)
def test_too_much_work_ends_the_evaluation(rules: list[Any], value: Any, caplog: pytest.LogCaptureFixture) -> None:
    in_segment = [{"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 0}]
    user = Context("k", attributes={"a": value})
    for one, segments in [(flag(rules=rules), []), (flag(rules=in_segment), [segment("s", rules=rules)])]:
        snapshot = snapshot_of(one, segments=segments)
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            evaluations = [snapshot.evaluate("flag", user, None) for _ in range(3)]
        assert [outcome(one) for one in evaluations] == [(None, None, {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"})] * 3
        assert explain(snapshot, "flag", user).detail == evaluations[0].detail
        assert [record.getMessage().partition("with this")[2] for record in caplog.records] == [
            f" context is too much work: its clauses take more than {MAX_WORK} steps"
        ]


@pytest.mark.parametrize(
    ("rules", "value"),
    [
        pytest.param(rules_of(clause("contains", *TEXTS)), ["no"] * 100 + ["a text09999"], id="many texts in some elements"),
        pytest.param(rules_of(clause("matches", *TEXTS[:1000])), ["no"] * 30 + ["text00999"], id="many patterns in some elements"),
        pytest.param(
            rules_of(clause("startsWith", *TEXTS)), ["no"] * 9999 + ["text09999 or so"], id="many prefixes, many elements"
        ),
        pytest.param(rules_of(clause("endsWith", *TEXTS)), ["no"] * 9999 + ["a text09999"], id="many suffixes, many elements"),
        pytest.param(rules_of(clause("in", *TEXTS)), ["no"] * 9999 + ["text09999"], id="many values, many elements"),
        pytest.param(rules_of(*[clause("contains", "x" * 9)] * 9, clause("contains", "o")), "no" * 10_000, id="long text"),
        pytest.param(rules_of(clause("in", *OBJECTS)), [{"b": 1}] * 9 + [{"a": 999}], id="many objects, some elements"),
        pytest.param(rules_of(*[clause("in", "x")] * 99, clause("in", 1)), [1] * 10_000, id="many rules that tables test"),
    ],
)
def test_an_evaluation_with_less_work_finds_its_rule(rules: list[Any], value: Any) -> None:
    user = Context("k", attributes={"a": value})
    snapshot = snapshot_of(flag(rules=rules))
    evaluation = snapshot.evaluate("flag", user, None)
    assert outcome(evaluation)[2].get("ruleIndex") == len(rules) - 1
    assert explain(snapshot, "flag", user).detail == evaluation.detail


@pytest.mark.parametrize(
    ("rules", "is_too_much"), [pytest.param(2, False, id="a few times"), pytest.param(60, True, id="many times")]
)
def test_each_use_of_a_segment_counts(rules: int, is_too_much: bool) -> None:
    uses = [{"clauses": [{"op": "segmentMatch", "values": ["s"]}, clause("in", "x")], "variation": 0}] * rules
    long = segment("s", rules=[*rules_of(*[clause("contains", *"vwxy")] * 9), {"clauses": []}])
    user, snapshot = Context("k", attributes={"a": "no" * 200_000}), snapshot_of(flag(rules=uses), segments=[long])
    evaluation = snapshot.evaluate("flag", user, None)
    assert (evaluation.detail.reason.error_kind is not None) is is_too_much
    assert explain(snapshot, "flag", user).detail == evaluation.detail


def test_each_evaluation_in_a_scope_has_the_whole_allowance() -> None:
    """An all-flags state evaluates every flag in one scope."""
    snapshot = snapshot_of(flag(rules=rules_of(clause("contains", *TEXTS))))
    scope, user = snapshot.new_scope(), Context("k", attributes={"a": ["no"] * 150 + ["text00000"]})
    for _ in range(3):
        assert outcome(snapshot.evaluate("flag", user, None, scope=scope))[2].get("ruleIndex") == 0


AFFIXES = st.lists(st.text("ab", max_size=3), min_size=17, max_size=30)


@given(AFFIXES, st.text("abc", max_size=5))
def test_many_affixes_give_the_answers_of_one_after_the_other(affixes: list[str], value: str) -> None:
    assert OPERATORS["startsWith"](affixes, print)(value) is value.startswith(tuple(affixes))
    assert OPERATORS["endsWith"](affixes, print)(value) is value.endswith(tuple(affixes))


@given(st.sampled_from(sorted(OPERATORS)), st.integers(0, 300), st.integers(0, 10**6))
def test_a_text_up_to_the_length_takes_at_most_the_steps(op: str, count: int, steps: int) -> None:
    cost = cost_of(op, ["x"] * count)
    length = cost.max_length(steps)
    assert length == 0 or cost.text(length) <= steps
