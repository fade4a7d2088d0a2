"""Clauses, each evaluated alone and by table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.clauses import InClause, as_in_clause, clean_kind, finder, reference
from aioflags.evaluation.operators import scalar_key
from aioflags.evaluation.rules import leading_in_clauses
from aioflags.model.context import Context
from aioflags.model.flag import Clause
from aioflags.model.values import same_json
from tests.evaluation.data import context, matches

MISSING = object()


def clause(op: str, values: Any, **properties: Any) -> dict[str, Any]:
    """One about the attribute ``a``; an ``!`` in front of the operator negates it."""
    return {"attribute": "a", "op": op.removeprefix("!"), "negate": op.startswith("!"), "values": values, **properties}


def _cases() -> Iterator[Any]:
    """Number, value of the attribute, operator, clause values, whether that matches."""
    table = [
        ("EV-E63", 1.0, "in", [1], True),
        ("EV-E63", 1.0, "in", ["1"], False),
        ("EV-E64", True, "in", [True], True),
        ("EV-E64", True, "in", [1], False),
        ("EV-E64", True, "lessThan", [2], False),
        ("EV-E65", 0, "in", [0], True),
        ("EV-E65", 0, "in", [False], False),
        ("EV-E65", 0, "before", [True], False),
        ("EV-E66", 1, "lessThan", [2], True),
        ("EV-E66", 1, "lessThan", ["2"], False),
        ("EV-E67", ["y", "x"], "in", ["x"], True),
        ("EV-E67", ["y", "x"], "!in", ["x"], False),
        ("EV-E68", ["x"], "in", [["x"]], False),
        ("EV-E68", [["x"]], "in", [["x"]], True),
        ("EV-E69", {"x": 1}, "in", [{"x": 1}], True),
        ("EV-E69", {"x": 1}, "in", [{"x": True}], False),
        ("EV-E70", [], "in", ["x"], False),
        ("EV-E70", [], "!in", ["x"], True),
        ("EV-E71", "x", "!in", [], True),
        ("EV-E71", "x", "contains", [""], True),
        ("EV-E71", "x", "!nope", ["x"], True),
        ("EV-E71", "x", "in", [], False),
        ("EV-E71", "x", "nope", ["x"], False),
        ("EV-E72", MISSING, "in", ["x"], False),
        ("EV-E72", MISSING, "!in", ["x"], False),
        ("EV-E72", None, "!in", ["x"], False),
        ("EV-E72", None, "in", [None], False),
        ("EV-E73", "prefix", "startsWith", ["p"], True),
        ("EV-E73", "prefix", "startsWith", ["P"], False),
        ("EV-E74", "abbbc", "matches", ["b+"], True),
        ("EV-E74", "abbbc", "matches", ["***", "b"], True),
        ("EV-E74", "abbbc", "!matches", ["***"], True),
        ("EV-E74", "abbbc", "matches", ["^b"], False),
        ("EV-E74", "abbbc", "matches", ["***"], False),
        ("EV-E75", "99", "matches", ["99"], True),
        ("EV-E75", "99", "matches", [99], False),
        ("EV-E76", [1, 11], "greaterThan", [10], True),
        ("EV-E76", [1, 11], "!greaterThan", [10], False),
        ("EV-E77", 1512543600000, "before", ["2017-12-06T07:00:01Z"], True),
        ("EV-E77", 1512543600000, "before", ["2017-12-06T00:00:00-07:00"], False),
        ("EV-E77", 1512543600000, "after", ["2017-12-06T00:00:00-07:00"], False),
        ("tuples count as arrays:", ("y", "x"), "in", ["x"], True),
        ("tuples count as arrays:", ("y",), "!in", ["x"], True),
        ("null in an array:", [None], "in", [None], True),
        ("null in an array:", [None, "y"], "in", ["x"], False),
        ("mixed values:", "x", "in", [1, True, "x", None, ["x"]], True),
        ("mixed values:", False, "in", [0, "x", ["x"]], False),
        ("mixed values:", [[1, True]], "in", ["x", [1.0, True]], True),
        ("mixed values:", [[1, True]], "in", ["x", [1.0, 1]], False),
        ("an object is no scalar:", {"x": 1}, "!in", ["x"], True),
        ("any value suffices:", "x", "endsWith", ["y", "x"], True),
        ("the greatest decides:", 5, "lessThanOrEqual", [1, 5, "9"], True),
        ("the least decides:", 5, "greaterThanOrEqual", [6, 5], True),
        ("no part of it:", "x", "contains", ["y", "xx"], False),
        ("a part of it:", "axb", "contains", ["y", "x", 5], True),
        ("no beginning of it:", "xy", "startsWith", ["y", "xyz"], False),
        ("no end of it:", "xy", "endsWith", ["x", "wxy"], False),
        ("no string:", 55, "contains", ["5"], False),
        ("no string:", 55, "startsWith", ["5"], False),
        ("no string:", 55, "endsWith", ["5"], False),
        ("no string:", 55, "matches", ["5"], False),
        ("a number beyond doubles:", 10**400, "greaterThan", [1.5], True),
        ("a number beyond doubles:", -(10**400), "lessThan", [1.5], True),
        ("no number to compare with:", 5, "lessThan", ["x"], False),
        ("semver:", "2.0.1", "semVerGreaterThan", ["2", "3"], True),
        ("semver:", "2-rc", "semVerLessThan", ["2.0"], True),
        ("semver:", "2.0", "semVerEqual", ["x", "2.0.0+b"], True),
        ("semver:", "x", "semVerEqual", ["x"], False),
    ]
    for number, value, op, values, expected in table:
        shown = "missing" if value is MISSING else str(value)[:40]
        yield pytest.param(value, clause(op, values), expected, id=f"{number} {shown} {op} {str(values)[:40]}: {expected}")


@pytest.mark.parametrize(("value", "definition", "expected"), [*_cases()])
def test_a_clause_about_an_attribute(value: Any, definition: Any, expected: Any) -> None:
    subject = Context("k") if value is MISSING else Context("k", attributes={"a": value})
    assert matches(definition, subject) is expected


USER_AND_ORG = {"kind": "multi", "user": {"key": "a"}, "org": {"key": "b"}}


@pytest.mark.parametrize(
    ("definition", "subject", "expected"),
    [
        pytest.param(clause("in", ["org"], attribute="kind"), context(USER_AND_ORG), True, id="EV-E78 one of the kinds is enough"),
        pytest.param(clause("!in", ["org"], attribute="kind"), context(USER_AND_ORG), False, id="EV-E78 negated as a whole"),
        pytest.param(
            clause("in", ["multi"], attribute="kind"), context(USER_AND_ORG), False, id="EV-E79 multi is not a kind of its parts"
        ),
        pytest.param(
            clause("in", ["user"], attribute="kind", contextKind="org"),
            context(USER_AND_ORG),
            True,
            id="EV-E80 the clause's kind does not matter then",
        ),
        pytest.param(
            clause("!in", ["zz"], attribute="key", contextKind="org"), Context("k"), False, id="EV-E81 an absent kind never matches"
        ),
        pytest.param(
            clause("in", ["x"], attribute="//", contextKind="user"), Context("k"), "MALFORMED_FLAG", id="EV-E82 a bad reference"
        ),
        pytest.param(
            clause("in", ["x"], attribute="//", contextKind="org"),
            Context("k"),
            "MALFORMED_FLAG",
            id="EV-E83 a bad reference of an absent kind",
        ),
        pytest.param(clause("in", ["x"], attribute=""), Context("k"), "MALFORMED_FLAG", id="EV-E84 no attribute"),
        pytest.param({"op": "in", "values": ["x"]}, Context("k"), "MALFORMED_FLAG", id="EV-E84 attribute missing"),
        pytest.param({"op": "in", "values": ["x"], "attribute": None}, Context("k"), "MALFORMED_FLAG", id="EV-E84 attribute null"),
        pytest.param(
            clause("in", ["v"], attribute="/a/b"),
            Context("k", attributes={"/a/b": "v"}),
            True,
            id="EV-E85 without a kind, names are literal",
        ),
        pytest.param(
            clause("in", ["v"], attribute="/a/b", contextKind="user"),
            Context("k", attributes={"a": {"b": "v"}}),
            True,
            id="EV-E86 with a kind, they can be paths",
        ),
        pytest.param(clause("in", [False], attribute="anonymous"), Context("k"), True, id="EV-E87 every context has anonymous"),
        pytest.param(clause("!in", [""], attribute="name"), Context("k"), False, id="EV-E88 a context can lack a name"),
        pytest.param(clause("in", ["k"], attribute="key"), Context("k"), True, id="the key"),
        pytest.param(clause("in", ["b"], attribute="key", contextKind="org"), context(USER_AND_ORG), True, id="of another kind"),
        pytest.param(clause("in", ["a"], attribute="key"), context(USER_AND_ORG), True, id="without a kind, of the user"),
        pytest.param(
            clause("!in", ["x"], attribute="key", contextKind="multi"),
            context(USER_AND_ORG),
            False,
            id="no context has the kind multi",
        ),
        pytest.param(clause("in", ["k"], attribute="/key", contextKind="user"), Context("k"), True, id="a path to the key"),
    ],
)
def test_a_clause_about_a_context(definition: Any, subject: Any, expected: Any) -> None:
    assert matches(definition, subject) is expected if isinstance(expected, bool) else matches(definition, subject) == expected


@pytest.mark.parametrize(
    ("definition", "in_clause"),
    [
        pytest.param(
            clause("in", ["x", 1, True, "x"]),
            InClause("user", "a", frozenset({"x", 1, scalar_key(True)}), negate=False),
            id="scalars",
        ),
        pytest.param(clause("!in", [], contextKind="org"), InClause("org", "a", frozenset(), negate=True), id="negated, by kind"),
        pytest.param(
            clause("in", ["k"], attribute="key"), InClause("user", "key", frozenset({"k"}), negate=False), id="a property"
        ),
        pytest.param(
            clause("in", ["x"], attribute="/a", contextKind="user"),
            InClause("user", "a", frozenset({"x"}), negate=False),
            id="a short path",
        ),
        pytest.param(
            clause("in", ["x"], attribute="/a/b"), InClause("user", "/a/b", frozenset({"x"}), negate=False), id="a literal"
        ),
        pytest.param(clause("in", ["x"], attribute="/a/b", contextKind="user"), None, id="a longer path"),
        pytest.param(clause("in", ["x", None]), None, id="a value that is not a scalar"),
        pytest.param(clause("in", ["x"], attribute="kind"), None, id="the kind"),
        pytest.param(clause("in", ["x"], attribute="//", contextKind="user"), None, id="an invalid reference"),
        pytest.param(clause("in", ["x"], attribute=None), None, id="no attribute"),
        pytest.param(clause("startsWith", ["x"]), None, id="another operator"),
    ],
)
def test_a_clause_that_tables_can_evaluate(definition: Any, in_clause: InClause | None) -> None:
    assert as_in_clause(msgspec.convert(definition, Clause)) == in_clause


def test_tables_take_the_clauses_before_the_first_of_another_kind() -> None:
    clauses = [msgspec.convert(clause(op, [op]), Clause) for op in ("in", "!in", "contains", "in")]
    definition = [(set(clause.scalars), clause.negate) for clause in leading_in_clauses(clauses)]
    assert definition == [({"in"}, False), ({"!in"}, True)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 0.5]) | st.sampled_from(["", "a", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=6,
)


@given(value=JSON, values=st.lists(JSON, max_size=4), negate=st.booleans())
def test_in_is_json_equality_with_one_of_the_values(value: Any, values: Any, negate: bool) -> None:
    """For each of its compiled forms: a set, a table, a comparison of trees."""
    if value is None:
        expected = False
    else:
        candidates = value if isinstance(value, list) else [value]
        expected = any(same_json(one, other) for one in candidates for other in values) is not negate
    definition = {"attribute": "a", "op": "in", "values": values, "negate": negate}
    assert matches(definition, Context("k", attributes={"a": value})) is expected


# -- Context kinds and attributes in definitions.

USER = Context("k", name="N", attributes={"a": {"b": 1}, "/a/b": 2, "kind of": 3})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param(None, "user", id="None means user"),
        pytest.param("", "user", id="the empty string means user"),
        pytest.param("org", "org", id="another kind is unchanged"),
        pytest.param("multi", "kind", id="multi becomes kind, which no context has"),
    ],
)
def test_the_kind_that_a_definition_means(kind: str | None, expected: str) -> None:
    assert clean_kind(kind) == expected
    assert Context("k", "kind").error is not None


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        pytest.param("key", None, "k", id="the key"),
        pytest.param("name", "user", "N", id="the name"),
        pytest.param("anonymous", None, False, id="whether it is anonymous"),
        pytest.param("kind", None, "user", id="the kind"),
        pytest.param("/key", "user", "k", id="a path to the key"),
        pytest.param("a", None, {"b": 1}, id="an attribute"),
        pytest.param("/a/b", None, 2, id="a literal without a context kind"),
        pytest.param("/a/b", "user", 1, id="a path with a context kind"),
        pytest.param("/a/c", "user", None, id="a path that leads nowhere"),
        pytest.param("z", "user", None, id="a missing attribute"),
    ],
)
def test_the_value_that_a_reference_reads(text: str, kind: str | None, value: Any) -> None:
    assert finder(reference(text, kind))(USER) == value
