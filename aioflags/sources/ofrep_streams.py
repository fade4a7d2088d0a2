"""OfrepStreams: listens to the event streams that an OFREP server names, and collects what they ask to fetch.

Source: ``flagd.md`` 9.
"""

from __future__ import annotations

import asyncio
import logging
import random as random_numbers
from collections.abc import Callable, Sequence
from contextlib import aclosing
from contextvars import Context as VariableContext
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import anyio

from aioflags.model.defaults import CLOSE_GRACE, RECONNECT_DELAY
from aioflags.protocol.ofrep import status_text
from aioflags.protocol.ofrep_bulk import EventStreamAddress, Refetch, read_refetch
from aioflags.protocol.requests import USER_AGENT
from aioflags.runtime.broadcast import Signal
from aioflags.runtime.logs import Once, describe_error, printable
from aioflags.transport.backoff import Backoff
from aioflags.transport.http import HttpTransport
from aioflags.transport.ofrep import OfrepRequests
from aioflags.transport.responses import RequestFailed
from aioflags.transport.settings import origin

__all__ = ["FetchRequest", "OfrepStreams"]

_COALESCED: Final = 0.1
"""Seconds after a request to fetch, in which all further ones become part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """How to fetch all flags.

    ``is_conditional``: the server may answer that nothing has changed. ``refetch``: the event that asked for it, if any.
    """

    is_conditional: bool = True
    refetch: Refetch | None = None


class OfrepStreams:
    """The event streams of one source, each with its own connection. They reconnect after every failure, with growing delays.

    After a reconnect all flags are to be fetched without a condition, because events may be lost. The ``inactivityDelaySec`` of a
    stream is ignored: it is for programs that their user can put into the background, and a service is always active.
    """

    def __init__(
        self,
        transport: HttpTransport,
        requests: OfrepRequests,
        logger: logging.Logger,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        self._transport = transport
        self._requests = requests
        self._logger = logger
        self._random = random
        self._addresses: tuple[EventStreamAddress, ...] = ()
        self._backoffs: list[Backoff] = []
        """By number of the stream: a server may send new addresses all the time, and delays must grow nevertheless."""
        self._task: asyncio.Task[None] | None = None
        self._pending: FetchRequest | None = None
        self._requested = Signal()
        self._is_new_bug = Once()

    async def follow(self, addresses: Sequence[EventStreamAddress]) -> None:
        """Listen to these streams from now on, and to no others."""
        if tuple(addresses) == self._addresses:
            return
        await self.aclose()
        self._addresses = tuple(addresses)
        if self._addresses:
            # A task of its own, and no task group: the streams stay open while the source waits at its yield. The source cancels
            # the task and waits for its end.
            self._task = asyncio.get_running_loop().create_task(
                self._run(self._addresses), name="aioflags-ofrep", context=VariableContext()
            )

    async def requested(self, not_before: float) -> None:
        """Wait until a stream asks to fetch, and then for more requests: a moment, and until ``not_before`` on the loop's clock."""
        while self._pending is None:
            await self._requested.wait()
        await anyio.sleep(max(_COALESCED, not_before - anyio.current_time()))

    def take(self) -> FetchRequest | None:
        """What the streams asked to fetch since the last call; ``None`` if nothing."""
        request, self._pending = self._pending, None
        return request

    async def aclose(self) -> None:
        """Close all streams."""
        task, self._task, self._addresses = self._task, None, ()
        if task is not None:
            task.cancel()
            with anyio.move_on_after(CLOSE_GRACE, shield=True):
                await asyncio.wait({task})

    async def _run(self, addresses: Sequence[EventStreamAddress]) -> None:
        while len(self._backoffs) < len(addresses):
            self._backoffs.append(Backoff(RECONNECT_DELAY))
        async with anyio.create_task_group() as streams:
            for address, backoff in zip(addresses, self._backoffs, strict=False):
                streams.start_soon(self._listen, address, backoff)

    async def _listen(self, address: EventStreamAddress, backoff: Backoff) -> None:
        """Connect again and again. Logs have the origin only: the rest of the URL is secret."""
        may_have_missed = False
        while True:
            opened, retry_after, is_refused = None, 0.0, False
            try:
                async with self._transport.open_stream(address.url, self._headers(address)) as stream:
                    opened = anyio.current_time()
                    if may_have_missed:
                        self._request(FetchRequest(is_conditional=False))
                    async with aclosing(stream.events()) as events:
                        async for event in events:
                            if (refetch := read_refetch(event.data)) is not None:
                                self._request(FetchRequest(refetch=refetch))
                problem = "the service closed it"
            except RequestFailed as failed:
                status, retry_after, is_refused = failed.error.status_code, failed.retry_after, not failed.is_recoverable
                problem = status_text(status) if status else failed.error.message
            except Exception as error:  # a bug in aioflags: the stream reconnects
                problem = describe_error(error)
                if self._is_new_bug(problem):
                    self._logger.exception("OFREP: an event stream failed (please report)")
            may_have_missed = True
            lasted = 0.0 if opened is None else anyio.current_time() - opened
            pause = backoff.after(lasted, chance=self._random(), at_least=retry_after)
            level = logging.WARNING if is_refused else logging.INFO
            self._logger.log(
                level, "OFREP: event stream of %s: %s; connecting in %.3g s", address.origin, printable(problem), pause
            )
            await anyio.sleep(pause)
            if is_refused:
                # The address may have expired. The response to this request has the current one.
                self._request(FetchRequest(is_conditional=False))

    def _request(self, request: FetchRequest) -> None:
        """Add a request. The last event counts; a request without a condition outranks all events."""
        if self._pending is None or self._pending.is_conditional:
            self._pending = request
        self._requested.send()

    def _headers(self, address: EventStreamAddress) -> dict[str, str]:
        """The headers of the server go to its own origin only."""
        if _origin(address.url) == _origin(self._requests.endpoint.base_url):
            return {"user-agent": USER_AGENT, **self._requests.headers()}
        return {"user-agent": USER_AGENT}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return origin(parts.scheme, parts.hostname or "", parts.port)
