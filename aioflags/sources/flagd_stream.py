"""Streams of flagd: how they are opened again and again, and the sources that read them.

Subclasses of FlagdStreamSource read the messages.

gRPC reconnects connections and repeats calls that received nothing. It does not open streams again: that is done here.

Source: ``flagd.md`` 1.5, 3.3, 3.5 and 3.7.
"""

from __future__ import annotations

import math
import random as random_numbers
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import anyio

from aioflags.errors import ConfigError
from aioflags.model.attributes import json_attributes
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, Selector, Update
from aioflags.model.defaults import PORT_OF_RPC, PORT_OF_SYNC
from aioflags.model.detail import FlagMetadata
from aioflags.model.flagd import ContextEnricher, FatalCodesScope, SyncMetadata
from aioflags.model.status import ErrorCode, ErrorInfo, FailureKind, SourceState
from aioflags.model.values import fresh
from aioflags.protocol.failures import invalid_data, network_failure, unexpected
from aioflags.protocol.flagd import read_flag_set
from aioflags.runtime.checkpoints import run_cooperatively
from aioflags.runtime.event_loops import loop_time
from aioflags.runtime.logs import BugLog
from aioflags.runtime.validation import require
from aioflags.sources.base import SourceContext
from aioflags.transport.flagd_struct import RpcFailed, ServerEvent, SyncMessage
from aioflags.transport.grpc import FlagdChannel

if TYPE_CHECKING:
    from aioflags.transport.grpc_calls import FlagdCalls


_JITTER: Final = 0.1
"""The share of a pause that chance may take off, so that clients do not come back all at once."""
_SHORTEST_PAUSE: Final = 0.001
_ABOUT: Final = 0.9
"""The clocks of gRPC and of the event loop differ a little."""
_MAX_REASONS: Final = 16
"""How many reasons of an outage are remembered. A name may have other addresses at every attempt."""
_TOO_LARGE: Final = ("Received message larger than max", "Decompressed message larger than max")
"""What gRPC's own report of a message of more than ``max_message_bytes`` contains. Servers use its code for other limits, too."""
_NETWORK: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})
_HINTS: Final = {
    "UNIMPLEMENTED": f"is this the right port of flagd, {PORT_OF_SYNC} for in-process and {PORT_OF_RPC} for rpc?",
    "UNAUTHENTICATED": "the server wants other credentials",
    "PERMISSION_DENIED": "the server does not accept these credentials",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagdStreamOptions:
    """Options of a stream of flagd. Durations are in seconds.

    ``stream_deadline``: after that time the stream is opened again; 0: never. ``pause``: the wait before it is opened again.
    ``fatal_codes``: the names of gRPC codes that end the source. ``fatal_scope``: whether they do so only before the first stream
    of the run was good.
    """

    channel: FlagdChannel
    stream_deadline: float
    pause: float
    fatal_codes: frozenset[str]
    fatal_scope: FatalCodesScope


class FlagdStreamSource(ABC):
    """A synchronizer that reads one stream of flagd at a time. ``random`` returns numbers in [0, 1)."""

    def __init__(
        self,
        name: str,
        context: SourceContext,
        options: FlagdStreamOptions,
        *,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        self.name = name
        self._logger = context.logger
        self._options = options
        self._random = random
        self._was_good = False
        """A stream of this run was good."""
        self._bugs = BugLog(self._logger)
        self._is_out = False
        """The network has failed since the last good message, or since the start, and that was reported."""
        self._reasons: deque[str] = deque(maxlen=_MAX_REASONS)
        """Why the last attempts to connect failed, in the current outage."""
        self._is_kept = False
        """The last stream ended as planned, and the next one uses its connection."""
        self._is_half_open = False
        """The connection may be dead without a sign: gRPC would open each new stream on it."""
        self._opened_at = 0.0
        """When the stream was opened, on the event loop's clock."""

    @abstractmethod
    def _messages(self, calls: FlagdCalls, *, is_new: bool) -> AsyncGenerator[Update, None]:
        """The updates of one stream, until its normal end. ``is_new``: it is the first stream of its connection.

        Raises:
            RpcFailed: any other end.
        """

    @property
    def _keeps_connection(self) -> bool:
        """Whether the connection of a stream that ended as planned is used again. By default not: it may be half open."""
        return False

    @property
    def _timeout(self) -> float | None:
        return self._options.stream_deadline or None

    async def sync(self, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:  # noqa: ARG002 -- flagd has no cursors
        """Open streams one after the other, until a fatal code ends the source."""
        self._was_good = self._is_out = self._is_half_open = self._is_kept = False
        self._reasons.clear()
        async with AsyncExitStack() as stack:
            calls: FlagdCalls | None = None
            while True:
                if self._is_half_open:
                    await stack.aclose()
                    calls, self._is_half_open = None, False
                while calls is None:
                    try:
                        calls = await stack.enter_async_context(self._options.channel.opened())
                    except ConfigError as error:
                        if not self._was_good:
                            yield _update(SourceState.OFF, error=_fatal(unexpected(error)))
                            return
                        problem = unexpected(error)  # a certificate that is being replaced
                    except RpcFailed as error:  # a disk that does not answer now, or the child of a fork
                        problem = network_failure(f"cannot connect to flagd: {error.details}")
                    else:
                        break
                    yield _update(SourceState.INTERRUPTED, error=problem)
                    await anyio.sleep(max(self._options.pause, _SHORTEST_PAUSE))
                async with aclosing(self._connection(calls)) as updates:
                    async for update in updates:
                        yield update
                        if update.state is SourceState.OFF:
                            return
                pause = max(self._options.pause * (1 - _JITTER * self._random()), _SHORTEST_PAUSE)
                self._logger.debug("%s: opening the stream again in %.3g s", self.name, pause)
                await anyio.sleep(pause)

    async def _connection(self, calls: FlagdCalls) -> AsyncGenerator[Update, None]:
        """The updates of one stream, and its end."""
        is_new, self._is_kept = not self._is_kept, False
        try:
            while (reason := await calls.connect(self._reasons)) is not None:
                is_new = True
                self._reasons.append(reason)
                yield self._interrupted(network_failure(f"cannot connect to flagd: {reason}"))
            self._reasons.clear()
            self._opened_at = anyio.current_time()
            async with aclosing(self._messages(calls, is_new=is_new)) as updates:
                async for update in updates:
                    if update.state is SourceState.VALID:
                        self._was_good, self._is_out = True, False
                    yield update
            target = self._options.channel.target
            yield self._interrupted(network_failure(f"flagd at {target} ended the stream"))
        except RpcFailed as failed:
            yield self._end(failed)
        except Exception as error:  # noqa: BLE001 -- a bug in aioflags: the source continues
            self._bugs.report(error, "%s: a stream failed (please report)", self.name)
            yield _update(SourceState.INTERRUPTED, error=unexpected(error))

    def _end(self, failed: RpcFailed) -> Update:
        """The update for a stream that failed."""
        error = rpc_failure(failed, self._options.channel.target)
        counts = self._options.fatal_scope == "always" or not self._was_good
        if counts and not self._is_half_open and failed.code in self._options.fatal_codes:
            return _update(SourceState.OFF, error=_fatal(error))
        if failed.code == "DEADLINE_EXCEEDED":
            age = loop_time() - self._opened_at
            # Other calls have time limits, too, and a proxy may have its own.
            is_planned = self._timeout is not None and age >= _ABOUT * self._timeout
            self._is_kept = is_planned and self._keeps_connection
            self._is_half_open = not self._is_kept
            if is_planned and self._was_good and not self._is_out:
                return _update(SourceState.INTERRUPTED, error=replace(error, is_minor=True))
        return self._interrupted(error)

    def _interrupted(self, error: ErrorInfo) -> Update:
        """The update for a failure. The first failure of the network in an outage is news, and those that follow are not."""
        if error.kind is FailureKind.NETWORK_ERROR:
            error, self._is_out = replace(error, is_minor=self._is_out), True
        return _update(SourceState.INTERRUPTED, error=error)

    @staticmethod
    def _good(change_set: ChangeSet) -> Update:
        return _update(SourceState.VALID, change_set=change_set)


def rpc_failure(failed: RpcFailed, target: str) -> ErrorInfo:
    """A failed call as the status shows it."""
    hint = f" ({_HINTS[failed.code]})" if failed.code in _HINTS else ""
    # The details come last: a long message is cut.
    details = f": {failed.details}" if failed.details else ""
    error = network_failure(f"flagd at {target}: {failed.code}{hint}{details}")
    if failed.code == "RESOURCE_EXHAUSTED" and any(report in failed.details for report in _TOO_LARGE):
        return replace(error, kind=FailureKind.INVALID_DATA)
    return error if failed.code in _NETWORK else replace(error, kind=FailureKind.ERROR_RESPONSE)


def _fatal(error: ErrorInfo) -> ErrorInfo:
    return replace(error, code=ErrorCode.PROVIDER_FATAL, is_fatal=True)


def _update(state: SourceState, *, change_set: ChangeSet | None = None, error: ErrorInfo | None = None) -> Update:
    return Update(state=state, directive=None, change_set=change_set, error=error)


# -- FlagdEvents: the event stream of flagd, for evaluations that the server makes. It names the flags that changed.
# Source: ``flagd.md`` 2.3.


_READY: Final = "provider_ready"
_CHANGE: Final = "configuration_change"
_ALIVE: Final = "keep_alive"
_SILENCE: Final = 50.0
"""Seconds. flagd sends a ``keep_alive`` on an event stream that was silent for 20 s; this is two and a half times as long."""

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


# -- FlagdSync: flag sets that flagd streams, for evaluation in this process.
# Source: ``flagd.md`` 2.1, 3.2 (T12) and 4.7.


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagdSync:
    """Streams flag sets. ``options`` has the channel; ``FlagdConfig`` describes the others."""

    name: ClassVar[str] = "flagd-sync"

    options: FlagdStreamOptions
    provider_id: str | None
    sync_metadata: SyncMetadata
    context_enricher: ContextEnricher

    def build(self, context: SourceContext, /) -> FlagdSyncSource:
        """A new source, for one run."""
        return FlagdSyncSource(context, self)


class FlagdSyncSource(FlagdStreamSource):
    """The source that :class:`FlagdSync` builds. ``random`` is the base class's."""

    def __init__(self, context: SourceContext, builder: FlagdSync, *, random: Callable[[], float] = random_numbers.random) -> None:
        super().__init__(FlagdSync.name, context, builder.options, random=random)
        self._builder = builder

    async def _messages(self, calls: FlagdCalls, *, is_new: bool) -> AsyncGenerator[Update, None]:  # noqa: ARG002 -- it keeps none
        builder = self._builder
        metadata = await calls.get_metadata() if builder.sync_metadata == "rpc" else None
        is_first = True
        async with aclosing(calls.sync_flags(provider_id=builder.provider_id, timeout=self._timeout)) as stream:
            async for message in stream:
                if is_first and message.sync_context is None and builder.sync_metadata == "stream":
                    metadata = await calls.get_metadata()
                is_first = False
                yield await self._update(message, metadata)

    async def _update(self, message: SyncMessage, metadata: Mapping[str, Any] | None) -> Update:
        """The update for a message. ``metadata`` replaces a static context that the message does not have.

        A flag set that cannot be used does not end the stream: the next one may be better.
        """
        given = message.sync_context if message.sync_context is not None else metadata
        static_context = None if given is None else self._enriched(given)
        try:
            change_set = await run_cooperatively(read_flag_set(message.flag_configuration, static_context=static_context))
        except ValueError as error:
            problem = replace(invalid_data(f"flagd sent a flag set that cannot be used: {error}"), code=ErrorCode.PARSE_ERROR)
            return Update(state=SourceState.INTERRUPTED, directive=None, error=problem)
        return self._good(change_set)

    def _enriched(self, sync_context: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The attributes for evaluations; ``None``, which means unchanged, if the program's function fails."""
        try:
            enriched = require("context_enricher", self._builder.context_enricher(sync_context), Mapping)
            for name in enriched:
                require("context_enricher: a name", name, str)
            # The targeting key of the context counts.
            return {name: fresh(value) for name, value in json_attributes(enriched).items() if name != "targetingKey"}
        except Exception:
            self._logger.exception("context_enricher failed; the static context stays as it was")
            return None
