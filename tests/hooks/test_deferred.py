"""Hooks after a tracked event: plain functions run at once, coroutine functions later, in order, and until the limit of a close."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from aioflags import Client, Config, Context, Hook
from aioflags.client_core.hook_runner import DeferredHooks
from aioflags.hooks import TrackCall
from tests.support.canaries import secretive

USER = secretive("anna")


class Plain(Hook):
    """Records the events that it gets."""

    def __init__(self, name: str = "plain", log: list[str] | None = None) -> None:
        self.name = name
        self.log: list[str] = [] if log is None else log
        self.calls: list[TrackCall] = []

    def note(self, call: TrackCall) -> None:
        self.log.append(f"{self.name} {call.key}")
        self.calls.append(call)

    def after_track(self, series_context: TrackCall) -> None:
        self.note(series_context)


class Waiting(Plain):
    """Records the same, a second later."""

    seconds = 1.0

    async def after_track(self, series_context: TrackCall) -> None:  # type: ignore[override]  # Hook allows both, Plain only the one
        await asyncio.sleep(self.seconds)
        self.note(series_context)


class Failing(Plain):
    """Raises."""

    def after_track(self, series_context: TrackCall) -> None:
        super().after_track(series_context)
        raise ValueError("after_track")


def client_with(*hooks: Hook, **options: Any) -> Client:
    return Client.local({}, Config(hooks=hooks, **options))


async def test_after_track_gets_the_event() -> None:
    hook = Plain()
    async with client_with(hook) as client:
        client.track("paid", USER, {"items": 2}, 9.5)
        client.track("left", USER)
        assert [(call.key, call.context, call.data, call.metric_value, call.environment_id) for call in hook.calls] == [
            ("paid", USER, {"items": 2}, 9.5, None),
            ("left", USER, None, None, None),
        ]


@pytest.mark.holds("CS-C23")
async def test_an_event_for_an_invalid_context_calls_no_hook() -> None:
    hook = Plain()
    async with client_with(hook) as client:
        client.track("paid", Context(""))
        client.track("paid")
    assert hook.calls == []


async def test_an_event_before_the_start_or_after_the_close_calls_no_hook() -> None:
    hook, waiting = Plain(), Waiting()
    client = client_with(hook, waiting)
    client.track("early", USER)
    async with client:
        pass
    client.track("late", USER)
    assert (hook.calls, waiting.calls) == ([], [])


async def test_an_offline_client_calls_hooks() -> None:
    hook = Plain()
    async with client_with(hook, offline=True) as client:
        client.track("paid", USER)
    assert [call.key for call in hook.calls] == ["paid"]


async def test_plain_hooks_run_in_order_before_track_returns_and_coroutine_hooks_later() -> None:
    log: list[str] = []
    async with client_with(Plain("p1", log), Waiting("w1", log), Plain("p2", log), Waiting("w2", log)) as client:
        client.track("a", USER)
        client.track("b", USER)
        assert log == ["p1 a", "p2 a", "p1 b", "p2 b"]
        await asyncio.sleep(10)
        assert log[4:] == ["w1 a", "w2 a", "w1 b", "w2 b"]


async def test_later_events_continue_the_pending_calls() -> None:
    hook = Waiting()
    async with client_with(hook) as client:
        for key in ("a", "b"):
            client.track(key, USER)
            await asyncio.sleep(5)
        assert hook.log == ["plain a", "plain b"]


class Tracking(Plain):
    """Tracks an event for each event."""

    client: Client

    def after_track(self, series_context: TrackCall) -> None:
        super().after_track(series_context)
        self.client.track(f"after {series_context.key}", USER)


class TrackingLate(Tracking):
    """Does so in a coroutine function."""

    async def after_track(self, series_context: TrackCall) -> None:  # type: ignore[override]  # as in Waiting
        super().after_track(series_context)


@pytest.mark.parametrize("kind", [Tracking, TrackingLate])
async def test_a_hook_that_tracks_events_is_not_run_for_them(kind: type[Tracking], caplog: pytest.LogCaptureFixture) -> None:
    hook, other = kind("tracking"), Plain("other")
    async with client_with(hook, other) as client:
        hook.client = client
        client.track("a", USER)
        await asyncio.sleep(1)
    assert hook.log == ["tracking a"]
    assert sorted(other.log) == ["other a", "other after a"]
    assert not caplog.records


async def test_a_hook_that_fails_is_logged_and_the_other_hooks_run(caplog: pytest.LogCaptureFixture) -> None:
    class FailingLate(Plain):
        async def after_track(self, series_context: TrackCall) -> None:  # type: ignore[override]  # as in Waiting
            raise ValueError("late")

    log: list[str] = []
    async with client_with(Failing("f", log), FailingLate("l", log), Plain("p", log), Waiting("w", log)) as client:
        client.track("a", USER)
        await asyncio.sleep(2)
    assert log == ["f a", "p a", "w a"]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "hook f: after_track failed for a",
        "hook l: after_track failed for a",
    ]


async def test_a_hook_that_hangs_is_abandoned_after_five_seconds_and_the_others_run(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    slow, next_one = Waiting("slow", log), Waiting("next", log)
    slow.seconds = 3600
    async with client_with(slow, next_one) as client:
        client.track("a", USER)
        client.track("b", USER)
        await asyncio.sleep(6.5)
        assert log == ["next a"]
        await asyncio.sleep(6)
        assert log == ["next a", "next b"]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "hook slow: after_track took longer than 5 s, and was cancelled"
    ]


async def test_an_awaitable_that_a_plain_function_returns_is_awaited() -> None:
    class ReturnsAwaitable(Waiting):
        def after_track(self, series_context: TrackCall) -> Any:
            return super().after_track(series_context)

    hook = ReturnsAwaitable()
    async with client_with(hook) as client:
        client.track("a", USER)
        await asyncio.sleep(2)
        assert hook.log == ["plain a"]


async def test_a_close_waits_for_pending_calls_within_its_limit() -> None:
    hook = Waiting()
    client = await client_with(hook, close_timeout=20)
    for key in "abc":
        client.track(key, USER)
    await client.aclose()
    assert hook.log == ["plain a", "plain b", "plain c"]


async def test_calls_that_exceed_the_limit_of_a_close_are_abandoned_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    hook = Waiting()
    hook.seconds = 3600
    client = await client_with(hook, close_timeout=2)
    for key in "abc":
        client.track(key, USER)
    began = asyncio.get_running_loop().time()
    await client.aclose()
    assert asyncio.get_running_loop().time() - began <= 2.05
    assert hook.log == []
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "closed with 3 hook callbacks pending"
    ]


async def test_at_most_a_thousand_calls_are_pending(caplog: pytest.LogCaptureFixture) -> None:
    hook = Waiting()
    async with client_with(hook) as client:
        for number in range(1500):
            client.track(str(number), USER)
        await asyncio.sleep(5000)
        assert len(hook.log) == 1000
        client.track("again", USER)
        await asyncio.sleep(5)
        assert hook.log[-1] == "plain again"
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "1000 hook callbacks are pending; dropping new ones"
    ]


@pytest.mark.real_time
async def test_events_can_be_tracked_from_any_thread() -> None:
    hook, waiting = Plain(), Waiting()
    waiting.seconds = 0
    async with client_with(hook, waiting) as client:
        thread = threading.Thread(target=lambda: client.track("a", USER))
        thread.start()
        await asyncio.to_thread(thread.join)
        assert hook.log == ["plain a"]
    assert waiting.log == ["plain a"]


def test_a_client_that_starts_again_on_another_event_loop_runs_callbacks_there(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[int] = []
    deferred = DeferredHooks(logging.getLogger("aioflags"))

    async def life(number: int) -> None:
        async def callback() -> None:
            ran.append(number)

        deferred.open()
        task = asyncio.create_task(deferred.run())
        await asyncio.sleep(0)
        assert deferred.offer(callback)
        deferred.stop()
        await deferred.finish(1)
        task.cancel()
        await asyncio.wait({task})

    for number in range(3):
        asyncio.run(life(number))
    assert ran == [0, 1, 2]
    assert caplog.records == []
