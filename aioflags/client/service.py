"""ServiceConnection: the headers that identify one client to the service, and its connections while it runs."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from aioflags.config.config import Config
from aioflags.model.secret import SdkKey
from aioflags.protocol.requests import INSTANCE_ID, Headers, identity_headers
from aioflags.runtime.fork import reset_after_fork
from aioflags.transport.http import HttpTransport
from aioflags.transport.responses import Response

__all__ = ["ServiceConnection"]


class ServiceConnection:
    """The headers and connections of one client. Sources and events share them."""

    transport: HttpTransport
    """Sends requests. Set while :meth:`open` is entered."""

    def __init__(self, config: Config, key: SdkKey) -> None:
        self.headers: Headers = identity_headers(
            key,
            instance_id=str(uuid.uuid4()),
            application_id=config.application_id,
            application_version=config.application_version,
            wrapper_name=config.wrapper_name,
            wrapper_version=config.wrapper_version,
            logger=config.logger,
        )
        self._config = config
        reset_after_fork(self)

    def after_fork(self) -> None:
        """In the child of a fork: changes the instance id in place, because sources and events hold the same dictionary."""
        self.headers[INSTANCE_ID] = str(uuid.uuid4())

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """The connections, open inside the block."""
        async with HttpTransport(self._config.http, self._config.logger) as self.transport:
            yield

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Sends exactly these headers. See :meth:`HttpTransport.post <aioflags.transport.http.HttpTransport.post>`."""
        return await self.transport.post(url, headers, body)
