"""OfrepRequests: the requests of OFREP over HTTP, with the headers, the time limit and the pauses of one server.

Source: ``flagd.md`` 9.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import anyio

from aioflags.errors import ConfigError
from aioflags.model.status import FailureKind
from aioflags.protocol.failures import failure, network_failure
from aioflags.protocol.requests import FLAGD_SELECTOR, USER_AGENT, AddedHeaders, GivenHeaders
from aioflags.runtime.event_loops import loop_time
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.tasks import in_own_task
from aioflags.transport.backoff import read_retry_after
from aioflags.transport.http import HttpTransport
from aioflags.transport.http_client import RequestFailed, Response

_MAX_PAUSE: Final = 86_400.0
"""Seconds. A server may ask for a day at most: a wrong clock of the server could ask for years."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfrepEndpoint:
    """A server that speaks OFREP. ``FlagdConfig`` describes and checks the options.

    Args:
        base_url: what stands before ``/ofrep/v1`` in its URLs.
        headers: sent with every request, for example ``Authorization``. A function is called for every request; it must not block.
            Headers that describe the connection or the body are ignored.
        timeout: seconds that one request may take.
        selector: which flags, in flagd's syntax.
    """

    base_url: str
    headers: GivenHeaders = field(repr=False)
    timeout: float
    selector: str | None


class OfrepRequests:
    """Sends requests to one server. After 429 with ``Retry-After`` it sends none until that time is over."""

    def __init__(self, endpoint: OfrepEndpoint, transport: HttpTransport, logger: logging.Logger = package_logger) -> None:
        self.endpoint: OfrepEndpoint = endpoint
        self._transport = transport
        self._added = AddedHeaders(endpoint.headers, logger)
        self._not_before = 0.0

    @property
    def pause(self) -> float:
        """Seconds until the next request may be sent."""
        return max(self._not_before - loop_time(), 0.0)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
        """The response to a POST, with any status. The body of an error is empty if it could not be read.

        Raises:
            RequestFailed: no response arrives in time, its body is unusable, or the server asked to wait.
        """
        if (pause := self.pause) > 0:
            message = f"the service answered 429 before, and asked to wait another {pause:.3g} s"
            raise RequestFailed(failure(FailureKind.ERROR_RESPONSE, message, 429))
        sent = {"user-agent": USER_AGENT, **self.headers(), **(headers or {}), "content-type": "application/json"}
        # The task of a caller may be cancelled more than once, and would leave a connection of the shared client open.
        return await in_own_task(lambda: self._exchange(url, sent, body))

    async def _exchange(self, url: str, sent: Mapping[str, str], body: bytes) -> Response:
        with anyio.move_on_after(self.endpoint.timeout):
            async with self._transport.exchange("POST", url, sent, body) as reply:
                if reply.status == 429:
                    pause = read_retry_after(429, reply.headers, ceiling=_MAX_PAUSE)
                    self._not_before = max(self._not_before, anyio.current_time() + pause)
                try:
                    content = b"" if reply.status == 304 else await reply.read()
                except RequestFailed:
                    if reply.status == 200:
                        raise
                    content = b""  # the status counts, even without the details
                return Response(reply.status, reply.headers, content)
        raise RequestFailed(network_failure(f"no answer within {self.endpoint.timeout:g} s"))

    def headers(self) -> dict[str, str]:
        """The headers of a request that starts now. Raises :class:`RequestFailed`."""
        try:
            headers = self._added.now()
        except ConfigError as error:
            raise RequestFailed(failure(FailureKind.UNKNOWN, str(error))) from error
        return {**headers, **({FLAGD_SELECTOR: self.endpoint.selector} if self.endpoint.selector else {})}
