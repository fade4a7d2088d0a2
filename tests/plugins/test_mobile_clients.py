"""Plugins of a client for a mobile key: get_hooks before the start, register for each environment."""

from __future__ import annotations

import weakref

import pytest

from aioflags import ConfigError, MobileClient, MobileConfig
from aioflags.mobile import MobileEnvironment
from aioflags.plugins import ApplicationMetadata, EnvironmentMetadata, MobilePlugin, SdkMetadata
from aioflags.runtime.version import __version__
from aioflags.testing import MemoryMobileClient
from tests.plugins.recording_plugins import DOCUMENT, USER, RecordingAnywhere, errors
from tests.support.hooks import RecordingHook


async def test_a_plugin_brings_its_hooks_and_gets_the_client() -> None:
    log: list[str] = []
    hook = RecordingHook("brought")
    plugin = RecordingAnywhere(log, hook)
    client = MemoryMobileClient(DOCUMENT, USER, MobileConfig(plugins=[plugin]))
    assert log == []
    async with client:
        assert log == ["get_hooks", "register"]
        assert plugin.clients == [client]
        await client.start()
        assert log == ["get_hooks", "register"]
        hook.calls.clear()
        assert client.variation("f", 0) == 1
        assert len(hook.calls) == 1


async def test_each_environment_is_registered_with_its_key() -> None:
    plugin = RecordingAnywhere([])
    config = MobileConfig(plugins=[plugin], secondary_mobile_keys={"beta": "mob-beta"}, application_id="notes", wrapper_name="w")
    client = MemoryMobileClient(DOCUMENT, USER, config)
    async with client:
        assert {*plugin.clients} == {client, client.environment("beta")}
    assert {environment.sdk_key for environment in plugin.environments} == {"mob-for-tests", "mob-beta"}
    sdk = SdkMetadata(name="aioflags-client", version=__version__, wrapper_name="w", wrapper_version=None)
    for environment in plugin.environments:
        assert environment.sdk == sdk
        assert environment.application == ApplicationMetadata(id="notes", version=None)
        assert "mob-" not in repr(environment)


async def test_a_plugin_that_hangs_or_raises_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(MobilePlugin):
        name = "failing"

        def register(self, client: MobileEnvironment, environment: EnvironmentMetadata) -> None:
            raise OSError

    log: list[str] = []
    config = MobileConfig(plugins=[Failing(), RecordingAnywhere([], seconds=3600), RecordingAnywhere(log)])
    async with MemoryMobileClient(DOCUMENT, USER, config) as client:
        await client.wait_until(lambda _: log[-1:] == ["register"], 10)
        assert client.variation("f", 0) == 1
    assert errors(caplog) == [
        "plugin failing: register failed",
        "plugin recording: register took longer than 5 s, and was cancelled",
    ]


async def test_a_running_client_with_a_plugin_can_be_collected() -> None:
    class Idle(MobilePlugin):
        name = "idle"

    clients = [MobileClient("mob-key", USER, MobileConfig(plugins=[Idle()], offline=True))]
    await clients[0].start()
    is_gone = weakref.ref(clients[0])
    with pytest.warns(ResourceWarning, match="unclosed client"):
        clients.clear()
    assert is_gone() is None


def test_what_is_not_a_plugin_is_refused() -> None:
    with pytest.raises(ConfigError, match="plugins"):
        MobileConfig(plugins=[object()])  # type: ignore[list-item]
