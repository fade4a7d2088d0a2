"""EvaluatingClient: a whole client, hooks included, on the status and the data of a StatusClient."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aioflags.client_core.answers import DataAnswers, EvaluationLog
from aioflags.client_core.core_client import BaseClient, Core
from aioflags.client_core.evaluator import Evaluator
from aioflags.client_core.hook_runner import DeferredHooks, HookRunner
from aioflags.events.recorder import DISABLED_RECORDER
from aioflags.hooks import EvaluationCall, Hook
from aioflags.runtime.logs import logger
from tests.support.status_clients import StatusClient

__all__ = ["EvaluatingClient", "PausingHook"]


class EvaluatingClient(BaseClient):
    """Evaluates the flags of ``facts``, whose status the test reports. It is started and closed with ``facts``."""

    _warns_if_unclosed = False

    def __init__(self, facts: StatusClient, hooks: Sequence[Hook] = ()) -> None:
        log = EvaluationLog(logger, facts.cell)
        runner = HookRunner(hooks, DeferredHooks(logger), logger)
        core = Core(
            holder=facts.holder,
            cell=facts.cell,
            recorder=DISABLED_RECORDER,
            hooks=runner,
            evaluator=Evaluator(facts.cell, runner, DataAnswers(DISABLED_RECORDER, log), log),
            lifecycle=facts.lifecycle,
            logger=logger,
        )
        super().__init__(core)


class PausingHook(Hook):
    """An evaluation waits between its call and the flag data."""

    name = "pausing"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, Any]) -> Mapping[str, Any]:
        await asyncio.sleep(self.seconds)
        return data
