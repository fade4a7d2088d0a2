"""OpenTelemetry with a client for flagd: its provider, its flag set, its variants."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags import Client, Config, Context, FlagdClient, FlagdConfig
from aioflags.otel import EventsHook, MetricsPlugin, TracingHook
from tests.support.otel import DOCUMENT, Logs, Measured, Traces

RULE = {"if": [{"==": [{"var": "plan"}, "pro"]}, "on", "off"]}
METADATA = {"flagSetId": "shop", "version": 7}
FLAGS: dict[str, Any] = {
    "flags": {
        "checkout": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "off",
            "targeting": RULE,
            "metadata": {"version": "v8"},
        },
        "color": {"state": "ENABLED", "variants": {"red": "#f00"}, "defaultVariant": "red"},
    },
    "metadata": METADATA,
}
PRO, FREE = Context("anna", attributes={"plan": "pro"}), Context("anna", attributes={"plan": "free"})


def without_set() -> dict[str, Any]:
    return {"flags": FLAGS["flags"]}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param(
            "checkout",
            {"feature_flag.result.reason": "targeting_match", "feature_flag.result.variant": "on", "feature_flag.version": "v8"},
            id="the version of the flag",
        ),
        pytest.param(
            "color",
            {"feature_flag.result.reason": "static", "feature_flag.result.variant": "red", "feature_flag.version": "7"},
            id="the version of the flag set",
        ),
        pytest.param(
            "missing",
            {
                "feature_flag.result.reason": "error",
                "error.type": "flag_not_found",
                "feature_flag.error.message": "unknown flag",
                "feature_flag.version": "7",
            },
            id="an unknown flag",
        ),
    ],
)
async def test_an_event_has_the_provider_the_flag_set_and_the_version_of_its_metadata(key: str, expected: dict[str, str]) -> None:
    logs = Logs()
    hook = EventsHook(logger_provider=logs.provider, context_id="key")
    async with FlagdClient.local(FLAGS, FlagdConfig(hooks=[hook])) as client:
        await client.variation_detail(key, PRO)
    assert logs.attributes == [
        {
            "feature_flag.key": key,
            "feature_flag.provider.name": "flagd",
            "feature_flag.context.id": "anna",
            "feature_flag.set.id": "shop",
            **expected,
        }
    ]


async def test_an_event_of_a_flag_without_metadata_has_no_flag_set_and_no_version() -> None:
    logs = Logs()
    flags = {"flags": {"color": FLAGS["flags"]["color"]}}
    async with FlagdClient.local(flags, FlagdConfig(hooks=[EventsHook(logger_provider=logs.provider)])) as client:
        await client.variation("color", Context.keyless(), "")
    assert logs.attributes == [
        {
            "feature_flag.key": "color",
            "feature_flag.provider.name": "flagd",
            "feature_flag.result.reason": "static",
            "feature_flag.result.variant": "red",
        }
    ]


async def test_two_variants_in_one_span_are_two_events() -> None:
    logs, traces = Logs(), Traces()
    async with FlagdClient.local(FLAGS, FlagdConfig(hooks=[EventsHook(logger_provider=logs.provider)])) as client:
        with traces.tracer.start_as_current_span("request"):
            for context in (PRO, FREE, PRO):
                await client.variation("checkout", context, False)
    assert [attributes["feature_flag.result.variant"] for attributes in logs.attributes] == ["on", "off"]


async def test_a_span_event_has_the_provider_the_flag_set_and_the_variant() -> None:
    traces = Traces()
    async with FlagdClient.local(FLAGS, FlagdConfig(hooks=[TracingHook(tracer_provider=traces.provider)])) as client:
        with traces.tracer.start_as_current_span("request"):
            await client.variation("checkout", PRO, False)
    (event,) = traces.spans[0].events
    assert dict(event.attributes or {}) == {
        "feature_flag.key": "checkout",
        "feature_flag.provider.name": "flagd",
        "feature_flag.context.id": "anna",
        "feature_flag.set.id": "shop",
        "feature_flag.result.variant": "on",
    }


async def test_metrics_of_both_kinds_of_clients_are_kept_apart() -> None:
    measured = Measured()
    plugin = MetricsPlugin(meter_provider=measured.provider)
    flagd = FlagdClient.local(FLAGS, FlagdConfig(plugins=[plugin]))
    async with flagd, Client.local(DOCUMENT, Config(plugins=[plugin])) as other:
        await flagd.variation("checkout", PRO, False)
        await other.variation("missing", PRO, False)
        provider, flag_set, status = "feature_flag.provider.name", "feature_flag.set.id", "aioflags.status"
        assert [attributes for attributes, value in measured.attributes("aioflags.status") if value == 1] == [
            {provider: "LaunchDarkly", status: "READY"},
            {provider: "flagd", flag_set: "shop", status: "READY"},
        ]
        assert [attributes for attributes, _ in measured.attributes("aioflags.data.age")] == [{provider: "LaunchDarkly"}]
        assert [attributes[provider] for attributes, _ in measured.attributes("aioflags.evaluations")] == ["LaunchDarkly", "flagd"]


async def test_a_client_for_flagd_has_no_metrics_of_events() -> None:
    measured = Measured()
    async with FlagdClient.local(without_set(), FlagdConfig(plugins=[MetricsPlugin(meter_provider=measured.provider)])) as client:
        await client.variation("checkout", PRO, False)
        assert measured.points("aioflags.events.recorded") == {}
        assert len(measured.points("aioflags.evaluations")) == 1
