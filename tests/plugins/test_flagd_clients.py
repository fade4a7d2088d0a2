"""Plugins of a client for flagd: get_hooks at the first start, register at each."""

from __future__ import annotations

import asyncio
import weakref

import pytest

from aioflags import FlagdClient, FlagdConfig, LifecycleError
from aioflags.plugins import EnvironmentMetadata, FlagdPlugin, SdkMetadata
from aioflags.runtime.version import __version__
from tests.plugins.recording_plugins import USER, RecordingAnywhere, errors
from tests.support.hooks import RecordingHook
from tests.support.scripted_flagd import FLAGS, READY, ScriptedFlagd

DOCUMENT = {"flags": {"f": {"state": "ENABLED", "variants": {"one": 1}, "defaultVariant": "one"}}}


async def test_a_plugin_registers_at_each_start_and_brings_its_hooks_at_the_first() -> None:
    log: list[str] = []
    hook = RecordingHook("brought")
    plugin = RecordingAnywhere(log, hook)
    client = FlagdClient.local(DOCUMENT, FlagdConfig(plugins=[plugin]))
    assert log == []
    await client.start()
    assert log == ["get_hooks", "register"]
    await client.aclose()
    await client.start()
    assert log == ["get_hooks", "register", "register"]
    assert plugin.clients == [client, client]
    hook.calls.clear()
    await client.variation("f", USER, 0)
    assert len(hook.calls) == 1
    await client.aclose()


@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_a_plugin_gets_the_client_before_it_has_data_or_is_ready(resolver: str) -> None:
    flagd = ScriptedFlagd([[FLAGS if resolver == "in-process" else READY]])
    plugin = RecordingAnywhere([])
    async with flagd.client(resolver, plugins=[plugin]) as client:
        assert client.status == "READY"
    assert plugin.values == [0]


async def test_a_start_waits_for_plugins_as_long_as_for_data(caplog: pytest.LogCaptureFixture) -> None:
    began, log = asyncio.get_running_loop().time(), list[str]()
    config = FlagdConfig(plugins=[RecordingAnywhere(log, seconds=3), RecordingAnywhere(log, seconds=3600)], deadline=2)
    async with FlagdClient.local(DOCUMENT, config) as client:
        assert asyncio.get_running_loop().time() - began == pytest.approx(2)
        await client.wait_ready(10)
        assert asyncio.get_running_loop().time() - began == pytest.approx(8)
    assert log == ["get_hooks", "get_hooks", "register"]
    assert errors(caplog)[-1] == "plugin recording: register took longer than 5 s, and was cancelled"


async def test_plugins_get_the_sdk_and_no_key() -> None:
    plugin = RecordingAnywhere([])
    async with FlagdClient.local(DOCUMENT, FlagdConfig(plugins=[plugin])):
        pass
    sdk = SdkMetadata(name="AioFlags", version=__version__, wrapper_name=None, wrapper_version=None)
    assert plugin.environments == [EnvironmentMetadata(sdk=sdk, sdk_key="", application=None)] * 2


async def test_a_start_on_another_event_loop_registers_no_plugin() -> None:
    log: list[str] = []
    async with FlagdClient.local(DOCUMENT, FlagdConfig(plugins=[RecordingAnywhere(log)])) as client:

        async def start() -> None:
            with pytest.raises(LifecycleError):
                await client.start()

        await asyncio.to_thread(asyncio.run, start())
    assert log == ["get_hooks", "register"]


async def test_a_running_client_with_a_plugin_can_be_collected() -> None:
    class Idle(FlagdPlugin):
        name = "idle"

    clients = [FlagdClient.local(DOCUMENT, FlagdConfig(plugins=[Idle()]))]
    await clients[0].start()
    is_gone = weakref.ref(clients[0])
    with pytest.warns(ResourceWarning, match="unclosed client"):
        clients.clear()
    assert is_gone() is None
