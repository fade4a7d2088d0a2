"""FlagsService: a flag server in the test's own event loop, on a real socket. It needs the extra ``server``.

What it can do to its clients is the development server's affair (:mod:`aioflags.devserver`); this is the handle on it.
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
from aioflags.events.options import Events
from aioflags.model.values import same_json
from aioflags.testing.session_flags import SessionFlags

__all__ = ["FlagsService"]

_KEY: Final = "sdk-for-tests"


class FlagsService:
    """A server that speaks LaunchDarkly's protocols. ``url`` is where it listens; ``state`` is all that it serves.

    Every client that is made by :meth:`client`, or with :meth:`config`, gets its flags from here.
    """

    def __init__(self, state: ServerState, serving: RunningServer) -> None:
        self.state: ServerState = state
        self.url: str = serving.url
        self._serving = serving

    @classmethod
    @asynccontextmanager
    async def running(cls, given: SessionFlags) -> AsyncGenerator[FlagsService, None]:
        """Serves what is given until the block ends, inside the loop that is running."""
        objects: dict[ObjectName, Mapping[str, Any]] = {}
        for name, text in given.documents:
            objects.update(read_objects(text, name=name))
        objects.update(read_objects({"flagValues": given.values}))
        state = ServerState(objects)
        async with serve(create_app(state)) as serving:
            yield cls(state, serving)

    def config(self, **options: Any) -> Config:
        """A :class:`Config` for clients of this server, with other ``options`` besides. Unless ``events`` are among them, no
        diagnostic events come between those of the test.
        """
        given: dict[str, Any] = {"events": Events(diagnostic_opt_out=True), **options}
        return Config(base_uri=self.url, stream_uri=self.url, events_uri=self.url, **given)

    def client(self, **options: Any) -> Client:
        """A client of this server, not started yet: ``async with flags_service.client() as client:``."""
        return Client(_KEY, self.config(**options))

    def set(self, key: str, value: object) -> None:
        """Serves that value to everybody. Clients get it as fast as the socket carries it: wait for their ``changes``.

        Raises:
            ConfigError: it is no JSON value.
        """
        (flag,) = read_objects({"flagValues": {key: value}}).values()
        self.state.put(key, flag)

    def replace(self, document: Mapping[str, object]) -> None:
        """Serves the flags and segments of that document, and no others. Raises :class:`ConfigError` for a mistake in it."""
        self.state.replace(read_objects(document))

    async def until_streaming(self, clients: int = 1, *, timeout: float = 5) -> None:
        """Waits until so many clients have a stream open, so that what is set next arrives as a change.

        Raises:
            AssertionError: they have not within ``timeout`` seconds. Those that poll never will.
        """
        __tracebackhide__ = True
        streams = self.state.open_streams
        with anyio.move_on_after(timeout):
            await self.state.until(lambda: streams[Endpoint.STREAM] >= clients)
            return
        raise AssertionError(f"clients with a stream of FDv2 within {timeout:g} s: {streams[Endpoint.STREAM]}, not {clients}")

    async def wait_for_event(self, kind: str, *, timeout: float = 10, **properties: object) -> dict[str, Any]:
        """The first analytics event of that kind that arrived, or arrives, with these properties, as JSON.

        ``kind`` and ``properties`` are LaunchDarkly's: ``await flags_service.wait_for_event("custom", key="purchase")``. Clients
        send events every five seconds, or when they are flushed.

        Raises:
            AssertionError: it did not arrive within ``timeout`` seconds. The message has the kinds of those that did.
        """
        __tracebackhide__ = True
        events = self.state.events
        with anyio.move_on_after(timeout):
            await self.state.until(lambda: self._event(kind, properties) is not None)
        if (event := self._event(kind, properties)) is not None:
            return event
        kinds = ", ".join(dict.fromkeys(seen.kind for seen in reversed(events.newest))) or "none"
        raise AssertionError(f"no {kind!r} event{f' with {properties}' if properties else ''} within {timeout:g} s; kinds: {kinds}")

    def _event(self, kind: str, properties: Mapping[str, object]) -> dict[str, Any] | None:
        for seen in reversed(self.state.events.newest):
            event = seen.json if seen.kind == kind else None
            if event is not None and all(name in event and same_json(event[name], value) for name, value in properties.items()):
                return event
        return None

    def drop_connections(self) -> int:
        """Cuts every connection, as a failing network would; answers how many there were."""
        return self._serving.drop_connections()
