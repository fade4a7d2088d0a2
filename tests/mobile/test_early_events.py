"""Calls of ``track`` before the first context of a mobile client is active."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from aioflags.events.options import MobileEvents
from aioflags.hooks import Hook, TrackCall
from aioflags.model.context import Context
from tests.support.device_storages import ScriptedStorage
from tests.support.mobile_service import ANNA, BEN, MobileService, mobile_client

KEYLESS = Context("", anonymous=True)
KEYED = Context("mine", anonymous=True)
EVENTS = MobileEvents(diagnostic_opt_out=True, flush_interval=None, events_max_pending=1000)


class Tracked(Hook):
    """Records the contexts of tracked events."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []

    def after_track(self, series_context: TrackCall) -> None:
        self.contexts.append(series_context.context)


def tracked(service: MobileService) -> list[tuple[str, Any, str]]:
    """Key, data and context key of the custom events that came."""
    return [
        (event["key"], event.get("data"), event["context"].get("key", "")) for event in service.events if event["kind"] == "custom"
    ]


@pytest.mark.parametrize(
    ("context", "options"),
    [
        pytest.param(KEYLESS, {}, id="without a key"),
        pytest.param(Context.multi(KEYLESS, Context("o", "org")), {}, id="one kind without a key"),
        pytest.param(KEYED, {"generate_anonymous_keys": True}, id="with a key that is replaced"),
    ],
)
async def test_an_event_of_a_context_whose_key_is_being_generated_has_that_key(context: Context, options: dict[str, Any]) -> None:
    service, hook, data = MobileService(), Tracked(), {"items": [1]}
    client = mobile_client(service, context, storage=ScriptedStorage(delay=1), events=EVENTS, hooks=[hook], **options)
    await client.start(0)
    client.track("opened", data, 2)
    data["items"].clear()
    await anyio.sleep(5)
    client.track("pressed")
    await client.aclose()
    assert [event["kind"] for event in service.events[:2]] == ["identify", "custom"]
    assert [(event["key"], event.get("data")) for event in service.events[1:]] == [("opened", {"items": [1]}), ("pressed", None)]
    assert [event["context"] for event in service.events] == [client.context.to_dict()] * 3
    assert hook.contexts == [client.context] * 2


async def test_an_event_of_a_context_that_lacks_nothing_is_recorded_at_once() -> None:
    service = MobileService()
    client = mobile_client(service, storage=ScriptedStorage(delay=1), events=EVENTS)
    await client.start(0)
    client.track("opened")
    await client.aclose()
    assert tracked(service) == [("opened", None, "anna")]


async def test_an_event_of_an_invalid_context_is_not_recorded_for_the_next_one(caplog: pytest.LogCaptureFixture) -> None:
    service = MobileService()
    client = mobile_client(service, Context(""), events=EVENTS)
    await client.start(1)
    client.track("opened")
    await client.identify(BEN)
    client.track("pressed")
    await client.aclose()
    assert tracked(service) == [("pressed", None, "ben")]
    assert "track: 1 calls dropped, because their context was never active" in caplog.text


async def test_an_event_whose_context_is_not_complete_before_the_close_is_dropped_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = MobileService()
    client = mobile_client(service, KEYLESS, storage=ScriptedStorage(delay=1), events=EVENTS)
    await client.start(0)
    client.track("opened")
    await client.aclose()
    assert tracked(service) == []
    assert "track: 1 calls dropped, because their context was never active" in caplog.text


async def test_a_hundred_events_wait_for_the_context(caplog: pytest.LogCaptureFixture) -> None:
    service = MobileService()
    async with mobile_client(service, KEYLESS, storage=ScriptedStorage(delay=1), events=EVENTS, start_wait=0) as client:
        for number in range(101):
            client.track(str(number))
        await anyio.sleep(5)
    assert [key for key, _, _ in tracked(service)] == [str(number) for number in range(100)]
    assert caplog.text.count("track: dropped, more than 100 calls before the context is active") == 1


async def test_data_that_cannot_be_copied_is_left_out() -> None:
    service, endless = MobileService(), list[Any]()
    endless.append(endless)
    async with mobile_client(service, KEYLESS, storage=ScriptedStorage(delay=1), events=EVENTS, start_wait=0) as client:
        client.track("opened", endless)
        await anyio.sleep(5)
        key = client.context.key
    assert tracked(service) == [("opened", None, key)]
    assert key != ANNA.key
