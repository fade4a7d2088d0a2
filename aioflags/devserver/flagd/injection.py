"""Applies faults to gRPC calls.

A call is affected by the faults that are active when it arrives. An open stream is also affected by each fault that is injected
later. ``faults.py`` has the list of faults, ``relay.py`` slows down and cuts connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import grpc
import grpc.aio

from aioflags.devserver.clients import ClientRecord
from aioflags.devserver.faults.faults import FaultKind, GrpcCode, InjectedFault
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.devserver.state import ServerState

__all__ = ["CallFaults", "Cut", "ServicerContext", "code_named"]

if TYPE_CHECKING:
    ServicerContext = grpc.aio.ServicerContext[Any, Any]
else:
    ServicerContext = grpc.aio.ServicerContext


class Cut(Protocol):
    """Closes all connections of the port of a call."""

    def __call__(self, *, reset: bool) -> object: ...


_BEFORE_RESPONSE: Final = (FaultKind.DELAY, FaultKind.SILENCE, FaultKind.RESET, FaultKind.CLOSE, FaultKind.STATUS)
"""Faults that delay or replace a response, in the order in which they apply."""
_STREAM_LASTING: Final = frozenset({FaultKind.DELAY, FaultKind.SILENCE, FaultKind.DRIP})
_CUT_TIMEOUT: Final = 1.0
"""Seconds after which a call ends whose connection was cut. Its cancellation normally comes first."""
_SEND_GRACE: Final = 1.0
"""Seconds for a message that is on its way when a fault ends the stream. A client that reads gets it in milliseconds."""


def code_named(code: GrpcCode | None) -> grpc.StatusCode:
    """The status of gRPC with that name; UNAVAILABLE by default."""
    return grpc.StatusCode.UNAVAILABLE if code is None else grpc.StatusCode[code.value]


class CallFaults:
    """One gRPC call, with the faults that affect it. Use it as a context manager around the handling of the call."""

    def __init__(self, state: ServerState, endpoint: Endpoint, context: ServicerContext, cut: Cut) -> None:
        self._state, self._endpoint, self._context, self._cut = state, endpoint, context, cut
        self._faults = state.faults
        state.count_request(endpoint)
        self.client: ClientRecord = state.clients.record_request(_headers(context), "gRPC")
        self._last_seen = self._faults.count
        self._matching = self._faults.match_request(endpoint)
        self._lasting: list[InjectedFault] = []
        self._write_lock = anyio.Lock()
        self._ending: InjectedFault | None = None

    def __enter__(self) -> CallFaults:
        return self

    def __exit__(self, *_: object) -> None:
        for injected in self._lasting:
            self._faults.release_response(injected)

    def record_sent(self, what: str) -> None:
        """Record what was sent to the client."""
        self._state.clients.record_sent(self.client, self._endpoint, what, self._state.version)

    @property
    def is_malformed(self) -> bool:
        """Whether the first message must be malformed."""
        return any(injected.fault.kind is FaultKind.MALFORMED for injected in self._matching)

    async def begin(self) -> bool:
        """Apply the faults that come before a response. False: the fault has the code OK, and the stream must end.

        Raises what :meth:`grpc.aio.ServicerContext.abort` raises.
        """
        for injected in self._matching:
            self._record(injected)
            if injected.fault.kind is FaultKind.DRIP:
                self._add_lasting(injected)
        before = [injected for injected in self._matching if injected.fault.kind in _BEFORE_RESPONSE]
        for injected in sorted(before, key=lambda injected: _BEFORE_RESPONSE.index(injected.fault.kind)):
            match injected.fault.kind:
                case FaultKind.DELAY:
                    await anyio.sleep(injected.fault.delay)
                    if self._endpoint.is_stream:
                        self._add_lasting(injected)
                case FaultKind.SILENCE:
                    self._add_lasting(injected)
                    await self._faults.wait_until_lifted(injected)
                case _:
                    await self._end(injected)
                    return False
        return True

    async def stream(self, messages: AsyncGenerator[Any, None], malformed: Callable[[], Any]) -> None:
        """Send the messages until they end, the client goes away, or a fault ends the stream."""
        state = self._state
        with state.count_stream(self._endpoint), state.clients.record_stream(self.client, self._endpoint):
            async with anyio.create_task_group() as tasks:

                async def watch() -> None:
                    while True:
                        for injected in self._faults.injected_since(self._last_seen):
                            self._last_seen = injected.number
                            if self._endpoint in injected.fault.endpoints:
                                self._record(injected)
                                await self._apply_to_stream(injected, malformed)
                                if self._ending is not None:
                                    tasks.cancel_scope.cancel()
                                    return
                        await self._faults.wait_for_change()

                tasks.start_soon(watch)
                async with aclosing(messages):
                    async for message in messages:
                        await self._write(message)
                tasks.cancel_scope.cancel()
        if self._ending is not None:
            await self._end(self._ending)

    async def _apply_to_stream(self, injected: InjectedFault, malformed: Callable[[], Any]) -> None:
        if injected.fault.kind in _STREAM_LASTING:
            self._add_lasting(injected)
        elif injected.fault.kind is FaultKind.MALFORMED:
            await self._send(malformed())
        else:
            self._ending = injected

    async def _write(self, message: Any) -> None:
        while any(injected.fault.kind is FaultKind.SILENCE and not injected.is_lifted for injected in self._lasting):
            await self._faults.wait_for_change()
        for injected in self._lasting:
            if injected.fault.kind is FaultKind.DELAY and not injected.is_lifted:
                await anyio.sleep(injected.fault.delay)
        await self._send(message)

    async def _send(self, message: Any) -> None:
        """Send a message. If that is cancelled, it still has some time: gRPC sends no status before the last message is sent."""
        async with self._write_lock:
            sending = asyncio.ensure_future(self._context.write(message))
            try:
                await asyncio.shield(sending)
            finally:
                with anyio.move_on_after(_SEND_GRACE, shield=True):
                    await asyncio.wait([sending])
                if not sending.cancel() and not sending.cancelled():
                    sending.exception()  # it is raised above, unless this was cancelled: then it has no meaning

    async def _end(self, injected: InjectedFault) -> None:
        """End the call with a status, or with its connection."""
        fault = injected.fault
        if fault.kind is not FaultKind.STATUS:
            self._cut(reset=fault.kind is FaultKind.RESET)
            await anyio.sleep(_CUT_TIMEOUT)
            await self._context.abort(grpc.StatusCode.UNAVAILABLE, "an injected fault cut this connection")
        if fault.code is not GrpcCode.OK:
            await self._context.abort(code_named(fault.code), "an injected fault")

    def _add_lasting(self, injected: InjectedFault) -> None:
        """Apply a fault to the rest of this call, until the fault is lifted."""
        self._lasting.append(injected)
        self._faults.hold_response(injected)

    def _record(self, injected: InjectedFault) -> None:
        self._state.clients.record_fault(self.client, self._endpoint, injected.fault.kind, self._state.version)


def _headers(context: ServicerContext) -> dict[str, str]:
    return {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
