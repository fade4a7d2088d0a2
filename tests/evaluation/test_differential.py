"""Random worlds, evaluated by aioflags and by launchdarkly-server-sdk: the same values, indexes, reasons and prerequisites.

``AIOFLAGS_DIFFERENTIAL`` is the number of evaluations, ``AIOFLAGS_DIFFERENTIAL_SEED`` selects them. Where aioflags differs on
purpose, a test case has both answers.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from ldclient.impl.model import FeatureFlag as ReferenceFlag

from aioflags.evaluation.explain.flags import explain
from aioflags.model.context import Context
from aioflags.model.values import same_json
from tests.evaluation.data import flag, outcome, segment, snapshot_of
from tests.evaluation.generator import World, world
from tests.evaluation.oracle import Oracle

EVALUATIONS = int(os.environ.get("AIOFLAGS_DIFFERENTIAL", "5000"))
SEED = os.environ.get("AIOFLAGS_DIFFERENTIAL_SEED", "aioflags")


def compare(seed: str, counts: Counter[str]) -> None:
    """Every flag of one world for every context of it."""
    made: World = world(seed)
    snapshot, oracle = snapshot_of(*made.flags, segments=made.segments), Oracle(made.flags, made.segments)
    for data in made.contexts:
        subject = Context.from_dict(data)
        assert subject.error is None
        for definition in made.flags:
            expected, prerequisites = oracle.evaluate(definition["key"], data)
            evaluation = snapshot.evaluate(definition["key"], subject, None)
            ours = outcome(evaluation)
            if ours[2] == {**MALFORMED[2], "bigSegmentsStatus": "NOT_CONFIGURED"}:
                expected[2].setdefault("bigSegmentsStatus", "NOT_CONFIGURED")  # shown by a case below
            notes = [(note.key, note.answer.index, note.prerequisite_of) for note in evaluation.prerequisites]
            where = f"seed {seed!r}, flag {definition}, context {data}: {ours} instead of {expected}"
            assert same_json(list(ours), list(expected)), where
            assert ours[2]["kind"] == "ERROR" or notes == listed_once(prerequisites), where
            assert explain(snapshot, definition["key"], subject).detail == evaluation.detail, where
            direct = snapshot.direct_flags.get(definition["key"])
            if direct is not None and evaluation.detail.reason.error_kind is None:
                assert direct(subject, snapshot.scope).detail == evaluation.detail, where
            counts.update([ours[2]["kind"], *(name for name in ours[2] if name != "kind"), "direct" if direct else "noted"])


def listed_once(prerequisites: list[Any]) -> list[Any]:
    """The prerequisites that the reference lists, without the repeated ones below a prerequisite that is used again."""
    kept: list[Any] = []
    ended: set[str] = set()
    for key, index, prerequisite_of in prerequisites:
        if prerequisite_of not in ended:
            kept.append((key, index, prerequisite_of))
        ended.add(key)
    return kept


@pytest.mark.timeout(600)
def test_random_worlds_have_the_same_results_in_the_reference(
    record_property: Callable[[str, object], None], caplog: pytest.LogCaptureFixture
) -> None:
    print(f"{EVALUATIONS} evaluations, seed {SEED!r}")
    record_property("seed", SEED)
    counts = Counter[str]()
    caplog.set_level(logging.CRITICAL)
    for number in range(-(-EVALUATIONS // 40)):
        compare(f"{SEED}:{number}", counts)
    print(dict(counts))
    kinds = {"OFF", "FALLTHROUGH", "TARGET_MATCH", "RULE_MATCH", "PREREQUISITE_FAILED", "ERROR"}
    expected = {*kinds, "ruleId", "inExperiment", "prerequisiteKey", "bigSegmentsStatus", "direct", "noted"}
    assert all(counts[name] >= EVALUATIONS // 200 for name in expected), counts


# -- where the reference differs


def rule(clause: Any, **properties: Any) -> dict[str, Any]:
    return {"id": "r", "clauses": [clause], "variation": 2, **properties}


def segment_match(**properties: Any) -> Any:
    clause = {"op": "segmentMatch", "attribute": "", "values": ["s"]}
    return [flag(rules=[rule(clause)])], [segment(rules=[{"clauses": [], **properties}])]


FALLTHROUGH = ("b", 1, {"kind": "FALLTHROUGH"})
MATCH = ("c", 2, {"kind": "RULE_MATCH", "ruleIndex": 0, "ruleId": "r"})
MALFORMED = (None, None, {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"})


def rollout(*weights: int, **properties: Any) -> Any:
    shares = [{"variation": number, "weight": weight} for number, weight in enumerate(weights)]
    return [flag(fallthrough={"rollout": {"variations": shares, **properties}})], []


BIG_AND_BAD = (
    [flag(rules=[rule({"op": "segmentMatch", "attribute": "", "values": ["big", "s"]})])],
    [
        segment("big", unbounded=True),
        segment("s", rules=[{"clauses": [{"attribute": "//", "contextKind": "user", "op": "in", "values": []}]}]),
    ],
)


@pytest.mark.parametrize(
    ("data", "attributes", "ours", "theirs"),
    [
        pytest.param(
            BIG_AND_BAD,
            {},
            (None, None, {**MALFORMED[2], "bigSegmentsStatus": "NOT_CONFIGURED"}),
            MALFORMED,
            id="the status of big segments, when a flag turns out malformed",
        ),
        pytest.param(
            ([flag(rules=[rule({"attribute": "//", "contextKind": "org", "op": "in", "values": []})])], []),
            {},
            MALFORMED,
            FALLTHROUGH,
            id="a bad reference, in a clause on an absent kind",
        ),
        pytest.param(
            segment_match(weight=1, rolloutContextKind="org"), {}, FALLTHROUGH, MATCH, id="a segment's weight, by an absent kind"
        ),
        pytest.param(
            segment_match(weight=0, rolloutContextKind="org"),
            {},
            FALLTHROUGH,
            MATCH,
            id="a segment's weight of 0, by an absent kind",
        ),
        pytest.param(
            rollout(0, 100000, contextKind="org"),
            {},
            FALLTHROUGH,
            ("a", 0, {"kind": "FALLTHROUGH"}),
            id="a first share of 0, by an absent kind",
        ),
        pytest.param(
            rollout(1, 99999, bucketBy="n"),
            {"n": 33333.0},
            FALLTHROUGH,
            ("a", 0, {"kind": "FALLTHROUGH"}),
            id="a whole number as a float",
        ),
        pytest.param(
            ([flag(rules=[rule({"attribute": "a", "op": "in", "values": [{"x": True}]})])], []),
            {"a": {"x": 1}},
            FALLTHROUGH,
            MATCH,
            id="booleans and numbers within objects",
        ),
        pytest.param(
            ([flag(rules=[rule({"attribute": "a", "op": "before", "values": ["2018-12-06 07:00Z"]})])], []),
            {"a": 0},
            FALLTHROUGH,
            MATCH,
            id="timestamps that are nearly RFC 3339",
        ),
        pytest.param(
            ([flag(rules=[rule({"attribute": "a", "op": "matches", "values": ["^x+$"]})])], []),
            {"a": "x" * 4097},
            FALLTHROUGH,
            MATCH,
            id="a repetition in a subject of more than 4096 characters",
        ),
    ],
)
def test_the_reference_differs_on_purpose(data: Any, attributes: dict[str, Any], ours: Any, theirs: Any) -> None:
    flags, segments = data
    context = {"kind": "user", "key": "userKeyA", **attributes}
    evaluation = snapshot_of(*flags, segments=segments).evaluate("flag", Context.from_dict(context), None)
    assert outcome(evaluation) == ours
    assert Oracle(flags, segments).evaluate("flag", context)[0] == theirs


def test_the_reason_of_a_rule_without_an_id_has_no_rule_id() -> None:
    """The oracle takes the nulls out of the reference's reasons; this is the one that it finds."""
    one = flag(rules=[{"clauses": [], "variation": 2}])
    assert outcome(snapshot_of(one).evaluate("flag", Context("k"), None))[2] == {"kind": "RULE_MATCH", "ruleIndex": 0}


def test_only_the_reference_lists_a_missing_prerequisite() -> None:
    one = flag(prerequisites=[{"key": "gone", "variation": 0}])
    assert snapshot_of(one).evaluate("flag", Context("k"), None).prerequisites == ()
    assert Oracle([one], []).direct_prerequisites("flag", {"kind": "user", "key": "k"}) == ["gone"]


@pytest.mark.holds("EV-E172")
def test_only_the_reference_lists_nested_prerequisites_again() -> None:
    prerequisites = {"n1": ["n2", "n3"], "n2": ["n3"], "n3": ["n4"], "n4": []}
    flags = [flag(key, prerequisites=[{"key": one, "variation": 1} for one in needed]) for key, needed in prerequisites.items()]
    ours = [("n4", 1, "n3"), ("n3", 1, "n2"), ("n2", 1, "n1"), ("n3", 1, "n1")]
    theirs = [*ours[:3], ("n4", 1, "n3"), ours[3]]
    notes = snapshot_of(*flags).evaluate("n1", Context("k"), None).prerequisites
    assert [(note.key, note.answer.index, note.prerequisite_of) for note in notes] == ours
    assert Oracle(flags, []).evaluate("n1", {"kind": "user", "key": "k"})[1] == theirs


def test_only_aioflags_reads_client_side_availability() -> None:
    one = flag(clientSide=True, clientSideAvailability={"usingEnvironmentId": False})
    assert not snapshot_of(one).flags["flag"].is_client_visible
    assert not hasattr(ReferenceFlag(one), "client_side_availability")
