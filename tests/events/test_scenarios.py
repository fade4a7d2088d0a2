"""The analytics of each call, for each evaluation method: the worked scenarios of the specification, and further cases."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from aioflags import Client, Context
from tests.support.canaries import redacted
from tests.support.events import AN, ORG, U1, U2, ClientWithEvents, client_with_events

Evaluate = Callable[..., Any]
METHODS = ["variation", "variation_nowait", "flags"]


@pytest.fixture(params=METHODS)
def evaluate(request: pytest.FixtureRequest) -> Evaluate:
    """An evaluation method: ``await evaluate(client, key, context, default)``, with ``detail=True`` for the detail."""

    async def call(client: Client, key: str, context: Context = U1, default: Any = "d", *, detail: bool = False) -> Any:
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

    return call


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
async def test_evaluations_send_these_records(evaluate: Evaluate, calls: list[str], detail: bool, expected: list[str]) -> None:
    async with client_with_events() as sending:
        for key in calls:
            await evaluate(sending.client, key, detail=detail)
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
async def test_a_feature_event_has_all_properties(evaluate: Evaluate, key: str, detail: bool, feature: dict[str, object]) -> None:
    async with client_with_events() as sending:
        await evaluate(sending.client, key, detail=detail)
        found = of_kind(await sending.payload(), "feature")
        assert found.pop("creationDate") > 1_700_000_000_000
        assert found == {**COMMON, "key": key, **feature}


async def test_the_event_of_a_prerequisite_comes_before_that_of_its_flag(evaluate: Evaluate) -> None:
    async with client_with_events() as sending:
        await evaluate(sending.client, "top")
        _, pre, top, summary = await sending.payload()
    assert (pre["key"], pre["default"], pre["prereqOf"]) == ("pre", None, "top")
    assert (top["key"], top["default"], "prereqOf" in top) == ("top", "d", False)
    assert summary["features"]["pre"]["default"] is None
    assert "reason" not in pre


async def test_the_event_of_a_prerequisite_has_a_reason_if_the_caller_asks_for_it(evaluate: Evaluate) -> None:
    async with client_with_events() as sending:
        await evaluate(sending.client, "top", detail=True)
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
    evaluate: Evaluate, key: str, kinds: list[str], contexts: list[dict[str, object]]
) -> None:
    async with client_with_events() as sending:
        await evaluate(sending.client, key, AN)
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
async def test_omitted_anonymous_contexts_are_counted_but_not_described(evaluate: Evaluate) -> None:
    async with client_with_events(omit_anonymous_contexts=True) as sending:
        sending.client.identify(AN)
        sending.client.identify(Context.multi(AN, ORG))
        await evaluate(sending.client, "plain", AN)
        await evaluate(sending.client, "plain", Context.multi(AN, ORG))
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


async def test_an_evaluation_for_an_invalid_context_is_not_reported(evaluate: Evaluate) -> None:
    async with client_with_events() as sending:
        await evaluate(sending.client, "tracked", Context(""))
        await evaluate(sending.client, "tracked", None)
        assert await sending.payloads() == []


@pytest.mark.holds("EVT-W19")
async def test_all_flags_state_and_explain_record_no_events() -> None:
    async with client_with_events() as sending:
        await sending.client.all_flags_state(U1, with_reasons=True)
        sending.client.flags_nowait(U1).all()
        await sending.client.explain("tracked", U1)
        assert await sending.payloads() == []


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
async def test_counters_of_a_summary(evaluate: Evaluate, key: str, default: Any, entry: dict[str, object]) -> None:
    async with client_with_events() as sending:
        for _ in range(3):
            await evaluate(sending.client, key, U1, default)
        summary = of_kind(await sending.payload(), "summary")
    assert set(summary) == {"kind", "startDate", "endDate", "features"}
    assert 1_700_000_000_000 < summary["startDate"] <= summary["endDate"]
    assert summary["features"] == {key: {"default": default, "contextKinds": ["user"], "counters": [{"count": 3, **entry}]}}


async def test_a_summary_has_the_first_default_and_all_kinds(evaluate: Evaluate) -> None:
    async with client_with_events() as sending:
        for default in ("d1", "d2"):
            await evaluate(sending.client, "plain", U1, default)
        await evaluate(sending.client, "plain", ORG, "d3")
        await evaluate(sending.client, "plain", Context.multi(U2, Context("c", "car")), "d4")
        feature = of_kind(await sending.payload(), "summary")["features"]["plain"]
    assert feature["default"] == "d1"
    assert set(feature["contextKinds"]) == {"user", "org", "car"}
    assert feature["counters"] == [{"count": 4, "value": "b", "variation": 1, "version": 7}]


async def test_each_payload_has_a_new_summary(evaluate: Evaluate) -> None:
    async with client_with_events() as sending:
        await evaluate(sending.client, "plain")
        assert await sending.sent_records() == ["index u1", "summary plain:1"]
        await evaluate(sending.client, "plain", default="other")
        (summary,) = await sending.payload()
    assert summary["features"]["plain"]["default"] == "other"
    assert summary["features"]["plain"]["counters"][0]["count"] == 1


async def test_no_event_is_recorded_before_the_start_and_after_the_close(evaluate: Evaluate) -> None:
    async with client_with_events() as sending:
        client = sending.client
    await evaluate(client, "plain")
    await evaluate(client, "tracked", detail=True)
    client.track("x", U1)
    client.identify(U1)
    client.flush()
    assert await client.flush_and_wait(1)
    assert sending.posted() == []
    assert client.stats.events_recorded == client.stats.evaluations_recorded == 0


@pytest.mark.parametrize("key", ["tracked", "plain top"])
async def test_a_close_sends_pending_events(evaluate: Evaluate, key: str) -> None:
    sending: ClientWithEvents
    async with client_with_events() as sending:
        await evaluate(sending.client, key)
    (payload,) = sending.posted()
    assert payload[0]["kind"] == "index"
    assert payload[-1]["kind"] == "summary"
    stats = sending.client.stats
    assert (stats.events_pending, stats.events_dropped, stats.evaluations_pending, stats.evaluations_dropped) == (0, 0, 0, 0)
    assert stats.events_sent == len(payload) - 1
