"""FakeFlagd: a running flagd in the test's own event loop, on free ports. It needs the extras ``server`` and ``flagd``.

The server is the development server (:mod:`aioflags.devserver`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import anyio

from aioflags.devserver import Endpoint, Fault, RunningFlagd, RunningServer, ServerState, create_app, serve, serve_flagd
from aioflags.devserver.data.flagd_document import constant_flagd_flag, read_flagd_document
from aioflags.protocol.documents.document import plain_json

__all__ = ["FakeFlagd"]

_STREAMS: Final = (Endpoint.SYNC_FLAGS, Endpoint.EVENT_STREAM)
_SOURCE: Final = "test"


class FakeFlagd:
    """A flagd with the services for sync and evaluation, and OFREP. Its addresses stay the same when it restarts.

    ``host``; ``port`` for rpc mode; ``sync_port`` for in-process mode; ``ofrep_url``, the base URL of OFREP.
    ``state`` has the flags, faults and counters.
    """

    def __init__(self, document: Mapping[str, object] | None = None) -> None:
        self.state: ServerState = ServerState(read_flagd_document(document or {"flags": {}}, source=_SOURCE))
        self.host: str = "127.0.0.1"
        self.port: int = 0
        self.sync_port: int = 0
        self._ofrep_port: int = 0
        self._running: AsyncExitStack | None = None
        self._servers: tuple[RunningFlagd, RunningServer] | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, document: Mapping[str, object] | None = None) -> AsyncGenerator[FakeFlagd, None]:
        """Run a flagd with this document, on the running event loop, until the block ends."""
        flagd = cls(document)
        await flagd.start()
        try:
            yield flagd
        finally:
            await flagd.stop()

    @property
    def ofrep_url(self) -> str:
        """The base URL of OFREP."""
        return f"http://{self.host}:{self._ofrep_port}"

    async def start(self) -> None:
        """Start again after :meth:`stop`, at the same addresses."""
        if self._running is not None:
            return
        async with AsyncExitStack() as stack:
            flagd = await stack.enter_async_context(
                serve_flagd(self.state, host=self.host, port=self.port, sync_port=self.sync_port)
            )
            http = await stack.enter_async_context(serve(create_app(self.state), host=self.host, port=self._ofrep_port))
            self.port, self.sync_port, self._ofrep_port = flagd.port, flagd.sync_port, http.port
            self._servers = (flagd, http)
            self._running = stack.pop_all()

    async def stop(self) -> None:
        """Stop: streams end, connections are closed, and new ones are refused."""
        running, self._running, self._servers = self._running, None, None
        if running is not None:
            await running.aclose()

    async def restart(self, after: float = 0) -> None:
        """Stop, and start again after so many seconds. The flags stay."""
        await self.stop()
        await anyio.sleep(after)
        await self.start()

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

    def inject(self, fault: Fault) -> int:
        """Inject a fault. Returns its number, for :meth:`lift`.

        Raises:
            ConfigError: none of the endpoints of the fault belongs to flagd, as for the fallback directive.
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
        return sum(server.drop_connections() for server in self._servers or ())

    async def until_streaming(self, clients: int = 1, *, timeout: float = 5) -> None:
        """Wait until ``clients`` clients have an open stream, so that the next change arrives as a message.

        Raises:
            AssertionError: fewer streams are open after ``timeout`` seconds.
        """
        __tracebackhide__ = True
        streams = self.state.open_streams
        with anyio.move_on_after(timeout):
            await self.state.until(lambda: sum(streams[endpoint] for endpoint in _STREAMS) >= clients)
            return
        count = sum(streams[endpoint] for endpoint in _STREAMS)
        raise AssertionError(f"open streams within {timeout:g} s: {count}, not {clients}")
