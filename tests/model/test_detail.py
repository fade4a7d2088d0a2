"""Results of evaluations: ``evaluation.md`` 4."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import MutableMapping
from typing import Any

import pytest

from aioflags.model.detail import BigSegmentsStatus, ErrorKind, EvaluationDetail, FlagMetadata, Reason, ReasonKind


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
        pytest.param(
            Reason(kind=ReasonKind.FALLTHROUGH, in_experiment=True).marked(is_override=False),
            {"kind": "FALLTHROUGH", "inExperiment": True, "overrideAffected": True},
            id="affected by an override",
        ),
        pytest.param(
            Reason(kind=ReasonKind.OFF).marked(is_override=True),
            {"kind": "OFF", "isOverride": True, "overrideAffected": True},
            id="overridden",
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
        pytest.param(Reason(kind=ReasonKind.TARGETING_MATCH), {"kind": "TARGETING_MATCH"}, id="a rule of flagd"),
        pytest.param(Reason(kind="CUSTOM"), {"kind": "CUSTOM"}, id="a word that only the server knows"),
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


@pytest.mark.parametrize(
    ("detail", "is_default"),
    [
        pytest.param(EvaluationDetail(None, None, Reason(kind=ReasonKind.OFF)), True, id="no variation"),
        pytest.param(EvaluationDetail(None, 0, Reason(kind=ReasonKind.OFF)), False, id="a variation by index"),
        pytest.param(EvaluationDetail(1, None, Reason(kind=ReasonKind.STATIC), "on"), False, id="a variant by name"),
        pytest.param(EvaluationDetail(1, None, Reason(kind=ReasonKind.STATIC), ""), False, id="a variant with an empty name"),
        pytest.param(
            EvaluationDetail(1, None, Reason(kind="CUSTOM"), is_unnamed=True), False, id="a server's value without a variant"
        ),
        pytest.param(EvaluationDetail(1, None, Reason(kind=ReasonKind.DEFAULT)), True, id="no default variant"),
        pytest.param(EvaluationDetail(1, None, Reason(kind=ReasonKind.OVERRIDE)), False, id="an override"),
    ],
)
def test_a_result_without_a_variation_is_the_default(detail: EvaluationDetail[Any], is_default: bool) -> None:
    assert (detail.is_default, detail.is_default_value()) == (is_default, is_default)


def test_a_result_with_metadata_can_be_compared_hashed_copied_and_pickled() -> None:
    detail = EvaluationDetail(1, None, Reason(kind=ReasonKind.STATIC), "on", FlagMetadata({"team": "web", "n": 1.5}))
    for twin in (copy.deepcopy(detail), pickle.loads(pickle.dumps(detail))):
        assert (twin, hash(twin), dict(twin.metadata)) == (detail, hash(detail), {"team": "web", "n": 1.5})
    assert detail != EvaluationDetail(1, None, Reason(kind=ReasonKind.STATIC), "on")
    assert repr(detail).endswith("variant='on', metadata={'team': 'web', 'n': 1.5})")


def test_results_of_launchdarkly_are_shown_without_what_only_flagd_has() -> None:
    assert repr(EvaluationDetail(1, 0, Reason(kind=ReasonKind.OFF))) == (
        "EvaluationDetail(value=1, variation_index=0, reason=Reason(kind='OFF'))"
    )


def test_metadata_cannot_be_changed() -> None:
    values: dict[str, Any] = {"team": "web"}
    metadata = FlagMetadata(values)
    values["team"] = "shop"
    assert metadata == {"team": "web"}
    assert not isinstance(metadata, MutableMapping)


@pytest.mark.parametrize("value", [Reason(kind=ReasonKind.OFF), EvaluationDetail(1, 0, Reason(kind=ReasonKind.OFF))])
def test_results_cannot_be_changed(value: Any) -> None:
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, None)
