"""Explanations list the steps of an evaluation, and agree with its result."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aioflags.evaluation.explain.flags import explain
from aioflags.evaluation.items import Evaluation
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from aioflags.model.explanation import Explanation, StepKind
from tests.evaluation.conformance import DIRECTORY, REASON, Case, cases
from tests.evaluation.data import context, flag, segment, snapshot_of, with_frames_left
from tests.evaluation.explain.data import IN_S, INVALID, SHARES, USER, clause, explanation_of, rule, walk

KEYLESS = "key: expected a string that is not empty"
EMPTY = "an attribute reference cannot be empty"
NO_PATTERN = "has a pattern that is not a valid regular expression: '(': missing ), unterminated subpattern at position 0"
NOWHERE = {"bucketBy": "//", "contextKind": "user"}


@pytest.mark.parametrize(
    ("properties", "lines"),
    [
        pytest.param(
            {"on": False},
            ['flag is "a": OFF, variation 0', "- the flag is off"],
            id="EV-E2 a flag that is off",
        ),
        pytest.param(
            {},
            ['flag is "b": FALLTHROUGH, variation 1', "- the flag is on", "- the fallthrough serves variation 1"],
            id="the fallthrough",
        ),
        pytest.param(
            {"targets": [{"variation": 2, "values": ["x", "k"]}]},
            ['flag is "c": TARGET_MATCH, variation 2', "- the flag is on", '- user "k" is a target of variation 2'],
            id="a target",
        ),
        pytest.param(
            {"targets": [{"variation": 2, "values": ["x"]}]},
            [
                'flag is "b": FALLTHROUGH, variation 1',
                "- the flag is on",
                "- none of 1 target is the context",
                "- the fallthrough serves variation 1",
            ],
            id="a target for another context",
        ),
        pytest.param(
            {"targets": [{"variation": 2, "values": ["x", "y"]}], "rules": [rule(clause("endsWith", "@acme.com"))]},
            [
                'flag is "c": RULE_MATCH, rule 0, variation 2',
                "- the flag is on",
                "- none of 2 targets is the context",
                "- rule 0 (r) matches and serves variation 2",
                '  - user email is "ann@acme.com"; is that endsWith "@acme.com"? yes',
            ],
            id="a rule, after targets for other contexts",
        ),
        pytest.param(
            {"rules": [rule(clause("in", "a", "b", "c", "d", "e", "f", "g"), clause("in", 1)), rule(clause(negate=True), id="")]},
            [
                'flag is "c": RULE_MATCH, rule 1, variation 2',
                "- the flag is on",
                "- rule 0 (r) does not match",
                '  - user email is "ann@acme.com"; is that in "a", "b", "c", "d", "e" or 2 more? no',
                "- rule 1 matches and serves variation 2",
                '  - user email is "ann@acme.com"; is that not in (none)? yes',
            ],
            id="the first clause without a match and the first rule with one",
        ),
        pytest.param(
            {"rules": [rule(clause("in", 1, attribute="size")), rule(clause("in", 1, contextKind="org"))]},
            [
                'flag is "b": FALLTHROUGH, variation 1',
                "- the flag is on",
                "- rule 0 (r) does not match",
                "  - user has no size; is that in 1? no",
                "- rule 1 (r) does not match",
                "  - the context has no org; is that in 1? no",
                "- no rule matches, so the fallthrough serves variation 1",
            ],
            id="a missing attribute and a missing kind",
        ),
        pytest.param(
            {"rules": [rule(clause("sounds", "x")), rule(clause("in", "org", attribute="kind"))]},
            [
                'flag is "b": FALLTHROUGH, variation 1',
                "- the flag is on",
                "- rule 0 (r) does not match",
                '  - user email is "ann@acme.com"; is that sounds "x"? no (unknown operator)',
                "- rule 1 (r) does not match",
                '  - the context is of kind user; is that in "org"? no',
                "- no rule matches, so the fallthrough serves variation 1",
            ],
            id="an unknown operator, and a clause about the kind",
        ),
        pytest.param(
            {"rules": [rule(clause("in", 1, attribute="//"))]},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- rule 0 (r) cannot be decided",
                f'  - the attribute reference "//" is invalid: {INVALID}; is that in 1? cannot be decided',
                f"- the flag is malformed: it has a clause with an invalid attribute reference: {INVALID}",
            ],
            id="an invalid reference",
        ),
        pytest.param(
            {"rules": [rule(clause("in", *"abcde")), rule(clause("matches", "(", "("))]},
            [
                'flag is "b": FALLTHROUGH, variation 1',
                "- the flag is on",
                "- rule 0 (r) does not match",
                '  - user email is "ann@acme.com"; is that in "a", "b", "c", "d", "e"? no',
                "- rule 1 (r) does not match",
                f'  - user email is "ann@acme.com"; is that matches "(", "("? no ({NO_PATTERN}) ({NO_PATTERN})',
                "- no rule matches, so the fallthrough serves variation 1",
            ],
            id="five values, and invalid patterns",
        ),
        pytest.param(
            {"rules": [rule(clause("in", 1, attribute=None))]},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- rule 0 (r) cannot be decided",
                f"  - the attribute reference null is invalid: {EMPTY}; is that in 1? cannot be decided",
                f"- the flag is malformed: it has a clause with an invalid attribute reference: {EMPTY}",
            ],
            id="a clause that names no attribute",
        ),
        pytest.param(
            {"fallthrough": {"rollout": {"variations": []}}},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- the fallthrough serves no variation",
                "- the flag is malformed: it has neither variation nor rollout in fallthrough",
            ],
            id="a rollout without variations",
        ),
        pytest.param(
            {"rules": [{"id": "", "clauses": []}]},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- rule 0 matches and serves no variation",
                "- the flag is malformed: it has neither variation nor rollout in rules[0]",
            ],
            id="a rule without variation or rollout",
        ),
        pytest.param(
            {"fallthrough": {"rollout": {"variations": SHARES, **NOWHERE}}},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- the fallthrough serves nothing",
                f"- the flag is malformed: it buckets by an invalid attribute reference: {INVALID}",
            ],
            id="a rollout by an invalid reference",
        ),
        pytest.param(
            {"rules": [{"id": "r", "clauses": [], "rollout": {"variations": SHARES, **NOWHERE}}]},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- rule 0 (r) matches",
                f"- the flag is malformed: it buckets by an invalid attribute reference: {INVALID}",
            ],
            id="a rule's rollout by an invalid reference",
        ),
        pytest.param(
            {"targets": [{"variation": 2, "values": ["x"]}], "rules": [rule(IN_S)]},
            [
                'flag is "c": RULE_MATCH, rule 0, variation 2',
                "- the flag is on",
                "- none of 1 target is the context",
                "- rule 0 (r) matches and serves variation 2",
                '  - is it in one of the segments "s"? yes',
                '    - segment "s", version 1, contains the context',
                '      - user "k" is included by its key',
            ],
            id="a segment, after a target",
        ),
        pytest.param(
            {"rules": [rule(clause("segmentMatch")), rule(clause("segmentMatch", "s", negate=True))]},
            [
                'flag is "b": FALLTHROUGH, variation 1',
                "- the flag is on",
                "- rule 0 (r) does not match",
                "  - is it in one of the segments (none)? no",
                "- rule 1 (r) does not match",
                '  - is it in none of the segments "s"? no',
                '    - segment "s", version 1, contains the context',
                '      - user "k" is included by its key',
                "- no rule matches, so the fallthrough serves variation 1",
            ],
            id="no segment, and a negated segment",
        ),
        pytest.param(
            {"fallthrough": {"variation": 9}},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                "- the fallthrough serves no variation",
                "- the flag is malformed: it serves variation 9, but has 3",
            ],
            id="a missing variation",
        ),
        pytest.param(
            {"prerequisites": [{"key": "gone", "variation": 1}]},
            [
                'flag is "a": PREREQUISITE_FAILED, gone, variation 0',
                "- the flag is on",
                '- prerequisite "gone" is not met: there is no such flag',
            ],
            id="a missing prerequisite",
        ),
        pytest.param(
            {"prerequisites": [{"key": "flag", "variation": 1}]},
            [
                "flag has no value, so the default is served: ERROR, MALFORMED_FLAG",
                "- the flag is on",
                '- prerequisite "flag" cannot be decided',
                "- the flag is malformed: it needs flag 'flag', which is a prerequisite of itself",
            ],
            id="a prerequisite of itself",
        ),
        pytest.param(
            {"rules": [rule(clause("segmentMatch", "none", "s"))]},
            [
                'flag is "c": RULE_MATCH, rule 0, variation 2',
                "- the flag is on",
                "- rule 0 (r) matches and serves variation 2",
                '  - is it in one of the segments "none", "s"? yes',
                '    - there is no segment "none"',
                '    - segment "s", version 1, contains the context',
                '      - user "k" is included by its key',
            ],
            id="segments",
        ),
        pytest.param(
            {"key": "flag", "variations": [1, 2, {"a": [None]}], "rules": [rule()]},
            [
                'flag is {"a":[null]}: RULE_MATCH, rule 0, variation 2',
                "- the flag is on",
                "- rule 0 (r) matches and serves variation 2",
            ],
            id="an object, by a rule without clauses",
        ),
    ],
)
def test_the_text_of_an_explanation(properties: dict[str, Any], lines: list[str]) -> None:
    explanation = explanation_of(flag(**properties), segments=[segment(included=["k"])])
    assert str(explanation).splitlines() == lines


def test_all_kinds_of_a_multi_kind_context_are_explained() -> None:
    several = context({"kind": "multi", "user": {"key": "k"}, "org": {"key": "o", "size": 3}})
    explanation = explanation_of(
        flag(rules=[rule(clause("in", "x", attribute="kind")), rule(clause("in", 3, attribute="size", contextKind="org"))]),
        subject=several,
    )
    assert [step.text for step in walk(explanation.steps) if step.kind is StepKind.CLAUSE] == [
        'the context is of kind org and user; is that in "x"? no',
        "org size is 3; is that in 3? yes",
    ]


def test_a_prerequisite_is_explained_with_its_own_steps() -> None:
    needs = flag(prerequisites=[{"key": "other", "variation": 2}])
    explanation = explanation_of(needs, flag("other", rules=[rule(clause("in", "ann@acme.com"))]))
    _, prerequisite, _ = explanation.steps
    assert prerequisite.text == 'prerequisite "other" is met: it serves variation 2, and variation 2 is needed'
    assert (prerequisite.path, prerequisite.holds) == ("prerequisites[0]", True)
    assert [step.kind for step in prerequisite.steps] == [StepKind.SWITCH, StepKind.RULE]


def test_a_prerequisite_that_is_off_is_not_met() -> None:
    explanation = explanation_of(flag(prerequisites=[{"key": "other", "variation": 0}]), flag("other", on=False))
    assert explanation.steps[-1].text == 'prerequisite "other" is not met: it is off, and variation 0 is needed'


@pytest.mark.parametrize("length", [100, 101], ids=["as deep as may be", "one more"])
def test_a_chain_of_100_prerequisites_can_be_explained(length: int) -> None:
    flags = [flag(f"f{number}", prerequisites=[{"key": f"f{number + 1}", "variation": 1}]) for number in range(length)]
    explanation = explanation_of(*flags, flag(f"f{length}"), key="f0")
    assert (explanation.detail.value is None) is (length > 100)
    problems = [step.text for step in walk(explanation.steps) if step.kind is StepKind.PROBLEM]
    needs = "it needs more than 100 flags that are prerequisites of one another"
    assert problems == ([f"the flag is malformed: {needs}"] if length > 100 else [])


def test_a_full_stack_is_explained_as_a_malformed_flag() -> None:
    flags = [flag(f"f{number}", prerequisites=[{"key": f"f{number + 1}", "variation": 1}]) for number in range(100)]
    snapshot = snapshot_of(*flags, flag("f100"))

    def ask() -> tuple[Explanation, Evaluation]:
        return explain(snapshot, "f0", USER), snapshot.evaluate("f0", USER, None, wanted=object)

    explanation, evaluation = with_frames_left(120, ask)
    assert explanation.detail == evaluation.detail
    assert explanation.detail.reason.to_dict() == {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"}
    assert explanation.steps[-1].text == "the flag is malformed: it depends on too many flags or segments in a row"


@pytest.mark.parametrize(
    ("key", "subject", "text"),
    [
        pytest.param("flga", USER, 'there is no flag "flga" among 1; did you mean "flag"?', id="an unknown flag"),
        pytest.param("entirely else", USER, 'there is no flag "entirely else" among 1', id="an unknown flag without a similar key"),
        pytest.param("flag", None, "there is no context", id="no context"),
        pytest.param("flag", Context(""), f"the context cannot be used: {KEYLESS}", id="a context that cannot be used"),
    ],
)
def test_an_explanation_without_an_evaluation_has_the_reason(key: str, subject: Context | None, text: str) -> None:
    explanation = explanation_of(flag(), key=key, subject=subject)
    assert (explanation.key, explanation.version) == (key, None)
    (step,) = explanation.steps
    assert (step.kind, step.text) == (StepKind.PROBLEM, text)


def test_an_explanation_before_data_arrives() -> None:
    explanation = explain(Snapshot.empty(), "flag", USER)
    assert explanation.detail == Snapshot.empty().evaluate("flag", USER, None).detail
    assert (explanation.key, [step.text for step in explanation.steps]) == ("flag", ["there is no flag data yet"])


def test_an_explanation_can_be_written_as_json() -> None:
    explanation = explanation_of(flag(rules=[rule(clause("in", 1))], version=7)).to_dict()
    assert json.loads(json.dumps(explanation)) == explanation
    assert (explanation["key"], explanation["version"], explanation["value"], explanation["variationIndex"]) == ("flag", 7, "b", 1)
    assert explanation["steps"][1] == {
        "kind": "rule",
        "text": "rule 0 (r) does not match",
        "path": "rules[0]",
        "holds": False,
        "facts": {"index": 0, "id": "r"},
        "steps": [
            {
                "kind": "clause",
                "text": 'user email is "ann@acme.com"; is that in 1? no',
                "path": "rules[0].clauses[0]",
                "holds": False,
                "facts": {
                    "contextKind": "user",
                    "attribute": "email",
                    "op": "in",
                    "values": [1],
                    "negate": False,
                    "found": "ann@acme.com",
                },
            }
        ],
    }


def test_an_explanation_has_the_value_that_rules_see() -> None:
    explanation = explanation_of(flag(rules=[rule(clause("in", 1))]), subject=context(email=object()))
    assert "user has no email" in str(explanation)
    assert json.dumps(explanation.to_dict())


def test_a_line_break_in_a_key_does_not_forge_a_line() -> None:
    forged = "k\n- the flag is off"
    explanation = explanation_of(flag(targets=[{"variation": 2, "values": [forged]}]), subject=Context(forged))
    assert len(str(explanation).splitlines()) == 3


@pytest.mark.skipif(not DIRECTORY.is_dir(), reason=REASON)
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in cases()])
def test_the_explanation_of_a_conformance_case_agrees_with_the_evaluation(case: Case) -> None:
    snapshot, key = case.suite.snapshot, case.data["flagKey"]
    for subject in case.contexts:
        assert explain(snapshot, key, subject).detail == snapshot.evaluate(key, subject, None, wanted=object).detail
