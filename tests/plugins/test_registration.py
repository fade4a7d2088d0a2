"""Plugins: get_hooks, then register before the client has data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from aioflags import BigSegments, Client, Config, DataSystem, Events, LifecycleError, StoreStatus
from aioflags.plugins import ApplicationMetadata, EnvironmentMetadata, Plugin, SdkMetadata
from aioflags.runtime.clock import now_ms
from aioflags.runtime.version import __version__
from aioflags.sources import Selector, SourceContext, SourceState, Update, from_function
from tests.plugins.recording_plugins import USER, RecordingPlugin, WaitingPlugin, client_with
from tests.support.canaries import KEY
from tests.support.hooks import RecordingHook
from tests.support.scripted_memberships import ScriptedMemberships


async def silent(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
    await asyncio.Event().wait()
    yield Update(state=SourceState.VALID, directive=None)


def without_data(*plugins: Plugin, **options: Any) -> Client:
    system = DataSystem.custom(synchronizers=[from_function("silent", silent)])
    return Client(KEY, Config(plugins=plugins, data_system=system, events=Events(send_events=False), **options))


# -- order of calls


async def test_get_hooks_of_all_plugins_is_called_before_the_first_register() -> None:
    log: list[str] = []
    client = client_with(RecordingPlugin("p1", log), RecordingPlugin("p2", log))
    assert log == []
    async with client:
        assert log == ["p1.get_hooks", "p2.get_hooks", "p1.register", "p2.register"]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_a_start_calls_get_hooks_then_big_segments_then_register_then_the_sources(kind: str) -> None:
    log: list[str] = []

    class Polled(ScriptedMemberships):
        async def last_updated_ms(self) -> int:
            log.append("big segments are polled")
            return now_ms()

    async def follow(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        log.append("a source is asked")
        yield Update(state=SourceState.VALID, directive=None)

    plugin = WaitingPlugin("p", log) if kind == "coroutine" else RecordingPlugin("p", log)
    system = DataSystem.custom(synchronizers=[from_function("follow", follow)])
    big_segments = BigSegments(store=Polled())
    config = Config(plugins=[plugin], data_system=system, big_segments=big_segments, events=Events(send_events=False))
    async with Client(KEY, config):
        assert log == ["p.get_hooks", "big segments are polled", "p.register", "a source is asked"]


async def test_a_plugin_can_read_the_big_segment_status_while_it_registers() -> None:
    found: list[StoreStatus] = []

    class Asking(RecordingPlugin):
        async def register(  # type: ignore[override]  # Plugin allows both, RecordingPlugin only the one
            self, client: Client, environment: EnvironmentMetadata
        ) -> None:
            found.append(await client.big_segments_status())

    store = ScriptedMemberships(updated=now_ms())
    async with client_with(Asking("p", []), big_segments=BigSegments(store=store)):
        assert found == [StoreStatus(available=True, stale=False)]
        assert store.polls == 1


async def test_a_client_that_is_closed_while_a_plugin_registers_stops_polling() -> None:
    store = ScriptedMemberships(updated=now_ms())
    client = client_with(WaitingPlugin("p", [], seconds=3600), big_segments=BigSegments(store=store, status_poll_interval=1))
    start = asyncio.create_task(client.start())
    await asyncio.sleep(2.5)
    assert store.polls == 3
    await client.aclose()
    await asyncio.sleep(10)
    assert (store.polls, store.closed) == (3, 1)
    await asyncio.wait([start])


async def test_plugins_are_called_once_if_the_client_is_started_several_times() -> None:
    log: list[str] = []
    client = client_with(WaitingPlugin("p", log))
    await asyncio.gather(client.start(), client.start(), client.start(0))
    assert log == ["p.get_hooks", "p.register"]
    await client.start()
    await client.aclose()
    with pytest.raises(LifecycleError):
        await client.start()
    assert log == ["p.get_hooks", "p.register"]


async def test_a_client_that_was_closed_before_its_start_calls_no_plugin() -> None:
    log: list[str] = []
    client = client_with(RecordingPlugin("p", log))
    await client.aclose()
    with pytest.raises(LifecycleError):
        await client.start()
    assert log == []


@pytest.mark.parametrize(("start_wait", "seconds"), [(0, 0), (5, 1)])
@pytest.mark.parametrize("options", [{}, {"offline": True}], ids=["online", "offline"])
async def test_a_start_returns_when_all_plugins_are_registered(start_wait: float, seconds: float, options: dict[str, Any]) -> None:
    log: list[str] = []
    client = client_with(WaitingPlugin("p1", log, seconds=seconds), RecordingPlugin("p2", log), **options)
    await client.start(start_wait)
    assert log[2:] == ["p1.register", "p2.register"]
    await client.aclose()


async def test_concurrent_starts_return_when_all_plugins_are_registered() -> None:
    log: list[str] = []
    client = client_with(WaitingPlugin("p", log), offline=True)
    first = asyncio.create_task(client.start())
    await asyncio.sleep(0.5)
    await client.start()
    assert log == ["p.get_hooks", "p.register"]
    await first
    await client.aclose()


async def test_a_plugin_gets_the_client_before_it_has_data_and_can_evaluate_flags() -> None:
    added = RecordingHook("added")

    class Using(Plugin):
        name = "using"
        seen: tuple[bool, int] | None = None

        async def register(self, client: Client, environment: EnvironmentMetadata) -> None:
            self.seen = client.is_initialized, await client.variation("f", USER, 0)
            client.add_hook(added)

    plugin = Using()
    async with without_data(plugin, start_wait=0) as client:
        assert plugin.seen == (False, 0)
        await client.variation("f", USER, 0)
    assert len(added.calls) == 1


async def test_the_start_wait_includes_the_registration_of_plugins() -> None:
    began, log = asyncio.get_running_loop().time(), list[str]()
    client = without_data(WaitingPlugin("slow", log, seconds=4), start_wait=2)
    assert (await client.start()).status == "ERROR"
    assert asyncio.get_running_loop().time() - began == pytest.approx(2)
    await asyncio.sleep(3)
    assert log == ["slow.get_hooks", "slow.register"]
    await client.aclose()


# -- hooks and metadata


async def test_hooks_of_plugins_run_after_configured_hooks_and_before_hooks_added_later() -> None:
    log: list[str] = []
    hooks = [RecordingHook(name, log) for name in ("configured", "early", "p1.a", "p1.b", "p2", "late")]
    plugins = [RecordingPlugin("p1", [], *hooks[2:4]), RecordingPlugin("p2", [], hooks[4])]
    client = client_with(*plugins, hooks=hooks[:1])
    client.add_hook(hooks[1])
    async with client:
        client.add_hook(hooks[5])
        await client.variation("f", USER, 0)
    assert log[:6] == [f"{hook.name}.before_evaluation" for hook in hooks]


@pytest.mark.parametrize(
    ("options", "application"),
    [
        pytest.param({}, None, id="no application"),
        pytest.param(
            {"application_id": "shop", "application_version": "1.0"},
            ApplicationMetadata(id="shop", version="1.0"),
            id="an application with id and version",
        ),
        pytest.param(
            {"application_id": "my shop", "application_version": "1.0"},
            ApplicationMetadata(id=None, version="1.0"),
            id="an application id that cannot be sent is left out",
        ),
    ],
)
async def test_plugins_get_the_environment(options: dict[str, Any], application: ApplicationMetadata | None) -> None:
    plugin = RecordingPlugin("p", [])
    config = Config(plugins=[plugin], offline=True, wrapper_name="w", wrapper_version="2", **options)
    async with Client(KEY, config):
        pass
    sdk = SdkMetadata(name="AioFlags", version=__version__, wrapper_name="w", wrapper_version="2")
    assert plugin.environments == [EnvironmentMetadata(sdk=sdk, sdk_key=KEY, application=application)] * 2
    assert KEY not in repr(plugin.environments)
