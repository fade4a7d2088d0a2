"""Segments: keys, rules, weights, segments in segments, and big ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from aioflags.evaluation.items import Evaluation
from aioflags.evaluation.scope import FindMembership
from aioflags.model.context import Context
from aioflags.model.detail import BigSegmentsStatus, Membership
from tests.evaluation.data import context, flag, matches, outcome, segment, snapshot_of

USER_A = Context("userKeyA")
ALWAYS: dict[str, Any] = {"clauses": []}
BY_KEY = {"op": "in", "values": ["userKeyA"]}
MULTI = context({"kind": "multi", "user": {"key": "userKeyA"}, "org": {"key": "o"}})


def in_segment(*keys: Any, negate: bool = False) -> dict[str, Any]:
    return {"op": "segmentMatch", "values": list(keys), "negate": negate}


def weighted(weight: int, **properties: Any) -> dict[str, Any]:
    return {"clauses": [], "weight": weight, **properties}


@pytest.mark.parametrize(
    ("properties", "subject", "expected"),
    [
        pytest.param({"included": ["userKeyA"]}, USER_A, True, id="EV-E116 included"),
        pytest.param({"included": ["userKeyA"]}, MULTI, True, id="EV-E116 included as one of several"),
        pytest.param({"included": ["userKeyA"], "excluded": ["userKeyA"]}, USER_A, True, id="EV-E116 included before excluded"),
        pytest.param({"excluded": ["userKeyA"], "rules": [ALWAYS]}, USER_A, False, id="EV-E117 excluded before rules"),
        pytest.param({"rules": [ALWAYS]}, USER_A, True, id="EV-E118 a rule that always matches"),
        pytest.param({}, USER_A, False, id="EV-E118 an empty segment"),
        pytest.param(
            {"includedContexts": [{"contextKind": "user", "values": ["userKeyA"]}]}, USER_A, True, id="EV-E119 included by kind"
        ),
        pytest.param({"includedContexts": [{"values": ["userKeyA"]}]}, USER_A, True, id="EV-E119 users are the usual kind"),
        pytest.param(
            {"excluded": ["userKeyA"], "includedContexts": [{"contextKind": "org", "values": ["o"]}]},
            MULTI,
            True,
            id="EV-E120 an inclusion of any kind comes before exclusions",
        ),
        pytest.param(
            {"excludedContexts": [{"contextKind": "org", "values": ["o"]}], "rules": [ALWAYS]},
            MULTI,
            False,
            id="EV-E121 excluded by another kind",
        ),
        pytest.param(
            {"includedContexts": [{"contextKind": "org", "values": ["else"]}]}, MULTI, False, id="another of that kind included"
        ),
        pytest.param(
            {"excludedContexts": [{"contextKind": "org", "values": ["else"]}], "rules": [ALWAYS]},
            MULTI,
            True,
            id="another of that kind excluded",
        ),
        pytest.param(
            {"includedContexts": [{"contextKind": "org", "values": ["o"]}, {"contextKind": "org", "values": ["else"]}]},
            MULTI,
            True,
            id="listed in two places",
        ),
        pytest.param(
            {"excluded": ["else"], "rules": [{"clauses": [in_segment("everyone"), {"attribute": "key", **BY_KEY}]}]},
            USER_A,
            True,
            id="rules behind a list look at the context, and into segments",
        ),
        pytest.param({"salt": "", "rules": [weighted(56373)]}, USER_A, False, id="without salt, a share below the bucket"),
        pytest.param({"salt": None, "rules": [weighted(56374)]}, USER_A, True, id="without salt, a share above it"),
        pytest.param({"rules": [weighted(89705)]}, USER_A, False, id="EV-E122 a share below the bucket"),
        pytest.param({"rules": [weighted(89706)]}, USER_A, True, id="EV-E122 a share above it"),
        pytest.param({"rules": [weighted(85806)]}, Context("user-0"), True, id="a share barely above it"),
        pytest.param({"rules": [weighted(0)]}, USER_A, False, id="EV-E122 no share"),
        pytest.param({"rules": [weighted(1, bucketBy="zz")]}, USER_A, True, id="EV-E123 a missing attribute has bucket 0"),
        pytest.param({"rules": [weighted(0, bucketBy="zz")]}, USER_A, False, id="EV-E123 not below a share of 0"),
        pytest.param({"rules": [weighted(1, rolloutContextKind="org")]}, USER_A, False, id="EV-E124 a rollout by an absent kind"),
        pytest.param({"rules": [weighted(100000, rolloutContextKind="org")]}, USER_A, False, id="EV-E124 whatever its share"),
        pytest.param(
            {"rules": [weighted(1, rolloutContextKind="user", bucketBy="//")]},
            USER_A,
            "MALFORMED_FLAG",
            id="EV-E125 a bad reference beside a weight",
        ),
        pytest.param(
            {"rules": [{"clauses": [], "rolloutContextKind": "user", "bucketBy": "//"}]},
            USER_A,
            True,
            id="EV-E125 a bad reference without a weight is ignored",
        ),
        pytest.param(
            {"rules": [{"clauses": [{"attribute": "//", "contextKind": "user", "op": "in", "values": []}]}]},
            USER_A,
            "MALFORMED_FLAG",
            id="EV-E126 a bad reference in a clause",
        ),
        pytest.param({"rules": [{"clauses": [in_segment("s")]}]}, USER_A, "MALFORMED_FLAG", id="EV-E126 referring to itself"),
        pytest.param(
            {"rules": [{"clauses": [in_segment("t")]}]}, USER_A, "MALFORMED_FLAG", id="EV-E126 two referring to each other"
        ),
        pytest.param(
            {"included": ["userKeyA"], "rules": [{"clauses": [in_segment("s")]}]},
            USER_A,
            True,
            id="EV-E127 rules are not reached by those who are included",
        ),
        pytest.param(
            {"rules": [{"clauses": [in_segment("everyone", "everyone"), in_segment("everyone")]}]},
            USER_A,
            True,
            id="EV-E128 the same segment twice is not a circle",
        ),
        pytest.param(
            {"rules": [{"clauses": [in_segment("through"), in_segment("through")]}]},
            USER_A,
            True,
            id="EV-E128 the same nested segment in two clauses is not a circle",
        ),
        pytest.param(
            {"rules": [{"clauses": [in_segment("nowhere", "nowhere", "through")]}]},
            USER_A,
            True,
            id="EV-E128 the same nested segment in one clause is not a circle",
        ),
        pytest.param({"rules": [{"clauses": [in_segment("unknown")]}]}, USER_A, False, id="EV-E129 an unknown segment"),
        pytest.param(
            {"rules": [{"clauses": [in_segment("unknown", negate=True)]}]}, USER_A, True, id="EV-E129 an unknown one, negated"
        ),
        pytest.param({"rules": [{"clauses": [in_segment(1, None)]}]}, USER_A, False, id="EV-E130 keys that are not strings"),
        pytest.param(
            {"rules": [{"clauses": [in_segment("unknown", "everyone")]}]}, USER_A, True, id="one of several segments is enough"
        ),
        pytest.param(
            {"rules": [{"clauses": [in_segment("unknown", "everyone", negate=True)]}]},
            USER_A,
            False,
            id="one of several segments, negated",
        ),
        pytest.param({"rules": [weighted(89706)]}, context({"kind": "org", "key": "o"}), False, id="a rollout of users"),
        pytest.param({"included": ["o"]}, context({"kind": "org", "key": "o"}), False, id="listed keys are users'"),
    ],
)
def test_a_segment_contains_a_context(properties: Any, subject: Any, expected: bool | str) -> None:
    others = [
        segment("t", rules=[{"clauses": [in_segment("s")]}]),
        segment("everyone", rules=[ALWAYS]),
        segment("through", rules=[{"clauses": [in_segment("everyone")]}]),
        segment("nowhere", rules=[{"clauses": [in_segment("unknown")]}]),
    ]
    result = matches(in_segment("s"), subject, [segment(**properties), *others])
    assert result == expected
    assert isinstance(result, type(expected))


@pytest.mark.parametrize(
    ("length", "problem"),
    [
        pytest.param(1, "needs segment 's0', which refers to itself", id="itself"),
        pytest.param(100, "needs segment 's0', which refers to itself", id="a circle as long as may be"),
        pytest.param(101, "needs more than 100 segments that refer to one another", id="a longer one"),
    ],
)
def test_the_log_names_segments_in_a_circle(length: int, problem: str, caplog: pytest.LogCaptureFixture) -> None:
    circle = [segment(f"s{n}", rules=[{"clauses": [in_segment(f"s{(n + 1) % length}")]}]) for n in range(length)]
    snapshot_of(flag(rules=[{"clauses": [in_segment("s0")]}]), segments=circle).evaluate("flag", USER_A, None)
    assert caplog.messages == [f"flag flag, version 1, {problem}"]


NOT_CONFIGURED = {"kind": "RULE_MATCH", "ruleIndex": 0, "bigSegmentsStatus": "NOT_CONFIGURED"}


def ask(big: Any, subject: Any = USER_A, memberships: Any = None, *, variation: int = 2) -> Evaluation:
    """Evaluates a flag with one rule, which names the segment."""
    one = flag(rules=[{"clauses": [in_segment("s")], "variation": variation}])
    return snapshot_of(one, segments=[big]).evaluate("flag", subject, None, memberships=memberships)


def memberships_of(key: str, segments: Mapping[str, bool]) -> FindMembership:
    """The memberships of one context key, from a healthy store."""
    return {key: Membership(segments, BigSegmentsStatus.HEALTHY)}.get


def not_fetched(key: str) -> None:
    """No membership is fetched yet."""


def big(**properties: Any) -> dict[str, Any]:
    return {**segment(unbounded=True, generation=2, rules=[ALWAYS]), **properties}


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        pytest.param(
            big(generation=None),
            ("b", 1, {"kind": "FALLTHROUGH", "bigSegmentsStatus": "NOT_CONFIGURED"}),
            id="without a generation it contains no context",
        ),
        pytest.param(big(), ("c", 2, NOT_CONFIGURED), id="by its rules"),
        pytest.param(
            big(rules=[], included=["userKeyA"]),
            ("b", 1, {"kind": "FALLTHROUGH", "bigSegmentsStatus": "NOT_CONFIGURED"}),
            id="its listed keys do not count",
        ),
        pytest.param(
            big(unboundedContextKind="org"),
            ("b", 1, {"kind": "FALLTHROUGH"}),
            id="without a context of its kind the store is not used",
        ),
    ],
)
def test_a_big_segment_without_a_store(definition: Any, expected: Any) -> None:
    assert outcome(ask(definition)) == expected


@pytest.mark.parametrize(
    "memberships",
    [
        pytest.param(None, id="no store"),
        pytest.param(not_fetched, id="memberships not fetched yet"),
        pytest.param(memberships_of("userKeyA", {}), id="a store that does not name the segment"),
    ],
)
@pytest.mark.parametrize(
    ("held", "index"), [("userKeyA", 2), ("else", 1)], ids=["in the other segment", "not in the other segment"]
)
def test_the_rules_of_a_big_segment_can_name_other_segments(memberships: Any, held: str, index: int) -> None:
    both = [big(rules=[{"clauses": [in_segment("t")]}]), segment("t", included=[held])]
    one = flag(rules=[{"clauses": [in_segment("s")], "variation": 2}])
    evaluation = snapshot_of(one, segments=both).evaluate("flag", USER_A, None, memberships=memberships)
    assert evaluation.detail.variation_index == index


def test_every_reason_has_the_status_of_big_segments() -> None:
    assert outcome(ask(big(), variation=99)) == (
        None,
        None,
        {"kind": "ERROR", "errorKind": "MALFORMED_FLAG", "bigSegmentsStatus": "NOT_CONFIGURED"},
    )


@pytest.mark.parametrize(
    ("membership", "index"),
    [
        pytest.param({"s.g2": True}, 2, id="includes"),
        pytest.param({"s.g2": False}, 1, id="an exclusion outranks the rules"),
        pytest.param({"s.g1": False}, 2, id="of another generation leaves it to the rules"),
    ],
)
def test_a_membership(membership: dict[str, bool], index: int | None) -> None:
    evaluation = ask(big(), memberships=memberships_of("userKeyA", membership))
    assert evaluation.detail.variation_index == index
    assert evaluation.detail.reason.to_dict()["bigSegmentsStatus"] == "HEALTHY"
    assert evaluation.missing == ()


def test_a_needed_membership_that_is_not_fetched_is_missing() -> None:
    two = flag(rules=[{"clauses": [in_segment("s"), in_segment("s")], "variation": 2}])
    evaluation = snapshot_of(two, segments=[big()]).evaluate("flag", USER_A, None, memberships=not_fetched)
    assert evaluation.missing == ("userKeyA",)
    assert evaluation.detail.reason.big_segments_status is None


@pytest.mark.parametrize("keys", [("s", "t"), ("t", "s")])
def test_the_reason_has_the_worst_status(keys: Any) -> None:
    one = flag(rules=[{"clauses": [in_segment(*keys)], "variation": 2}])
    both = [big(rules=[]), {**big(), "key": "t", "generation": None}]
    memberships = memberships_of("userKeyA", {"s.g2": False})
    evaluation = snapshot_of(one, segments=both).evaluate("flag", USER_A, None, memberships=memberships)
    assert outcome(evaluation) == ("b", 1, {"kind": "FALLTHROUGH", "bigSegmentsStatus": "NOT_CONFIGURED"})
