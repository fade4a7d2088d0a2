"""HttpTransport: all HTTP requests of a client. Every failure of the network is a :class:`RequestFailed`.

The constructor opens nothing, and httpx is imported at the first request: a client without network sources does not need it.
``connections.py`` does the work.

Source: ``data-system.md`` 1.6 and 1.7; ``architecture.md`` 4.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from aioflags.protocol.failures import network_failure, unexpected
from aioflags.runtime.daemon_threads import SerialThread, ThreadStartError
from aioflags.runtime.logs import BugLog
from aioflags.runtime.logs import logger as package_logger
from aioflags.transport.http_client import CLOSED, RequestFailed, Response
from aioflags.transport.settings import Http

if TYPE_CHECKING:
    from aioflags.transport.connections import EventStream, HttpConnections, Reply


_PREPARE_TIMEOUT: Final = 30.0
"""Seconds that importing httpx may take."""


class HttpTransport:
    """Sends requests with ``settings``: polls through shared HTTP clients, each stream through its own client.

    An async context manager; leaving it closes the shared clients. After that it can be entered again, also on another event loop.

    ``idle_connections``: how many connections of shared clients stay open for the next request. With it, a request whose
    connection is lost before the response is sent once more, so it must be one that may arrive twice.
    """

    def __init__(self, settings: Http, logger: logging.Logger = package_logger, *, idle_connections: int = 0) -> None:
        self._settings = settings
        self._logger = logger
        self._idle_connections = idle_connections
        self._bugs = BugLog(logger)
        self._lock = anyio.Lock()
        self._thread = SerialThread("aioflags-tls")
        self._connections: HttpConnections | None = None
        self._openings = 0
        """How often the transport was opened and closed; odd while it is open."""

    async def __aenter__(self) -> HttpTransport:
        # Those of the parent after a fork are still there, and so may be the count of its opening.
        self._lock, self._connections = anyio.Lock(), None
        self._openings += 2 if self._is_open else 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._openings += 1
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.aclose()

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str], body: bytes | None = None) -> AsyncGenerator[Reply, None]:
        """Send a GET, or a REPORT with ``body``, and accept 200 and 304; the headers are available before the body is read.

        Raises:
            RequestFailed: the status is another one, or no response arrives, also because the transport is closed.
        """
        async with (await self._ready()).get(url, headers, body) as reply:
            yield reply

    @asynccontextmanager
    async def open_stream(
        self, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncGenerator[EventStream, None]:
        """Open an event stream by a GET, or by a REPORT with ``body``. It has a connection of its own, closed after the block.

        Raises:
            RequestFailed: the status is not 200, or there is no response.
        """
        async with (await self._ready()).open_stream(url, headers, body) as stream:
            yield stream

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Send a POST, and return the status and headers of the response. Redirects are not followed.

        Raises:
            RequestFailed: there is no response.
        """
        async with self.exchange("POST", url, {"Accept": "*/*", **headers}, body) as reply:
            return Response(reply.status, reply.headers)

    @asynccontextmanager
    async def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncGenerator[Reply, None]:
        """Send a request and accept every status; status and headers are available before the body is read.

        Redirects are not followed.

        Raises:
            RequestFailed: no response arrives.
        """
        async with (await self._ready()).exchange(method, url, headers, body) as reply:
            yield reply

    @property
    def _is_open(self) -> bool:
        return self._openings % 2 == 1

    async def _ready(self) -> HttpConnections:
        opening = self._openings
        async with self._lock:
            connections = self._connections or (await self._prepared() if self._is_open else None)
            if connections is None or self._openings != opening:
                # Closed during the wait, perhaps opened again: a client that is made now would stay open.
                raise RequestFailed(network_failure(CLOSED))
            self._connections = connections
            return connections

    async def _prepared(self) -> HttpConnections:
        # In a thread: importing httpx takes 100 ms, and on a network drive that does not answer it may hang.
        try:
            return await self._thread.run(self._prepare, timeout=_PREPARE_TIMEOUT)
        except TimeoutError as error:
            raise RequestFailed(unexpected(TimeoutError(f"httpx was not imported within {_PREPARE_TIMEOUT:g} s"))) from error
        except ThreadStartError as error:
            raise RequestFailed(unexpected(error)) from error

    def _prepare(self) -> HttpConnections:
        from aioflags.transport.clients import client_maker  # noqa: PLC0415 - imports httpx
        from aioflags.transport.connections import HttpConnections  # noqa: PLC0415 - imports httpx
        from aioflags.transport.tls import TlsContext  # noqa: PLC0415 - imports ssl

        make_client = client_maker(self._settings, self._logger, idle_connections=self._idle_connections)
        tls = TlsContext(self._settings, self._logger, self._thread)
        return HttpConnections(self._settings, make_client, tls, self._log_bug, keeps_idle=self._idle_connections > 0)

    def _log_bug(self, error: Exception) -> None:
        """Log the traceback of an exception that HTTP clients do not raise for a failed request. The request counts as failed."""
        hint = "the traceback, logged once, shows whether client_factory or a library that instruments HTTP clients raised it"
        self._bugs.report(error, "the HTTP client failed: %s", hint)
