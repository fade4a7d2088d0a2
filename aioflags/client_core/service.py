"""ServiceConnection: the headers that identify one client to the service, and its connections while it runs."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from aioflags.protocol.requests import INSTANCE_ID, Headers
from aioflags.runtime.fork import reset_after_fork
from aioflags.transport.http import HttpTransport
from aioflags.transport.responses import Response
from aioflags.transport.settings import Http

__all__ = ["ServiceConnection"]


class ServiceConnection:
    """The headers and connections of one client. Sources and events share them.

    ``headers`` come from :func:`~aioflags.protocol.requests.identity_headers`.
    """

    transport: HttpTransport
    """Sends requests. Set while :meth:`open` is entered."""

    def __init__(self, headers: Headers, http: Http, logger: logging.Logger) -> None:
        self.headers: Headers = headers
        self._http = http
        self._logger = logger
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: changes the instance id in place, because sources and events hold the same dictionary."""
        self.headers[INSTANCE_ID] = str(uuid.uuid4())

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """The connections, open inside the block."""
        async with HttpTransport(self._http, self._logger) as self.transport:
            yield

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Sends exactly these headers. See :meth:`HttpTransport.post <aioflags.transport.http.HttpTransport.post>`."""
        return await self.transport.post(url, headers, body)
