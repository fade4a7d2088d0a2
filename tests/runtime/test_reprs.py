"""The repr of frozen values shows what is set, as an expression for an equal value."""

from __future__ import annotations

import pytest

from aioflags import ErrorInfo, ErrorKind, EvaluationDetail, Reason, ReasonKind, SourceState, Status, StatusReport
from aioflags.sources import FailureKind

ERROR = ErrorInfo(kind=FailureKind.NETWORK_ERROR, message="it's down", time=1.5)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(Reason(kind=ReasonKind.OFF), "Reason(kind='OFF')", id="the kind of a reason"),
        pytest.param(
            Reason(kind=ReasonKind.RULE_MATCH, rule_index=0, rule_id="r", in_experiment=True),
            "Reason(kind='RULE_MATCH', rule_index=0, rule_id='r', in_experiment=True)",
            id="rule 0, which is not a default",
        ),
        pytest.param(
            EvaluationDetail(None, None, Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.FLAG_NOT_FOUND)),
            "EvaluationDetail(value=None, variation_index=None, reason=Reason(kind='ERROR', error_kind='FLAG_NOT_FOUND'))",
            id="what is required is shown, None included",
        ),
        pytest.param(
            EvaluationDetail({"a": ["b"]}, 1, Reason(kind=ReasonKind.FALLTHROUGH)),
            "EvaluationDetail(value={'a': ['b']}, variation_index=1, reason=Reason(kind='FALLTHROUGH'))",
            id="a value of JSON",
        ),
        pytest.param(
            ERROR, "ErrorInfo(kind='NETWORK_ERROR', message=\"it's down\", time=1.5)", id="an error without a status code"
        ),
        pytest.param(
            StatusReport(seq=1, status=Status.READY, source_state=SourceState.VALID, since=0.0, source_since=2.0),
            "StatusReport(seq=1, status='READY', source_state='VALID', since=0.0, source_since=2.0)",
            id="a status without an error",
        ),
        pytest.param(
            StatusReport(
                seq=2, status=Status.STALE, source_state=SourceState.INTERRUPTED, since=0.0, source_since=2.0, last_error=ERROR
            ),
            "StatusReport(seq=2, status='STALE', source_state='INTERRUPTED', since=0.0, source_since=2.0, last_error="
            "ErrorInfo(kind='NETWORK_ERROR', message=\"it's down\", time=1.5))",
            id="a status with its error",
        ),
    ],
)
def test_a_repr_shows_what_is_set(value: object, shown: str) -> None:
    assert repr(value) == shown
    assert eval(shown) == value
