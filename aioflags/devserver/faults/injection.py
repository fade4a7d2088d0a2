"""Faults on the wire: an endpoint's application, spoiled in every way that the fault panel knows.

A request meets the faults that are in force when it arrives. A stream that is open meets each as it is injected. Which
these are is decided in ``faults.py``, and what is sent in place of good data in ``spoiled.py``.
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

from aioflags.devserver.faults.faults import Fault, FaultKind, Faults, Injected
from aioflags.devserver.faults.payloads import directive_headers, spoiled_body, spoiled_frame
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.devserver.state import ServerState

__all__ = ["CUT", "MOST_BYTES", "FaultInjection"]

CUT: Final = "aioflags.cut"
"""The ASGI extension of a server that lets its applications cut a connection: an async function of ``reset``."""

MOST_BYTES: Final = 16 * 1024 * 1024
"""How much a request may send."""

_INSTEAD: Final = (FaultKind.DELAY, FaultKind.SILENCE, FaultKind.RESET, FaultKind.CLOSE, FaultKind.STATUS)
"""Faults that come before an answer or take its place, in the order in which they have their turn."""

_LASTING: Final = frozenset({FaultKind.DELAY, FaultKind.SILENCE, FaultKind.DRIP})
_SPOILING_BYTES: Final = frozenset({FaultKind.DRIP, FaultKind.TRUNCATED})
_PIECES_A_SECOND: Final = 10


class _CutError(Exception):
    """The connection ends here: with a reset, or with an end that comes too early."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__("a fault cut this connection")
        self.reset = reset


class FaultInjection:
    """The application of an endpoint as its clients find it. It notes who comes, and meets the faults with them."""

    def __init__(self, app: ASGIApp, state: ServerState, endpoint: Endpoint) -> None:
        self._app = app
        self._state = state
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state, endpoint = self._state, self._endpoint
        state.arrived(endpoint)
        client = state.clients.arrived(Headers(scope=scope), (scope.get("client") or ("",))[0])
        scope.setdefault("state", {})["client"] = client

        def note(fault: Fault) -> None:
            state.clients.met(client, endpoint, fault.kind, state.version)

        answer = _Answer(endpoint, state.faults, note, (scope, receive, send))
        try:
            await answer.give(self._app)
        except _CutError as cut:
            extensions: dict[str, Any] = scope.get("extensions") or {}
            if CUT not in extensions:
                raise ConnectionAbortedError(str(cut)) from None
            await extensions[CUT](reset=cut.reset)


class _Answer:
    """One request on its way to an answer, good or spoiled."""

    def __init__(
        self, endpoint: Endpoint, faults: Faults, note: Callable[[Fault], None], request: tuple[Scope, Receive, Send]
    ) -> None:
        self._endpoint, self._faults, self._note = endpoint, faults, note
        self._scope, self._receive, self._send = request
        self._seen = faults.count
        self._met = faults.meet(endpoint)
        self._lasting: list[Injected] = []
        self._is_open = anyio.Event()
        self._one_at_a_time = anyio.Lock()
        self._ending: Literal["end", "close", "reset"] | None = None

    async def give(self, app: ASGIApp) -> None:
        """Answers the request. Raises :class:`_CutError` where the connection is to be cut."""
        try:
            await self._give(app)
        finally:
            for injected in self._lasting:
                self._faults.let_go(injected)

    def _hold(self, injected: Injected) -> None:
        """Lets a fault spoil this answer for as long as both last."""
        self._lasting.append(injected)
        self._faults.hold(injected)

    async def _give(self, app: ASGIApp) -> None:
        for injected in self._met:
            self._note(injected.fault)
        for injected in sorted((one for one in self._met if one.fault.kind in _INSTEAD), key=_turn):
            if await self._is_answered_by(injected):
                return
        self._met = tuple(injected for injected in self._met if injected.fault.kind not in _INSTEAD)
        if self._endpoint.is_stream:
            await self._stream(app)
            return
        for injected in self._met:
            if injected.fault.kind in _SPOILING_BYTES:
                self._hold(injected)
        body = spoiled_body(self._endpoint, (injected.fault for injected in self._met))
        spoiled = None if body is None else Response(body, media_type="application/json")
        await (spoiled or app)(self._scope, self._receive, self._pass_on)

    # -- before an answer, or in its place

    async def _is_answered_by(self, injected: Injected) -> bool:
        """What the fault does before there is an answer; whether it was the answer."""
        fault = injected.fault
        match fault.kind:
            case FaultKind.DELAY:
                await anyio.sleep(fault.delay)
                if self._endpoint.is_stream:
                    self._hold(injected)
                return False
            case FaultKind.SILENCE:
                self._hold(injected)
                await self._say_nothing(injected)
                raise _CutError(reset=False)
            case FaultKind.STATUS:
                await self._drain()
                text = b"" if fault.status in {204, 304} else b"asked for on the fault panel"
                await Response(text, status_code=fault.status)(self._scope, self._receive, self._pass_on)
                return True
            case _:
                raise _CutError(reset=fault.kind is FaultKind.RESET)

    async def _say_nothing(self, injected: Injected) -> None:
        """Until the fault is lifted, or the client has enough of it."""
        async with anyio.create_task_group() as tasks:

            async def notice_the_end() -> None:
                while (await self._receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(notice_the_end)
            await self._faults.gone(injected)
            tasks.cancel_scope.cancel()

    async def _drain(self) -> None:
        """Takes what the client sends, since many do not look at an answer before."""
        received = 0
        try:
            async for chunk in Request(self._scope, self._receive).stream():
                received += len(chunk)
                if received > MOST_BYTES:
                    return
        except ClientDisconnect:
            return

    # -- streams

    async def _stream(self, app: ASGIApp) -> None:
        async with anyio.create_task_group() as tasks:

            async def strike(injected: Injected) -> None:
                await self._strike(injected, tasks)

            async def watch() -> None:
                while True:
                    for injected in self._faults.since(self._seen):
                        self._seen = injected.number
                        if self._endpoint in injected.fault.endpoints:
                            self._note(injected.fault)
                            tasks.start_soon(strike, injected)
                    await self._faults.news()

            async def pass_on(message: Message) -> None:
                await self._pass_on(message)
                if message["type"] == "http.response.start":
                    for injected in self._met:
                        await self._strike_at_opening(injected, tasks)

            tasks.start_soon(watch)
            await app(self._scope, self._receive, pass_on)
            tasks.cancel_scope.cancel()
        if self._ending == "end":
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        elif self._ending is not None:
            raise _CutError(reset=self._ending == "reset")

    async def _strike_at_opening(self, injected: Injected, tasks: TaskGroup) -> None:
        """A fault that the request met, once the headers are sent. The directive is among these already."""
        if injected.fault.kind is not FaultKind.DIRECTIVE:
            await self._strike(injected, tasks)
        elif not injected.fault.payload:
            self._hold(injected)

    async def _strike(self, injected: Injected, tasks: TaskGroup) -> None:
        """What a fault does to a stream that is open."""
        fault = injected.fault
        if fault.kind in _LASTING:
            self._hold(injected)
            return
        await self._is_open.wait()
        if words := spoiled_frame(self._endpoint, fault):
            async with self._one_at_a_time:
                await self._send({"type": "http.response.body", "body": words, "more_body": True})
        match fault.kind:
            case FaultKind.ERROR | FaultKind.MALFORMED:
                return
            case FaultKind.RESET:
                self._ending = "reset"
            case FaultKind.CLOSE | FaultKind.TRUNCATED:
                self._ending = "close"
            case _:
                self._ending = "end"
        tasks.cancel_scope.cancel()

    # -- what is passed on, and how fast

    async def _pass_on(self, message: Message) -> None:
        """Sends on what the application sends, as the faults of this answer have it."""
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(directive_headers(injected.fault for injected in self._met))
            await self._send(message)
            self._is_open.set()
            return
        while any(_is_silent(injected) for injected in self._lasting):
            await self._faults.news()
        async with self._one_at_a_time:
            await self._slowly(message)

    async def _slowly(self, message: Message) -> None:
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

    async def _drip(self, body: bytes, injected: Injected) -> bytes:
        """Sends the body bit by bit while the fault lasts; answers what is left of it."""
        size = max(1, round(injected.fault.rate / _PIECES_A_SECOND))
        while len(body) > size and not injected.is_lifted:
            await self._send({"type": "http.response.body", "body": body[:size], "more_body": True})
            body = body[size:]
            await anyio.sleep(size / injected.fault.rate)
        return body


def _turn(injected: Injected) -> int:
    return _INSTEAD.index(injected.fault.kind)


def _is_silent(injected: Injected) -> bool:
    if injected.is_lifted:
        return False
    fault = injected.fault
    return fault.kind is FaultKind.SILENCE or (fault.kind is FaultKind.DIRECTIVE and not fault.payload)
