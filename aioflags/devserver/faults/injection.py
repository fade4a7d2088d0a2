"""Applies faults to HTTP responses, as ASGI middleware of an endpoint.

A request is affected by the faults that are active when it arrives. An open stream is also affected by each fault that is injected
later. ``faults.py`` has the list of faults, ``payloads.py`` the bytes that they send.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import anyio
from anyio.abc import TaskGroup
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aioflags.devserver.bodies import MAX_REQUEST_BYTES
from aioflags.devserver.faults.faults import Fault, FaultKind, Faults, InjectedFault
from aioflags.devserver.faults.payloads import directive_headers, fault_body, fault_frame
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.devserver.state import ServerState

CUT_EXTENSION: Final = "aioflags.cut"
"""The ASGI extension with which an application closes the connection of a request: an async function ``cut(*, reset: bool)``."""

_BEFORE_RESPONSE: Final = (FaultKind.DELAY, FaultKind.SILENCE, FaultKind.RESET, FaultKind.CLOSE, FaultKind.STATUS)
"""Faults that delay or replace a response, in the order in which they apply."""

_STREAM_LASTING: Final = frozenset({FaultKind.DELAY, FaultKind.SILENCE, FaultKind.DRIP})
"""Faults that affect an open stream until they are lifted."""

_POLL_LASTING: Final = frozenset({FaultKind.DRIP, FaultKind.TRUNCATED})
"""Faults that change how the body of a poll response is sent."""

_DRIPS_PER_SECOND: Final = 10


class _CutError(Exception):
    """The connection must be closed now: with a reset, or in the middle of the response."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__("a fault cut this connection")
        self.reset = reset


class FaultInjection:
    """ASGI middleware of an endpoint: records the request and its client, and applies the faults of the endpoint."""

    def __init__(self, app: ASGIApp, state: ServerState, endpoint: Endpoint) -> None:
        self._app = app
        self._state = state
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state, endpoint = self._state, self._endpoint
        state.count_request(endpoint)
        client = state.clients.record_request(Headers(scope=scope), (scope.get("client") or ("",))[0])
        scope.setdefault("state", {})["client"] = client

        def record_fault(fault: Fault) -> None:
            state.clients.record_fault(client, endpoint, fault.kind, state.version)

        exchange = _Exchange(endpoint, state.faults, record_fault, (scope, receive, send))
        try:
            await exchange.run(self._app)
        except _CutError as cut:
            extensions: dict[str, Any] = scope.get("extensions") or {}
            if CUT_EXTENSION not in extensions:
                raise ConnectionAbortedError(str(cut)) from None
            await extensions[CUT_EXTENSION](reset=cut.reset)


class _Exchange:
    """One request and its response, with the faults that affect it."""

    def __init__(
        self, endpoint: Endpoint, faults: Faults, record_fault: Callable[[Fault], None], request: tuple[Scope, Receive, Send]
    ) -> None:
        self._endpoint, self._faults, self._record_fault = endpoint, faults, record_fault
        self._scope, self._receive, self._send = request
        self._last_seen = faults.count
        self._matching = faults.match_request(endpoint)
        self._lasting: list[InjectedFault] = []
        self._headers_sent = anyio.Event()
        self._send_lock = anyio.Lock()
        self._ending: Literal["end", "close", "reset"] | None = None

    async def run(self, app: ASGIApp) -> None:
        """Respond to the request. Raises :class:`_CutError` if a fault closes the connection."""
        try:
            await self._respond(app)
        finally:
            for injected in self._lasting:
                self._faults.release_response(injected)

    def _add_lasting(self, injected: InjectedFault) -> None:
        """Apply a fault to the rest of this response, until the fault is lifted."""
        self._lasting.append(injected)
        self._faults.hold_response(injected)

    async def _respond(self, app: ASGIApp) -> None:
        for injected in self._matching:
            self._record_fault(injected.fault)
        before = [injected for injected in self._matching if injected.fault.kind in _BEFORE_RESPONSE]
        for injected in sorted(before, key=_order):
            if await self._replaces_response(injected):
                return
        self._matching = tuple(injected for injected in self._matching if injected.fault.kind not in _BEFORE_RESPONSE)
        if self._endpoint.is_stream:
            await self._stream(app)
            return
        for injected in self._matching:
            if injected.fault.kind in _POLL_LASTING:
                self._add_lasting(injected)
        body = fault_body(self._endpoint, (injected.fault for injected in self._matching))
        replacement = None if body is None else Response(body, media_type="application/json")
        await (replacement or app)(self._scope, self._receive, self._send_on)

    # -- before a response, or in its place

    async def _replaces_response(self, injected: InjectedFault) -> bool:
        """Apply a fault before the response begins. Returns whether the fault sent the response."""
        fault = injected.fault
        match fault.kind:
            case FaultKind.DELAY:
                await anyio.sleep(fault.delay)
                if self._endpoint.is_stream:
                    self._add_lasting(injected)
                return False
            case FaultKind.SILENCE:
                self._add_lasting(injected)
                await self._stay_silent(injected)
                raise _CutError(reset=False)
            case FaultKind.STATUS:
                await self._read_request()
                text = b"" if fault.status in {204, 304} else b"an injected fault"
                await Response(text, status_code=fault.status)(self._scope, self._receive, self._send_on)
                return True
            case FaultKind.RESET | FaultKind.CLOSE:
                raise _CutError(reset=fault.kind is FaultKind.RESET)
            case kind:
                raise AssertionError(f"{kind} does not replace a response")

    async def _stay_silent(self, injected: InjectedFault) -> None:
        """Wait until the fault is lifted or the client disconnects."""
        async with anyio.create_task_group() as tasks:

            async def wait_for_disconnect() -> None:
                while (await self._receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(wait_for_disconnect)
            await self._faults.wait_until_lifted(injected)
            tasks.cancel_scope.cancel()

    async def _read_request(self) -> None:
        """Read the body of the request, because many clients do not read a response before they have sent it."""
        received = 0
        try:
            async for chunk in Request(self._scope, self._receive).stream():
                received += len(chunk)
                if received > MAX_REQUEST_BYTES:
                    return
        except ClientDisconnect:
            return

    # -- streams

    async def _stream(self, app: ASGIApp) -> None:
        async with anyio.create_task_group() as tasks:

            async def apply(injected: InjectedFault) -> None:
                await self._apply_to_stream(injected, tasks)

            async def watch() -> None:
                while True:
                    for injected in self._faults.injected_since(self._last_seen):
                        self._last_seen = injected.number
                        if self._endpoint in injected.fault.endpoints:
                            self._record_fault(injected.fault)
                            tasks.start_soon(apply, injected)
                    await self._faults.wait_for_change()

            async def send(message: Message) -> None:
                await self._send_on(message)
                if message["type"] == "http.response.start":
                    for injected in self._matching:
                        await self._apply_after_headers(injected, tasks)

            tasks.start_soon(watch)
            await app(self._scope, self._receive, send)
            tasks.cancel_scope.cancel()
        if self._ending == "end":
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        elif self._ending is not None:
            raise _CutError(reset=self._ending == "reset")

    async def _apply_after_headers(self, injected: InjectedFault, tasks: TaskGroup) -> None:
        """Apply a fault that was active at the request, after the headers were sent. They already contain the directive."""
        if injected.fault.kind is not FaultKind.DIRECTIVE:
            await self._apply_to_stream(injected, tasks)
        elif not injected.fault.payload:
            self._add_lasting(injected)

    async def _apply_to_stream(self, injected: InjectedFault, tasks: TaskGroup) -> None:
        """Apply a fault to an open stream."""
        fault = injected.fault
        if fault.kind in _STREAM_LASTING:
            self._add_lasting(injected)
            return
        await self._headers_sent.wait()
        if frame := fault_frame(self._endpoint, fault):
            async with self._send_lock:
                await self._send({"type": "http.response.body", "body": frame, "more_body": True})
        match fault.kind:
            case FaultKind.ERROR | FaultKind.MALFORMED:
                return
            case FaultKind.RESET:
                self._ending = "reset"
            case FaultKind.CLOSE | FaultKind.TRUNCATED:
                self._ending = "close"
            case FaultKind.GOODBYE | FaultKind.DIRECTIVE | FaultKind.STATUS:
                self._ending = "end"
            case kind:
                raise AssertionError(f"{kind} does not end a stream")
        tasks.cancel_scope.cancel()

    # -- sending

    async def _send_on(self, message: Message) -> None:
        """Send a message of the application, changed by the faults of this response."""
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(directive_headers(injected.fault for injected in self._matching))
            await self._send(message)
            self._headers_sent.set()
            return
        while any(_is_silent(injected) for injected in self._lasting):
            await self._faults.wait_for_change()
        async with self._send_lock:
            await self._send_body(message)

    async def _send_body(self, message: Message) -> None:
        """Send a part of the body: delayed, in small pieces, or truncated, as the lasting faults require."""
        body: bytes = message.get("body", b"")
        for injected in self._lasting:
            if injected.is_lifted:
                continue
            match injected.fault.kind:
                case FaultKind.DELAY:
                    await anyio.sleep(injected.fault.delay)
                case FaultKind.TRUNCATED:
                    await self._send({**message, "body": body[: len(body) // 2], "more_body": True})
                    raise _CutError(reset=False)
                case FaultKind.DRIP:
                    body = await self._drip(body, injected)
                case _:
                    pass
        await self._send({**message, "body": body})

    async def _drip(self, body: bytes, injected: InjectedFault) -> bytes:
        """Send the body in small pieces until the fault is lifted. Returns the rest of the body."""
        size = max(1, round(injected.fault.rate / _DRIPS_PER_SECOND))
        while len(body) > size and not injected.is_lifted:
            await self._send({"type": "http.response.body", "body": body[:size], "more_body": True})
            body = body[size:]
            await anyio.sleep(size / injected.fault.rate)
        return body


def _order(injected: InjectedFault) -> int:
    return _BEFORE_RESPONSE.index(injected.fault.kind)


def _is_silent(injected: InjectedFault) -> bool:
    if injected.is_lifted:
        return False
    fault = injected.fault
    return fault.kind is FaultKind.SILENCE or (fault.kind is FaultKind.DIRECTIVE and not fault.payload)
