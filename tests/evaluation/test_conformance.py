"""The cross-SDK evaluation data: every case, as a single evaluation and with all flags. And its loader."""

from __future__ import annotations

from pathlib import Path

import pytest

from aioflags.evaluation.all_flags_state import flag_values, flags_state
from aioflags.model.values import same_json
from aioflags.runtime.cooperative import run_at_once
from tests.evaluation.conformance import DIRECTORY, REASON, Case, cases, expand, suites, wanted_type
from tests.evaluation.data import outcome

needs_data = pytest.mark.skipif(not DIRECTORY.is_dir(), reason=REASON)

ALL = [pytest.param(case, id=case.id) for case in cases()]
LISTED = [pytest.param(case, id=case.id) for case in cases() if not case.suite.data.get("skipEvaluateAllFlags")]


@needs_data
@pytest.mark.parametrize("case", ALL)
def test_a_case_of_the_conformance_data(case: Case) -> None:
    expected = case.data["expect"]
    default, expected_type = case.data.get("default"), wanted_type(case.data)
    for context in case.contexts:
        assert context.error is None
        for _ in range(2):
            value, index, reason = outcome(
                case.suite.snapshot.evaluate(case.data["flagKey"], context, default, wanted=expected_type)
            )
            assert same_json(value, expected["value"])
            assert index == expected.get("variationIndex")
            assert reason == {name: value for name, value in expected["reason"].items() if value is not None and value is not False}


@needs_data
@pytest.mark.parametrize("case", LISTED)
def test_a_case_is_the_same_for_all_flags_at_once(case: Case) -> None:
    expected, key = case.data["expect"], case.data["flagKey"]
    has_value = expected.get("variationIndex") is not None
    for context in case.contexts:
        states = run_at_once(flags_state(case.suite.snapshot, context, now_ms=0))
        assert not has_value or key in states
        assert same_json(states[key].value if key in states else None, expected["value"] if has_value else None)
        assert same_json(flag_values(case.suite.snapshot, context), {name: state.value for name, state in states.items()})


TOTALS = {
    "builtin-attrs": (7, 7),
    "errors-bad-attribute-reference": (4, 4),
    "errors-wrong-type": (1, 6),
    "errors": (5, 50),
    "json-variations": (1, 2),
    "negation-and-iteration": (7, 7),
    "operators-date-bad-syntax": (36, 72),
    "operators-date-bad-type": (18, 36),
    "operators-date-equal": (32, 64),
    "operators-equality": (5, 25),
    "operators-numeric": (20, 20),
    "operators-semver-bad-syntax": (3, 6),
    "operators-semver-bad-type": (36, 72),
    "operators-semver-equal": (8, 16),
    "operators-string": (26, 52),
    "prerequisites": (1, 14),
    "rule-match": (1, 8),
    "segment-match": (1, 20),
    "variation-value-types": (5, 25),
}


@needs_data
@pytest.mark.parametrize(("stem", "totals"), TOTALS.items())
def test_the_number_of_suites_and_evaluations_in_a_file(stem: str, totals: tuple[int, int]) -> None:
    of_file = [suite for suite in suites() if suite.stem == stem]
    assert (len(of_file), sum(len(suite.data["evaluations"]) for suite in of_file)) == totals


@needs_data
def test_all_files_are_read() -> None:
    assert {suite.stem for suite in suites()} == set(TOTALS)
    assert (len(suites()), len(cases())) == (217, 506)


TEMPLATE = """
name: sizes of <NAME>
constants:
  FOUND: { value: true, kind: <KIND> }
  ON: yes
parameters:
  -
    - { NAME: one, SIZE: 1 }
    - { NAME: two, SIZE: [1, 2] }
  -
    - { KIND: null }
    - { KIND: "n/a" }
on: { when: 2017-12-06, bare: <SIZE>, quoted: "<SIZE>", within: "size <SIZE>", <NAME>: <ON>, unknown: <ELSE> }
expect: <FOUND>
"""


def test_the_first_list_of_parameters_varies_fastest() -> None:
    names = [(suite["name"], suite["expect"]["kind"]) for suite in expand(TEMPLATE)]
    assert names == [("sizes of one", None), ("sizes of two", None), ("sizes of one", "n/a"), ("sizes of two", "n/a")]


def test_a_placeholder_alone_in_quotes_is_a_value_and_otherwise_text() -> None:
    _, two, *_ = expand(TEMPLATE)
    assert two["on"] == {
        "when": "2017-12-06",
        "bare": [1, 2],
        "quoted": [1, 2],
        "within": "size [1,2]",
        "two": "yes",
        "unknown": "<ELSE>",
    }
    assert set(two) == {"name", "on", "expect"}


def test_a_file_without_placeholders_is_one_suite() -> None:
    assert list(expand("name: x\nflags: {on: true}")) == [{"name": "x", "flags": {"on": True}}]


def test_the_data_is_in_the_folder_beside_the_project() -> None:
    assert DIRECTORY.parents[2] == Path(__file__).resolve().parents[3]
