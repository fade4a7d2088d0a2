"""Hooks that post each of their stages to the harness, then return data or fail as the harness configured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aioflags import EvaluationDetail
from aioflags.hooks.hook import EvaluationCall, Hook, TrackCall
from tests.contract.service.callbacks import Callbacks
from tests.contract.service.service_params import HookParams

__all__ = ["CallbackHook"]


class CallbackHook(Hook):
    """One hook of a client."""

    def __init__(self, params: HookParams, callbacks: Callbacks) -> None:
        self.name = params.name or "hook"
        self._wanted = params
        self._callbacks = callbacks

    async def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        """Posts ``beforeEvaluation``."""
        return await self._evaluation("beforeEvaluation", series_context, data)

    async def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        """Posts ``afterEvaluation``."""
        result = {"value": detail.value, "variationIndex": detail.variation_index, "reason": detail.reason.to_dict()}
        return await self._evaluation("afterEvaluation", series_context, data, evaluationDetail=result)

    async def after_track(self, series_context: TrackCall) -> None:
        """Posts ``afterTrack``."""
        tracked = {
            "key": series_context.key,
            "context": series_context.context.to_dict(),
            "environmentId": series_context.environment_id,
        }
        given = {"data": series_context.data, "metricValue": series_context.metric_value}
        await self._stage("afterTrack", trackSeriesContext=tracked | {k: v for k, v in given.items() if v is not None})

    async def _evaluation(
        self, stage: str, call: EvaluationCall, data: Mapping[str, object], **more: object
    ) -> Mapping[str, object]:
        asked = {
            "flagKey": call.key,
            "context": None if call.context is None else call.context.to_dict(),
            "defaultValue": call.default_value,
            "method": call.method,
            "environmentId": call.environment_id,
        }
        await self._stage(stage, evaluationSeriesContext=asked, evaluationSeriesData=dict(data), **more)
        return {**data, **((self._wanted.data or {}).get(stage) or {})}

    async def _stage(self, stage: str, **what: object) -> None:
        if (error := (self._wanted.errors or {}).get(stage)) is not None:
            raise RuntimeError(error)
        await self._callbacks.notify(self._wanted.callback_uri, {"stage": stage, **what})
