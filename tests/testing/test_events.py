"""EventRecorder: recorded events, assertions and their messages; and events that arrived at a service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from aioflags import Client, Context
from aioflags.client_core.overrides import OVERRIDES
from aioflags.testing import EventRecorder, FlagsService, MemoryClient

ANNA, BERT = Context("anna"), Context("bert", "org")


@pytest.fixture
def events() -> Iterator[EventRecorder]:
    recorder = EventRecorder()
    with OVERRIDES.events_observed(recorder):
        yield recorder


@pytest.fixture
def client() -> Client:
    return MemoryClient()


def test_the_recorder_has_each_event_in_order(events: EventRecorder, client: Client) -> None:
    client.track("purchase", ANNA, {"items": 2}, 9.5)
    client.identify(BERT)
    client.track("view", ANNA)
    client.track("purchase", BERT)
    assert [(event.kind, event.key, event.context, event.data, event.metric_value) for event in events] == [
        ("track", "purchase", ANNA, {"items": 2}, 9.5),
        ("identify", "", BERT, None, None),
        ("track", "view", ANNA, None, None),
        ("track", "purchase", BERT, None, None),
    ]
    assert (events.keys, len(events.of("purchase")), len(events)) == (["purchase", "view"], 2, 4)
    events.clear()
    assert (events.keys, repr(events)) == ([], "<EventRecorder, 0 events>")


@pytest.mark.parametrize(
    ("check", "arguments", "wanted"),
    [
        pytest.param("assert_tracked", ["purchase"], {}, id="an event"),
        pytest.param("assert_tracked", ["purchase"], {"times": 2}, id="an event with a number of times"),
        pytest.param("assert_tracked", ["purchase"], {"data": {"items": 2.0}, "times": 1}, id="an event with data"),
        pytest.param("assert_tracked", ["purchase"], {"data": None, "times": 1}, id="an event without data"),
        pytest.param("assert_tracked", ["purchase"], {"metric_value": 9.5, "times": 1}, id="an event with a metric value"),
        pytest.param("assert_tracked", ["purchase"], {"context": BERT, "times": 1}, id="an event for a context"),
        pytest.param("assert_tracked", ["other"], {"times": 0}, id="an event zero times"),
        pytest.param("assert_not_tracked", ["other"], {}, id="no event"),
        pytest.param("assert_identified", [BERT], {"times": 1}, id="a context"),
        pytest.param("assert_identified", [ANNA], {"times": 0}, id="a context zero times"),
    ],
)
def test_an_assertion_holds(
    events: EventRecorder, client: Client, check: str, arguments: list[Any], wanted: dict[str, Any]
) -> None:
    client.track("purchase", ANNA, {"items": 2}, 9.5)
    client.track("purchase", BERT)
    client.identify(BERT)
    getattr(events, check)(*arguments, **wanted)


@pytest.mark.parametrize(
    ("check", "arguments", "wanted", "shown"),
    [
        pytest.param(
            "assert_tracked",
            ["purchases"],
            {},
            "the event 'purchases' was not tracked; did you mean 'purchase'?\ntracked events:\n"
            "  purchase for anna with the data {'items': 2} with the metric value 9.5",
            id="a similar name",
        ),
        pytest.param(
            "assert_tracked",
            ["purchase"],
            {"data": {"items": 3}, "metric_value": True, "context": BERT},
            "the event 'purchase' was not tracked with the data {'items': 3} with the metric value True for org:bert:\n"
            "  purchase for anna with the data {'items': 2} with the metric value 9.5",
            id="other properties",
        ),
        pytest.param(
            "assert_tracked",
            ["purchase"],
            {"times": 2},
            "the event 'purchase' was not tracked as expected: 2 expected, 1 found:\n"
            "  purchase for anna with the data {'items': 2} with the metric value 9.5",
            id="another number of times",
        ),
        pytest.param(
            "assert_not_tracked",
            ["purchase"],
            {},
            "the event 'purchase' was tracked 1 times:\n  purchase for anna with the data {'items': 2} with the metric value 9.5",
            id="an event that was tracked",
        ),
        pytest.param(
            "assert_identified", [BERT], {}, "org:bert was not identified\nidentified contexts:\n  anna", id="another context"
        ),
    ],
)
def test_a_failed_assertion_lists_what_was_recorded(
    events: EventRecorder, client: Client, check: str, arguments: list[Any], wanted: dict[str, Any], shown: str
) -> None:
    client.track("purchase", ANNA, {"items": 2}, 9.5)
    client.identify(ANNA)
    with pytest.raises(AssertionError) as failure:
        getattr(events, check)(*arguments, **wanted)
    assert str(failure.value) == shown


def test_a_failed_assertion_reports_that_no_event_was_recorded(events: EventRecorder) -> None:
    with pytest.raises(AssertionError, match=r"^the event 'purchase' was not tracked; no event was tracked$"):
        events.assert_tracked("purchase")
    with pytest.raises(AssertionError, match=r"^anna was not identified; no context was identified$"):
        events.assert_identified(ANNA)


def test_only_the_block_is_recorded_and_evaluations_stay_fast(client: Client) -> None:
    recorder = EventRecorder()
    before = client._core.report_to
    with OVERRIDES.events_observed(recorder):
        assert client._core.report_to is before
        client.track("in", ANNA)
        client.track("invalid", Context(""))
    client.track("out", ANNA)
    assert recorder.keys == ["in"]


@pytest.fixture
async def service() -> AsyncIterator[FlagsService]:
    async with FlagsService({"flagValues": {"checkout": True}}) as running:
        yield running


@pytest.mark.real_time
async def test_an_event_that_arrives_at_the_service_is_returned(service: FlagsService) -> None:
    async with service.client() as client:
        client.track("view", ANNA)
        client.track("purchase", ANNA, {"items": 2}, 9.5)
        client.flush()
        event = await service.wait_for_event("custom", key="purchase", metricValue=9.5)
        assert event["data"] == {"items": 2}
        assert (await service.wait_for_event("index"))["context"]["key"] == "anna"
        with pytest.raises(AssertionError, match=r"^no 'custom' event with {'key': 'other'} within 0\.05 s; kinds: index, custom"):
            await service.wait_for_event("custom", key="other", timeout=0.05)
