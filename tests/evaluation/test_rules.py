"""Rules: the first matching rule decides, with and without tables."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.rules import MAX_TABLE_RULES
from aioflags.model.context import Context
from aioflags.model.values import same_json
from tests.evaluation.data import flag, outcome, segment, snapshot_of


def one_of(name: str, *values: Any, negate: bool = False, kind: Any = None) -> dict[str, Any]:
    return {"attribute": name, "op": "in", "values": list(values), "negate": negate, "contextKind": kind}


CYCLE = {"op": "segmentMatch", "values": ["s"]}
HELD = {"op": "segmentMatch", "values": ["held"]}
STARTS_WITH_Y = {"attribute": "a", "op": "startsWith", "values": ["y"]}
NOT_ONE = {"attribute": "a", "op": "startsWith", "values": ["y"], "negate": True}
MANY = [[one_of("a", "y")]] * MAX_TABLE_RULES


def rules_of(*clauses: Any, **properties: Any) -> list[dict[str, Any]]:
    return [{"clauses": list(rule), "variation": number % 3, **properties} for number, rule in enumerate(clauses)]


@pytest.mark.parametrize(
    ("rules", "number"),
    [
        pytest.param(rules_of([one_of("a", "y")], [one_of("a", "x")]), 1, id="the first that matches"),
        pytest.param(rules_of([one_of("a", "x", "x")]), 0, id="a value that is named twice"),
        pytest.param(rules_of([one_of("a", "x"), one_of("a", "x", "z")]), 0, id="two clauses about one attribute"),
        pytest.param(
            rules_of([one_of("a", "x"), one_of("a", "z")], [one_of("b", 1)]),
            1,
            id="two clauses about one attribute, one without a match",
        ),
        pytest.param(rules_of([one_of("a", "x"), CYCLE], [one_of("a", "x")]), None, id="a clause that fails when it is reached"),
        pytest.param(rules_of([one_of("a", "y"), CYCLE], [one_of("a", "x")]), 1, id="a clause that fails is not reached"),
        pytest.param(
            rules_of([CYCLE, one_of("a", "y")], [one_of("a", "x")]), None, id="a later clause does not prevent the failure"
        ),
        pytest.param(rules_of([one_of("a", "x"), NOT_ONE]), 0, id="a table and a test"),
        pytest.param(rules_of([one_of("a", "y"), NOT_ONE], [NOT_ONE]), 1, id="a table, a test, and a test alone"),
        pytest.param(rules_of([one_of("a", "x"), STARTS_WITH_Y], [one_of("a", "x")]), 1, id="a table, and a test in vain"),
        pytest.param(rules_of([one_of("a", "x"), STARTS_WITH_Y], [one_of("b", 2)]), None, id="no rule matches"),
        pytest.param(rules_of([one_of("a", "x"), HELD]), 0, id="a table and a segment"),
        pytest.param(rules_of([], [one_of("a", "x")]), 0, id="no clause at all"),
        pytest.param(rules_of([one_of("a", "x", kind="org")], [one_of("a", "x", kind="user")]), 1, id="an absent kind"),
        pytest.param(rules_of([one_of("key", "k"), one_of("a", "x")]), 0, id="a property and an attribute"),
        pytest.param(rules_of([one_of("a", "y")], [one_of("b", 1.0)]), 1, id="two attributes"),
        pytest.param(rules_of([one_of("d", "x")], [one_of("d", "z")]), 0, id="an array, whose elements two rules name"),
        pytest.param(rules_of([one_of("d", "u", negate=True)], [one_of("d", "z")]), 0, id="an array without the named values"),
        pytest.param(rules_of([one_of("c", True)], [one_of("c", 1)]), 0, id="a boolean is not a number"),
        pytest.param(rules_of(*[[one_of("a", "y")]] * 200, [one_of("a", "x")]), 200, id="the last of very many"),
        pytest.param(rules_of(*[[NOT_ONE, one_of("a", "y")]] * 1200, [NOT_ONE]), 1200, id="tests in very many rules"),
        pytest.param(rules_of(*MANY, [one_of("a", "x")]), MAX_TABLE_RULES, id="the second tables"),
        pytest.param(rules_of(*MANY, [one_of("a", "z")], [one_of("b", 1)]), MAX_TABLE_RULES + 1, id="the last of two tables"),
        pytest.param(rules_of(*MANY, [one_of("a", "z")]), None, id="no rule of two tables"),
    ],
)
def test_the_rule_that_decides(rules: list[Any], number: int | None) -> None:
    segments = [segment("s", rules=[{"clauses": [CYCLE]}]), segment("held", included=["k"])]
    user = Context("k", attributes={"a": "x", "b": 1, "c": True, "d": ["x", "z"]})
    value, index, reason = outcome(snapshot_of(flag(rules=rules), segments=segments).evaluate("flag", user, None))
    assert reason.get("ruleIndex") == number
    assert index == (number % 3 if number is not None else 1 if reason["kind"] == "FALLTHROUGH" else None)
    assert value == (None if index is None else "abc"[index])
    assert (index is None) == (reason["kind"] == "ERROR" and reason["errorKind"] == "MALFORMED_FLAG")


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        pytest.param("user", 0, id="the first kind"),
        pytest.param("org", 1, id="the second kind"),
        pytest.param(None, 0, id="the user, without a kind"),
        pytest.param("device", None, id="a missing kind"),
    ],
)
def test_an_attribute_of_one_kind_of_a_multi_kind_context(kind: str | None, number: int | None) -> None:
    both = Context.multi(Context("k", attributes={"a": "x"}), Context("o", "org", attributes={"a": "y"}))
    one = flag(rules=rules_of([one_of("a", "x", kind=kind)], [one_of("a", "y", kind=kind)]))
    assert outcome(snapshot_of(one).evaluate("flag", both, None))[2].get("ruleIndex") == number


SCALARS = st.sampled_from(["x", "y", "", 0, 1, 1.0, True, False])
CLAUSES = st.builds(
    one_of,
    st.sampled_from(["a", "b", "key", "name", "anonymous"]),
    SCALARS,
    SCALARS,
    negate=st.booleans(),
    kind=st.sampled_from([None, "user", "org"]),
)
VALUES = SCALARS | st.none() | st.lists(SCALARS | st.none(), max_size=3) | st.just({"x": 1})
SINGLES = st.builds(
    Context,
    st.sampled_from(["x", "k"]),
    st.sampled_from(["user", "org", "else"]),
    attributes=st.fixed_dictionaries({"a": VALUES, "b": VALUES}),
)


def holds(clause: Any, context: Any) -> bool:
    """A clause of this test by the letter of the specification."""
    single = context.member(clause["contextKind"] or "user")
    value = None if single is None else single.get(clause["attribute"])
    if value is None:
        return False
    values = value if isinstance(value, list) else [value]
    return any(same_json(one, other) for one in values for other in clause["values"]) is not clause["negate"]


@given(
    rules=st.lists(st.lists(CLAUSES, max_size=3), min_size=1, max_size=6),
    context=SINGLES | st.tuples(SINGLES, SINGLES).map(lambda pair: Context.multi(*{c.kind: c for c in pair}.values())),
)
def test_tables_and_clauses_find_the_same_rule(rules: list[Any], context: Any) -> None:
    expected = next((i for i, clauses in enumerate(rules) if all(holds(c, context) for c in clauses)), None)
    for last in ([], [{"attribute": "kind", "op": "nope", "negate": True}]):  # with a last clause that no table knows
        one = flag(rules=[{"clauses": [*clauses, *last], "variation": 0} for clauses in rules])
        assert outcome(snapshot_of(one).evaluate("flag", context, None))[2].get("ruleIndex") == expected


@pytest.mark.slow
def test_the_memory_of_a_flag_grows_with_its_rules() -> None:
    """Not with their square: 20,000 rules took 80 MB."""
    rules = [[one_of("a", str(number))] for number in range(20_000)]
    snapshot = snapshot_of(flag(rules=rules_of(*rules)))
    tracemalloc.start()
    try:
        assert outcome(snapshot.evaluate("flag", Context("k", attributes={"a": "19999"}), None))[2].get("ruleIndex") == 19_999
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    print(peak)
    assert peak < 50e6


ALL_C = {"rollout": {"variations": [{"variation": 2, "weight": 100000}]}}
ALL_B = {"rollout": {"variations": [{"variation": 1, "weight": 100000}]}}


@pytest.mark.parametrize(
    "clauses",
    [
        pytest.param([one_of("a", "x")], id="one attribute"),
        pytest.param([one_of("a", "x"), NOT_ONE], id="an attribute and a test"),
        pytest.param([one_of("a", "x"), one_of("b", "z", negate=True)], id="two attributes"),
        pytest.param([NOT_ONE], id="a test"),
        pytest.param([NOT_ONE, NOT_ONE], id="two tests"),
        pytest.param([HELD], id="a segment"),
    ],
)
@pytest.mark.parametrize(
    ("then", "otherwise"),
    [
        pytest.param(ALL_C, ALL_B, id="two rollouts"),
        pytest.param(ALL_C, {"variation": 1}, id="a rollout in the rule"),
        pytest.param({"variation": 2}, ALL_B, id="a rollout behind it"),
    ],
)
def test_outcomes_of_a_rule_and_of_the_fallthrough(clauses: list[Any], then: dict[str, Any], otherwise: dict[str, Any]) -> None:
    held = segment("held", rules=[{"clauses": [one_of("a", "x")]}])
    snapshot = snapshot_of(flag(rules=[{"clauses": clauses, **then}], fallthrough=otherwise), segments=[held])
    contexts = {value: Context(value, attributes={"a": value, "b": 1}) for value in "xy"}
    assert [snapshot.evaluate("flag", contexts[value], None).detail.variation_index for value in "xy"] == [2, 1]
