"""HookRunner: the order and the data of stages for each evaluation method, and hooks that fail or wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from aioflags import Client, EvaluationDetail, Hook
from aioflags.hooks import EvaluationCall
from tests.support.hooks import USER, EntryPoint, FailingHook, RecordingHook, client_with, every_entry_point

# -- order and data


@every_entry_point
async def test_hooks_run_in_order_before_and_in_reverse_after_each_with_its_data(evaluate: EntryPoint) -> None:
    log: list[str] = []
    hooks = [RecordingHook(name, log) for name in ("h1", "h2", "h3")]
    async with client_with(*hooks) as client:
        await evaluate(client, "checkout", USER, False)
    assert log == [
        "h1.before_evaluation",
        "h2.before_evaluation",
        "h3.before_evaluation",
        "h3.after_evaluation",
        "h2.after_evaluation",
        "h1.after_evaluation",
    ]
    assert [hook.received_data for hook in hooks] == [[{}, {"from": name}] for name in ("h1", "h2", "h3")]


@every_entry_point
@pytest.mark.parametrize("returned", [None, 1, "text", [("a", 1)]])
async def test_a_result_that_is_not_a_mapping_leaves_the_data_unchanged(evaluate: EntryPoint, returned: Any) -> None:
    class WrongResult(RecordingHook):
        def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
            return returned  # type: ignore[no-any-return]  # the mistake

    hook = WrongResult()
    async with client_with(hook) as client:
        await evaluate(client, "checkout", USER, False)
    assert hook.received_data == [{}]


@every_entry_point
async def test_the_data_of_an_evaluation_are_not_those_of_another(evaluate: EntryPoint) -> None:
    class ChangesItsData(RecordingHook):
        def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
            super().before_evaluation(series_context, data)
            assert isinstance(data, dict)
            data["leak"] = 1
            return data

    hook = ChangesItsData()
    async with client_with(hook) as client:
        await evaluate(client, "checkout", USER, False)
        await evaluate(client, "checkout", USER, False)
    assert hook.received_data == [{}, {"leak": 1}] * 2


async def test_a_context_variable_set_before_is_there_after() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    class Setting(Hook):
        seen: str | None = None

        async def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> None:
            variable.set(series_context.key)

        def after_evaluation(
            self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
        ) -> None:
            self.seen = variable.get()

    hook = Setting()
    async with client_with(hook) as client:
        await client.variation("text", USER, "")
    assert hook.seen == "text"


# -- hooks that use the client


class Curious(RecordingHook):
    """Evaluates a flag in both stages."""

    client: Client

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        self.client.variation_nowait("text", USER, "")
        return super().before_evaluation(series_context, data)

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        self.client.variation_nowait("text", USER, "")
        return super().after_evaluation(series_context, data, detail)


class CuriousWaiting(RecordingHook):
    """Does the same in coroutine functions, in tasks of its own as well."""

    client: Client

    async def before_evaluation(  # type: ignore[override]  # the base class allows both, RecordingHook only the one
        self, series_context: EvaluationCall, data: Mapping[str, object]
    ) -> Mapping[str, object]:
        await asyncio.gather(*(self.client.variation("text", USER, "") for _ in range(2)))
        return super().before_evaluation(series_context, data)

    async def after_evaluation(  # type: ignore[override]  # as above
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        await self.client.variation("text", USER, "")
        return super().after_evaluation(series_context, data, detail)


@every_entry_point
async def test_a_hook_that_evaluates_flags_is_not_run_for_its_own_evaluations(
    evaluate: EntryPoint, caplog: pytest.LogCaptureFixture
) -> None:
    hook, other = Curious(), RecordingHook()
    async with client_with(hook, other) as client:
        hook.client = client
        for _ in range(2):
            assert await evaluate(client, "checkout", USER, False) is True
    assert [call.key for call in hook.calls] == ["checkout"] * 2
    assert [call.key for call in other.calls] == ["text", "checkout", "text"] * 2
    assert not caplog.records


async def test_a_hook_that_waits_for_its_evaluations_is_not_run_for_them() -> None:
    hook = CuriousWaiting()
    async with client_with(hook) as client:
        hook.client = client
        assert await client.variation("checkout", USER, False) is True
        assert await client.variation("text", USER, "") == "hello"
    assert [call.key for call in hook.calls] == ["checkout", "text"]


async def test_two_hooks_that_evaluate_flags_run_for_the_evaluations_of_each_other() -> None:
    first, second = Curious("first"), Curious("second")
    async with client_with(first, second) as client:
        first.client = second.client = client
        assert client.variation_nowait("checkout", USER, False) is True
    assert [call.key for call in first.calls] == ["checkout", "text", "text"]
    assert [call.key for call in second.calls] == ["text", "checkout", "text"]


# -- hooks that fail


@every_entry_point
@pytest.mark.holds("CS-C9")
async def test_a_failing_hook_does_not_change_the_value_and_its_name_is_logged(
    evaluate: EntryPoint, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []
    failing = FailingHook("h2\n", log)
    async with client_with(RecordingHook("h1", log), failing, RecordingHook("h3", log)) as client:
        assert await evaluate(client, "checkout", USER, False) is True
    assert log == [
        "h1.before_evaluation",
        "h2\n.before_evaluation",
        "h3.before_evaluation",
        "h3.after_evaluation",
        "h2\n.after_evaluation",
        "h1.after_evaluation",
    ]
    assert failing.received_data == [{}, {}]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == [
        r"hook h2\n: before_evaluation failed for checkout",
        r"hook h2\n: after_evaluation failed for checkout",
    ]
    assert all(record.exc_info is not None for record in errors)


@every_entry_point
async def test_a_repeated_failure_is_logged_once_for_each_flag(evaluate: EntryPoint, caplog: pytest.LogCaptureFixture) -> None:
    async with client_with(FailingHook()) as client:
        for key in ("checkout", "checkout", "text"):
            await evaluate(client, key, USER, None)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        f"hook recording: {stage} failed for {key}"
        for key in ("checkout", "text")
        for stage in ("before_evaluation", "after_evaluation")
    ]


class NameRaises(FailingHook):
    """Raises in both stages and in its property ``name``."""

    @property
    def name(self) -> str:  # some hooks have a property
        raise ValueError("name")

    @name.setter
    def name(self, name: str) -> None: ...

    def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        raise ValueError("before")

    def after_evaluation(
        self, series_context: EvaluationCall, data: Mapping[str, object], detail: EvaluationDetail[Any]
    ) -> Mapping[str, object]:
        raise ValueError("after")


@every_entry_point
@pytest.mark.holds("CS-C9")
async def test_a_failing_hook_whose_name_raises_is_logged_with_its_type(
    evaluate: EntryPoint, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_with(NameRaises()) as client:
        assert await evaluate(client, "checkout", USER, False) is True
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "hook NameRaises: before_evaluation failed for checkout",
        "hook NameRaises: after_evaluation failed for checkout",
    ]


# -- registration


async def test_a_stage_can_be_an_attribute_of_the_instance() -> None:
    hook, seen = Hook(), list[str]()
    hook.before_evaluation = partial(lambda series_context, data: seen.append(series_context.key))  # type: ignore[method-assign]  # some hooks do this
    async with client_with(hook) as client:
        await client.variation("checkout", USER, False)
    assert seen == ["checkout"]
