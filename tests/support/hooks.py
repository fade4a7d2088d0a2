"""Hooks that record their calls, and every way to evaluate a flag of a client with hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from aioflags import Client, Config, Context, EvaluationDetail, Hook
from aioflags.hooks import EvaluationCall
from tests.support.canaries import secretive

USER = secretive("anna")
DOCUMENT: dict[str, Any] = {
    "flags": {
        "checkout": {"version": 7, "on": True, "variations": [True, False], "fallthrough": {"variation": 0}},
        "above": {
            "on": True,
            "variations": ["a"],
            "fallthrough": {"variation": 0},
            "prerequisites": [{"key": "checkout", "variation": 0}],
        },
    },
    "flagValues": {"limits": {"items": [1]}, "text": "hello"},
}


class RecordingHook(Hook):
    """Records its calls, what it received, and its name in a log that several hooks can share."""

    def __init__(self, name: str = "recording", log: list[str] | None = None) -> None:
        self.name = name
        self.log: list[str] = [] if log is None else log
        self.calls: list[EvaluationCall] = []
        self.details: list[EvaluationDetail[Any]] = []
        self.received_data: list[Mapping[str, object]] = []

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        self.log.append(f"{self.name}.before_evaluation")
        self.calls.append(series_context)
        self.received_data.append(dict(data))
        return {"from": self.name}

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        self.log.append(f"{self.name}.after_evaluation")
        self.received_data.append(data)
        self.details.append(detail)
        return data


class WaitingHook(RecordingHook):
    """Records the same with coroutine functions, which take a second."""

    async def before_evaluation(  # type: ignore[override]  # what a user's checker does not mind: the base allows both, RecordingHook only the one
        self, series_context: EvaluationCall, data: Mapping[str, object]
    ) -> Mapping[str, object]:
        await asyncio.sleep(1)
        return super().before_evaluation(series_context, data)

    async def after_evaluation(  # type: ignore[override]  # as above
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        await asyncio.sleep(1)
        return super().after_evaluation(series_context, data, detail)


class FailingHook(RecordingHook):
    """Records both stages, then raises in each."""

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        super().before_evaluation(series_context, data)
        raise ValueError("before")

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        super().after_evaluation(series_context, data, detail)
        raise ValueError("after")


EntryPoint = Callable[..., Awaitable[Any]]


async def variation(client: Client, key: str, context: Context | None, *default: Any) -> Any:
    return await client.variation(key, context, *default)


async def variation_detail(client: Client, key: str, context: Context | None, *default: Any) -> Any:
    return (await client.variation_detail(key, context, *default)).value


async def variation_nowait(client: Client, key: str, context: Context | None, *default: Any) -> Any:
    return client.variation_nowait(key, context, *default)


async def variation_detail_nowait(client: Client, key: str, context: Context | None, *default: Any) -> Any:
    return client.variation_detail_nowait(key, context, *default).value


async def flags_variation(client: Client, key: str, context: Context | None, *default: Any) -> Any:
    return (await client.flags(context)).variation(key, *default)


async def flags_variation_detail(client: Client, key: str, context: Context | None, *default: Any) -> Any:
    return (await client.flags(context)).variation_detail(key, *default).value


AWAITED: list[EntryPoint] = [variation, variation_detail]
NOT_AWAITED: list[EntryPoint] = [variation_nowait, variation_detail_nowait, flags_variation, flags_variation_detail]
every_entry_point = pytest.mark.parametrize("evaluate", [*AWAITED, *NOT_AWAITED])


def client_with(*hooks: Hook, **options: Any) -> Client:
    return Client.local(DOCUMENT, Config(hooks=hooks, **options))
