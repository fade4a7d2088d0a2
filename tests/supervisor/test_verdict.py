"""The decisions about sources, as truth tables."""

from __future__ import annotations

import pytest

from aioflags.model.change import Result
from aioflags.model.status import SourceState
from aioflags.supervisor.policy import SERVER
from aioflags.supervisor.verdict import Verdict, final_verdict, is_ready, judge, judge_expiry, limits, state_after
from tests.support.scripted_sources import DIRECTIVE, basis, down, failure, off, valid

INITIALIZING, VALID, INTERRUPTED = SourceState.INITIALIZING, SourceState.VALID, SourceState.INTERRUPTED


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        pytest.param(basis(1), Verdict.DONE, id="a basis with a selector completes the initialization"),
        pytest.param(basis(1, selector=False), Verdict.STAY, id="a basis without a selector may be followed by a better one"),
        pytest.param(basis(None), Verdict.STAY, id="DS-63 a basis without data"),
        pytest.param(failure(401), Verdict.STAY, id="a failed fetch does not end the source"),
        pytest.param(valid(1), Verdict.STAY, id="data"),
        pytest.param(valid(), Verdict.STAY, id="an update without data"),
        pytest.param(down(), Verdict.STAY, id="an interruption"),
        pytest.param(off(), Verdict.REMOVE, id="OFF"),
        pytest.param(basis(1, directive=DIRECTIVE), Verdict.FDV1, id="FB-18 a directive outranks a complete basis"),
        pytest.param(basis(1, selector=False, directive=DIRECTIVE), Verdict.FDV1, id="FB-19 a directive on an incomplete basis"),
        pytest.param(basis(None, directive=DIRECTIVE), Verdict.FDV1, id="a directive on a basis without data"),
        pytest.param(failure(500, DIRECTIVE), Verdict.FDV1, id="FB-17 a directive on a failed fetch"),
        pytest.param(valid(1, DIRECTIVE), Verdict.FDV1, id="a directive on data"),
        pytest.param(valid(None, DIRECTIVE), Verdict.FDV1, id="a directive on an update without data"),
        pytest.param(down(503, DIRECTIVE), Verdict.FDV1, id="a directive outranks an interruption"),
        pytest.param(off(401, DIRECTIVE), Verdict.FDV1, id="FB-16 a directive outranks OFF"),
    ],
)
def test_the_verdict_on(result: Result, verdict: Verdict) -> None:
    assert judge(result) is verdict


@pytest.mark.parametrize(
    ("result", "applied", "state"),
    [
        pytest.param(basis(1), True, VALID, id="a complete basis"),
        pytest.param(basis(1, selector=False), True, None, id="a basis without a selector"),
        pytest.param(basis(None), False, None, id="a basis without data"),
        pytest.param(basis(1, directive=DIRECTIVE), True, VALID, id="FB-18 a complete basis with a directive"),
        pytest.param(
            basis(1, selector=False, directive=DIRECTIVE), True, VALID, id="FB-19 a basis without a selector but with a directive"
        ),
        pytest.param(basis(None, directive=DIRECTIVE), False, None, id="a directive without data"),
        pytest.param(failure(), False, INTERRUPTED, id="a failed fetch"),
        pytest.param(valid(1), True, VALID, id="data"),
        pytest.param(valid(), False, VALID, id="an update without data"),
        pytest.param(down(), False, INTERRUPTED, id="an interruption"),
        pytest.param(off(), False, INTERRUPTED, id="OFF of one source is an interruption"),
        pytest.param(off(401, DIRECTIVE), False, INTERRUPTED, id="FB-25 OFF with a directive"),
    ],
)
def test_the_state_that_follows_from(result: Result, applied: bool, state: SourceState | None) -> None:
    assert state_after(result, judge(result), applied=applied) is state


@pytest.mark.parametrize(
    ("state", "latched", "is_over", "verdict"),
    [
        pytest.param(INITIALIZING, None, False, Verdict.NEXT, id="it never started"),
        pytest.param(INTERRUPTED, None, False, Verdict.NEXT, id="it was interrupted for too long"),
        pytest.param(VALID, None, False, Verdict.RECOVER, id="it was valid for long enough"),
        pytest.param(INITIALIZING, DIRECTIVE, False, Verdict.FDV1, id="DS-112 it never started, with a latched directive"),
        pytest.param(INTERRUPTED, DIRECTIVE, False, Verdict.FDV1, id="it was interrupted, with a latched directive"),
        pytest.param(VALID, DIRECTIVE, False, Verdict.FDV1, id="it was valid, with a latched directive"),
        pytest.param(INTERRUPTED, None, True, Verdict.RECOVER, id="its time is over, in any state"),
        pytest.param(INITIALIZING, DIRECTIVE, True, Verdict.FDV1, id="its time is over, with a latched directive"),
        pytest.param(INITIALIZING, None, True, Verdict.RECOVER, id="its time is over, and it never started"),
    ],
)
def test_the_verdict_on_an_expired_timer(state: SourceState, latched: None, is_over: bool, verdict: Verdict) -> None:
    assert judge_expiry(state, latched, is_over=is_over) is verdict


@pytest.mark.parametrize("verdict", Verdict)
def test_a_latched_directive_outranks_every_verdict(verdict: Verdict) -> None:
    assert final_verdict(verdict, DIRECTIVE) is Verdict.FDV1
    assert final_verdict(verdict, None) is verdict


@pytest.mark.parametrize(
    ("state", "sources_left", "ready"),
    [
        pytest.param(VALID, True, True, id="VALID"),
        pytest.param(VALID, False, True, id="VALID and no source left"),
        pytest.param(None, True, False, id="DS-61 data without a state"),
        pytest.param(INTERRUPTED, True, False, id="DS-65 an interruption"),
        pytest.param(SourceState.OFF, False, True, id="DS-64 OFF and no source left"),
        pytest.param(INTERRUPTED, False, True, id="an interruption and no source left"),
    ],
)
def test_waiters_wake_after(state: SourceState | None, sources_left: bool, ready: bool) -> None:
    assert is_ready(state, sources_left=sources_left) is ready


@pytest.mark.parametrize(
    ("alone", "primary", "bounds"),
    [
        pytest.param(True, True, {}, id="the only source"),
        pytest.param(True, False, {}, id="the only source that is left"),
        pytest.param(False, True, {INITIALIZING: 10, INTERRUPTED: 60}, id="the first source"),
        pytest.param(False, False, {INITIALIZING: 10, INTERRUPTED: 60, VALID: 300}, id="a later source"),
    ],
)
def test_the_limits_of(alone: bool, primary: bool, bounds: dict[SourceState, float]) -> None:
    assert limits(SERVER, alone=alone, primary=primary) == bounds
