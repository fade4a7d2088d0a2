"""HttpTransport: the one way of a client to the network. What goes wrong on it is a :class:`RequestFailed`, nothing else.

Constructing one opens nothing, and httpx is imported with the first request: a client without network sources never needs
it. The work is done in ``connections.py``.

Source: ``data-system.md`` 1.6 and 1.7; ``architecture.md`` 4.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from aioflags.errors import ConfigError
from aioflags.protocol.failures import unexpected
from aioflags.runtime.daemon_threads import SerialThread
from aioflags.runtime.logs import logger as package_logger
from aioflags.transport.answers import RequestFailed, Response
from aioflags.transport.settings import Http

if TYPE_CHECKING:
    from httpx_sse import ServerSentEvent

    from aioflags.transport.connections import HttpxConnections

__all__ = ["EventStream", "HttpTransport", "Reply"]

_PREPARATION: Final = 30.0
"""Seconds that importing httpx and reading certificates may take."""


class Reply(Protocol):
    """The head of an answer, whose body has not been read yet. Names of headers are in lower case."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...

    async def read(self) -> bytes:
        """The whole body, inflated. Raises :class:`RequestFailed` for one that is too large, too slow or broken."""
        ...


class EventStream(Protocol):
    """An event stream that has answered with 200. Names of headers are in lower case."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    def events(self) -> AsyncGenerator[ServerSentEvent, None]:
        """Events with data, until the server closes. Raises :class:`RequestFailed`, also for what is no event stream."""
        ...


class HttpTransport:
    """The network, as ``settings`` would have it: polls through shared HTTP clients, streams through one of their own each.

    An async context manager; leaving it closes what the polls used. It belongs to one event loop.
    """

    def __init__(self, settings: Http, logger: logging.Logger = package_logger) -> None:
        self._settings = settings
        self._logger = logger
        self._lock = anyio.Lock()
        self._thread = SerialThread("aioflags-tls")
        self._connections: HttpxConnections | None = None

    async def __aenter__(self) -> HttpTransport:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connections is not None:
            await self._connections.aclose()

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str]) -> AsyncGenerator[Reply, None]:
        """A GET whose answer is 200 or 304; the head is available before the body is read.

        Raises:
            RequestFailed: there is no such answer.
        """
        async with (await self._ready()).get(url, headers) as reply:
            yield reply

    @asynccontextmanager
    async def open_stream(self, url: str, headers: Mapping[str, str]) -> AsyncGenerator[EventStream, None]:
        """An event stream on a connection of its own, which is closed when the context is left.

        Raises:
            RequestFailed: the answer is not 200, or there is none.
        """
        async with (await self._ready()).open_stream(url, headers) as stream:
            yield stream

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """A POST, whose answer's head is all that matters. Redirects are not followed.

        Raises:
            RequestFailed: there is no answer.
        """
        return await (await self._ready()).post(url, headers, body)

    async def _ready(self) -> HttpxConnections:
        async with self._lock:
            connections = self._connections or await self._prepared()
            self._connections = connections
            return connections

    async def _prepared(self) -> HttpxConnections:
        # Importing httpx and reading certificates take up to 150 ms, which would hold the event loop. A certificate on a network
        # drive that does not answer takes any time.
        try:
            return await self._thread.run(lambda: _prepare(self._settings, self._logger), timeout=_PREPARATION)
        except TimeoutError as error:
            raise RequestFailed(unexpected(TimeoutError(f"certificates were not read within {_PREPARATION:g} s"))) from error
        except ConfigError as error:
            raise RequestFailed(unexpected(error)) from error


def _prepare(settings: Http, logger: logging.Logger) -> HttpxConnections:
    from aioflags.transport.clients import client_maker  # noqa: PLC0415 - imports httpx
    from aioflags.transport.connections import HttpxConnections  # noqa: PLC0415 - imports httpx

    return HttpxConnections(settings, client_maker(settings, logger))
