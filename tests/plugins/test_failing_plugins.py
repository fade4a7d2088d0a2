"""Plugins that raise, hang or are cancelled while they register."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from aioflags import Client, Hook
from aioflags.plugins import EnvironmentMetadata, Plugin
from tests.plugins.recording_plugins import USER, FailingPlugin, RecordingPlugin, WaitingPlugin, client_with, errors
from tests.support.hooks import RecordingHook


@pytest.mark.holds("CS-C11")
async def test_a_plugin_that_fails_is_logged_and_the_other_plugins_run(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    hooks = [RecordingHook("h1"), RecordingHook("h2"), RecordingHook("h3")]
    plugins = [
        FailingPlugin("p1", log, hooks[0], at="register"),
        FailingPlugin("p2", log, hooks[1], at="get_hooks"),
        RecordingPlugin("p3", log, hooks[2]),
    ]
    async with client_with(*plugins) as client:
        assert await client.variation("f", USER, 0) == 1
    assert [len(hook.calls) for hook in hooks] == [1, 0, 1]
    assert log[3:] == ["p1.register", "p2.register", "p3.register"]
    assert errors(caplog) == ["plugin p2: get_hooks failed", "plugin p1: register failed"]


@pytest.mark.parametrize("brought", [None, "hooks", [print], [RecordingHook]])
async def test_a_result_of_get_hooks_that_is_not_a_list_of_hooks_is_ignored(brought: Any, caplog: pytest.LogCaptureFixture) -> None:
    class WrongHooks(Plugin):
        name = "odd"

        def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:
            return brought  # type: ignore[no-any-return]  # the mistake

    async with client_with(WrongHooks()) as client:
        assert await client.variation("f", USER, 0) == 1
    assert errors(caplog) == ["plugin odd: get_hooks failed"]


async def test_a_plugin_that_hangs_is_abandoned_with_an_error(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    began = asyncio.get_running_loop().time()
    async with client_with(WaitingPlugin("slow", log, seconds=3600), RecordingPlugin("next", log)) as client:
        assert asyncio.get_running_loop().time() - began == pytest.approx(5)
        assert await client.variation("f", USER, 0) == 1
    assert log == ["slow.get_hooks", "next.get_hooks", "next.register"]
    assert errors(caplog) == ["plugin slow: register took longer than 5 s, and was cancelled"]


class LosesItsName(FailingPlugin):
    """Deletes its name after the client has accepted it."""

    def __init__(self, at: str) -> None:
        super().__init__("forgetful", [], at=at)

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:
        del self.name
        self.log.append("get_hooks")
        if self.at == "get_hooks":
            raise ValueError(self.at)
        return ()

    async def register(  # type: ignore[override]  # Plugin allows both, RecordingPlugin only the one
        self, client: Client, environment: EnvironmentMetadata
    ) -> None:
        if self.at == "hang":
            await asyncio.sleep(3600)
        if self.at == "register":
            raise ValueError(self.at)


@pytest.mark.parametrize(
    ("at", "logged"),
    [
        ("get_hooks", "plugin LosesItsName: get_hooks failed"),
        ("register", "plugin LosesItsName: register failed"),
        ("hang", "plugin LosesItsName: register took longer than 5 s, and was cancelled"),
    ],
)
@pytest.mark.holds("CS-C11")
async def test_a_failing_plugin_without_a_name_is_logged_with_its_type(
    at: str, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_with(LosesItsName(at)) as client:
        # The start does not wait for longer than the plugin may take.
        await client.wait_ready(1)
        assert await client.variation("f", USER, 0) == 1
    assert errors(caplog) == [logged]


@pytest.mark.holds("CS-C11")
async def test_a_plugin_that_awaits_a_cancelled_task_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []

    class Abandoned(RecordingPlugin):
        async def register(  # type: ignore[override]  # Plugin allows both, RecordingPlugin only the one
            self, client: Client, environment: EnvironmentMetadata
        ) -> None:
            task = asyncio.create_task(asyncio.sleep(3600))
            task.cancel()
            await task

    async with client_with(Abandoned("p1", log), RecordingPlugin("p2", log)) as client:
        assert client.status == "READY"
    assert log[-1] == "p2.register"
    assert errors(caplog) == ["plugin p1: register failed"]


async def test_a_close_does_not_wait_for_a_plugin_that_hangs() -> None:
    client = client_with(WaitingPlugin("slow", [], seconds=3600))
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    await client.aclose()
    assert asyncio.get_running_loop().time() == began
    assert (await starting).status == "NOT_READY"


async def test_a_cancelled_start_cancels_the_plugin_that_registers() -> None:
    log: list[str] = []
    client = client_with(WaitingPlugin("slow", log, seconds=3))
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(1)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await asyncio.sleep(5)
    assert log == ["slow.get_hooks"]
