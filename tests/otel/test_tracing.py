"""TracingHook: events on the current span, and a span for each evaluation."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from aioflags import EvaluationDetail, Hook, Reason, ReasonKind
from aioflags.hooks import EvaluationCall
from aioflags.otel import TracingHook
from tests.support.otel import ANNA, INVALID, USER, Traces, client_with


async def test_an_evaluation_adds_an_event_to_the_current_span() -> None:
    traces = Traces()
    async with client_with(TracingHook(tracer_provider=traces.provider)) as client:
        with traces.tracer.start_as_current_span("request"):
            await client.variation("checkout", USER, False)
            await client.variation("experiment", USER, "")
            await client.variation("missing", INVALID, "")
    (span,) = traces.spans
    assert [event.name for event in span.events] == ["feature_flag"] * 3
    provider = {"feature_flag.provider.name": "LaunchDarkly"}
    assert [dict(event.attributes or {}) for event in span.events] == [
        {**provider, "feature_flag.key": "checkout", "feature_flag.context.id": ANNA, "feature_flag.result.variationIndex": 0},
        {
            **provider,
            "feature_flag.key": "experiment",
            "feature_flag.context.id": ANNA,
            "feature_flag.result.variationIndex": 0,
            "feature_flag.result.reason.inExperiment": True,
        },
        {**provider, "feature_flag.key": "missing"},
    ]


@pytest.mark.parametrize(
    ("context_id", "expected"), [("key", ANNA), ("omit", None), ("hash", hashlib.sha256(ANNA.encode()).hexdigest())]
)
async def test_a_span_identifies_the_context_as_configured(context_id: Any, expected: str | None) -> None:
    traces = Traces()
    async with client_with(TracingHook(tracer_provider=traces.provider, spans=True, context_id=context_id)) as client:
        with traces.tracer.start_as_current_span("request"):
            await client.variation("checkout", USER, False)
    own, parent = traces.spans
    shown = own.attributes, parent.events[0].attributes
    assert [(attributes or {}).get("feature_flag.context.id") for attributes in shown] == [expected, expected]


async def test_the_span_event_has_the_value_as_json_if_configured() -> None:
    traces = Traces()
    async with client_with(TracingHook(tracer_provider=traces.provider, include_value=True)) as client:
        with traces.tracer.start_as_current_span("request"):
            await client.variation("object", USER, {})
    (event,) = traces.spans[0].events
    assert (event.attributes or {})["feature_flag.result.value"] == '{"a": [1]}'


async def test_the_span_event_has_the_environment() -> None:
    traces, hook = Traces(), TracingHook()
    call = EvaluationCall(key="f", context=USER, default_value=0, method="variation", environment_id="env", flag_version=1)
    with traces.tracer.start_as_current_span("request"):
        hook.after_evaluation(call, {}, EvaluationDetail(0, 0, Reason(kind=ReasonKind.FALLTHROUGH)))
    assert (traces.spans[0].events[0].attributes or {})["feature_flag.set.id"] == "env"


async def test_with_spans_an_evaluation_has_a_span_and_an_event_on_its_parent() -> None:
    traces = Traces()
    async with client_with(TracingHook(tracer_provider=traces.provider, spans=True)) as client:
        with traces.tracer.start_as_current_span("request") as request:
            await client.variation_detail("checkout", USER, False)
    own, parent = traces.spans
    assert (own.name, dict(own.attributes or {})) == (
        "variation_detail",
        {"feature_flag.key": "checkout", "feature_flag.context.id": ANNA},
    )
    assert own.parent is not None
    assert own.parent.span_id == request.get_span_context().span_id
    assert (len(own.events), len(parent.events)) == (0, 1)


async def test_without_a_current_span_no_event_is_added() -> None:
    traces = Traces()
    async with client_with(TracingHook(tracer_provider=traces.provider)) as client:
        assert await client.variation("checkout", USER, False) is True
    assert traces.spans == []


async def test_each_task_adds_events_to_its_current_span() -> None:
    traces = Traces()
    async with client_with(TracingHook(tracer_provider=traces.provider)) as client:

        async def request(key: str) -> None:
            with traces.tracer.start_as_current_span(key):
                await asyncio.sleep(1)
                await client.variation(key, USER, None)

        await asyncio.gather(request("checkout"), request("off"))
    assert {span.name: (span.events[0].attributes or {})["feature_flag.key"] for span in traces.spans} == {
        "checkout": "checkout",
        "off": "off",
    }


async def test_the_span_of_a_cancelled_evaluation_ends_without_an_event() -> None:
    class Slow(Hook):
        async def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
            await asyncio.sleep(5)
            return data

    traces = Traces()
    async with client_with(TracingHook(spans=True, tracer_provider=traces.provider), Slow()) as client:
        with traces.tracer.start_as_current_span("request"):
            asking = asyncio.create_task(client.variation("checkout", USER, default=False))
            await asyncio.sleep(1)
            asking.cancel()
            await asyncio.wait([asking])
    assert [(span.name, len(span.events)) for span in traces.spans] == [("variation", 0), ("request", 0)]
