"""Faults of responses: scenarios that play them in order, when they apply, and over HTTP their bytes.

A response is affected by the faults that are active when its request arrives. An open stream is also affected by each fault that is
injected later. ``faults.py`` has the list of faults; ``flagd/relay.py`` applies them to gRPC calls.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, Self

import anyio
import msgspec
from anyio.abc import TaskGroup
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aioflags.devserver.clients import ClientRecord
from aioflags.devserver.decode import TooLargeError, decode, read_body
from aioflags.devserver.endpoints import Endpoint
from aioflags.devserver.faults import Fault, FaultKind, InjectedFault, newest_directive
from aioflags.devserver.responses import EventMessage, frame, poll_body
from aioflags.devserver.state import ServerState
from aioflags.model.change import FallbackDirective
from aioflags.protocol.directive import shape_directive, shape_goodbye
from aioflags.runtime.suggest import did_you_mean

# -- The bytes that faults send in place of flag data, or in addition to it. No input or output.


_NO_CHANGES: Final = {"id": "", "target": 0, "intentCode": "none", "reason": "up-to-date"}
_NO_DATA: Final = poll_body([("server-intent", {"payloads": [_NO_CHANGES]})])


def fault_body(endpoint: Endpoint, faults: Iterable[Fault]) -> bytes | None:
    """The body of a poll response if a fault replaces it; otherwise ``None``."""
    for fault in faults:
        match fault.kind:
            case FaultKind.GOODBYE | FaultKind.ERROR:
                return poll_body([_message(fault)])
            case FaultKind.MALFORMED:
                return b'{"events": [{"event": ' if endpoint.is_fdv2 else b'{"flags": {"a": '
            case FaultKind.DIRECTIVE if not fault.payload:
                return _NO_DATA if endpoint.is_fdv2 else b"{}"
            case _:
                pass
    return None


def fault_frame(endpoint: Endpoint, fault: Fault) -> bytes:
    """The bytes that a fault sends into a stream; empty for a fault that sends none."""
    match fault.kind:
        case FaultKind.GOODBYE | FaultKind.ERROR:
            return frame(_message(fault))
        case FaultKind.DIRECTIVE if endpoint.is_fdv2:
            return frame(_message(fault))
        case FaultKind.MALFORMED:
            return _event_name(endpoint) + b'data: {"payloads": [{"id": \n\n'
        case FaultKind.TRUNCATED:
            return _event_name(endpoint) + b'data: {"payloads": [{"id'
        case _:
            return b""


def _event_name(endpoint: Endpoint) -> bytes:
    """The line with the name of an event that has JSON; a ping has none."""
    return b"event: server-intent\n" if endpoint.is_fdv2 else b"event: ping\n" if endpoint.is_ping else b"event: put\n"


def _message(fault: Fault) -> EventMessage:
    if fault.kind is FaultKind.ERROR:
        return "error", {"payloadId": "", "reason": fault.reason}
    # A goodbye with a TTL is a directive to clients that support it.
    directive = None if fault.ttl is None else FallbackDirective(ttl=fault.ttl, origin="goodbye")
    return "goodbye", msgspec.Raw(shape_goodbye(fault.reason, directive))


# -- Scenarios: a list of faults and edits to play in order, from a file or the control API.


_ALL: Final = "all"
_Pause = Annotated[float, msgspec.Meta(ge=0, le=86400)]


_UNITS: Final = {"for": "s", "delay": "s", "ttl": "s", "rate": "bytes/s"}


class ScenarioStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step: a ``fault`` to inject, faults to ``lift`` (a kind, or ``all``), or a flag to ``flip``.

    ``after``: seconds to wait first. A fault with ``times`` or ``for`` must end before the next step begins; other faults stay
    active.
    """

    after: _Pause = 0
    fault: Fault | None = None
    lift: str | None = None
    flip: str | None = None

    def __post_init__(self) -> None:
        if sum(action is not None for action in (self.fault, self.lift, self.flip)) != 1:
            raise ValueError('a step needs exactly one of "fault", "lift" and "flip"')
        kinds = [_ALL, *FaultKind]
        if self.lift is not None and self.lift not in kinds:
            hint = did_you_mean(self.lift, kinds, quote='"{}"'.format) or f"expected one of {', '.join(kinds)}"
            raise ValueError(f'lift: "{self.lift:.60}" is unknown, {hint}')

    def __str__(self) -> str:
        if self.fault is not None:
            written: dict[str, Any] = msgspec.to_builtins(self.fault)
            rest = ", ".join(f"{name} {_with_unit(name, value)}" for name, value in written.items() if name != "kind")
            return f"{self.fault.kind} ({rest})" if rest else str(self.fault.kind)
        return f"lift {self.lift}" if self.lift is not None else f"flip {self.flip}"


def _with_unit(name: str, value: object) -> str:
    """A property of a fault as text: a number has its unit, and no ``.0``."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text} {_UNITS[name]}" if name in _UNITS else text


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Steps to play in order."""

    steps: tuple[ScenarioStep, ...]


def read_scenario(written: object, *, name: str | None = None) -> Scenario:
    """Decode a scenario from JSON text (bytes), or from decoded JSON. ``name``: the file name for errors.

    Raises :class:`ConfigError`.
    """
    return decode(Scenario, written, name=name)


async def play(scenario: Scenario, state: ServerState) -> AsyncGenerator[ScenarioStep, None]:
    """Play the scenario, and yield each step after it is complete. Closing the generator does not lift faults.

    Raises :class:`ConfigError` if a step flips a flag that does not exist.
    """
    for step in scenario.steps:
        await anyio.sleep(step.after)
        if step.fault is not None:
            injected = state.inject(step.fault)
            if step.fault.times is not None or step.fault.lasts is not None:
                await state.faults.wait_until_inactive(injected)
        elif step.flip is not None:
            state.flip(step.flip)
        else:
            state.faults.lift_all(None if step.lift == _ALL else FaultKind(step.lift or ""))
        yield step


# -- The faults of one response, over HTTP or gRPC.


_BEFORE_RESPONSE: Final = (FaultKind.DELAY, FaultKind.SILENCE, FaultKind.RESET, FaultKind.CLOSE, FaultKind.STATUS)
"""Faults that delay or replace a response, in the order in which they apply."""

STREAM_LASTING: Final = frozenset({FaultKind.DELAY, FaultKind.SILENCE, FaultKind.DRIP})
"""Faults that affect an open stream until they are lifted."""


class ResponseFaults:
    """The faults that affect one response: those that are active at its request, and those that a stream gets while it is open.

    Use it as a context manager around the response. It counts the request, and records its client.
    """

    def __init__(self, state: ServerState, endpoint: Endpoint, headers: Mapping[str, str], peer: str) -> None:
        self._state, self._endpoint, self._faults = state, endpoint, state.faults
        state.count_request(endpoint)
        self.client: ClientRecord = state.clients.record_request(headers, peer)
        self._last_seen = self._faults.count
        self._matching = self._faults.match_request(endpoint)
        self._lasting: list[InjectedFault] = []
        for injected in self._matching:
            self._record(injected)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for injected in self._lasting:
            self._faults.release_response(injected)

    def _record(self, injected: InjectedFault) -> None:
        self._state.clients.record_fault(self.client, self._endpoint, injected.fault.kind, self._state.version)

    def _before_response(self) -> list[InjectedFault]:
        """The faults that delay or replace the response, in the order in which they apply."""
        before = [injected for injected in self._matching if injected.fault.kind in _BEFORE_RESPONSE]
        return sorted(before, key=lambda injected: _BEFORE_RESPONSE.index(injected.fault.kind))

    async def _delay_response(self, injected: InjectedFault) -> None:
        """Wait before the response. A stream gets each of its messages with the same delay."""
        await anyio.sleep(injected.fault.delay)
        if self._endpoint.is_stream:
            self._add_lasting(injected)

    def _add_lasting(self, injected: InjectedFault) -> None:
        """Apply a fault to the rest of this response, until the fault is lifted."""
        self._lasting.append(injected)
        self._faults.hold_response(injected)

    async def _watch(self, apply: Callable[[InjectedFault], Awaitable[None]]) -> None:
        """Apply the faults that are injected from now on, until cancelled."""
        while True:
            for injected in self._faults.injected_since(self._last_seen):
                self._last_seen = injected.number
                if self._endpoint in injected.fault.endpoints:
                    self._record(injected)
                    await apply(injected)
            await self._faults.wait_for_change()

    async def _wait_while_silent(self) -> None:
        while any(_is_silent(injected) for injected in self._lasting):
            await self._faults.wait_for_change()


def _is_silent(injected: InjectedFault) -> bool:
    fault = injected.fault
    silences = fault.kind is FaultKind.SILENCE or (fault.kind is FaultKind.DIRECTIVE and not fault.payload)
    return silences and not injected.is_lifted


# -- The faults of HTTP responses, as ASGI middleware of an endpoint.


CUT_EXTENSION: Final = "aioflags.cut"
"""The ASGI extension with which an application closes the connection of a request: an async function ``cut(*, reset: bool)``."""

_POLL_LASTING: Final = frozenset({FaultKind.DRIP, FaultKind.TRUNCATED})
"""Faults that change how the body of a poll response is sent."""

DRIPS_PER_SECOND: Final = 10


class _CutError(Exception):
    """The connection must be closed now: with a reset, or in the middle of the response."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__("a fault cut this connection")
        self.reset = reset


class FaultInjection:
    """ASGI middleware of an endpoint: records the request and its client, and applies the faults of the endpoint."""

    def __init__(self, app: ASGIApp, state: ServerState, endpoint: Endpoint) -> None:
        self._app, self._state, self._endpoint = app, state, endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with _Exchange(self._state, self._endpoint, (scope, receive, send)) as exchange:
                scope.setdefault("state", {}).update(client=exchange.client, endpoint=self._endpoint)
                await exchange.respond(self._app)
        except _CutError as cut:
            extensions: dict[str, Any] = scope.get("extensions") or {}
            if CUT_EXTENSION not in extensions:
                raise ConnectionAbortedError(str(cut)) from None
            await extensions[CUT_EXTENSION](reset=cut.reset)


class _Exchange(ResponseFaults):
    """One request over HTTP and its response, with the faults that affect it."""

    def __init__(self, state: ServerState, endpoint: Endpoint, request: tuple[Scope, Receive, Send]) -> None:
        self._scope, self._receive, self._send = request
        super().__init__(state, endpoint, Headers(scope=self._scope), (self._scope.get("client") or ("",))[0])
        self._headers_sent = anyio.Event()
        self._send_lock = anyio.Lock()
        self._ending: Literal["end", "close", "reset"] | None = None

    async def respond(self, app: ASGIApp) -> None:
        """Respond to the request. Raises :class:`_CutError` if a fault closes the connection."""
        for injected in self._before_response():
            if injected.fault.kind is FaultKind.DELAY:
                await self._delay_response(injected)
            else:
                await self._replace_response(injected)
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

    # -- in place of a response

    async def _replace_response(self, injected: InjectedFault) -> None:
        fault = injected.fault
        if fault.kind is FaultKind.SILENCE:
            self._add_lasting(injected)
            await self._stay_silent(injected)
        elif fault.kind is FaultKind.STATUS:
            await self._read_request()
            text = b"" if fault.status in {204, 304} else b"an injected fault"
            await Response(text, status_code=fault.status)(self._scope, self._receive, self._send_on)
            return
        raise _CutError(reset=fault.kind is FaultKind.RESET)

    async def _stay_silent(self, injected: InjectedFault) -> None:
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
        with suppress(TooLargeError, ClientDisconnect):
            await read_body(Request(self._scope, self._receive))

    # -- streams

    async def _stream(self, app: ASGIApp) -> None:
        async with anyio.create_task_group() as tasks:

            async def apply(injected: InjectedFault) -> None:
                tasks.start_soon(self._apply_to_stream, injected, tasks)

            async def send(message: Message) -> None:
                await self._send_on(message)
                if message["type"] == "http.response.start":
                    for injected in self._matching:
                        await self._apply_after_headers(injected, tasks)

            tasks.start_soon(self._watch, apply)
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
        fault = injected.fault
        if fault.kind in STREAM_LASTING:
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
            directive = newest_directive(injected.fault for injected in self._matching)
            MutableHeaders(scope=message).update(shape_directive(directive))
            await self._send(message)
            self._headers_sent.set()
            return
        await self._wait_while_silent()
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
        size = max(1, round(injected.fault.rate / DRIPS_PER_SECOND))
        while len(body) > size and not injected.is_lifted:
            await self._send({"type": "http.response.body", "body": body[:size], "more_body": True})
            body = body[size:]
            await anyio.sleep(size / injected.fault.rate)
        return body
