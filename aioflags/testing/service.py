"""FlagsService: a flag server in the test's own event loop, on a real socket. It needs the extra ``server``.

The server is the development server (:mod:`aioflags.devserver`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import anyio

from aioflags.client.client import Client
from aioflags.config.config import Config
from aioflags.devserver import Endpoint, RunningServer, ServerState, create_app, read_objects, serve
from aioflags.errors import LifecycleError
from aioflags.events.options import Events, MobileEvents
from aioflags.mobile.client import MobileClient
from aioflags.mobile.config import MobileConfig
from aioflags.model.context import Context
from aioflags.model.values import same_json
from aioflags.testing.local_server import LocalServer

__all__ = ["FlagsService"]

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
