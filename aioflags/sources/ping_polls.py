"""PingPolls: polls when an event stream sends ``ping``, while the stream is read on.

Source: ``client-side.md`` 2.2 and 2.6.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context as VariableContext
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio

from aioflags.model.defaults import CLOSE_GRACE
from aioflags.model.result import FallbackDirective
from aioflags.protocol.effects import PING, Effect
from aioflags.protocol.side import DataRequest, ReadEvent
from aioflags.sources.poller import Poller, PollOutcome

if TYPE_CHECKING:
    from collections.abc import Generator

    from httpx_sse import ServerSentEvent

__all__ = ["PingPolls"]

_BETWEEN_POLLS: Final = 1.0
"""Seconds from the start of a poll to that of the next one, however often the stream pings."""

T = TypeVar("T")


class PingPolls:
    """The polls of one connection: at most one is in flight, and all pings that arrive meanwhile lead to one more, at
    least a second after the first.

    Args:
        poller: sends the polls.
        request: called for every poll.
    """

    def __init__(self, poller: Poller, request: Callable[[], DataRequest]) -> None:
        self._poller = poller
        self._request = request
        self._is_requested = False
        self._not_before = -math.inf
        self._poll: _Step[PollOutcome] | None = None
        self._read: _Step[ServerSentEvent | None] | None = None
        self._left: FallbackDirective | None = None

    @property
    def is_idle(self) -> bool:
        """Whether the next event may be read without :meth:`next`."""
        return self._poll is None and self._read is None and not self._is_requested

    @property
    def latched(self) -> FallbackDirective | None:
        """The directive of a poll whose outcome :meth:`next` has not returned."""
        if self._poll is None:
            return self._left
        return self._poll.task.result().directive if self._poll.task.done() else self._poller.latched

    def noticing(self, read: ReadEvent) -> ReadEvent:
        """A reader that returns ``PING`` for a ping, and the effects of ``read`` for other events."""

        def feed(name: str, data: str) -> Effect | Generator[None, None, Effect]:
            return PING if name == "ping" else read(name, data)

        return feed

    def request(self) -> None:
        """Poll when no other poll is in flight."""
        self._is_requested = True

    async def next(self, events: AsyncGenerator[ServerSentEvent, None], timeout: float) -> ServerSentEvent | PollOutcome | None:
        """The next event, or the outcome of a poll if that comes first; ``None`` at the end of the stream.

        Raises:
            TimeoutError: neither came within ``timeout`` seconds.
        """
        if self._poll is None and self._is_requested:
            self._is_requested = False
            self._poll = _Step(self._poll_once())
        if self._read is None:
            self._read = _Step(_next(events))
        waiting = [step.task for step in (self._poll, self._read) if step is not None]
        await asyncio.wait(waiting, timeout=None if timeout == math.inf else timeout, return_when=asyncio.FIRST_COMPLETED)
        # The poll is first: it may have a directive, and the event may be the last one.
        if self._poll is not None and self._poll.task.done():
            poll, self._poll = self._poll, None
            return poll.task.result()
        if self._read.task.done():
            read, self._read = self._read, None
            return read.task.result()
        raise TimeoutError

    async def aclose(self) -> None:
        """End the poll, and the wait for an event. :attr:`latched` keeps what the poll had received."""
        self._left = self.latched
        steps = [step for step in (self._poll, self._read) if step is not None]
        self._poll = self._read = None
        for step in steps:
            step.scope.cancel()
        with anyio.move_on_after(CLOSE_GRACE, shield=True):
            for step in steps:
                await asyncio.wait([step.task])

    async def _poll_once(self) -> PollOutcome:
        await anyio.sleep(max(self._not_before - anyio.current_time(), 0.0))
        # The poll that starts now is also for the pings that came meanwhile.
        self._is_requested = False
        start = anyio.current_time()
        outcome = await self._poller.poll_once(self._request)
        self._not_before = max(start + _BETWEEN_POLLS, anyio.current_time() + outcome.retry_after)
        return outcome


async def _next(events: AsyncGenerator[ServerSentEvent, None]) -> ServerSentEvent | None:
    return await anext(events, None)


class _Step(Generic[T]):
    """A coroutine in a task of its own, which goes on while the source waits at its yield: a task group could not.

    To end it, cancel its scope and wait for the task: what closes a connection is shielded against a scope alone.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.scope: anyio.CancelScope = anyio.CancelScope()
        self.task: asyncio.Task[T] = asyncio.get_running_loop().create_task(
            self._run(coroutine), name="aioflags-ping", context=VariableContext()
        )
        # What it raises does not count after it was cancelled, and asyncio would log it.
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with self.scope:
            return await coroutine
        raise asyncio.CancelledError
