"""Plugins of a client for a mobile key: get_hooks before the start, register for each environment."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence

import pytest

from aioflags import Client, ConfigError, FlagdClient, Hook, MobileClient, MobileConfig
from aioflags.mobile import MobileEnvironment
from aioflags.plugins import ApplicationMetadata, EnvironmentMetadata, MobilePlugin, Plugin, SdkMetadata
from aioflags.runtime.version import __version__
from aioflags.testing import MemoryMobileClient
from tests.plugins.recording_plugins import USER, errors
from tests.support.hooks import RecordingHook

DOCUMENT = {"flagValues": {"f": 1}}


class Recording(Plugin):
    """Records its calls. Clients of each kind can have it."""

    name = "recording"

    def __init__(self, log: list[str], *hooks: Hook, seconds: float = 0) -> None:
        self.log = log
        self.hooks = hooks
        self.seconds = seconds
        self.clients: list[Client | FlagdClient | MobileEnvironment] = []
        self.environments: list[EnvironmentMetadata] = []

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:
        self.log.append("get_hooks")
        return self.hooks

    async def register(self, client: Client | FlagdClient | MobileEnvironment, environment: EnvironmentMetadata) -> None:
        self.environments.append(environment)
        self.clients.append(client)
        await asyncio.sleep(self.seconds)
        self.log.append("register")


async def test_a_plugin_brings_its_hooks_and_gets_the_client() -> None:
    log: list[str] = []
    hook = RecordingHook("brought")
    plugin = Recording(log, hook)
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
    plugin = Recording([])
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
    config = MobileConfig(plugins=[Failing(), Recording([], seconds=3600), Recording(log)])
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
