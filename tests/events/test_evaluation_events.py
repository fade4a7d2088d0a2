"""The events of an evaluation: which flags have one, and what is in it."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.evaluation.answers import Answer, PrerequisiteEvaluation, Tracking
from aioflags.evaluation.items import Evaluation
from aioflags.evaluation.scope import CompiledFlag
from aioflags.events.evaluation_events import EvaluatedFlag, evaluated_flags, evaluation_events
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason, ReasonKind
from aioflags.model.event import EvaluationEvent

USER = Context("u")
FALLTHROUGH = Reason(kind=ReasonKind.FALLTHROUGH)
DETAIL = EvaluationDetail("b", 1, FALLTHROUGH)
NOW, BEFORE, AFTER = 1000, 999, 1001


def compiled(tracking: Tracking) -> CompiledFlag:
    def evaluate(*_: object) -> Answer:
        raise AssertionError("shaping evaluates nothing")

    return CompiledFlag("f", 7, evaluate, tracking=tracking)


def evaluated(*, is_experiment: bool = False, **tracking: Any) -> EvaluatedFlag:
    return EvaluatedFlag(flag=compiled(Tracking(**tracking)), detail=DETAIL, is_experiment=is_experiment, default="d")


def events_of(flag: EvaluatedFlag, **options: Any) -> list[EvaluationEvent]:
    return evaluation_events(flag, USER, at_ms=NOW, **options)


@pytest.mark.parametrize(
    ("flag", "server_ms", "events"),
    [
        pytest.param(evaluated(), 0, [], id="a flag without tracking has no event"),
        pytest.param(evaluated(is_tracked=True), 0, ["feature"], id="a tracked flag has a feature event"),
        pytest.param(evaluated(is_experiment=True), 0, ["feature"], id="an experiment has a feature event"),
        pytest.param(evaluated(debug_until_ms=AFTER), 0, ["debug"], id="a debugged flag has a debug event"),
        pytest.param(evaluated(debug_until_ms=NOW), 0, [], id="debugging ends at the date"),
        pytest.param(evaluated(debug_until_ms=AFTER), BEFORE, ["debug"], id="debugged by both clocks"),
        pytest.param(evaluated(debug_until_ms=AFTER), AFTER, [], id="debugging ended by the clock of the service"),
        pytest.param(evaluated(is_tracked=True, debug_until_ms=AFTER), 0, ["feature", "debug"], id="feature comes before debug"),
    ],
)
def test_events_of_a_flag(flag: EvaluatedFlag, server_ms: int, events: list[str]) -> None:
    made = events_of(flag, server_ms=server_ms)
    assert ["debug" if event.is_debug else "feature" for event in made] == events


@pytest.mark.parametrize(
    ("is_experiment", "with_reason", "has_reason"),
    [
        pytest.param(False, False, False, id="the caller does not ask for it"),
        pytest.param(False, True, True, id="the caller asks for it"),
        pytest.param(True, False, True, id="an experiment needs it"),
    ],
)
def test_an_event_has_a_reason_if(is_experiment: bool, with_reason: bool, has_reason: bool) -> None:
    (event,) = events_of(evaluated(is_tracked=True, is_experiment=is_experiment), with_reason=with_reason)
    assert event.reason == (FALLTHROUGH if has_reason else None)


@pytest.mark.parametrize(
    ("is_tracked", "reasons"),
    [
        pytest.param(False, [], id="an experiment alone does not track"),
        pytest.param(True, [FALLTHROUGH], id="an experiment adds the reason"),
    ],
)
def test_where_experiments_are_not_tracked(is_tracked: bool, reasons: list[Reason]) -> None:
    events = events_of(evaluated(is_tracked=is_tracked, is_experiment=True), tracks_experiments=False)
    assert [event.reason for event in events] == reasons


def test_an_event_has_the_sampling_ratio_of_its_flag() -> None:
    (event,) = events_of(evaluated(is_tracked=True, sampling_ratio=10))
    assert event.sampling_ratio == 10


def test_prerequisites_come_first_and_have_no_default() -> None:
    answer = Answer("b", 1, FALLTHROUGH, is_experiment=True)
    prerequisite = PrerequisiteEvaluation("pre", 3, Tracking(), answer, "f")
    evaluation = Evaluation(detail=DETAIL, flag=compiled(Tracking()), prerequisites=(prerequisite,))
    first, second = evaluated_flags(evaluation, "d")
    assert (first.flag.key, first.default, first.prerequisite_of, first.is_experiment) == ("pre", None, "f", True)
    assert (second.flag.key, second.default, second.prerequisite_of, second.is_experiment) == ("f", "d", None, False)


@pytest.mark.parametrize(
    ("error", "is_experiment"),
    [pytest.param(None, True, id="no error"), pytest.param(ErrorKind.WRONG_TYPE, False, id="wrong type")],
)
def test_an_experiment_with_an_error_is_not_reported_as_one(error: ErrorKind | None, is_experiment: bool) -> None:
    detail = EvaluationDetail("d", None, Reason(kind=ReasonKind.ERROR, error_kind=error))
    (flag,) = evaluated_flags(Evaluation(detail=detail, flag=compiled(Tracking()), is_experiment=True), "d")
    assert [event.reason for event in events_of(flag)] == ([detail.reason] if is_experiment else [])


def test_an_unknown_flag_has_no_evaluated_flag() -> None:
    assert evaluated_flags(Evaluation(detail=DETAIL), "d") == []
