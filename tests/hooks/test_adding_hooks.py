"""Hooks of the configuration, hooks that are added later, and the warning about hooks without a stage."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from aioflags import Client, Config, ConfigError, Hook
from aioflags.hooks import EvaluationCall
from aioflags.plugins import EnvironmentMetadata, Plugin
from tests.support.hooks import DOCUMENT, USER, EntryPoint, RecordingHook, client_with, every_entry_point

# -- hooks that are never called


class Misspelt(Hook):
    """Overrides no stage, because the name of its method lacks a letter."""

    name = "misspelt"

    def before_evalution(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
        return data


@pytest.mark.parametrize(
    ("hook", "phrases"),
    [
        pytest.param(Hook(), ["hook overrides no stage and is never called"], id="no stage"),
        pytest.param(Misspelt(), ["misspelt overrides no stage", "did you mean before_evaluation?"], id="a misspelt stage"),
        pytest.param(RecordingHook(), [], id="two stages"),
    ],
)
@pytest.mark.parametrize("origin", ["Config", "add_hook", "a plugin"])
async def test_a_hook_that_would_never_be_called_is_warned_about_once(
    hook: Hook, phrases: list[str], origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    class PluginWithHook(Plugin):
        name = "with hook"

        def get_hooks(self, environment: EnvironmentMetadata) -> list[Hook]:
            return [hook]

    hooks = [hook] if origin == "Config" else []
    plugins = [PluginWithHook()] if origin == "a plugin" else []
    client = Client.local(DOCUMENT, Config(hooks=hooks, plugins=plugins))
    if origin == "add_hook":
        client.add_hook(hook)
        client.add_hook(hook)
    async with client:
        await client.variation("checkout", USER, False)
        await client.variation("checkout", USER, False)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == (1 if phrases else 0)
    assert [phrase for phrase in phrases if phrase not in warnings[0]] == []


# -- registration


@every_entry_point
async def test_an_added_hook_gets_the_next_call(evaluate: EntryPoint) -> None:
    log: list[str] = []
    async with client_with(RecordingHook("first", log)) as client:
        await evaluate(client, "checkout", USER, False)
        client.add_hook(RecordingHook("added", log))
        assert log == ["first.before_evaluation", "first.after_evaluation"]
        await evaluate(client, "checkout", USER, False)
    assert log[2:] == ["first.before_evaluation", "added.before_evaluation", "added.after_evaluation", "first.after_evaluation"]


@every_entry_point
async def test_the_first_hook_can_be_added_after_an_evaluation(evaluate: EntryPoint) -> None:
    hook = RecordingHook()
    async with client_with() as client:
        await evaluate(client, "checkout", USER, False)
        client.add_hook(hook)
        await evaluate(client, "checkout", USER, False)
    assert len(hook.calls) == 1


async def test_a_new_hook_runs_for_flags_that_were_pinned_before() -> None:
    hook = RecordingHook()
    async with client_with() as client:
        flags = await client.flags(USER)
        client.add_hook(hook)
        assert flags.variation("checkout", False) is True
    assert [call.key for call in hook.calls] == ["checkout"]


async def test_a_hook_added_during_a_call_gets_the_next_call() -> None:
    log: list[str] = []

    class AddsAnotherHook(RecordingHook):
        def before_evaluation(self, series_context: EvaluationCall, data: Mapping[str, object]) -> Mapping[str, object]:
            if not log:
                client.add_hook(RecordingHook("added", log))
            return super().before_evaluation(series_context, data)

    client = client_with(AddsAnotherHook("first", log))
    async with client:
        await client.variation("checkout", USER, False)
        assert log == ["first.before_evaluation", "first.after_evaluation"]
        await client.variation("checkout", USER, False)
    assert log[2:] == ["first.before_evaluation", "added.before_evaluation", "added.after_evaluation", "first.after_evaluation"]


@pytest.mark.parametrize(
    ("hooks", "problem"),
    [
        pytest.param([print], "hooks: expected Hook, got builtin_function_or_method", id="a function"),
        pytest.param(
            [RecordingHook],
            r"hooks: RecordingHook is a class; expected an object, made by calling it: RecordingHook\(…\)",
            id="a class",
        ),
        pytest.param(
            RecordingHook(),
            "hooks: expected a sequence of Hook, got tests.support.hooks.RecordingHook",
            id="a hook that is not in a sequence",
        ),
        pytest.param("abc", "hooks: expected a sequence of Hook, got str", id="text"),
        pytest.param(None, "hooks: expected a sequence of Hook, got NoneType", id="None"),
    ],
)
def test_the_configuration_refuses_an_object_that_is_not_a_hook(hooks: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"^{problem}$"):
        Config(hooks=hooks)


def test_the_configuration_keeps_a_copy_of_the_hooks() -> None:
    hooks: list[Hook] = [RecordingHook()]
    config = Config(hooks=hooks)
    hooks.clear()
    assert len(config.hooks) == 1


@pytest.mark.parametrize("hook", [print, RecordingHook, None])
def test_add_hook_refuses_an_object_that_is_not_a_hook(hook: Any) -> None:
    with pytest.raises(ConfigError, match=r"^hook: expected Hook, got "):
        client_with().add_hook(hook)


async def test_a_hook_that_overrides_no_stage_changes_nothing() -> None:
    async with client_with(Hook()) as client:
        assert await client.variation("checkout", USER, False) is True
        assert client.variation_nowait("checkout", USER, False) is True
