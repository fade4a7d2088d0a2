"""The analytics of each call, for each evaluation method: the worked scenarios of the specification, and further cases."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, Never

import pytest

from aioflags import Client, Config, Context, EvaluationDetail, Events
from aioflags.migration import Operation, OpTracker, Origin, Stage
from aioflags.model.detail import Reason, ReasonKind
from aioflags.runtime.logs import logger
from tests.support.canaries import KEY, SECRET, redacted
from tests.support.events import AN, ORG, U1, U2, ClientWithEvents, client_with_events, document, unstarted_client
from tests.support.scripted_http import Answer, Service

Ask = Callable[..., Any]

DOORS = ["variation", "variation_nowait", "flags"]


class RaisesOnRead(dict[str, object]):
    """Raises when it is read, as a dictionary can that another thread changes meanwhile."""

    def items(self) -> Never:
        raise LookupError(SECRET)


@pytest.fixture(params=DOORS)
def ask(request: pytest.FixtureRequest) -> Ask:
    """An evaluation method: ``await ask(client, key, context, default)``, with ``detail=True`` for the detail."""

    async def evaluate(client: Client, key: str, context: Context = U1, default: Any = "d", *, detail: bool = False) -> Any:
        match request.param:
            case "flags":
                flags = await client.flags(context)
                return flags.variation_detail(key, default) if detail else flags.variation(key, default)
            case "variation_nowait":
                return (client.variation_detail_nowait if detail else client.variation_nowait)(key, context, default)
            case _:
                answer = (client.variation_detail if detail else client.variation)(key, context, default)
                assert inspect.isawaitable(answer)
                return await answer

    return evaluate


@pytest.mark.parametrize(
    ("calls", "detail", "expected"),
    [
        pytest.param(["plain", "plain"], False, ["index u1", "summary plain:2"], id="EVT-W1"),
        pytest.param(["tracked"], False, ["index u1", "feature tracked", "summary tracked:1"], id="EVT-W2"),
        pytest.param(["tracked"], True, ["index u1", "feature tracked", "summary tracked:1"], id="EVT-W3"),
        pytest.param(["exp"], False, ["index u1", "feature exp", "summary exp:1"], id="EVT-W4"),
        pytest.param(["rule exp"], False, ["index u1", "feature rule exp", "summary rule exp:1"], id="an experiment of a rule"),
        pytest.param(["rollout exp"], False, ["index u1", "feature rollout exp", "summary rollout exp:1"], id="EVT-W5"),
        pytest.param(["rollout untracked"], False, ["index u1", "summary rollout untracked:1"], id="EVT-W6"),
        pytest.param(["top"], False, ["index u1", "feature pre", "feature top", "summary pre:1 top:1"], id="EVT-W7"),
        pytest.param(["plain top"] * 3, False, ["index u1", "summary plain pre:3 plain top:3"], id="plain prerequisites"),
        pytest.param(["nosum"], False, ["index u1", "feature nosum"], id="EVT-W8"),
        pytest.param(["quiet"] * 3, False, ["index u1"], id="neither tracked nor counted"),
        pytest.param(["never"], False, ["index u1", "summary never:1"], id="EVT-W9"),
        pytest.param(["debug"] * 2, False, ["index u1", "debug debug", "debug debug", "summary debug:2"], id="debugged"),
        pytest.param(["past debug"] * 2, False, ["index u1", "summary past debug:2"], id="debugging has ended"),
        pytest.param(["both"], False, ["index u1", "feature both", "debug both", "summary both:1"], id="EVT-W12"),
        pytest.param(["nope"] * 2, True, ["index u1", "summary nope:2"], id="EVT-W13"),
        pytest.param(["bad"], True, ["index u1", "feature bad", "summary bad:1"], id="EVT-W14"),
        pytest.param(["none", "none"], False, ["index u1", "summary none:2"], id="a flag without a value"),
        pytest.param(
            ["plain", "tracked", "plain"],
            False,
            ["index u1", "feature tracked", "summary plain:2 tracked:1"],
            id="a flag that is tracked between others",
        ),
    ],
)
async def test_evaluations_send_these_records(ask: Ask, calls: list[str], detail: bool, expected: list[str]) -> None:
    async with client_with_events() as sending:
        for key in calls:
            await ask(sending.client, key, detail=detail)
        assert await sending.sent_records() == expected
        assert await sending.payloads() == []


def of_kind(records: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (record for record in records if record["kind"] == kind)
    return found


COMMON = {"kind": "feature", "version": 7, "default": "d", "context": redacted("u1")}


@pytest.mark.parametrize(
    ("key", "detail", "feature"),
    [
        pytest.param("tracked", False, {"value": "b", "variation": 1}, id="EVT-W2 without a reason"),
        pytest.param("tracked", True, {"value": "b", "variation": 1, "reason": {"kind": "FALLTHROUGH"}}, id="EVT-W3 with a reason"),
        pytest.param("exp", False, {"value": "b", "variation": 1, "reason": {"kind": "FALLTHROUGH"}}, id="EVT-W4 of an experiment"),
        pytest.param(
            "rule exp",
            False,
            {"value": "a", "variation": 0, "reason": {"kind": "RULE_MATCH", "ruleIndex": 0, "ruleId": "r"}},
            id="the reason of a rule",
        ),
        pytest.param(
            "rollout exp",
            False,
            {"value": "a", "variation": 0, "reason": {"kind": "FALLTHROUGH", "inExperiment": True}},
            id="EVT-W5 the reason of a rollout",
        ),
        pytest.param(
            "bad", True, {"value": "d", "reason": {"kind": "ERROR", "errorKind": "MALFORMED_FLAG"}}, id="EVT-W14 malformed"
        ),
    ],
)
async def test_a_feature_event_has_all_properties(ask: Ask, key: str, detail: bool, feature: dict[str, object]) -> None:
    async with client_with_events() as sending:
        await ask(sending.client, key, detail=detail)
        found = of_kind(await sending.payload(), "feature")
        assert found.pop("creationDate") > 1_700_000_000_000
        assert found == {**COMMON, "key": key, **feature}


async def test_the_event_of_a_prerequisite_comes_before_that_of_its_flag(ask: Ask) -> None:
    async with client_with_events() as sending:
        await ask(sending.client, "top")
        _, pre, top, summary = await sending.payload()
    assert (pre["key"], pre["default"], pre["prereqOf"]) == ("pre", None, "top")
    assert (top["key"], top["default"], "prereqOf" in top) == ("top", "d", False)
    assert summary["features"]["pre"]["default"] is None
    assert "reason" not in pre


async def test_the_event_of_a_prerequisite_has_a_reason_if_the_caller_asks_for_it(ask: Ask) -> None:
    async with client_with_events() as sending:
        await ask(sending.client, "top", detail=True)
        _, pre, _, _ = await sending.payload()
    assert pre["reason"] == {"kind": "FALLTHROUGH"}


REDACTED = {"kind": "user", "key": "an", "anonymous": True, "_meta": {"redactedAttributes": ["name", "email", "/~1ssn"]}}
WHOLE = {"kind": "user", "key": "an", "anonymous": True, "name": "A", "email": "x", "/ssn": "y"}


@pytest.mark.parametrize(
    ("key", "kinds", "contexts"),
    [
        pytest.param("tracked", ["index", "feature", "summary"], [WHOLE, REDACTED], id="EVT-W10"),
        pytest.param("debug", ["index", "debug", "summary"], [WHOLE, WHOLE], id="EVT-W11"),
    ],
)
async def test_an_anonymous_context_is_complete_in_index_and_debug_events(
    ask: Ask, key: str, kinds: list[str], contexts: list[dict[str, object]]
) -> None:
    async with client_with_events() as sending:
        await ask(sending.client, key, AN)
        payload = await sending.payload()
    assert [record["kind"] for record in payload] == kinds
    assert [record["context"] for record in payload if "context" in record] == contexts


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        pytest.param("identify", ["identify u2", "summary plain:1"], id="EVT-W15"),
        pytest.param("variation", ["index u2", "identify u2", "summary plain:1"], id="EVT-W16"),
    ],
)
async def test_a_context_that_was_identified_is_not_indexed_again(first: str, expected: list[str]) -> None:
    async with client_with_events() as sending:
        if first == "identify":
            sending.client.identify(U2)
            sending.client.variation_nowait("plain", U2, "d")
        else:
            sending.client.variation_nowait("plain", U2, "d")
            sending.client.identify(U2)
        assert await sending.sent_records() == expected


@pytest.mark.holds("EVT-W17")
async def test_omitted_anonymous_contexts_are_counted_but_not_described(ask: Ask) -> None:
    async with client_with_events(omit_anonymous_contexts=True) as sending:
        sending.client.identify(AN)
        sending.client.identify(Context.multi(AN, ORG))
        await ask(sending.client, "plain", AN)
        await ask(sending.client, "plain", Context.multi(AN, ORG))
        identify, summary = await sending.payload()
    assert identify["context"] == {"kind": "org", "key": "o9"}
    assert summary["features"]["plain"]["counters"][0]["count"] == 2
    assert set(summary["features"]["plain"]["contextKinds"]) == {"user", "org"}


@pytest.mark.holds("EVT-W18", "CS-C23")
async def test_an_event_for_an_invalid_context_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    async with client_with_events() as sending:
        sending.client.track("x", Context(""))
        sending.client.identify(Context(""))
        sending.client.track("x")
        assert await sending.payloads() == []
    assert caplog.text.count("the context cannot be used") == 3


async def test_an_evaluation_for_an_invalid_context_is_not_reported(ask: Ask) -> None:
    async with client_with_events() as sending:
        await ask(sending.client, "tracked", Context(""))
        await ask(sending.client, "tracked", None)
        assert await sending.payloads() == []


@pytest.mark.holds("EVT-W19")
async def test_all_flags_state_and_explain_record_no_events() -> None:
    async with client_with_events() as sending:
        await sending.client.all_flags_state(U1, with_reasons=True)
        sending.client.flags_nowait(U1).all()
        await sending.client.explain("tracked", U1)
        assert await sending.payloads() == []


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
        pytest.param({"data": float("nan")}, {}, id="EVT-W24"),
        pytest.param({"data": [1, {"a": float("inf")}]}, {}, id="infinity inside an object"),
        pytest.param({"data": {1: 2}}, {}, id="a name that is not a string"),
        pytest.param({"data": object()}, {}, id="a value that JSON cannot represent"),
        pytest.param({"metric_value": float("nan")}, {}, id="a metric value that is NaN"),
        pytest.param({"metric_value": 10**400}, {"metricValue": 10**400}, id="a very large number"),
        pytest.param({"metric_value": 10**5000}, {}, id="a number with more digits than Python converts"),
        pytest.param({"data": {"n": 10**5000}}, {}, id="such a number inside an object"),
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


async def test_a_tracked_event_redacts_an_anonymous_context() -> None:
    async with client_with_events() as sending:
        sending.client.track("x", AN)
        _, custom = await sending.payload()
    assert custom["context"] == REDACTED


@pytest.mark.parametrize(
    ("key", "default", "entry"),
    [
        pytest.param("plain", "d", {"value": "b", "variation": 1, "version": 7}, id="a value"),
        pytest.param("zero", "d", {"value": "b", "variation": 1, "version": 0}, id="version 0 is sent"),
        pytest.param("nope", "d", {"value": "d", "unknown": True}, id="EVT-W13 an unknown flag"),
        pytest.param("bad", "d", {"value": "d", "version": 7}, id="EVT-W14 malformed"),
        pytest.param("none", "d", {"value": "d", "version": 7}, id="a flag without a value"),
        pytest.param("plain", 3, {"value": 3, "version": 7}, id="a value of another type"),
        pytest.param("object", {}, {"value": {"a": [1]}, "variation": 1, "version": 7}, id="an object"),
        pytest.param("number", 1, {"value": 2, "variation": 1, "version": 7}, id="a float as the int that was asked for"),
        pytest.param("plain", None, {"value": "b", "variation": 1, "version": 7}, id="any type"),
    ],
)
async def test_counters_of_a_summary(ask: Ask, key: str, default: Any, entry: dict[str, object]) -> None:
    async with client_with_events() as sending:
        for _ in range(3):
            await ask(sending.client, key, U1, default)
        summary = of_kind(await sending.payload(), "summary")
    assert set(summary) == {"kind", "startDate", "endDate", "features"}
    assert 1_700_000_000_000 < summary["startDate"] <= summary["endDate"]
    assert summary["features"] == {key: {"default": default, "contextKinds": ["user"], "counters": [{"count": 3, **entry}]}}


async def test_a_summary_has_the_first_default_and_all_kinds(ask: Ask) -> None:
    async with client_with_events() as sending:
        for default in ("d1", "d2"):
            await ask(sending.client, "plain", U1, default)
        await ask(sending.client, "plain", ORG, "d3")
        await ask(sending.client, "plain", Context.multi(U2, Context("c", "car")), "d4")
        feature = of_kind(await sending.payload(), "summary")["features"]["plain"]
    assert feature["default"] == "d1"
    assert set(feature["contextKinds"]) == {"user", "org", "car"}
    assert feature["counters"] == [{"count": 4, "value": "b", "variation": 1, "version": 7}]


async def test_each_payload_has_a_new_summary(ask: Ask) -> None:
    async with client_with_events() as sending:
        await ask(sending.client, "plain")
        assert await sending.sent_records() == ["index u1", "summary plain:1"]
        await ask(sending.client, "plain", default="other")
        (summary,) = await sending.payload()
    assert summary["features"]["plain"]["default"] == "other"
    assert summary["features"]["plain"]["counters"][0]["count"] == 1


async def test_no_event_is_recorded_before_the_start_and_after_the_close(ask: Ask) -> None:
    async with client_with_events() as sending:
        client = sending.client
    await ask(client, "plain")
    await ask(client, "tracked", detail=True)
    client.track("x", U1)
    client.identify(U1)
    client.flush()
    assert await client.flush_and_wait(1)
    assert sending.posted() == []
    assert client.stats.events_recorded == client.stats.evaluations_recorded == 0


EventCall = Callable[[Client], None]


def track(client: Client) -> None:
    client.track("x", U1)


def identify(client: Client) -> None:
    client.identify(U1)


def track_migration_op(client: Client) -> None:
    client.track_migration_op(measured())


def measured() -> OpTracker:
    """A write of a migration, to the old system only."""
    detail = EvaluationDetail(Stage.OFF, 0, Reason(kind=ReasonKind.FALLTHROUGH))
    tracker = OpTracker("m", U1, detail, Stage.OFF, None, logger=logger)
    tracker.operation(Operation.WRITE)
    tracker.invoked(Origin.OLD)
    return tracker


async def test_an_operation_of_a_migration_does_not_describe_its_context() -> None:
    async with client_with_events() as sending:
        track_migration_op(sending.client)
        assert [record["kind"] for record in await sending.payload()] == ["migration_op"]
        assert await sending.client.variation("plain", U1, "") == "b"
        assert await sending.sent_records() == ["index u1", "summary plain:1"]


@pytest.mark.parametrize("call", [track, identify, track_migration_op])
async def test_calls_before_the_start_and_after_the_close_log_one_warning_each(
    call: EventCall,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = unstarted_client(Service())
    for _ in range(3):
        call(client)
    early = warnings(caplog)
    async with client:
        call(client)
    in_time = warnings(caplog)[len(early) :]
    for _ in range(3):
        call(client)
    late = warnings(caplog)[len(early) :]
    assert (early, in_time, late) == (
        [f"{call.__name__}: nothing is recorded before the client is started"],
        [],
        [f"{call.__name__}: nothing is recorded once the client is closed"],
    )
    assert client.stats.events_recorded <= 2


@pytest.mark.parametrize("call", [track, identify, track_migration_op])
@pytest.mark.parametrize(
    "client",
    [
        pytest.param(lambda: Client.local(document()), id="a client with a document"),
        pytest.param(lambda: Client(KEY, Config(offline=True)), id="an offline client"),
        pytest.param(lambda: Client(KEY, Config(events=Events(send_events=False))), id="a client with events off"),
    ],
)
async def test_a_client_without_events_logs_no_warning(
    client: Callable[[], Client], call: EventCall, caplog: pytest.LogCaptureFixture
) -> None:
    silent = client()
    call(silent)
    await silent.aclose()
    call(silent)
    assert warnings(caplog) == []


@pytest.mark.parametrize("call", [track, identify, track_migration_op])
async def test_calls_after_a_refusal_log_no_warning(call: EventCall, caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    service.takes = [Answer(401)]
    async with client_with_events(service=service) as sending:
        sending.client.track("x", U1)
        await sending.client.flush_and_wait()
        before = len(warnings(caplog))
        call(sending.client)
        assert warnings(caplog)[before:] == []


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("key", ["tracked", "plain top"])
async def test_a_close_sends_pending_events(ask: Ask, key: str) -> None:
    sending: ClientWithEvents
    async with client_with_events() as sending:
        await ask(sending.client, key)
    (payload,) = sending.posted()
    assert payload[0]["kind"] == "index"
    assert payload[-1]["kind"] == "summary"
    stats = sending.client.stats
    assert (stats.events_pending, stats.events_dropped, stats.evaluations_pending, stats.evaluations_dropped) == (0, 0, 0, 0)
    assert stats.events_sent == len(payload) - 1
