"""FlagdStreamSource: opens a stream of flagd again and again, and waits in between. Subclasses read its messages.

gRPC reconnects connections and repeats calls that received nothing. It does not open streams again: that is done here.

Source: ``flagd.md`` 1.5, 3.3, 3.5 and 3.7.
"""

from __future__ import annotations

import random as random_numbers
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import anyio

from aioflags.errors import ConfigError
from aioflags.model.change import ChangeSet, Selector
from aioflags.model.defaults import PORT_OF_RPC, PORT_OF_SYNC
from aioflags.model.flagd_options import FatalCodesScope
from aioflags.model.result import Update
from aioflags.model.source_state import ErrorCode, ErrorInfo, FailureKind, SourceState
from aioflags.protocol.failures import network_failure, unexpected
from aioflags.runtime.event_loops import loop_time
from aioflags.runtime.logs import Once
from aioflags.sources.base import SourceContext
from aioflags.transport.flagd_messages import RpcFailed
from aioflags.transport.grpc import FlagdChannel

if TYPE_CHECKING:
    from aioflags.transport.grpc_calls import FlagdCalls

__all__ = ["FlagdStreamOptions", "FlagdStreamSource", "rpc_failure"]

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
        self._is_new_bug = Once()
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
        except Exception as error:  # a bug in aioflags: the source continues
            problem = unexpected(error)
            if self._is_new_bug(problem.message):
                self._logger.exception("%s: a stream failed (please report)", self.name)
            yield _update(SourceState.INTERRUPTED, error=problem)

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
