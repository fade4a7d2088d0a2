"""Hooks with coroutine functions: awaited calls wait for them, calls that never wait skip them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from aioflags import Client, Config, Context, EvaluationDetail, Hook
from aioflags.hooks import EvaluationCall
from tests.support.hooks import AWAITED, NOT_AWAITED, USER, EntryPoint, RecordingHook, WaitingHook, client_with


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
