"""The events of an evaluation: which flags have one, what is in it, what is copied, and overrides."""

from __future__ import annotations

from typing import Any, Never

import pytest

from aioflags.evaluation.answers import Answer, PrerequisiteEvaluation, Tracking
from aioflags.evaluation.items import Evaluation
from aioflags.evaluation.scope import CompiledFlag
from aioflags.events.evaluation_events import EvaluatedFlag, evaluated_flags, evaluation_events
from aioflags.model.context import Context
from aioflags.model.defaults import MAX_PAYLOAD_BYTES
from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason, ReasonKind
from aioflags.model.event import EvaluationEvent
from tests.support.canaries import SECRET, redacted
from tests.support.events import U1, client_with_events, document, flag
from tests.support.overridden_clients import override

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


# -- data, metric values, defaults and attributes


class RaisesOnRead(dict[str, object]):
    """Raises when it is read, as a dictionary can that another thread changes meanwhile."""

    def items(self) -> Never:
        raise LookupError(SECRET)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        pytest.param({}, {}, id="neither data nor a metric value"),
        pytest.param({"data": {"a": [1]}, "metric_value": 0}, {"data": {"a": [1]}, "metricValue": 0}, id="data and a zero"),
        pytest.param({"metric_value": -1.5}, {"metricValue": -1.5}, id="a negative number"),
        pytest.param({"data": False}, {"data": False}, id="false"),
        pytest.param({"data": 0}, {"data": 0}, id="zero"),
        pytest.param({"data": ""}, {"data": ""}, id="an empty string"),
        pytest.param({"data": []}, {"data": []}, id="an empty array"),
        pytest.param({"data": {}}, {"data": {}}, id="an empty object"),
        pytest.param({"data": "\ud800x"}, {"data": "\ud800x"}, id="a lone surrogate"),
        pytest.param({"data": float("nan")}, {}, id="NaN"),
        pytest.param({"data": [1, {"a": float("inf")}]}, {}, id="infinity inside an object"),
        pytest.param({"data": {1: 2}}, {}, id="a name that is not a string"),
        pytest.param({"data": object()}, {}, id="a value that JSON cannot represent"),
        pytest.param({"metric_value": float("nan")}, {}, id="EVT-W24 a metric value that is NaN"),
        pytest.param({"metric_value": float("-inf")}, {}, id="EVT-W24 an infinite metric value"),
        pytest.param({"metric_value": 10**400}, {"metricValue": 10**400}, id="a very large number"),
        pytest.param({"metric_value": 10**5000}, {}, id="a number with more digits than Python converts"),
        pytest.param({"data": {"n": 10**5000}}, {}, id="such a number inside an object"),
        pytest.param({"data": "x" * 5_000_000}, {"data": "x" * 5_000_000}, id="data that nearly fill a payload"),
        pytest.param({"data": "x" * MAX_PAYLOAD_BYTES, "metric_value": 1}, {"metricValue": 1}, id="data that are too long"),
        pytest.param({"data": RaisesOnRead(x=1)}, {}, id="a mapping that raises when it is read"),
    ],
)
async def test_data_and_metric_value_of_a_tracked_event(
    given: dict[str, Any],
    sent: dict[str, object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client_with_events() as sending:
        sending.client.track("x", U1, **given)
        sending.client.track("y", U1, "positional", 3)
        index, first, second = await sending.payload()
    assert index["kind"] == "index"
    first.pop("creationDate")
    assert first == {"kind": "custom", "key": "x", "context": redacted("u1"), **sent}
    assert (second["data"], second["metricValue"]) == ("positional", 3)
    assert bool(caplog.records) is (len(sent) < len(given))
    assert sending.client.stats.events_reduced == (len(sent) < len(given))


@pytest.mark.parametrize("key", ["nope", "tracked", "object"])
async def test_a_default_that_raises_when_it_is_read_is_null_in_the_summary(key: str) -> None:
    default = RaisesOnRead(x=1)
    async with client_with_events() as sending:
        # "tracked" serves a string, so the default is used. "object" serves an object.
        found = sending.client.variation_nowait(key, U1, default)
        assert await sending.client.variation(key, U1, default) == found
        assert (found is default) is (key != "object")
        *_, summary = await sending.payload()
    assert summary["features"][key]["default"] is None


@pytest.mark.parametrize("value", [RaisesOnRead(x=1), 10**5000], ids=["raises when it is read", "has too many digits"])
async def test_an_attribute_that_json_cannot_represent_is_left_out_alone(value: object) -> None:
    person = Context("odd", attributes={"odd": value, "plan": "pro"}, private=["/odd/x"])
    async with client_with_events() as sending:
        sending.client.identify(person)
        (identify,) = await sending.payload()
        assert sending.client.stats.events_dropped == 0
    assert identify["context"] == {"kind": "user", "key": "odd", "plan": "pro"}


async def test_data_and_defaults_are_copied_when_they_are_recorded() -> None:
    data: dict[str, Any] = {"a": [1]}
    default: list[Any] = [1]
    async with client_with_events() as sending:
        sending.client.track("x", U1, data)
        sending.client.variation_nowait("tracked", U1, default)
        data["a"].append(2)
        default.append(2)
        _, custom, feature, _ = await sending.payload()
    assert custom["data"] == {"a": [1]}
    assert feature["default"] == [1]


async def test_cyclic_data_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    data: list[Any] = []
    data.append(data)
    async with client_with_events() as sending:
        sending.client.track("x", U1, data)
        _, custom = await sending.payload()
    assert "data" not in custom


# -- overrides


PERSON = Context("u1")
ON_TOP = {"top": flag(trackEvents=True, prerequisites=[{"key": "pre", "variation": 1}])}


def counters(payload: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    features = payload[-1]["features"]
    return {key: sorted(feature["counters"], key=lambda counter: sorted(counter.items())) for key, feature in features.items()}


@pytest.mark.holds("EVT-W25")
@pytest.mark.parametrize(
    ("overrides", "key", "events", "counted"),
    [
        pytest.param(
            {"plain": flag(version=3)},
            "plain",
            ["index", "summary"],
            {"plain": {"value": "b", "variation": 1, "version": 3, "count": 3, "override": True}},
            id="an overridden flag",
        ),
        pytest.param(
            {"tracked": flag(trackEvents=True)},
            "tracked",
            ["index", "summary"],
            {"tracked": {"value": "b", "variation": 1, "version": 7, "count": 3, "override": True}},
            id="an overridden flag that is tracked",
        ),
        pytest.param(
            {"debug": document()["flags"]["debug"]},
            "debug",
            ["index", "summary"],
            {"debug": {"value": "b", "variation": 1, "version": 7, "count": 3, "override": True}},
            id="an overridden flag that is debugged",
        ),
        pytest.param(
            {"rollout exp": document()["flags"]["rollout exp"]},
            "rollout exp",
            ["index", "summary"],
            {"rollout exp": {"value": "a", "variation": 0, "version": 7, "count": 3, "override": True}},
            id="an overridden experiment",
        ),
        pytest.param(
            {"bad": flag(version=8, fallthrough={"variation": 9})},
            "bad",
            ["index", "summary"],
            {"bad": {"value": None, "version": 8, "count": 3, "override": True}},
            id="an overridden flag that is malformed",
        ),
        pytest.param(
            {"pre": flag(trackEvents=True, version=2)},
            "top",
            ["index", "summary"],
            {
                "pre": {"value": "b", "variation": 1, "version": 2, "count": 3, "override": True},
                "top": {"value": "b", "variation": 1, "version": 7, "count": 3, "overrideAffected": True},
            },
            id="an overridden prerequisite",
        ),
        pytest.param(
            {"pre": {"deleted": True}},
            "top",
            ["index", "summary"],
            {"top": {"value": None, "version": 7, "count": 3, "overrideAffected": True}},
            id="a prerequisite that is hidden",
        ),
        pytest.param(
            {"tracked": {"deleted": True}},
            "tracked",
            ["index", "summary"],
            {"tracked": {"value": None, "unknown": True, "count": 3, "override": True}},
            id="a flag that is hidden",
        ),
        pytest.param(
            ON_TOP,
            "top",
            ["index", "feature", "feature", "feature", "summary"],
            {
                "pre": {"value": "b", "variation": 1, "version": 7, "count": 3},
                "top": {"value": "b", "variation": 1, "version": 7, "count": 3, "override": True},
            },
            id="an overridden flag, whose prerequisite has its own events",
        ),
        pytest.param(
            {"other": flag()},
            "plain",
            ["index", "summary"],
            {"plain": {"value": "b", "variation": 1, "version": 7, "count": 3}},
            id="another flag",
        ),
    ],
)
async def test_marked_evaluations_are_counted_and_send_no_event(
    overrides: dict[str, Any], key: str, events: list[str], counted: dict[str, dict[str, Any]]
) -> None:
    async with client_with_events() as events_of:
        await override(events_of.client, {"flags": overrides})
        await events_of.client.variation(key, PERSON, None)
        await events_of.client.variation(key, PERSON, None)
        await events_of.client.variation_detail(key, PERSON, None)
        payload = await events_of.payload()
        assert [record["kind"] for record in payload] == events
        assert counters(payload) == {key: [counter] for key, counter in counted.items()}
        assert all(record["key"] == "pre" for record in payload if record["kind"] == "feature")


@pytest.mark.holds("EVT-W25")
async def test_marked_and_other_evaluations_of_a_version_are_counted_separately() -> None:
    async with client_with_events() as events_of:
        client = events_of.client
        for _ in range(2):
            await client.variation("plain", PERSON, "")
            await client.variation("plain top", PERSON, "")
        await override(client, {"flags": {"plain": flag(), "plain pre": flag()}})
        for _ in range(3):
            await client.variation("plain", PERSON, "")
            await client.variation("plain top", PERSON, "")
        await override(client)
        for _ in range(4):
            await client.variation("plain", PERSON, "")
            await client.variation("plain top", PERSON, "")
        counter = {"value": "b", "variation": 1, "version": 7}
        plain, marked = {**counter, "count": 6}, {**counter, "count": 3}
        assert counters(await events_of.payload()) == {
            "plain": [{**marked, "override": True}, plain],
            "plain pre": [{**marked, "override": True}, plain],
            "plain top": [{**marked, "overrideAffected": True}, plain],
        }
        await client.variation("plain", PERSON, "")
        assert counters(await events_of.payload()) == {"plain": [{**counter, "count": 1}]}
