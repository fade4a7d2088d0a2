"""Plugins: asked for their hooks, shown the client before it has data; one that fails or hangs harms nobody."""

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


class Noting(Plugin):
    """Notes what is asked of it; brings the hooks that it was made with."""

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


class Waiting(Noting):
    """Takes its time to register."""

    def __init__(self, name: str, log: list[str], seconds: float = 1) -> None:
        super().__init__(name, log)
        self.seconds = seconds

    async def register(  # type: ignore[override]  # Plugin allows both, Noting only the one
        self, client: Client, environment: EnvironmentMetadata
    ) -> None:
        await asyncio.sleep(self.seconds)
        super().register(client, environment)


class Failing(Noting):
    """Raises where it is told to."""

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


# -- when they are called


async def test_all_are_asked_for_hooks_before_the_first_is_registered() -> None:
    log: list[str] = []
    client = client_with(Noting("p1", log), Noting("p2", log))
    assert log == []
    async with client:
        assert log == ["p1.get_hooks", "p2.get_hooks", "p1.register", "p2.register"]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_the_start_goes_from_hooks_over_big_segments_and_plugins_to_the_sources(kind: str) -> None:
    log: list[str] = []

    class Polled(ScriptedMemberships):
        async def last_updated_ms(self) -> int:
            log.append("big segments are polled")
            return now_ms()

    async def follow(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        log.append("a source is asked")
        yield Update(state=SourceState.VALID, directive=None)

    plugin = Waiting("p", log) if kind == "coroutine" else Noting("p", log)
    system = DataSystem.custom(synchronizers=[from_function("told", follow)])
    big_segments = BigSegments(store=Polled())
    config = Config(plugins=[plugin], data_system=system, big_segments=big_segments, events=Events(send_events=False))
    async with Client(KEY, config):
        assert log == ["p.get_hooks", "big segments are polled", "p.register", "a source is asked"]


async def test_a_plugin_may_ask_how_the_store_of_big_segments_is_doing_while_it_registers() -> None:
    found: list[StoreStatus] = []

    class Asking(Noting):
        async def register(  # type: ignore[override]  # Plugin allows both, Noting only the one
            self, client: Client, environment: EnvironmentMetadata
        ) -> None:
            found.append(await client.big_segments_status())

    store = ScriptedMemberships(updated=now_ms())
    async with client_with(Asking("p", []), big_segments=BigSegments(store=store)):
        assert found == [StoreStatus(available=True, stale=False)]
        assert store.polls == 1


async def test_a_client_that_is_closed_while_a_plugin_registers_polls_no_more() -> None:
    store = ScriptedMemberships(updated=now_ms())
    client = client_with(Waiting("p", [], seconds=3600), big_segments=BigSegments(store=store, status_poll_interval=1))
    start = asyncio.create_task(client.start())
    await asyncio.sleep(2.5)
    assert store.polls == 3
    await client.aclose()
    await asyncio.sleep(10)
    assert (store.polls, store.closed) == (3, 1)
    await asyncio.wait([start])


async def test_they_are_called_once_however_often_the_client_is_started() -> None:
    log: list[str] = []
    client = client_with(Waiting("p", log))
    await asyncio.gather(client.start(), client.start(), client.start(0))
    assert log == ["p.get_hooks", "p.register"]
    await client.start()
    await client.aclose()
    with pytest.raises(LifecycleError):
        await client.start()
    assert log == ["p.get_hooks", "p.register"]


async def test_a_client_that_was_closed_before_asks_nobody() -> None:
    log: list[str] = []
    client = client_with(Noting("p", log))
    await client.aclose()
    with pytest.raises(LifecycleError):
        await client.start()
    assert log == []


@pytest.mark.parametrize("start_wait", [0, 5])
@pytest.mark.parametrize("options", [{}, {"offline": True}], ids=["online", "offline"])
async def test_a_start_returns_when_all_are_registered(start_wait: float, options: dict[str, Any]) -> None:
    log: list[str] = []
    client = client_with(Waiting("p1", log), Noting("p2", log), **options)
    await client.start(start_wait)
    assert log[2:] == ["p1.register", "p2.register"]
    await client.aclose()


async def test_every_start_returns_no_earlier() -> None:
    log: list[str] = []
    client = client_with(Waiting("p", log), offline=True)
    first = asyncio.create_task(client.start())
    await asyncio.sleep(0.5)
    await client.start()
    assert log == ["p.get_hooks", "p.register"]
    await first
    await client.aclose()


async def test_a_plugin_sees_the_client_before_its_data_and_may_use_it() -> None:
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


async def test_the_limit_of_a_start_counts_from_when_they_are_registered() -> None:
    began = asyncio.get_running_loop().time()
    client = without_data(Waiting("slow", [], seconds=4), start_wait=2)
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(5)
    assert client.status.status == "NOT_READY"
    assert (await starting).status == "ERROR"
    assert asyncio.get_running_loop().time() - began == pytest.approx(6)
    await client.aclose()


# -- what they bring, and are told


async def test_their_hooks_stand_between_those_configured_or_added_before_and_those_added_after() -> None:
    log: list[str] = []
    hooks = [RecordingHook(name, log) for name in ("configured", "early", "p1.a", "p1.b", "p2", "late")]
    plugins = [Noting("p1", [], *hooks[2:4]), Noting("p2", [], hooks[4])]
    client = client_with(*plugins, hooks=hooks[:1])
    client.add_hook(hooks[1])
    async with client:
        client.add_hook(hooks[5])
        await client.variation("f", USER, 0)
    assert log[:6] == [f"{hook.name}.before_evaluation" for hook in hooks]


@pytest.mark.parametrize(
    ("options", "application"),
    [
        pytest.param({}, None, id="nothing is said of the application"),
        pytest.param(
            {"application_id": "shop", "application_version": "1.0"},
            ApplicationMetadata(id="shop", version="1.0"),
            id="all is said",
        ),
        pytest.param(
            {"application_id": "my shop", "application_version": "1.0"},
            ApplicationMetadata(id=None, version="1.0"),
            id="what cannot be sent is not told",
        ),
    ],
)
async def test_they_are_told_where_they_are(options: dict[str, Any], application: ApplicationMetadata | None) -> None:
    plugin = Noting("p", [])
    config = Config(plugins=[plugin], offline=True, wrapper_name="w", wrapper_version="2", **options)
    async with Client(KEY, config):
        pass
    sdk = SdkMetadata(name="AioFlags", version=__version__, wrapper_name="w", wrapper_version="2")
    assert plugin.environments == [EnvironmentMetadata(sdk=sdk, sdk_key=KEY, application=application)] * 2
    assert KEY not in repr(plugin.environments)


async def test_a_subclass_may_leave_out_what_it_does_not_need() -> None:
    class Lazy(Plugin):
        name = "lazy"

    async with client_with(Lazy()) as client:
        assert await client.variation("f", USER, 0) == 1


# -- plugins that fail


@pytest.mark.holds("CS-C11")
async def test_a_plugin_that_fails_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    hooks = [RecordingHook("h1"), RecordingHook("h2"), RecordingHook("h3")]
    plugins = [
        Failing("p1", log, hooks[0], at="register"),
        Failing("p2", log, hooks[1], at="get_hooks"),
        Noting("p3", log, hooks[2]),
    ]
    async with client_with(*plugins) as client:
        assert await client.variation("f", USER, 0) == 1
    assert [len(hook.calls) for hook in hooks] == [1, 0, 1]
    assert log[3:] == ["p1.register", "p2.register", "p3.register"]
    assert errors(caplog) == ["plugin p2: get_hooks failed", "plugin p1: register failed"]


@pytest.mark.parametrize("brought", [None, "hooks", [print], [RecordingHook]])
async def test_what_is_no_hook_is_not_taken(brought: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Odd(Plugin):
        name = "odd"

        def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:
            return brought  # type: ignore[no-any-return]  # the mistake

    async with client_with(Odd()) as client:
        assert await client.variation("f", USER, 0) == 1
    assert errors(caplog) == ["plugin odd: get_hooks failed"]


async def test_a_plugin_that_hangs_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    began = asyncio.get_running_loop().time()
    async with client_with(Waiting("slow", log, seconds=3600), Noting("next", log)) as client:
        assert asyncio.get_running_loop().time() - began == pytest.approx(5)
        assert await client.variation("f", USER, 0) == 1
    assert log == ["slow.get_hooks", "next.get_hooks", "next.register"]
    assert errors(caplog) == ["plugin slow: register took longer than 5 s, and was cancelled"]


class Forgetful(Failing):
    """Loses its name once it was accepted."""

    def __init__(self, at: str) -> None:
        super().__init__("forgetful", [], at=at)

    def get_hooks(self, environment: EnvironmentMetadata) -> Sequence[Hook]:
        del self.name
        self.log.append("get_hooks")
        if self.at == "get_hooks":
            raise ValueError(self.at)
        return ()

    async def register(  # type: ignore[override]  # Plugin allows both, Noting only the one
        self, client: Client, environment: EnvironmentMetadata
    ) -> None:
        if self.at == "hang":
            await asyncio.sleep(3600)
        if self.at == "register":
            raise ValueError(self.at)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("get_hooks", "plugin Forgetful: get_hooks failed"),
        ("register", "plugin Forgetful: register failed"),
        ("hang", "plugin Forgetful: register took longer than 5 s, and was cancelled"),
    ],
)
@pytest.mark.holds("CS-C11")
async def test_one_that_fails_without_a_name_is_named_by_its_type(at: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    async with client_with(Forgetful(at)) as client:
        assert client.status.status == "READY"
        assert await client.variation("f", USER, 0) == 1
    assert errors(caplog) == [said]


@pytest.mark.holds("CS-C11")
async def test_one_that_waits_for_a_task_that_was_cancelled_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []

    class Abandoned(Noting):
        async def register(  # type: ignore[override]  # Plugin allows both, Noting only the one
            self, client: Client, environment: EnvironmentMetadata
        ) -> None:
            task = asyncio.create_task(asyncio.sleep(3600))
            task.cancel()
            await task

    async with client_with(Abandoned("p1", log), Noting("p2", log)) as client:
        assert client.status.status == "READY"
    assert log[-1] == "p2.register"
    assert errors(caplog) == ["plugin p1: register failed"]


async def test_closing_does_not_wait_for_one_that_hangs() -> None:
    client = client_with(Waiting("slow", [], seconds=3600))
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    await client.aclose()
    assert asyncio.get_running_loop().time() == began
    assert (await starting).status == "NOT_READY"


async def test_a_start_that_is_cancelled_cancels_it() -> None:
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
    """Leaves out what every plugin has."""


class Numbered(Plugin):
    """Has a name that is none."""

    name = 7  # type: ignore[assignment]  # the mistake


class Unreadable(Plugin):
    """Has a name that nobody can read."""

    @property
    def name(self) -> str:  # type: ignore[override]  # as some do
        raise ValueError("not today")


class Metadata:
    """As plugins of another SDK look: the name stands elsewhere."""

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
        pytest.param([Noting], r"plugins: Noting is a class; expected a plugin, made by calling it: Noting\(…\)", id="a class"),
        pytest.param([Hook()], r"plugins: Hook is not a plugin \(it has no method get_hooks\)", id="a hook"),
        pytest.param({}, "plugins: expected a sequence of Plugin, got dict", id="a mapping"),
        pytest.param("ab", "plugins: expected a sequence of Plugin, got str", id="text"),
        pytest.param(
            [cast("type", Nameless)()], r"plugins: Nameless is not a plugin \(it has no attribute name\)", id="one without a name"
        ),
        pytest.param([Metadata()], r"plugins: Metadata is not a plugin \(it has no attribute name\)", id="one of another SDK"),
        pytest.param(
            [Unreadable()],
            r"plugins: Unreadable is not a plugin \(reading its name raised ValueError: not today\)",
            id="a name that fails",
        ),
        pytest.param(
            [Numbered()], r"plugins: Numbered is not a plugin \(its name is not a string but int\)", id="a name that is no text"
        ),
    ],
)
def test_what_is_no_plugin_is_refused(plugins: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"^{problem}$"):
        Config(plugins=plugins)


def test_a_class_of_its_own_needs_to_look_like_one() -> None:
    class Foreign:
        name = "foreign"

        def get_hooks(self, environment: EnvironmentMetadata) -> list[Hook]:
            return []

        def register(self, client: Client, environment: EnvironmentMetadata) -> None: ...

    assert len(Config(plugins=[Foreign()]).plugins) == 1
