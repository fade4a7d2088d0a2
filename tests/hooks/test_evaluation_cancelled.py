"""The stage evaluation_cancelled: when it runs, in which order, and what happens if it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from aioflags import BigSegments, Client, Config, ConfigError, EvaluationDetail
from aioflags.hooks import EvaluationCall
from tests.support.hooks import USER, RecordingHook, WaitingHook, client_with
from tests.support.scripted_memberships import ScriptedMemberships


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
