"""Hooks with coroutine functions: which calls wait for them, which skip them, and the stage evaluation_cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from aioflags import BigSegments, Client, Config, ConfigError, Context, EvaluationDetail, Hook
from aioflags.hooks import EvaluationCall
from tests.support.hooks import AWAITED, NOT_AWAITED, USER, EntryPoint, RecordingHook, WaitingHook, client_with
from tests.support.scripted_memberships import ScriptedMemberships


@pytest.mark.parametrize("evaluate", AWAITED)
async def test_an_awaited_call_runs_plain_and_coroutine_stages_in_order(evaluate: EntryPoint) -> None:
    log: list[str] = []
    hooks = [RecordingHook("h1", log), WaitingHook("h2", log), RecordingHook("h3", log)]
    async with client_with(*hooks) as client:
        began = asyncio.get_running_loop().time()
        assert await evaluate(client, "checkout", USER, False) is True
        assert asyncio.get_running_loop().time() - began == pytest.approx(2)
    assert log == [
        "h1.before_evaluation",
        "h2.before_evaluation",
        "h3.before_evaluation",
        "h3.after_evaluation",
        "h2.after_evaluation",
        "h1.after_evaluation",
    ]
    assert hooks[1].received_data == [{}, {"from": "h2"}]


@pytest.mark.parametrize("evaluate", NOT_AWAITED)
async def test_a_call_that_never_waits_skips_coroutine_stages_with_one_warning(
    evaluate: EntryPoint, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []
    async with client_with(RecordingHook("h1", log), WaitingHook("h2", log)) as client:
        for _ in range(3):
            assert await evaluate(client, "checkout", USER, False) is True
    assert log == ["h1.before_evaluation", "h1.after_evaluation"] * 3
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "hook h2" in record.getMessage()


class WaitsBeforeOnly(RecordingHook):
    """``before_evaluation`` is a coroutine function, ``after_evaluation`` is not."""

    async def before_evaluation(  # type: ignore[override]  # as in WaitingHook
        self, series_context: EvaluationCall, data: Mapping[str, object]
    ) -> Mapping[str, object]:
        return super().before_evaluation(series_context, data)


@pytest.mark.parametrize("evaluate", NOT_AWAITED)
async def test_the_plain_stage_runs_without_data_if_the_coroutine_stage_is_skipped(evaluate: EntryPoint) -> None:
    hook = WaitsBeforeOnly()
    async with client_with(hook) as client:
        await evaluate(client, "checkout", USER, False)
    assert (hook.log, hook.received_data) == (["recording.after_evaluation"], [{}])


class ReturnsAwaitable(RecordingHook):
    """``before_evaluation`` is a plain function that returns an awaitable."""

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Any:
        return self.wait(series_context, data)

    async def wait(self, call: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        await asyncio.sleep(1)
        return super().before_evaluation(call, data)


@pytest.mark.parametrize("evaluate", AWAITED)
async def test_an_awaitable_that_a_plain_stage_returns_is_awaited(evaluate: EntryPoint) -> None:
    hook = ReturnsAwaitable()
    async with client_with(hook) as client:
        await evaluate(client, "checkout", USER, False)
    assert hook.received_data == [{}, {"from": "recording"}]


@pytest.mark.parametrize("evaluate", NOT_AWAITED)
async def test_a_call_that_never_waits_skips_a_plain_stage_that_returns_an_awaitable(
    evaluate: EntryPoint, caplog: pytest.LogCaptureFixture
) -> None:
    hook = ReturnsAwaitable()
    async with client_with(hook) as client:
        await evaluate(client, "checkout", USER, False)
    assert hook.received_data == [{}]
    assert "skip its coroutine functions" in caplog.text


async def test_with_plain_hooks_an_awaited_call_does_not_suspend() -> None:
    async with client_with(RecordingHook()) as client:
        with pytest.raises(StopIteration):
            client.variation("checkout", USER, False).send(None)


async def test_a_cancelled_hook_cancels_the_call_and_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    hook = WaitingHook()
    async with client_with(hook) as client:
        evaluation = asyncio.create_task(client.variation("checkout", USER, default=False))
        await asyncio.sleep(0.5)
        evaluation.cancel()
        with pytest.raises(asyncio.CancelledError):
            await evaluation
        assert [record for record in caplog.records if record.levelno > logging.INFO] == []
        assert await client.variation("checkout", USER, False) is True


# -- registration


async def test_skipped_stages_are_logged_after_failures_for_many_flags(caplog: pytest.LogCaptureFixture) -> None:
    class FailsAndWaits(Hook):
        name = "failing"

        def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
            raise OSError

        async def after_evaluation(
            self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
        ) -> Mapping[str, object]:
            return data

    async with Client.local({}, Config(hooks=[FailsAndWaits()])) as client:
        for number in range(1001):
            await client.variation(f"f{number}", Context("u"), 0)
        caplog.clear()
        client.variation_nowait("f0", Context("u"), 0)
    assert [record.getMessage() for record in caplog.records] == [
        "hook failing: calls that never wait (variation_nowait, Flags) skip its coroutine functions"
    ]


# -- evaluation_cancelled


class CancellableHook(RecordingHook):
    """Records the stage evaluation_cancelled, too."""

    def evaluation_cancelled(self, series_context: EvaluationCall, data: Mapping[str, object]) -> None:
        self.log.append(f"{self.name}.evaluation_cancelled")
        self.received_data.append(data)


class SlowAfter(CancellableHook):
    async def after_evaluation(  # type: ignore[override]  # what a user's checker does not mind: the base allows both, RecordingHook only the one
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        await asyncio.sleep(1)
        return super().after_evaluation(series_context, data, detail)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        pytest.param(WaitingHook, ["h1.before_evaluation", "h1.evaluation_cancelled"], id="in the next hook's before"),
        pytest.param(
            SlowAfter, ["h1.before_evaluation", "h2.before_evaluation", "h1.evaluation_cancelled"], id="in another hook's after"
        ),
    ],
)
async def test_evaluation_cancelled_runs_if_the_caller_is_cancelled(second: type[RecordingHook], expected: list[str]) -> None:
    log: list[str] = []
    hook = CancellableHook("h1", log)
    async with client_with(hook, second("h2", log)) as client:
        evaluation = asyncio.create_task(client.variation("checkout", USER, default=False))
        await asyncio.sleep(0.5)
        evaluation.cancel()
        with pytest.raises(asyncio.CancelledError):
            await evaluation
        assert (log, hook.received_data) == (expected, [{}, {"from": "h1"}])


async def test_evaluation_cancelled_runs_in_reverse_order_during_a_store_query() -> None:
    log: list[str] = []
    segment = {"unbounded": True, "generation": 1}
    rule = {"clauses": [{"op": "segmentMatch", "values": ["s"]}], "variation": 0}
    flags = {
        "flags": {"f": {"on": True, "variations": [1], "fallthrough": {"variation": 0}, "rules": [rule]}},
        "segments": {"s": segment},
    }
    hooks = [CancellableHook("h1", log), RecordingHook("h2", log), CancellableHook("h3", log)]
    config = Config(hooks=hooks, big_segments=BigSegments(store=ScriptedMemberships({"anna": {}}, delay=5)))
    async with Client.local(flags, config) as client:
        with anyio.move_on_after(1):
            await client.variation("f", USER, 0)
    assert log == [
        "h1.before_evaluation",
        "h2.before_evaluation",
        "h3.before_evaluation",
        "h3.evaluation_cancelled",
        "h1.evaluation_cancelled",
    ]


async def test_a_wrong_argument_is_refused_before_any_hook_runs() -> None:
    hook = CancellableHook()
    async with client_with(hook) as client:
        with pytest.raises(ConfigError, match="default"):
            await client.variation("checkout", USER, default=USER)
        with pytest.raises(ConfigError, match="default"):
            client.variation_nowait("checkout", USER, default=USER)
    assert hook.log == []


async def test_a_failing_evaluation_cancelled_is_logged_and_the_other_hooks_run(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(CancellableHook):
        def evaluation_cancelled(self, series_context: EvaluationCall, data: Mapping[str, object]) -> None:
            raise ValueError(series_context.key)

    class Waits(RecordingHook):
        async def evaluation_cancelled(self, series_context: EvaluationCall, data: Mapping[str, object]) -> None:  # type: ignore[override]  # what it may not do
            self.log.append("never")

    log: list[str] = []
    async with client_with(CancellableHook("h1", log), Broken("h2", log), Waits("h3", log), WaitingHook("h4", log)) as client:
        with anyio.move_on_after(0.5):
            await client.variation("checkout", USER, default=False)
    assert log == ["h1.before_evaluation", "h2.before_evaluation", "h3.before_evaluation", "h1.evaluation_cancelled"]
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == [
        "hook h3: evaluation_cancelled must be a plain function; it is skipped",
        "hook h2: evaluation_cancelled failed for checkout",
    ]
