"""Hooks that post each of their stages to the harness, then return data or fail as the harness configured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aioflags import EvaluationDetail
from aioflags.hooks import EvaluationCall, Hook, TrackCall
from tests.contract.service.callbacks import CallbackQueue, Callbacks
from tests.contract.service.service_params import HookParams


class CallbackHook(Hook):
    """One hook of a server-side client. Its stages wait for the harness."""

    def __init__(self, params: HookParams, callbacks: Callbacks) -> None:
        self.name = params.name or "hook"
        self._wanted = params
        self._callbacks = callbacks

    async def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        """Posts ``beforeEvaluation``."""
        await self._post("beforeEvaluation", _evaluation(series_context, data))
        return _passed_on(self._wanted, "beforeEvaluation", data)

    async def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        """Posts ``afterEvaluation``."""
        await self._post("afterEvaluation", _evaluation(series_context, data, detail))
        return _passed_on(self._wanted, "afterEvaluation", data)

    async def after_track(self, series_context: TrackCall) -> None:
        """Posts ``afterTrack``."""
        await self._post("afterTrack", _tracked(series_context))

    async def _post(self, stage: str, what: dict[str, object]) -> None:
        _fail_as_wanted(self._wanted, stage)
        await self._callbacks.notify(self._wanted.callback_uri, {"stage": stage, **what})


class QueuedHook(Hook):
    """One hook of a client whose evaluations never wait. Its stages are posted later, in order."""

    def __init__(self, params: HookParams, callbacks: CallbackQueue) -> None:
        self.name = params.name or "hook"
        self._wanted = params
        self._callbacks = callbacks

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        """Posts ``beforeEvaluation``."""
        self._post("beforeEvaluation", _evaluation(series_context, data))
        return _passed_on(self._wanted, "beforeEvaluation", data)

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        """Posts ``afterEvaluation``."""
        self._post("afterEvaluation", _evaluation(series_context, data, detail))
        return _passed_on(self._wanted, "afterEvaluation", data)

    def after_track(self, series_context: TrackCall) -> None:
        """Posts ``afterTrack``."""
        self._post("afterTrack", _tracked(series_context))

    def _post(self, stage: str, what: dict[str, object]) -> None:
        _fail_as_wanted(self._wanted, stage)
        self._callbacks.notify(self._wanted.callback_uri, {"stage": stage, **what})


def sent_reason(detail: EvaluationDetail[Any]) -> dict[str, object] | None:
    """The reason of an evaluation; ``None`` if the service sent the value without one."""
    return None if detail.reason.kind == "UNKNOWN" else detail.reason.to_dict()


def _fail_as_wanted(wanted: HookParams, stage: str) -> None:
    if (error := (wanted.errors or {}).get(stage)) is not None:
        raise RuntimeError(error)


def _passed_on(wanted: HookParams, stage: str, data: Mapping[str, object]) -> Mapping[str, object]:
    return {**data, **((wanted.data or {}).get(stage) or {})}


def _evaluation(call: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any] | None = None) -> dict[str, object]:
    asked = {
        "flagKey": call.key,
        "context": None if call.context is None else call.context.to_dict(),
        "defaultValue": call.default_value,
        "method": call.method,
        "environmentId": call.environment_id,
    }
    stage: dict[str, object] = {"evaluationSeriesContext": asked, "evaluationSeriesData": dict(data)}
    if detail is not None:
        result = {"value": detail.value, "variationIndex": detail.variation_index, "reason": sent_reason(detail)}
        stage["evaluationDetail"] = result
    return stage


def _tracked(call: TrackCall) -> dict[str, object]:
    tracked: dict[str, object] = {"key": call.key, "context": call.context.to_dict(), "environmentId": call.environment_id}
    given = {"data": call.data, "metricValue": call.metric_value}
    return {"trackSeriesContext": tracked | {name: value for name, value in given.items() if value is not None}}
