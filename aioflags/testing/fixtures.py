"""The fixtures of the plugin. Their modules are imported when a test uses them."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from aioflags.testing.client import MemoryClient, MemoryMobileClient
    from aioflags.testing.flag_overrides import FlagOverrides
    from aioflags.testing.recorder import EventRecorder, FlagChangeLog, FlagRecorder
    from aioflags.testing.service import FakeFlagd, FlagsService
    from aioflags.testing.session_flags import SessionFlags


_ON_ASYNCIO: Final = "_aioflags_{name}_on_asyncio_{scope}"
_ON_ANYIO: Final = "_aioflags_{name}_on_anyio"
_LOOP_SCOPES: Final = ("function", "class", "module", "package", "session")
"""Those of pytest-asyncio: each has an event loop of its own."""


def fixtures(config: pytest.Config) -> ModuleType:
    """A plugin with the fixtures, under the names that the project configured."""
    module = ModuleType("aioflags fixtures")
    for function in (flags, mobile_flags, flag_overrides, flag_recorder, flag_events, flag_changes, flags_service, fake_flagd):
        setattr(module, function.__name__, pytest.fixture(name=named(config, function.__name__))(function))
    name = named(config, flags_factory.__name__)
    setattr(module, flags_factory.__name__, pytest.fixture(scope="session", name=name)(flags_factory))
    servers: dict[str, Callable[[SessionFlags], Any]] = {flags_service.__name__: _service, fake_flagd.__name__: _flagd}
    for service, make in servers.items():
        name = _ON_ANYIO.format(name=service)
        setattr(module, name, pytest.fixture(name=name)(_serving(make)))
        if _runs_asyncio(config):
            import pytest_asyncio  # noqa: PLC0415 -- installed: it is a plugin of this run

            has_scopes = "loop_scope" in inspect.signature(pytest_asyncio.fixture).parameters  # since 0.24
            for scope in _LOOP_SCOPES if has_scopes else _LOOP_SCOPES[:1]:
                name = _ON_ASYNCIO.format(name=service, scope=scope)
                options: dict[str, Any] = {"loop_scope": scope} if has_scopes else {}
                as_fixture: Any = pytest_asyncio.fixture(name=name, **options)
                setattr(module, name, as_fixture(_serving(make)))
    return module


def named(config: pytest.Config, name: str) -> str:
    """The name of a fixture in this project."""
    return f"{config.getini('aioflags_fixture_prefix')}{name}"


def flags(request: pytest.FixtureRequest) -> MemoryClient:
    """A client whose flags the test sets: flags.set("new-checkout", True). Works in sync and async tests, started or not."""
    from aioflags.testing.client import MemoryClient  # noqa: PLC0415

    return MemoryClient(_flags_of_test(request).change_set())


def mobile_flags(request: pytest.FixtureRequest) -> MemoryMobileClient:
    """A client for a mobile key whose flags the test sets: mobile_flags.set("new-editor", True). Started or not."""
    from aioflags.testing.client import MemoryMobileClient  # noqa: PLC0415

    return MemoryMobileClient(_flags_of_test(request).change_set())


def flags_factory(request: pytest.FixtureRequest) -> Callable[..., MemoryClient]:
    """Makes more clients like `flags`, also for session fixtures. Takes values like the marker flags."""
    from aioflags.testing.client import MemoryClient  # noqa: PLC0415
    from aioflags.testing.flag_overrides import checked  # noqa: PLC0415
    from aioflags.testing.session_flags import session_flags_of  # noqa: PLC0415

    session_flags = session_flags_of(request.config)

    def make(values: Mapping[str, object] | None = None, /, **more: object) -> MemoryClient:
        return MemoryClient(session_flags.with_values(checked(values, more)).change_set())

    return make


def flag_overrides() -> Generator[FlagOverrides, None, None]:
    """Values that flags have during the test, on every client of the process: flag_overrides["new-checkout"] = True."""
    from aioflags.testing.flag_overrides import FlagOverrides  # noqa: PLC0415

    with FlagOverrides().in_force() as mapping:
        yield mapping


def flag_recorder() -> Generator[FlagRecorder, None, None]:
    """The evaluations of the test: flag_recorder.assert_evaluated("new-checkout", value=True)."""
    from aioflags.client_core.overrides import OVERRIDES  # noqa: PLC0415
    from aioflags.testing.recorder import FlagRecorder  # noqa: PLC0415

    recorder = FlagRecorder()
    with OVERRIDES.observed(recorder):
        yield recorder


def flag_events() -> Generator[EventRecorder, None, None]:
    """The track() and identify() calls of the test: flag_events.assert_tracked("purchase", metric_value=9.5)."""
    from aioflags.client_core.overrides import OVERRIDES  # noqa: PLC0415
    from aioflags.testing.recorder import EventRecorder  # noqa: PLC0415

    recorder = EventRecorder()
    with OVERRIDES.events_observed(recorder):
        yield recorder


def flag_changes(request: pytest.FixtureRequest) -> FlagChangeLog:
    """The flags that changed on `flags`, `mobile_flags`, and clients that it follows: await flag_changes.wait_for("theme")."""
    from aioflags.testing.recorder import FlagChangeLog  # noqa: PLC0415

    log = FlagChangeLog()
    for function in (flags, mobile_flags):
        if (name := named(request.config, function.__name__)) in request.fixturenames:
            log.follow(request.getfixturevalue(name))
    return log


def flags_service(request: pytest.FixtureRequest) -> FlagsService:
    """A flag server in the test's own event loop, on a real socket: async with flags_service.client() as client."""
    service: FlagsService = _server(request, flags_service.__name__)
    return service


def fake_flagd(request: pytest.FixtureRequest) -> FakeFlagd:
    """A running flagd in the test's own event loop, on free ports: fake_flagd.set("new-checkout", True)."""
    flagd: FakeFlagd = _server(request, fake_flagd.__name__)
    return flagd


def _server(request: pytest.FixtureRequest, service: str) -> Any:
    name = _async_fixture(request, service)
    from aioflags.testing.service import exemptions  # noqa: PLC0415 -- here: on the event loop it would block

    # The server does it, too, but a test may change the variables.
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    for variable, value in exemptions(os.environ).items():
        monkeypatch.setenv(variable, value)
    return request.getfixturevalue(name)


def _async_fixture(request: pytest.FixtureRequest, service: str) -> str:
    """The name of the async fixture behind a fixture. Fails a test that cannot use one."""
    function: Any = request.function
    function = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    name = request.fixturename or service
    if not inspect.iscoroutinefunction(function):
        pytest.fail(f"{name} runs in the test's own event loop, so {request.node.name} must be async", pytrace=False)
    is_for_anyio = "anyio_backend" in request.fixturenames
    if _runs_asyncio(request.config):
        from pytest_asyncio import is_async_test  # noqa: PLC0415

        if is_async_test(request.node):
            if is_for_anyio:  # then anyio may run the fixtures of the test
                pytest.fail(
                    f"{name}: pytest-asyncio runs {request.node.name}, whose fixture anyio_backend belongs to anyio, so that the"
                    ' server may run in another event loop. Remove @pytest.mark.anyio, or set asyncio_mode = "strict"',
                    pytrace=False,
                )
            return _ON_ASYNCIO.format(name=service, scope=_loop_scope(request.node))
    if is_for_anyio:
        return _ON_ANYIO.format(name=service)
    pytest.fail(f"{name} needs a plugin that runs async tests: pytest-asyncio, or anyio with @pytest.mark.anyio", pytrace=False)


def _loop_scope(test: pytest.Item) -> str:
    """The scope of the event loop in which pytest-asyncio runs the test."""
    marker = test.get_closest_marker("asyncio")
    options: Mapping[str, Any] = {} if marker is None else marker.kwargs
    try:
        default: str = test.config.getini("asyncio_default_test_loop_scope")
    except ValueError:  # before 0.26
        default = "function"
    return options.get("loop_scope") or options.get("scope") or default


def _runs_asyncio(config: pytest.Config) -> bool:
    plugin = sys.modules.get("pytest_asyncio.plugin")
    return plugin is not None and config.pluginmanager.is_registered(plugin)


def _serving(make: Callable[[SessionFlags], Any]) -> Callable[[pytest.FixtureRequest], AsyncGenerator[Any, None]]:
    """A function for an async fixture with the server that ``make`` returns. Each async plugin needs its own function object."""

    async def serving(request: pytest.FixtureRequest) -> AsyncGenerator[Any, None]:
        session_flags = _flags_of_test(request)
        server = make(session_flags)
        for key, value in (session_flags.values or {}).items():
            server.set(key, value)
        async with server:
            yield server

    return serving


def _service(session_flags: SessionFlags) -> FlagsService:
    from aioflags.devserver import read_objects  # noqa: PLC0415
    from aioflags.testing.service import FlagsService  # noqa: PLC0415

    server = FlagsService()
    for name, text in session_flags.documents:
        server.state.write(read_objects(text, name=name))
    return server


def _flagd(session_flags: SessionFlags) -> FakeFlagd:
    from aioflags.devserver.data.flagd_flags import read_flagd_document  # noqa: PLC0415
    from aioflags.testing.service import FakeFlagd  # noqa: PLC0415

    server = FakeFlagd()
    for name, text in session_flags.flagd_documents:
        server.state.replace(read_flagd_document(text, name=name))
    return server


def _flags_of_test(request: pytest.FixtureRequest) -> SessionFlags:
    """The flags of the session, and the values of the markers of the test."""
    from aioflags.testing.flag_overrides import marked_values  # noqa: PLC0415
    from aioflags.testing.session_flags import session_flags_of  # noqa: PLC0415

    return session_flags_of(request.config).with_values(marked_values(request.node))
