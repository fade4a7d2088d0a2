"""The fast path of a mobile client: the answer of a flag is a constant of its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from aioflags import Flag
from aioflags.events.options import MobileEvents
from aioflags.hooks import EvaluationCall, Hook
from aioflags.mobile.client import MobileClient
from tests.support.evaluating_clients import fast_only
from tests.support.mobile_service import BEN, SILENT, MobileService, mobile_client, polled, put
from tests.support.scripted_http import intent, poll_of, sse, stream_of

EVENTS = MobileEvents(diagnostic_opt_out=True, flush_interval=None)
END: tuple[str, object] = ("payload-transferred", {"state": "s", "version": 1})
FLAGS = poll_of(
    intent("xfer-full"),
    put("plain", "text"),
    put("number", 3),
    put("list", [1]),
    put("null", None),
    put("top", "t", prerequisites=["plain", "gone"]),
    END,
)


class Watcher(Hook):
    """Notes the keys of evaluations."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, Any]) -> Mapping[str, Any]:
        self.keys.append(series_context.key)
        return data


@pytest.mark.parametrize("records_events", [False, True])
@pytest.mark.parametrize(
    ("key", "default", "value"),
    [
        pytest.param("plain", "", "text", id="a string"),
        pytest.param("number", 0, 3, id="an integer"),
        pytest.param("number", 0.5, 3.0, id="an integer as a float"),
        pytest.param("top", "", "t", id="a flag with prerequisites"),
    ],
)
async def test_an_evaluation_does_not_reach_the_slow_path(key: str, default: Any, value: Any, records_events: bool) -> None:
    events = EVENTS if records_events else MobileEvents(send_events=False)
    async with mobile_client(MobileService(poll=[FLAGS]), events=events) as client:
        client.variation(key, default)  # finds the answer
        values = [MobileClient.variation(fast_only(client), key, default) for _ in range(3)]
    assert [(each, type(each)) for each in values] == [(value, type(value))] * 3


@pytest.mark.parametrize(
    ("key", "default"),
    [
        pytest.param("plain", 0, id="the value has another type"),
        pytest.param("list", [], id="the value is copied"),
        pytest.param("null", "", id="the flag has no value"),
        pytest.param("unknown", "", id="the flag is unknown"),
        pytest.param("plain", None, id="any type is expected"),
        pytest.param(["plain"], "", id="the key is not a string"),
    ],
)
async def test_an_evaluation_is_made_by_the_slow_path_if(key: Any, default: Any) -> None:
    async with mobile_client(MobileService(poll=[FLAGS])) as client:
        for each in client.all():
            client.variation(each, None)
        with pytest.raises(AttributeError, match="evaluator"):
            MobileClient.variation(fast_only(client), key, default)


async def test_a_detail_is_that_of_the_flag_and_does_not_reach_the_slow_path() -> None:
    async with mobile_client(MobileService(poll=[FLAGS]), events=MobileEvents(send_events=False)) as client:
        detail = client.variation_detail("top", "")
        assert MobileClient.variation_detail(fast_only(client), "top", "") is detail
        for key, default in (("number", 0.5), ("list", []), ("null", ""), ("plain", 0), ("unknown", "")):
            client.variation_detail(key, default)
            with pytest.raises(AttributeError, match="evaluator"):
                MobileClient.variation_detail(fast_only(client), key, default)


async def test_a_detail_is_recorded_with_its_reason() -> None:
    service = MobileService(poll=[poll_of(intent("xfer-full"), put("f", 1, trackEvents=True, reason={"kind": "OFF"}), END)])
    async with mobile_client(service, events=EVENTS) as client:
        for _ in range(2):
            assert client.variation_detail("f", 0).value == 1
        await client.flush_and_wait()
    assert [event["reason"] for event in service.events if event["kind"] == "feature"] == [{"kind": "OFF"}] * 2


async def counts(service: MobileService, client: MobileClient) -> dict[tuple[str, str, object], int]:
    """How often each value was counted, by the key of the context and the key of the flag."""
    await client.flush_and_wait()
    return {
        (event["context"]["key"], key, counter.get("value")): counter["count"]
        for event in service.events
        if event["kind"] == "summary"
        for key, feature in event["features"].items()
        for counter in feature["counters"]
    }


async def test_each_evaluation_is_counted_with_the_prerequisites_of_its_data() -> None:
    change = sse(put("plain", "new", version=2), END)
    service = MobileService(poll=[FLAGS], stream=[stream_of(sse(intent("xfer-changes")), 1.0, change, 600.0)])
    async with mobile_client(service, events=EVENTS) as client:
        for _ in range(3):
            client.variation("top", "")
        await anyio.sleep(5)
        assert client.variation("plain", "") == "new"
        for _ in range(2):
            client.variation("top", "")
        found = await counts(service, client)
    assert found == {
        ("anna", "top", "t"): 5,
        ("anna", "plain", "text"): 3,
        ("anna", "plain", "new"): 3,
        ("anna", "gone", None): 5,
    }


async def test_each_evaluation_is_counted_for_the_context_of_its_data() -> None:
    service = MobileService()
    async with mobile_client(service, events=EVENTS) as client:
        values = [client.variation("f", "") for _ in range(3)]
        await client.identify(BEN)
        values += [client.variation("f", "") for _ in range(4)]
        found = await counts(service, client)
    assert values == ["poll anna"] * 3 + ["poll ben"] * 4
    assert found == {("anna", "f", "poll anna"): 3, ("ben", "f", "poll ben"): 4}


async def test_a_typed_flag_is_counted_as_a_plain_key_with_its_default_is() -> None:
    service = MobileService(poll=[FLAGS])
    async with mobile_client(service, events=EVENTS) as client:
        values = [client.variation(Flag[float]("number", default=0.5)) for _ in range(3)]
        values += [client.variation("number", 0.5), client.variation(Flag[float]("plain", default=0.5))]
        found = await counts(service, client)
    assert [(value, type(value)) for value in values] == [(3.0, float)] * 4 + [(0.5, float)]
    assert found == {("anna", "number", 3): 4, ("anna", "plain", 0.5): 1}


async def test_until_the_flags_of_a_new_context_arrive_the_default_is_served() -> None:
    service = MobileService(poll=[lambda hit: polled("s", f="a") if hit.key == "anna" else SILENT])
    async with mobile_client(service) as client:
        assert [client.variation("f", "") for _ in range(2)] == ["a", "a"]
        await client.identify(BEN, timeout=1)
        assert client.variation("f", "") == ""


async def test_a_hook_that_is_added_sees_the_next_evaluation() -> None:
    async with mobile_client(MobileService()) as client:
        assert [client.variation("f", "") for _ in range(2)] == ["poll anna"] * 2
        client.add_hook(hook := Watcher())
        assert client.variation("f", "") == "poll anna"
    assert hook.keys == ["f"]
