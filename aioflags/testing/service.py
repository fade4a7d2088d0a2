"""FlagsService: a flag server in the test's own event loop, on a real socket. It needs the extra ``server``.

The server is the development server (:mod:`aioflags.devserver`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from aioflags.client.client import Client
from aioflags.config.config import Config
from aioflags.devserver import Endpoint, RunningServer, ServerState, create_app, read_objects, serve
from aioflags.devserver.data.objects import ObjectName
from aioflags.events.options import Events, MobileEvents
from aioflags.mobile.client import MobileClient
from aioflags.mobile.config import MobileConfig
from aioflags.model.context import Context
from aioflags.model.values import same_json
from aioflags.testing.session_flags import SessionFlags

__all__ = ["FlagsService"]

_KEY: Final = "sdk-for-tests"
_MOBILE_KEY: Final = "mob-for-tests"
_STREAMS: Final = (Endpoint.STREAM, Endpoint.CLIENT_STREAM)


class FlagsService:
    """A server with LaunchDarkly's protocols. ``url`` is its address; ``state`` has its flags, faults and events.

    A client made by :meth:`client` or :meth:`mobile_client`, or with a config of these clients, gets its flags from this server.
    """

    def __init__(self, state: ServerState, serving: RunningServer) -> None:
        self.state: ServerState = state
        self.url: str = serving.url
        self._serving = serving

    @classmethod
    @asynccontextmanager
    async def running(cls, session_flags: SessionFlags) -> AsyncGenerator[FlagsService, None]:
        """Run a server with the flags of the session, on the running event loop, until the block ends."""
        objects: dict[ObjectName, Mapping[str, Any]] = {}
        for name, text in session_flags.documents:
            objects.update(read_objects(text, name=name))
        objects.update(read_objects({"flagValues": session_flags.values}))
        state = ServerState(objects)
        async with serve(create_app(state)) as serving:
            yield cls(state, serving)
        state.faults.lift_all()

    def config(self, *, url: str | None = None, **options: Any) -> Config:
        """A :class:`Config` for clients of this server, with more ``options``. By default diagnostic events are off.

        ``url`` replaces the server's address, for example by that of a :class:`FaultProxy` in front of it.
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

    async def until_streaming(self, clients: int = 1, *, timeout: float = 5) -> None:
        """Wait until ``clients`` clients have an open stream, so that the next :meth:`set` arrives as a change.

        Raises:
            AssertionError: fewer streams are open after ``timeout`` seconds. A client that polls never opens one.
        """
        __tracebackhide__ = True
        streams = self.state.open_streams
        with anyio.move_on_after(timeout):
            await self.state.until(lambda: sum(streams[endpoint] for endpoint in _STREAMS) >= clients)
            return
        count = sum(streams[endpoint] for endpoint in _STREAMS)
        raise AssertionError(f"clients with a stream of FDv2 within {timeout:g} s: {count}, not {clients}")

    async def wait_for_event(self, kind: str, *, timeout: float = 10, **properties: object) -> dict[str, Any]:
        """Wait for an analytics event of this kind with these properties, and return it as JSON. An earlier event counts.

        ``kind`` and ``properties`` are those of LaunchDarkly's events:
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

    def drop_connections(self) -> int:
        """Close every connection, like a failing network. Returns their number."""
        return self._serving.drop_connections()
