"""The responses of LaunchDarkly's endpoints: polls and streams of FDv2 and FDv1, their encoding, and events.

``routes.py`` has their paths.

Source: ``data-system.md`` 1 to 3; ``client-side.md`` 1 and 2.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

import anyio
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from aioflags.devserver.clients import Audience, ClientRecord
from aioflags.devserver.data.client_flags import MAX_CONTEXT_BYTES, ClientFlags, ContextFlags, read_context, read_encoded_context
from aioflags.devserver.data.history import ServedObject, Transfer
from aioflags.devserver.data.overrides import gate_keys
from aioflags.devserver.decode import TooLargeError, read_body
from aioflags.devserver.endpoints import Endpoint
from aioflags.devserver.state import ServerState
from aioflags.errors import ConfigError
from aioflags.model.change import ChangeKind, ObjectKind
from aioflags.model.context import Context
from aioflags.protocol.definitions import SECTIONS

# -- Encodes transfers and objects: FDv2 events, FDv1 messages, and the frames of an event stream. No input or output.
# Source: ``data-system.md`` 2.1, 3.1 and 3.2; ``client-side.md`` 2.2 and 2.3.


EventMessage = tuple[str, Any]
"""The name and the data of an event."""

HEARTBEAT: Final = b":\n\n"
"""A comment, which clients ignore. It shows that the connection is alive."""

_SECTION: Final = {kind: section for section, kind in SECTIONS.items()}


ServedData: TypeAlias = ServerState | ContextFlags
"""Flag data that change: definitions, or the evaluations of one context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How the flag data for one kind of SDK look.

    Args:
        everything: all objects in one, the body of an FDv1 poll.
        first: the first event of an FDv1 stream, about all objects.
        changes: the events of an FDv1 stream about objects that changed.
        change: what clients are recorded to have been sent with these events.
        kinds: the words of FDv2 for kinds of objects.
    """

    everything: Callable[[Iterable[ServedObject]], Any]
    first: Callable[[Iterable[ServedObject]], EventMessage]
    changes: Callable[[Iterable[ServedObject]], Iterable[EventMessage]]
    change: str = "patch"
    kinds: Mapping[ObjectKind, str] = field(default_factory=lambda: {kind: kind.value for kind in ObjectKind})


def _all_definitions(objects: Iterable[ServedObject]) -> dict[str, dict[str, msgspec.Raw]]:
    everything: dict[str, dict[str, msgspec.Raw]] = {section: {} for section in SECTIONS}
    for served in objects:
        if served.body is not None:
            everything[_SECTION[served.kind]][served.key] = served.body
    return everything


def _changed_definitions(objects: Iterable[ServedObject]) -> Iterator[EventMessage]:
    for served in objects:
        path = f"/{_SECTION[served.kind]}/{served.key}"
        if served.body is None:
            yield "delete", {"path": path, "version": served.version}
        else:
            yield "patch", {"path": path, "data": served.body}


def _all_evaluations(objects: Iterable[ServedObject]) -> dict[str, msgspec.Raw]:
    return {served.key: served.body for served in objects if served.body is not None}


def _changed_evaluations(objects: Iterable[ServedObject]) -> Iterator[EventMessage]:
    for served in objects:
        if served.body is None:
            yield "delete", {"key": served.key, "version": served.version}
        else:
            yield "patch", {"key": served.key, **msgspec.json.decode(served.body, type=dict[str, msgspec.Raw])}


_PING: Final[EventMessage] = ("ping", {})
"""An event without data would be ignored."""
SERVER_SIDE: Final = Encoding(
    everything=_all_definitions,
    first=lambda objects: ("put", {"path": "/", "data": _all_definitions(objects)}),
    changes=_changed_definitions,
)
"""Flags and segments as they are defined."""
CLIENT_SIDE: Final = Encoding(
    everything=_all_evaluations,
    first=lambda objects: ("put", _all_evaluations(objects)),
    changes=_changed_evaluations,
    kinds={ObjectKind.FLAG: "flag-eval"},
)
"""Evaluated flags."""
PINGS: Final = Encoding(everything=lambda _: {}, first=lambda _: _PING, changes=lambda _: [_PING], change="ping")
"""No data: each event tells the client to poll."""


def fdv2_messages(transfer: Transfer, kinds: Mapping[ObjectKind, str], *, announced: bool = False) -> Iterator[EventMessage]:
    """The events of a transfer.

    ``kinds``: the words for kinds of objects. ``announced``: an earlier transfer on the same stream was completed, so changes
    need no new ``server-intent``.
    """
    if not (announced and transfer.kind is ChangeKind.CHANGES):
        intent = {"id": transfer.payload_id, "target": transfer.version, "intentCode": transfer.kind, "reason": transfer.reason}
        yield "server-intent", {"payloads": [intent]}
    if transfer.kind is ChangeKind.NONE:
        return
    for served in transfer.objects:
        name = {"version": served.version, "kind": kinds[served.kind], "key": served.key}
        if served.body is None:
            yield "delete-object", name
        else:
            yield "put-object", {**name, "object": served.body}
    yield "payload-transferred", {"state": transfer.selector, "version": transfer.version}


def poll_body(messages: Iterable[EventMessage]) -> bytes:
    """The body of a poll response: its events in one JSON object."""
    return msgspec.json.encode({"events": [{"event": name, "data": data} for name, data in messages]})


def frame(message: EventMessage) -> bytes:
    """One event of an event stream."""
    name, data = message
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))


# -- The event streams of FDv2 and FDv1 as async generators of frames: each sends what its client needs, then waits for edits.
#
# A stream has no queue. It remembers the version that it sent last, so a slow client gets the newest state and not every
# edit.
#
# Source: ``data-system.md`` 2.1 and 3.2; ``client-side.md`` 2.2 and 2.3.


RecordSent = Callable[[str, int], None]
"""Called after each transfer with its kind in the protocol's words, and the version of the data that the client has now."""


async def fdv2_stream(
    data: ServedData, encoding: Encoding, basis: str | None, heartbeat: float, record_sent: RecordSent
) -> AsyncGenerator[bytes, None]:
    """The frames for a client with that basis: a transfer, then one for each change."""
    transfer = data.transfer(basis)
    yield b"".join(map(frame, fdv2_messages(transfer, encoding.kinds)))
    record_sent(transfer.kind, transfer.version)
    while True:
        while not await _is_edited(data, transfer.version, heartbeat):
            yield HEARTBEAT
        transfer = data.transfer(transfer.selector)
        yield b"".join(map(frame, fdv2_messages(transfer, encoding.kinds, announced=True)))
        record_sent(transfer.kind, transfer.version)


async def fdv1_stream(
    data: ServedData, encoding: Encoding, heartbeat: float, record_sent: RecordSent
) -> AsyncGenerator[bytes, None]:
    """The frames of FDv1: an event about all objects, then events about every change."""
    sent = data.version
    first = encoding.first(data.transfer().objects)
    yield frame(first)
    record_sent(first[0], sent)
    while True:
        while not await _is_edited(data, sent, heartbeat):
            yield HEARTBEAT
        changes, sent = data.changed_since(sent), data.version
        if frames := b"".join(map(frame, encoding.changes(changes))):
            yield frames
            record_sent(encoding.change, sent)


async def _is_edited(data: ServedData, version: int, within: float) -> bool:
    """Whether the data changed since that version. Waits up to ``within`` seconds for a change."""
    with anyio.move_on_after(within):
        await data.wait_for_edit(version)
    return data.version != version


class SdkResponses:
    """Answers the requests of SDKs, and records what was sent.

    Server-side SDKs get definitions. Client-side SDKs get the evaluated flags of one context: mobile SDKs have a mobile key in a
    header, JavaScript SDKs a client-side id in the path or the query. Any key and id is accepted, and so is any secure mode hash:
    the server has no secret to check it with.

    Args:
        state: the state of the server.
        heartbeat: seconds without data after which a stream sends a comment.
    """

    def __init__(self, state: ServerState, heartbeat: float) -> None:
        self._state = state
        self._heartbeat = heartbeat
        self._client_flags = ClientFlags(state)

    async def definitions(self, request: Request) -> Response:
        """All flags and segments."""
        return self._flags(request, self._state, SERVER_SIDE)

    async def evaluations(self, request: Request) -> Response:
        """The flags of the request's context; 400 if the context cannot be used."""
        try:
            if request.method == "GET":
                context = read_encoded_context(request.path_params["context"])
            else:
                context = read_context(await read_body(request, MAX_CONTEXT_BYTES))
        except ConfigError as error:
            # The rest of a body that is too large is not read.
            headers = {"Connection": "close"} if isinstance(error, TooLargeError) else None
            return Response(msgspec.json.encode({"error": str(error)}), 400, headers, "application/json")
        except ClientDisconnect:
            return Response(status_code=400)
        audience = self._record_audience(request, context)
        with_reasons = request.query_params.get("withReasons") == "true"
        flags = ContextFlags(self._state, self._client_flags, context, audience, with_reasons=with_reasons)
        return self._flags(request, flags, CLIENT_SIDE)

    async def pings(self, request: Request) -> Response:
        """A stream of pings."""
        self._record_audience(request, None)
        return self._flags(request, self._state, PINGS)

    async def goals(self, _: Request) -> Response:
        """The goals of a web page: an empty list."""
        return Response(b"[]", media_type="application/json")

    async def events(self, request: Request) -> Response:
        """202 for any body that arrives completely; 413 for one that is too large."""
        client: ClientRecord = request.state.client
        try:
            body = await read_body(request)
        except TooLargeError as error:
            self._state.events.add_refused(str(error), client=client.number)
            self._state.notify()
            return Response(str(error), status_code=413, headers={"Connection": "close"})
        except ClientDisconnect:
            return Response(status_code=400)
        # Includes the gates of lifted overrides, because clients still send events about them.
        flags = {key for flag in self._state.live(ObjectKind.FLAG) for key in (flag.key, *gate_keys(flag.key))}
        is_analytics = request.state.endpoint not in _DIAGNOSTIC
        self._state.events.add_payload(body, request.headers, client=client.number, flags=flags, is_analytics=is_analytics)
        self._state.notify()  # the request itself was counted before its body came
        return Response(status_code=202)

    def _flags(self, request: Request, data: ServedData, encoding: Encoding) -> Response:
        """The data as the endpoint sends them: in FDv2 or FDv1, once or as a stream with every later change."""
        endpoint: Endpoint = request.state.endpoint
        basis, record_sent = request.query_params.get("basis"), self._sent_recorder(request)
        if endpoint.is_stream:
            if endpoint.is_fdv2:
                frames = fdv2_stream(data, encoding, basis, self._heartbeat, record_sent)
            else:
                frames = fdv1_stream(data, encoding, self._heartbeat, record_sent)
            return _EventStream(self._state, request, frames, self._headers())
        if endpoint.is_fdv2:
            transfer = data.transfer(basis)
            return self._json(request, transfer.kind, lambda: poll_body(fdv2_messages(transfer, encoding.kinds)))
        return self._json(request, "all", lambda: msgspec.json.encode(encoding.everything(data.transfer().objects)))

    def _json(self, request: Request, what: str, body: Callable[[], bytes]) -> Response:
        """The body, or 304 if the client already has this version."""
        state, record_sent = self._state, self._sent_recorder(request)
        tag = f'"{state.payload_id}-{state.version}"'
        headers = {**self._headers(), "ETag": tag}
        known_tags = request.headers.get("If-None-Match", "") if request.method == "GET" else ""
        if tag in (candidate.strip().removeprefix("W/") for candidate in known_tags.split(",")):
            record_sent("unchanged", state.version)
            return Response(status_code=304, headers=headers)
        record_sent(what, state.version)
        return Response(body(), headers=headers, media_type="application/json")

    def _headers(self) -> dict[str, str]:
        return {"X-LD-EnvID": self._state.environment_id, "Cache-Control": "no-cache"}

    def _sent_recorder(self, request: Request) -> RecordSent:
        return partial(self._state.clients.record_sent, request.state.client, request.state.endpoint)

    def _record_audience(self, request: Request, context: Context | None) -> Audience:
        """Record which client-side SDK asks, and for which context."""
        # FDv2 has the same paths for both kinds of SDKs. JavaScript sends its client-side id in the query.
        is_javascript = request.state.endpoint in _JAVASCRIPT or "auth" in request.query_params
        audience = Audience.JAVASCRIPT if is_javascript else Audience.MOBILE
        self._state.clients.record_context(request.state.client, audience, context)
        return audience


_DIAGNOSTIC: Final = frozenset({Endpoint.DIAGNOSTIC, Endpoint.MOBILE_DIAGNOSTIC, Endpoint.JS_DIAGNOSTIC})
_JAVASCRIPT: Final = frozenset({Endpoint.JS_POLL, Endpoint.JS_STREAM, Endpoint.JS_PING})


class _EventStream(StreamingResponse):
    """A streaming response that is counted while it is open, and that closes its generator at the end."""

    def __init__(
        self, state: ServerState, request: Request, frames: AsyncGenerator[bytes, None], headers: Mapping[str, str]
    ) -> None:
        super().__init__(frames, headers=headers, media_type="text/event-stream")
        self._state, self._request, self._frames = state, request.state, frames

    async def stream_response(self, send: Send) -> None:
        client, endpoint = self._request.client, self._request.endpoint
        with self._state.count_stream(endpoint), self._state.clients.record_stream(client, endpoint):
            async with aclosing(self._frames):
                await super().stream_response(send)
