"""Tracking: events of OpenFeature that the client records."""

from __future__ import annotations

from typing import Any

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.track import TrackingEventDetails

from aioflags import Client, FlagdClient, FlagdConfig, Hook
from aioflags.hooks import TrackCall
from aioflags.openfeature import AioFlagsProvider
from aioflags.testing import EventRecorder

ANNA = EvaluationContext("anna", {"plan": "pro"})


@pytest.mark.holds("OF-37")
async def test_an_event_is_recorded_with_value_and_attributes(flag_events: EventRecorder) -> None:
    async with Client.local({}) as client:
        api.set_provider_and_wait(AioFlagsProvider(client))
        api.get_client().track("paid", ANNA, TrackingEventDetails(9.5, {"currency": "EUR"}))
        api.get_client().track("seen", ANNA)
    recorded = [(event.key, event.context and event.context.key, event.data, event.metric_value) for event in flag_events]
    assert recorded == [("paid", "anna", {"currency": "EUR"}, 9.5), ("seen", "anna", None, None)]


async def test_nothing_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    async with Client.local({}) as client:
        provider = AioFlagsProvider(client)
        provider.track("before initialize", ANNA)
        api.set_provider_and_wait(provider)
        name: Any = 5
        provider.track(name, ANNA)
        provider.track("without a key", EvaluationContext())
        provider.track("without a context")
    assert "an event was not recorded" in caplog.text


async def test_a_client_for_flagd_calls_its_hooks() -> None:
    noted: list[TrackCall] = []

    class Noting(Hook):
        def after_track(self, series_context: TrackCall) -> None:
            noted.append(series_context)

    async with FlagdClient.local({"flags": {}}, FlagdConfig(hooks=[Noting()])) as client:
        api.set_provider_and_wait(AioFlagsProvider(client))
        api.get_client().track("paid", ANNA, TrackingEventDetails(9.5, {"currency": "EUR"}))
        api.get_client().track("seen")
    assert [(call.key, call.context.key, call.data, call.metric_value) for call in noted] == [
        ("paid", "anna", {"currency": "EUR"}, 9.5),
        ("seen", "", None, None),
    ]
