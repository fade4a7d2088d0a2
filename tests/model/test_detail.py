"""Results of evaluations: ``evaluation.md`` 4."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from aioflags.model.detail import BigSegmentsStatus, ErrorKind, EvaluationDetail, Reason, ReasonKind


@pytest.mark.parametrize(
    ("reason", "written"),
    [
        pytest.param(Reason(kind=ReasonKind.OFF), {"kind": "OFF"}, id="off"),
        pytest.param(Reason(kind=ReasonKind.FALLTHROUGH), {"kind": "FALLTHROUGH"}, id="fallthrough"),
        pytest.param(
            Reason(kind=ReasonKind.FALLTHROUGH, in_experiment=True),
            {"kind": "FALLTHROUGH", "inExperiment": True},
            id="in an experiment",
        ),
        pytest.param(Reason(kind=ReasonKind.TARGET_MATCH), {"kind": "TARGET_MATCH"}, id="target"),
        pytest.param(
            Reason(kind=ReasonKind.RULE_MATCH, rule_index=0, rule_id="r"),
            {"kind": "RULE_MATCH", "ruleIndex": 0, "ruleId": "r"},
            id="the first rule is rule 0",
        ),
        pytest.param(
            Reason(kind=ReasonKind.RULE_MATCH, rule_index=1), {"kind": "RULE_MATCH", "ruleIndex": 1}, id="a rule without id"
        ),
        pytest.param(
            Reason(kind=ReasonKind.PREREQUISITE_FAILED, prerequisite_key="p"),
            {"kind": "PREREQUISITE_FAILED", "prerequisiteKey": "p"},
            id="prerequisite",
        ),
        pytest.param(
            Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.FLAG_NOT_FOUND),
            {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND"},
            id="error",
        ),
        pytest.param(
            Reason(kind=ReasonKind.OFF, big_segments_status=BigSegmentsStatus.STALE),
            {"kind": "OFF", "bigSegmentsStatus": "STALE"},
            id="big segments",
        ),
    ],
)
def test_a_reason_is_written_without_what_does_not_apply(reason: Reason, written: dict[str, object]) -> None:
    assert reason.to_dict() == written
    assert all(type(value) in {str, int, bool} for value in reason.to_dict().values())


def test_a_reason_is_read_like_the_dictionary_of_launchdarklys_sdk() -> None:
    reason = Reason(kind=ReasonKind.RULE_MATCH, rule_index=0)
    assert (reason["kind"], reason["ruleIndex"]) == ("RULE_MATCH", 0)
    assert (reason.get("ruleId"), reason.get("ruleId", "none")) == (None, "none")
    assert list(reason) == ["kind", "ruleIndex"]
    assert "ruleId" not in reason
    with pytest.raises(KeyError, match="ruleId"):
        reason["ruleId"]


def test_a_result_without_a_variation_is_the_default() -> None:
    reason = Reason(kind=ReasonKind.OFF)
    for detail, is_default in ((EvaluationDetail(None, None, reason), True), (EvaluationDetail(None, 0, reason), False)):
        assert (detail.is_default, detail.is_default_value()) == (is_default, is_default)


@pytest.mark.parametrize("value", [Reason(kind=ReasonKind.OFF), EvaluationDetail(1, 0, Reason(kind=ReasonKind.OFF))])
def test_results_cannot_be_changed(value: Any) -> None:
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, None)
