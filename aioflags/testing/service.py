"""FlagsService and FakeFlagd: servers in the test's own event loop, on real sockets. They need the extra ``server``.

The server is the development server (:mod:`aioflags.devserver`).
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Final, Self

import anyio

from aioflags.client.client import Client
from aioflags.config.config import Config
from aioflags.devserver import (
    Endpoint,
    Fault,
    RunningFlagd,
    RunningServer,
    ServerState,
    create_app,
    read_objects,
    serve,
    serve_flagd,
)
from aioflags.devserver.data.flagd_flags import constant_flagd_flag, read_flagd_document
from aioflags.errors import LifecycleError
from aioflags.events.options import Events, MobileEvents
from aioflags.mobile.client import MobileClient
from aioflags.mobile.config import MobileConfig
from aioflags.model.context import Context
from aioflags.model.values import same_json
from aioflags.protocol.flag_documents import plain_json
from aioflags.runtime.fork import ProcessBound

# -- LocalServer: what :class:`FlagsService` and :class:`FakeFlagd` have in common: a server in the event loop of the test.
#
# It can stop, and start again at the same addresses with the same flags.


_THIS_MACHINE: Final = "127.0.0.1,localhost"


def exemptions(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that exempt this machine from the proxy, which cannot reach it: for clients of the program, and for gRPC."""
    exempt = {"no_proxy": environment.get("no_proxy", environment.get("NO_PROXY", ""))}
    # gRPC reads this one, if it is set, in place of the other one.
    if exempt_for_grpc := environment.get("no_grpc_proxy"):
        exempt["no_grpc_proxy"] = exempt_for_grpc
    return {name: f"{value},{_THIS_MACHINE}" for name, value in exempt.items()}


class _Exempted:
    """Puts :func:`exemptions` into the environment while there are servers."""

    def __init__(self) -> None:
        self._servers = 0
        self._before: dict[str, str | None] = {}

    def add_server(self) -> None:
        self._servers += 1
        if self._servers == 1:
            exempting = exemptions(os.environ)
            self._before = {name: os.environ.get(name) for name in exempting}
            os.environ.update(exempting)

    def remove_server(self) -> None:
        self._servers -= 1
        if self._servers == 0:
            for name, value in self._before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


_EXEMPTED: Final = _Exempted()


class LocalServer(ProcessBound, ABC):
    """A server on loopback. ``state`` has its flags, faults and counters, also while it is stopped.

    In ``async with`` it exempts this machine from the proxy of the environment.
    """

    _streams: ClassVar[frozenset[Endpoint]]
    """Where clients get changes."""

    def __init__(self, state: ServerState) -> None:
        self.state: ServerState = state
        self._changing = asyncio.Lock()
        self._running: AsyncExitStack | None = None
        self._listeners: Sequence[RunningServer | RunningFlagd] = ()

    @abstractmethod
    async def _listen(self, stack: AsyncExitStack) -> Sequence[RunningServer | RunningFlagd]:
        """Serve until the stack closes, at the addresses of the last time."""

    async def __aenter__(self) -> Self:
        await self.start()
        _EXEMPTED.add_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        _EXEMPTED.remove_server()
        await self.stop()
        self.state.faults.lift_all()

    async def start(self) -> None:
        """Start the server. After :meth:`stop` it has the same addresses."""
        async with self._changing:
            if self._running is not None:
                return
            async with AsyncExitStack() as stack:
                self._listeners = await self._listen(stack)
                self._running = stack.pop_all()

    async def stop(self) -> None:
        """Stop: streams end, connections are closed, and new ones are refused."""
        async with self._changing:
            running, self._running, self._listeners = self._running, None, ()
            if running is not None:
                await running.aclose()

    async def restart(self, after: float = 0) -> None:
        """Stop, and start again after so many seconds. The flags stay."""
        await self.stop()
        await anyio.sleep(after)
        await self.start()

    def inject(self, fault: Fault) -> int:
        """Inject a fault. Returns its number, for :meth:`lift`.

        Raises:
            ConfigError: this server is a FakeFlagd, and none of the endpoints of the fault is flagd's.
        """
        return self.state.inject(fault).number

    def lift(self, number: int | None = None) -> None:
        """Lift one fault, or all."""
        if number is None:
            self.state.faults.lift_all()
        else:
            self.state.faults.lift(number)

    def drop_connections(self) -> int:
        """Close every connection, like a failing network. Returns their number."""
        return sum(listener.drop_connections() for listener in self._listeners)

    async def until_streaming(self, clients: int = 1, *, timeout: float = 5) -> None:
        """Wait until ``clients`` clients have an open stream, so that the next change arrives as a message.

        Raises:
            AssertionError: fewer streams are open after ``timeout`` seconds. A client that polls never opens one.
        """
        __tracebackhide__ = True
        streams = self.state.open_streams
        with anyio.move_on_after(timeout):
            await self.state.until(lambda: sum(streams[endpoint] for endpoint in self._streams) >= clients)
            return
        count = sum(streams[endpoint] for endpoint in self._streams)
        raise AssertionError(f"open streams within {timeout:g} s: {count}, not {clients}")


_KEY: Final = "sdk-for-tests"
_MOBILE_KEY: Final = "mob-for-tests"


class FlagsService(LocalServer):
    """A server with LaunchDarkly's protocols. Its address stays the same when it restarts.

    ``url`` is its address; ``state`` has its flags, faults and events. A client made by :meth:`client` or :meth:`mobile_client`,
    or with a config of these clients, gets its flags from this server. The fixture ``flags_service`` is started; elsewhere
    ``async with FlagsService(document) as service:`` runs one with the flags of a flag document.
    """

    _streams = frozenset({Endpoint.STREAM, Endpoint.CLIENT_STREAM})

    def __init__(self, document: Mapping[str, object] | None = None) -> None:
        super().__init__(ServerState(read_objects(document or {})))
        self._server: RunningServer | None = None

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end.

        Raises:
            LifecycleError: the server was never started.
        """
        if self._server is None:
            raise LifecycleError("FlagsService: not started: use it in async with")
        return self._server.url

    async def _listen(self, stack: AsyncExitStack) -> tuple[RunningServer]:
        port = self._server.port if self._server else 0
        self._server = await stack.enter_async_context(serve(create_app(self.state), port=port))
        return (self._server,)

    def config(self, *, url: str | None = None, **options: Any) -> Config:
        """A :class:`Config` for clients of this server, with more ``options``. By default diagnostic events are off.

        ``url`` replaces the server's address, for example by the address of a :class:`FaultProxy` in front of it.
        """
        settings: dict[str, Any] = {"events": Events(diagnostic_opt_out=True), **options}
        return Config(base_uri=url or self.url, stream_uri=url or self.url, events_uri=url or self.url, **settings)

    def client(self, *, url: str | None = None, **options: Any) -> Client:
        """A client of this server that is not started: ``async with flags_service.client() as client:``."""
        return Client(_KEY, self.config(url=url, **options))

    def mobile_config(self, *, url: str | None = None, **options: Any) -> MobileConfig:
        """A :class:`MobileConfig` for clients of this server, like :meth:`config`."""
        settings: dict[str, Any] = {"events": MobileEvents(diagnostic_opt_out=True), **options}
        return MobileConfig(base_uri=url or self.url, stream_uri=url or self.url, events_uri=url or self.url, **settings)

    def mobile_client(self, context: Context, *, url: str | None = None, **options: Any) -> MobileClient:
        """A client for a mobile key that is not started. The server evaluates the flags for its context."""
        return MobileClient(_MOBILE_KEY, context, self.mobile_config(url=url, **options))

    def set(self, key: str, value: object) -> None:
        """Serve this value to all contexts. Clients get it after a short time: wait for their ``changes``.

        Raises:
            ConfigError: ``value`` is not a JSON value.
        """
        (flag,) = read_objects({"flagValues": {key: value}}).values()
        self.state.put(key, flag)

    def replace(self, document: Mapping[str, object]) -> None:
        """Serve only the flags and segments of this document. Raises :class:`ConfigError` for a mistake in it."""
        self.state.replace(read_objects(document))

    async def wait_for_event(self, kind: str, *, timeout: float = 10, **properties: object) -> dict[str, Any]:
        """Wait for an analytics event of this kind with these properties, and return it as JSON. An earlier event counts.

        ``kind`` and ``properties`` have LaunchDarkly's names:
        ``await flags_service.wait_for_event("custom", key="purchase")``. Clients send events every five seconds, and at a flush.

        Raises:
            AssertionError: it did not arrive within ``timeout`` seconds. The message has the kinds of the other events.
        """
        __tracebackhide__ = True
        events = self.state.events
        with anyio.move_on_after(timeout):
            await self.state.until(lambda: self._event(kind, properties) is not None)
        if (event := self._event(kind, properties)) is not None:
            return event
        kinds = ", ".join(dict.fromkeys(event_record.kind for event_record in reversed(events.newest))) or "none"
        raise AssertionError(f"no {kind!r} event{f' with {properties}' if properties else ''} within {timeout:g} s; kinds: {kinds}")

    def _event(self, kind: str, properties: Mapping[str, object]) -> dict[str, Any] | None:
        for event_record in reversed(self.state.events.newest):
            event = event_record.json if event_record.kind == kind else None
            if event is not None and all(name in event and same_json(event[name], value) for name, value in properties.items()):
                return event
        return None


# -- FakeFlagd: a running flagd in the test's own event loop, on free ports. It needs the extras ``server`` and ``flagd``.
#
# The server is the development server (:mod:`aioflags.devserver`).


_SOURCE: Final = "test"


class FakeFlagd(LocalServer):
    """A flagd with the services for sync and evaluation, and OFREP. Its addresses stay the same when it restarts.

    ``host``; ``port`` for rpc mode; ``sync_port`` for in-process mode; ``ofrep_url``, the base URL of OFREP.
    ``state`` has the flags, faults and counters. The fixture ``fake_flagd`` is started; elsewhere
    ``async with FakeFlagd(document) as flagd:`` runs one with the flags of a document in flagd's format.
    """

    _streams = frozenset({Endpoint.SYNC_FLAGS, Endpoint.EVENT_STREAM})

    def __init__(self, document: Mapping[str, object] | None = None) -> None:
        super().__init__(ServerState(read_flagd_document(document or {"flags": {}}, source=_SOURCE)))
        self.host: str = "127.0.0.1"
        self.port: int = 0
        self.sync_port: int = 0
        self._ofrep_port: int = 0

    @property
    def ofrep_url(self) -> str:
        """The base URL of OFREP.

        Raises:
            LifecycleError: the server was never started.
        """
        if not self._ofrep_port:
            raise LifecycleError("FakeFlagd: not started: use it in async with")
        return f"http://{self.host}:{self._ofrep_port}"

    async def _listen(self, stack: AsyncExitStack) -> tuple[RunningFlagd, RunningServer]:
        flagd = await stack.enter_async_context(serve_flagd(self.state, host=self.host, port=self.port, sync_port=self.sync_port))
        http = await stack.enter_async_context(serve(create_app(self.state), host=self.host, port=self._ofrep_port))
        self.port, self.sync_port, self._ofrep_port = flagd.port, flagd.sync_port, http.port
        return flagd, http

    def set(self, key: str, value: object) -> None:
        """Serve this value to all contexts. Clients get it after a short time.

        Raises:
            ConfigError: ``value`` is not a JSON value.
        """
        self.put(key, constant_flagd_flag(plain_json(value, key)))

    def put(self, key: str, flag: Mapping[str, object]) -> None:
        """Add a flag in flagd's format, or replace the flag with that key. Raises :class:`ConfigError`."""
        self.state.put(key, flag)

    def remove(self, key: str) -> None:
        """Remove the flag, if it exists."""
        if key in self.state.document()["flags"]:
            self.state.delete(key)

    def replace(self, document: Mapping[str, object], *, source: str = _SOURCE) -> None:
        """Serve this document in place of the one of the same source; without one it is added, and wins over the others.

        Raises:
            ConfigError: the document has a mistake.
        """
        self.state.replace(read_flagd_document(document, source=source))

    def set_static_context(self, attributes: Mapping[str, Any]) -> None:
        """Add these attributes to every context, and send them to clients in in-process mode."""
        self.state.set_static_context(attributes)
