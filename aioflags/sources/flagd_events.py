"""FlagdEvents: the event stream of flagd, for evaluations that the server makes. It names the flags that changed.

Source: ``flagd.md`` 2.3.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, cast

import anyio

from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from aioflags.model.metadata import FlagMetadata
from aioflags.model.result import Update
from aioflags.sources.base import SourceContext
from aioflags.sources.flagd_stream import FlagdStreamOptions, FlagdStreamSource
from aioflags.transport.flagd_messages import RpcFailed, ServerEvent

if TYPE_CHECKING:
    from aioflags.transport.grpc_calls import FlagdCalls

__all__ = ["FlagdEvents", "FlagdEventsSource", "read_event"]

_READY: Final = "provider_ready"
_CHANGE: Final = "configuration_change"
_ALIVE: Final = "keep_alive"
_SILENCE: Final = 50.0
"""In seconds. flagd sends a ``keep_alive`` on an event stream that was silent for 20 s; this is two and a half times as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagdEvents:
    """Streams which flags changed. ``options`` has the channel."""

    name: ClassVar[str] = "flagd-events"

    options: FlagdStreamOptions

    def build(self, context: SourceContext, /) -> FlagdEventsSource:
        """A new source, for one run."""
        return FlagdEventsSource(context, self)


class FlagdEventsSource(FlagdStreamSource):
    """The source that :class:`FlagdEvents` builds.

    A connection that is silent for 50 s is replaced, also if a stream ended as planned meanwhile and the next one was opened on the
    same connection. flagd sends the first message of a stream at once, and then, unless it is old, a ``keep_alive`` every 20 s.
    """

    _longest_quiet = _SILENCE / 2  # the evaluations in flight use the connection, so it is not replaced without a reason

    def __init__(self, context: SourceContext, builder: FlagdEvents) -> None:
        super().__init__(FlagdEvents.name, context, builder.options)
        self._keeps_alive = False
        """The server sends a ``keep_alive`` now and then. Old ones do not."""

    async def _messages(self, calls: FlagdCalls) -> AsyncGenerator[Update, None]:
        is_good = False
        async with aclosing(calls.events(timeout=self._timeout)) as events:
            while (event := await self._next(events)) is not None:
                self._hear()
                self._keeps_alive |= event.type == _ALIVE
                # A second READY of a stream changes nothing. Nor does a change before the first: READY empties the cache.
                if event.type == _READY:
                    if is_good:
                        continue
                    is_good = True
                elif not is_good:
                    continue
                if (change_set := read_event(event)) is not None:
                    yield self._good(change_set)

    async def _next(self, events: AsyncGenerator[ServerEvent, None]) -> ServerEvent | None:
        """The next event; ``None`` at the end of the stream.

        Raises:
            RpcFailed: the stream failed, or its connection was silent for too long.
        """
        is_limited = self._is_silent or self._keeps_alive
        with anyio.CancelScope(deadline=self._heard_at + _SILENCE if is_limited else math.inf):
            return await anext(events, None)
        self._is_half_open, self._keeps_alive = True, False
        raise RpcFailed("UNAVAILABLE", f"the stream was silent for {_SILENCE:g} s")


def read_event(event: ServerEvent) -> ChangeSet | None:
    """What an event changes; ``None`` for an event that changes nothing.

    A flag that changed is deleted here, because its new definition is the server's secret. Without usable keys any flag may have
    changed.
    """
    if event.type == _READY:
        return ChangeSet(kind=ChangeKind.FULL, persist=False, keys_known=False, metadata=FlagMetadata.usable(event.data))
    if event.type != _CHANGE:
        return None
    flags = event.data.get("flags")
    if not isinstance(flags, Mapping) or not flags:
        return ChangeSet(kind=ChangeKind.CHANGES, persist=False, keys_known=False)
    keys = sorted(cast("Mapping[str, object]", flags))
    changes = tuple(Change(ObjectKind.FLAG, key, 0, None) for key in keys)
    return ChangeSet(kind=ChangeKind.CHANGES, changes=changes, persist=False)
