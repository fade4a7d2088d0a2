"""Evaluations, events, changes and the status of a mobile client whose flags a service evaluated."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from aioflags.events.options import MobileEvents
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind
from aioflags.model.status import SourceState
from tests.support.mobile_service import ANNA, BEN, DOWN, SILENT, UP_TO_DATE, MobileService, mobile_client, put, streamed, transfer
from tests.support.scripted_http import Answer, intent, poll_of, sse, stream_of

EVENTS = MobileEvents(diagnostic_opt_out=True, flush_interval=None)
FALLTHROUGH = {"kind": "FALLTHROUGH"}
END: tuple[str, object] = ("payload-transferred", {"state": "s", "version": 1})


def flags(*puts: tuple[str, object]) -> Answer:
    """A poll's answer with these flags."""
    return poll_of(intent("xfer-full"), *puts, END)


ALL_TYPES = flags(
    put("yes", True),
    put("three", 3),
    put("half", 2.5),
    put("text", "hello"),
    put("list", [1, {"a": None}]),
    put("object", {"a": [1]}),
    put("null", None, reason=FALLTHROUGH),
    put("reasoned", "x", reason={"kind": "RULE_MATCH", "ruleIndex": 1, "ruleId": "r"}),
    put("top", "t", prerequisites=["b", "c"], trackEvents=True),
    put("b", 1, trackEvents=True),
    put("c", 2, trackEvents=True),
    put("ring", "r", prerequisites=["ring-2"], trackEvents=True),
    put("ring-2", "r", prerequisites=["ring"], trackEvents=True),
    put("no version of the flag", 1, version=9, trackEvents=True, flagVersion=None),
)


@pytest.mark.parametrize(
    ("key", "default", "value", "error"),
    [
        pytest.param("yes", False, True, None, id="a boolean"),
        pytest.param("yes", 0, 0, ErrorKind.WRONG_TYPE, id="S-90 a boolean where an int is asked for"),
        pytest.param("yes", 0.5, 0.5, ErrorKind.WRONG_TYPE, id="S-90 a boolean where a float is asked for"),
        pytest.param("three", 0.5, 3.0, None, id="an int as a float"),
        pytest.param("half", 0, 2, None, id="a float as an int is cut"),
        pytest.param("text", 0, 0, ErrorKind.WRONG_TYPE, id="text where an int is asked for"),
        pytest.param("list", [], [1, {"a": None}], None, id="a list"),
        pytest.param("object", {}, {"a": [1]}, None, id="an object"),
        pytest.param("null", "default", "default", None, id="null is the default"),
        pytest.param("gone", "default", "default", ErrorKind.FLAG_NOT_FOUND, id="an unknown flag"),
    ],
)
async def test_the_value_of_a_flag(key: str, default: Any, value: Any, error: ErrorKind | None) -> None:
    async with mobile_client(MobileService(poll=[ALL_TYPES])) as client:
        detail = client.variation_detail(key, default)
        assert (detail.value, type(detail.value), detail.reason.error_kind) == (value, type(value), error)
        assert client.variation(key, default) == value


async def test_reasons_are_passed_on_and_a_flag_without_a_value_keeps_its_own_and_its_variation() -> None:
    async with mobile_client(MobileService(poll=[ALL_TYPES])) as client:
        reason = client.variation_detail("reasoned", "").reason
        assert (reason.kind, reason.rule_index, reason.rule_id) == ("RULE_MATCH", 1, "r")
        detail = client.variation_detail("null", 1)
        assert (detail.reason.kind, detail.variation_index, detail.is_default) == ("FALLTHROUGH", 0, True)


async def test_before_any_data_there_is_a_reason() -> None:
    client = mobile_client(MobileService(poll=[SILENT]))
    assert client.variation_detail("f", 1).reason.error_kind is ErrorKind.CLIENT_NOT_READY
    await client.start(1)
    assert client.variation_detail("f", 1).reason.error_kind is ErrorKind.CLIENT_NOT_READY
    assert client.all() == {}
    await client.aclose()


# -- events


async def events_of(service: MobileService, client: Any) -> list[dict[str, Any]]:
    await client.flush_and_wait()
    return service.events


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        pytest.param("top", ["b", "c", "top"], id="S-91 in order"),
        pytest.param("ring", ["ring-2", "ring"], id="S-92 a cycle"),
    ],
)
async def test_evaluations_of_prerequisites_are_reported_first(key: str, sent: list[str]) -> None:
    service = MobileService(poll=[ALL_TYPES])
    async with mobile_client(service, events=EVENTS) as client:
        client.variation(key, "")
        features = [event for event in await events_of(service, client) if event["kind"] == "feature"]
    assert [event["key"] for event in features] == sent
    assert not any("prereqOf" in event for event in features)


@pytest.mark.holds("S-93")
async def test_each_context_has_a_summary_and_no_index_event() -> None:
    service = MobileService()
    async with mobile_client(service, events=EVENTS) as client:
        client.variation("f", "")
        await client.identify(BEN)
        client.variation("f", "")
        client.variation("f", "")
        events = await events_of(service, client)
    summaries = {
        event["context"]["key"]: event["features"]["f"]["counters"][0]["count"] for event in events if event["kind"] == "summary"
    }
    assert summaries == {"anna": 1, "ben": 2}
    assert {event["kind"] for event in events} == {"identify", "summary"}


@pytest.mark.holds("S-94")
async def test_without_a_version_of_the_flag_an_event_has_that_of_the_data() -> None:
    service = MobileService(poll=[ALL_TYPES])
    async with mobile_client(service, events=EVENTS) as client:
        client.variation("no version of the flag", 0)
        (event,) = [event for event in await events_of(service, client) if event["kind"] == "feature"]
    assert event["version"] == 9


@pytest.mark.holds("S-95")
async def test_an_anonymous_context_is_redacted_in_feature_events_alone() -> None:
    service = MobileService(poll=[ALL_TYPES])
    context = Context("x", anonymous=True, attributes={"plan": "pro"})
    async with mobile_client(service, context, events=EVENTS) as client:
        client.variation("b", 0)
        client.track("pressed")
        events = {event["kind"]: event["context"] for event in await events_of(service, client)}
    assert "plan" not in events["feature"]
    assert events["feature"]["_meta"] == {"redactedAttributes": ["plan"]}
    assert (events["custom"]["plan"], events["identify"]["plan"]) == ("pro", "pro")


@pytest.mark.holds("S-96")
async def test_offline_the_flags_are_served_and_nothing_is_sent() -> None:
    service = MobileService()
    async with mobile_client(service, events=MobileEvents()) as client:
        client.track("before")
        client.set_offline(True)
        await anyio.sleep(10)
        sent = len(service.posts)
        assert [event["kind"] for event in service.events[-2:]] == ["identify", "custom"]
        assert client.variation("f", "") == "poll anna"
        client.track("offline")
        client.flush()
        assert not await client.flush_and_wait(5)
        await anyio.sleep(24 * 3600)
        assert len(service.posts) == sent
        assert (service.open, len(service.hits)) == (0, 2)
        client.set_offline(False)
        await anyio.sleep(60)
        assert "offline" in [event.get("key") for event in service.events]


# -- changes


@pytest.mark.holds("S-97")
async def test_a_flag_that_is_sent_again_with_an_equal_value_is_a_change_of_the_flag_and_not_of_its_value() -> None:
    service = MobileService(poll=[DOWN], stream=[streamed("s1", 1.0, sse(put("f", 1, version=2), END), f=1)])
    async with mobile_client(service) as client:
        await client.wait_ready(10)
        with client.changes() as flag_changes, client.changes("f") as values:
            assert (await anext(flag_changes)).key == "f"
            with anyio.move_on_after(60) as silence:
                await anext(values)
            assert silence.cancelled_caught


@pytest.mark.parametrize(
    ("messages", "keys"),
    [
        pytest.param([put("b", 2), END], ["b"], id="a change"),
        pytest.param([*transfer("s2", a=1, b=1)], [], id="a full payload with the same flags"),
        pytest.param([*transfer("s2", a=2, c=1)], ["a", "b", "c"], id="a full payload: changed, removed and added"),
        pytest.param([intent("none")], [], id="no news"),
        pytest.param([put("a", 7), END, put("a", 1), END], ["a", "a"], id="two payloads"),
    ],
)
async def test_followers_of_all_flags_get_the_keys_of_one_payload(messages: Any, keys: list[str]) -> None:
    service = MobileService(poll=[DOWN], stream=[stream_of(sse(*transfer("s1", a=1, b=1)), 1.0, sse(*messages))])
    async with mobile_client(service) as client:
        await client.wait_ready(10)
        seen: list[str] = []
        with client.changes() as changes, anyio.move_on_after(60):
            while True:
                seen.append((await anext(changes)).key)
        assert sorted(seen) == keys


# -- status


@pytest.mark.holds("S-98")
async def test_an_interruption_before_any_data_leaves_the_state_and_sets_the_error() -> None:
    service = MobileService(poll=[DOWN], stream=[DOWN])
    client = mobile_client(service)
    seen: list[tuple[str, int | None]] = []

    async def follow() -> None:
        async for report in client.reports():
            error = report.last_error
            seen.append((report.source_state.value, None if error is None else error.status_code))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await client.start(9)
        report = client.report
        assert report.source_state is SourceState.INITIALIZING
        assert report.last_error is not None
        assert report.last_error.status_code == 503
        await client.aclose()
    assert ("INITIALIZING", 503) in seen
    assert {state for state, _ in seen} == {"INITIALIZING", "OFF"}


@pytest.mark.parametrize(
    ("poll", "stream", "kind"),
    [
        pytest.param(Answer(503), UP_TO_DATE, "UNEXPECTED_RESPONSE_CODE", id="a status"),
        pytest.param(Answer(200, {}, [b"{oops"]), UP_TO_DATE, "INVALID_RESPONSE_BODY", id="a body"),
        pytest.param(Answer(after=OSError("unreachable")), UP_TO_DATE, None, id="an exception"),
    ],
)
async def test_the_connection_information_has_the_last_failure_and_success(poll: Answer, stream: Answer, kind: str | None) -> None:
    service = MobileService(poll=[poll], stream=[stream])
    async with mobile_client(service, start_wait=10) as client:
        await anyio.sleep(10)
        info = client.connection_info
        assert info.last_success is not None
        assert info.last_failure is not None
        assert kind is None or info.last_failure_type == kind
        assert info.sources["polling"].last_error is not None
        assert info.sources["streaming"].last_error is None


@pytest.mark.parametrize("use_report", [False, True])
async def test_no_logger_shows_a_context_or_its_hash(use_report: bool, caplog: pytest.LogCaptureFixture) -> None:
    private = Context("anna", attributes={"plan": "secret plan"}, private=["plan"])
    service = MobileService(poll=[DOWN, Answer(200, {}, [b"{oops"])], stream=[DOWN])
    with caplog.at_level(logging.DEBUG):
        options: dict[str, Any] = {"start_wait": 3, "use_report": use_report, "secure_mode_hash": "secret-hash"}
        async with mobile_client(service, private, **options) as client:
            await client.identify(ANNA, timeout=3)
    assert "httpx" in {record.name for record in caplog.records}
    for secret in ("secret", "eyJ"):
        assert secret not in caplog.text
