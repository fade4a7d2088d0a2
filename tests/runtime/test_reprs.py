"""The repr of frozen values shows what is set, as an expression for an equal value."""

from __future__ import annotations

from dataclasses import replace

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
    ],
)
def test_a_repr_shows_what_is_set(value: object, shown: str) -> None:
    assert repr(value) == shown
    assert eval(shown) == value


AT = "<1970-01-01T00:00:01Z>"
VALID = StatusReport(seq=1, status=Status.READY, source_state=SourceState.VALID, since=12.5, source_since=1.0)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(
            ERROR, f"ErrorInfo(kind='NETWORK_ERROR', message=\"it's down\", time={AT})", id="an error without a status code"
        ),
        pytest.param(
            VALID,
            f"StatusReport(seq=1, status='READY', source_state='VALID', since=<loop time 12.5>, source_since={AT})",
            id="a status without an error",
        ),
        pytest.param(
            replace(VALID, status=Status.ERROR, source_state=SourceState.OFF, last_error=ERROR, next_attempt=1.0),
            f"StatusReport(seq=1, status='ERROR', source_state='OFF', since=<loop time 12.5>, source_since={AT}, "
            f"last_error={ERROR!r}, next_attempt={AT})",
            id="a status with its error",
        ),
        pytest.param(
            replace(VALID, since=float("inf"), source_since=1e300),
            "StatusReport(seq=1, status='READY', source_state='VALID', since=<loop time inf>, source_since=1e+300)",
            id="numbers that are not times",
        ),
    ],
)
def test_a_repr_shows_times_in_a_form_for_people(value: object, shown: str) -> None:
    assert repr(value) == shown
