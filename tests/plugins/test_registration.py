"""Plugins: get_hooks, then register before the client has data; and plugins that fail or hang."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, cast

import pytest

from aioflags import BigSegments, Client, Config, ConfigError, DataSystem, Events, Hook, LifecycleError, StoreStatus
from aioflags.plugins.plugin import ApplicationMetadata, EnvironmentMetadata, Plugin, SdkMetadata
from aioflags.runtime.clock import now_ms
from aioflags.runtime.version import __version__
from aioflags.sources import Selector, SourceContext, SourceState, Update, from_function
from tests.support.canaries import KEY, secretive
from tests.support.hooks import RecordingHook
from tests.support.scripted_memberships import ScriptedMemberships

USER = secretive("anna")
DOCUMENT = {"flagValues": {"f": 1}}


class RecordingPlugin(Plugin):
    """Records its calls, and returns the hooks it was made with."""

    def __init__(self, name: str, log: list[str], *hooks: Hook) -> None:
        self.name = name
        self.log = log
        self.hooks = hooks
        self.environments: list[EnvironmentMetadata] = []

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:
        self.log.append(f"{self.name}.get_hooks")
        self.environments.append(environment)
        return self.hooks

    def register(self, client: Client, environment: EnvironmentMetadata) -> None:
        self.log.append(f"{self.name}.register")
        self.environments.append(environment)


class Waiting(RecordingPlugin):
    """Takes some seconds to register."""

    def __init__(self, name: str, log: list[str], seconds: float = 1) -> None:
        super().__init__(name, log)
        self.seconds = seconds

    async def register(  # type: ignore[override]  # Plugin allows both, RecordingPlugin only the one
        self, client: Client, environment: EnvironmentMetadata
    ) -> None:
        await asyncio.sleep(self.seconds)
        super().register(client, environment)


class Failing(RecordingPlugin):
    """Raises in the method ``at``."""

    def __init__(self, name: str, log: list[str], *hooks: Hook, at: str) -> None:
        super().__init__(name, log, *hooks)
        self.at = at

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:
        super().get_hooks(environment)
        if self.at == "get_hooks":
            raise ValueError(self.at)
        return self.hooks

    def register(self, client: Client, environment: EnvironmentMetadata) -> None:
        super().register(client, environment)
        if self.at == "register":
            raise ValueError(self.at)


def client_with(*plugins: Plugin, **options: Any) -> Client:
    return Client.local(DOCUMENT, Config(plugins=plugins, **options))


async def silent(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
    await asyncio.Event().wait()
    yield Update(state=SourceState.VALID, directive=None)


def without_data(*plugins: Plugin, **options: Any) -> Client:
    system = DataSystem.custom(synchronizers=[from_function("silent", silent)])
    return Client(KEY, Config(plugins=plugins, data_system=system, events=Events(send_events=False), **options))


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


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

    plugin = Waiting("p", log) if kind == "coroutine" else RecordingPlugin("p", log)
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
    client = client_with(Waiting("p", [], seconds=3600), big_segments=BigSegments(store=store, status_poll_interval=1))
    start = asyncio.create_task(client.start())
    await asyncio.sleep(2.5)
    assert store.polls == 3
    await client.aclose()
    await asyncio.sleep(10)
    assert (store.polls, store.closed) == (3, 1)
    await asyncio.wait([start])


async def test_plugins_are_called_once_if_the_client_is_started_several_times() -> None:
    log: list[str] = []
    client = client_with(Waiting("p", log))
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


@pytest.mark.parametrize("start_wait", [0, 5])
@pytest.mark.parametrize("options", [{}, {"offline": True}], ids=["online", "offline"])
async def test_a_start_returns_when_all_plugins_are_registered(start_wait: float, options: dict[str, Any]) -> None:
    log: list[str] = []
    client = client_with(Waiting("p1", log), RecordingPlugin("p2", log), **options)
    await client.start(start_wait)
    assert log[2:] == ["p1.register", "p2.register"]
    await client.aclose()


async def test_concurrent_starts_return_when_all_plugins_are_registered() -> None:
    log: list[str] = []
    client = client_with(Waiting("p", log), offline=True)
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


async def test_the_start_wait_begins_when_all_plugins_are_registered() -> None:
    began = asyncio.get_running_loop().time()
    client = without_data(Waiting("slow", [], seconds=4), start_wait=2)
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(5)
    assert client.status.status == "NOT_READY"
    assert (await starting).status == "ERROR"
    assert asyncio.get_running_loop().time() - began == pytest.approx(6)
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


async def test_a_plugin_may_omit_get_hooks_and_register() -> None:
    class Lazy(Plugin):
        name = "lazy"

    async with client_with(Lazy()) as client:
        assert await client.variation("f", USER, 0) == 1


# -- plugins that fail


@pytest.mark.holds("CS-C11")
async def test_a_plugin_that_fails_is_logged_and_the_other_plugins_run(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    hooks = [RecordingHook("h1"), RecordingHook("h2"), RecordingHook("h3")]
    plugins = [
        Failing("p1", log, hooks[0], at="register"),
        Failing("p2", log, hooks[1], at="get_hooks"),
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
    async with client_with(Waiting("slow", log, seconds=3600), RecordingPlugin("next", log)) as client:
        assert asyncio.get_running_loop().time() - began == pytest.approx(5)
        assert await client.variation("f", USER, 0) == 1
    assert log == ["slow.get_hooks", "next.get_hooks", "next.register"]
    assert errors(caplog) == ["plugin slow: register took longer than 5 s, and was cancelled"]


class Forgetful(Failing):
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
        ("get_hooks", "plugin Forgetful: get_hooks failed"),
        ("register", "plugin Forgetful: register failed"),
        ("hang", "plugin Forgetful: register took longer than 5 s, and was cancelled"),
    ],
)
@pytest.mark.holds("CS-C11")
async def test_a_failing_plugin_without_a_name_is_logged_with_its_type(
    at: str, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_with(Forgetful(at)) as client:
        assert client.status.status == "READY"
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
        assert client.status.status == "READY"
    assert log[-1] == "p2.register"
    assert errors(caplog) == ["plugin p1: register failed"]


async def test_a_close_does_not_wait_for_a_plugin_that_hangs() -> None:
    client = client_with(Waiting("slow", [], seconds=3600))
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    await client.aclose()
    assert asyncio.get_running_loop().time() == began
    assert (await starting).status == "NOT_READY"


async def test_a_cancelled_start_cancels_the_plugin_that_registers() -> None:
    log: list[str] = []
    client = client_with(Waiting("slow", log, seconds=3))
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(1)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await asyncio.sleep(5)
    assert log == ["slow.get_hooks"]


class Nameless(Plugin):
    """Has no name and no methods."""


class Numbered(Plugin):
    """Has a name that is not a string."""

    name = 7  # type: ignore[assignment]  # the mistake


class Unreadable(Plugin):
    """Has a name that raises when it is read."""

    @property
    def name(self) -> str:  # type: ignore[override]  # as some do
        raise ValueError("not today")


class Metadata:
    """Looks like a plugin of LaunchDarkly's SDK: the name is in its metadata."""

    @property
    def metadata(self) -> str:
        return "metadata"

    def get_hooks(self, environment: EnvironmentMetadata) -> list[Hook]:
        return []

    def register(self, client: Client, environment: EnvironmentMetadata) -> None: ...


@pytest.mark.parametrize(
    ("plugins", "problem"),
    [
        pytest.param(
            [print], r"plugins: builtin_function_or_method is not a plugin \(it has no method get_hooks\)", id="a function"
        ),
        pytest.param(
            [RecordingPlugin],
            r"plugins: RecordingPlugin is a class; expected a plugin, made by calling it: RecordingPlugin\(…\)",
            id="a class",
        ),
        pytest.param([Hook()], r"plugins: Hook is not a plugin \(it has no method get_hooks\)", id="a hook"),
        pytest.param({}, "plugins: expected a sequence of Plugin, got dict", id="a mapping"),
        pytest.param("ab", "plugins: expected a sequence of Plugin, got str", id="text"),
        pytest.param(
            [cast("type", Nameless)()],
            r"plugins: Nameless is not a plugin \(it has no attribute name\)",
            id="a plugin without a name",
        ),
        pytest.param([Metadata()], r"plugins: Metadata is not a plugin \(it has no attribute name\)", id="a plugin of another SDK"),
        pytest.param(
            [Unreadable()],
            r"plugins: Unreadable is not a plugin \(reading its name raised ValueError: not today\)",
            id="a name that raises",
        ),
        pytest.param(
            [Numbered()],
            r"plugins: Numbered is not a plugin \(its name is not a string but int\)",
            id="a name that is not a string",
        ),
    ],
)
def test_an_object_that_is_not_a_plugin_is_refused(plugins: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"^{problem}$"):
        Config(plugins=plugins)


def test_a_class_with_the_members_of_a_plugin_is_accepted() -> None:
    class Foreign:
        name = "foreign"

        def get_hooks(self, environment: EnvironmentMetadata) -> list[Hook]:
            return []

        def register(self, client: Client, environment: EnvironmentMetadata) -> None: ...

    assert len(Config(plugins=[Foreign()]).plugins) == 1
