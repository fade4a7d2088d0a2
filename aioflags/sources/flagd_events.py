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
from aioflags.runtime.event_loops import loop_time
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

_TRIES: Final = 2
"""So many streams without ``keep_alive`` may be dead connections."""


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

    flagd sends the first message of a stream at once, and then a ``keep_alive`` every 20 s. A connection without a message for 50 s
    is replaced. Evaluations share it, so the planned end of a stream does not replace it without a reason.
    """

    def __init__(self, context: SourceContext, builder: FlagdEvents) -> None:
        super().__init__(FlagdEvents.name, context, builder.options)
        self._last_type: str | None = None
        """The type of the last message of this stream; ``None`` before the first one."""
        self._received_at = 0.0
        """When the last message came on this connection, or when its first stream was opened; on the event loop's clock."""
        self._without_keep_alive = 0
        """How many streams in a row fell silent after other messages. Every flagd sends ``keep_alive``; another server may not."""

    async def _messages(self, calls: FlagdCalls, *, is_new: bool) -> AsyncGenerator[Update, None]:
        now = anyio.current_time()
        # The pause before this stream may be long, and is not silence: its first message has half the limit at least.
        self._received_at = now if is_new else max(self._received_at, now - _SILENCE / 2)
        self._last_type, is_good = None, False
        async with aclosing(calls.events(timeout=self._timeout)) as events:
            while (event := await self._next(events)) is not None:
                self._last_type, self._received_at = event.type, anyio.current_time()
                if event.type == _ALIVE:
                    self._without_keep_alive = 0
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
        is_limited = self._last_type is None or self._expects_keep_alive
        with anyio.CancelScope(deadline=self._received_at + _SILENCE if is_limited else math.inf):
            return await anext(events, None)
        self._is_half_open = True
        self._without_keep_alive += self._last_type not in {None, _ALIVE}
        raise RpcFailed("UNAVAILABLE", f"the stream was silent for {_SILENCE:g} s")

    @property
    def _expects_keep_alive(self) -> bool:
        return self._without_keep_alive < _TRIES

    @property
    def _keeps_connection(self) -> bool:
        is_quiet = self._expects_keep_alive and loop_time() - self._received_at >= _SILENCE / 2
        return self._last_type is not None and not is_quiet


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
