"""The responses of LaunchDarkly's endpoints: polls and streams of FDv2 and FDv1, their encoding, and events.

What flag data they have, and how the data are encoded, is for the handlers to say.

Source: ``data-system.md`` 1 to 3; ``client-side.md`` 1 and 2.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Final, Protocol

import anyio
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from aioflags.devserver.clients import ClientRecord
from aioflags.devserver.data.history import ServedObject, Transfer
from aioflags.devserver.data.overrides import gate_keys
from aioflags.devserver.data.served_data import ServedData
from aioflags.devserver.decode import TooLargeError, read_body
from aioflags.devserver.endpoints import Endpoint
from aioflags.devserver.state import ServerState
from aioflags.model.change import ChangeKind, ObjectKind
from aioflags.protocol.definitions import SECTIONS

# -- Encodes transfers and objects: FDv2 events, FDv1 messages, and the frames of an event stream. No input or output.
# Source: ``data-system.md`` 2.1, 3.1 and 3.2; ``client-side.md`` 2.2 and 2.3.


EventMessage = tuple[str, Any]
"""The name and the data of an event."""

HEARTBEAT: Final = b":\n\n"
"""A comment, which clients ignore. It shows that the connection is alive."""

_SECTION: Final = {kind: section for section, kind in SECTIONS.items()}


class Fdv1Events(Protocol):
    """The events of FDv1 streams. ``change`` names those that bring changes."""

    change: str

    def first(self, objects: Iterable[ServedObject]) -> EventMessage:
        """The first event, about all objects."""
        ...

    def changes(self, objects: Iterable[ServedObject]) -> Iterator[EventMessage]:
        """The events about objects that changed."""
        ...


class Encoding(Fdv1Events, Protocol):
    """How the flag data for one kind of SDK look. ``kinds``: the words of FDv2 for kinds of objects."""

    kinds: Mapping[ObjectKind, str]

    def everything(self, objects: Iterable[ServedObject]) -> Any:
        """All objects in one, the body of an FDv1 poll."""
        ...


class _ServerSide:
    """Flags and segments as they are defined."""

    kinds: Mapping[ObjectKind, str] = {kind: kind.value for kind in ObjectKind}
    change = "patch"

    def everything(self, objects: Iterable[ServedObject]) -> dict[str, dict[str, msgspec.Raw]]:
        everything: dict[str, dict[str, msgspec.Raw]] = {section: {} for section in SECTIONS}
        for served in objects:
            if served.body is not None:
                everything[_SECTION[served.kind]][served.key] = served.body
        return everything

    def first(self, objects: Iterable[ServedObject]) -> EventMessage:
        return "put", {"path": "/", "data": self.everything(objects)}

    def changes(self, objects: Iterable[ServedObject]) -> Iterator[EventMessage]:
        for served in objects:
            path = f"/{_SECTION[served.kind]}/{served.key}"
            if served.body is None:
                yield "delete", {"path": path, "version": served.version}
            else:
                yield "patch", {"path": path, "data": served.body}


class _ClientSide:
    """Evaluated flags."""

    kinds: Mapping[ObjectKind, str] = {ObjectKind.FLAG: "flag-eval"}
    change = "patch"

    def everything(self, objects: Iterable[ServedObject]) -> dict[str, msgspec.Raw]:
        return {served.key: served.body for served in objects if served.body is not None}

    def first(self, objects: Iterable[ServedObject]) -> EventMessage:
        return "put", self.everything(objects)

    def changes(self, objects: Iterable[ServedObject]) -> Iterator[EventMessage]:
        for served in objects:
            if served.body is None:
                yield "delete", {"key": served.key, "version": served.version}
            else:
                yield "patch", {"key": served.key, **msgspec.json.decode(served.body, type=dict[str, msgspec.Raw])}


class _Pings:
    """No data: each event tells the client to poll."""

    change = "ping"
    # An event without data would be ignored.
    _PING: Final[EventMessage] = ("ping", {})

    def first(self, objects: Iterable[ServedObject]) -> EventMessage:  # noqa: ARG002 -- it has no data
        return self._PING

    def changes(self, objects: Iterable[ServedObject]) -> Iterator[EventMessage]:  # noqa: ARG002 -- it has no data
        yield self._PING


SERVER_SIDE: Final[Encoding] = _ServerSide()
CLIENT_SIDE: Final[Encoding] = _ClientSide()
PINGS: Final[Fdv1Events] = _Pings()


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
    data: ServedData, events: Fdv1Events, heartbeat: float, record_sent: RecordSent
) -> AsyncGenerator[bytes, None]:
    """The frames of FDv1: an event about all objects, then events about every change."""
    sent = data.version
    first = events.first(data.transfer().objects)
    yield frame(first)
    record_sent(first[0], sent)
    while True:
        while not await _is_edited(data, sent, heartbeat):
            yield HEARTBEAT
        changes, sent = data.changed_since(sent), data.version
        if frames := b"".join(map(frame, events.changes(changes))):
            yield frames
            record_sent(events.change, sent)


async def _is_edited(data: ServedData, version: int, within: float) -> bool:
    """Whether the data changed since that version. Waits up to ``within`` seconds for a change."""
    with anyio.move_on_after(within):
        await data.wait_for_edit(version)
    return data.version != version


class SdkResponses:
    """Makes responses to requests of SDKs, and records what was sent.

    Args:
        state: the state of the server.
        heartbeat: seconds without data after which a stream sends a comment.
    """

    def __init__(self, state: ServerState, heartbeat: float) -> None:
        self._state = state
        self._heartbeat = heartbeat

    def poll(self, request: Request, endpoint: Endpoint, data: ServedData, encoding: Encoding) -> Response:
        """FDv2: one transfer."""
        transfer = data.transfer(request.query_params.get("basis"))
        return self._json(request, endpoint, transfer.kind, lambda: poll_body(fdv2_messages(transfer, encoding.kinds)))

    def stream(self, request: Request, endpoint: Endpoint, data: ServedData, encoding: Encoding) -> Response:
        """FDv2: a transfer now, and one after every change."""
        record_sent = self._sent_recorder(request, endpoint)
        frames = fdv2_stream(data, encoding, request.query_params.get("basis"), self._heartbeat, record_sent)
        return self._stream(request, endpoint, frames)

    def fdv1_poll(self, request: Request, endpoint: Endpoint, data: ServedData, encoding: Encoding) -> Response:
        """FDv1: everything."""
        return self._json(request, endpoint, "all", lambda: msgspec.json.encode(encoding.everything(data.transfer().objects)))

    def fdv1_stream(self, request: Request, endpoint: Endpoint, data: ServedData, events: Fdv1Events) -> Response:
        """FDv1: everything, then every change."""
        frames = fdv1_stream(data, events, self._heartbeat, self._sent_recorder(request, endpoint))
        return self._stream(request, endpoint, frames)

    async def accept_events(self, request: Request, *, is_analytics: bool) -> Response:
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
        self._state.events.add_payload(body, request.headers, client=client.number, flags=flags, is_analytics=is_analytics)
        self._state.notify()  # the request itself was counted before its body came
        return Response(status_code=202)

    def _sent_recorder(self, request: Request, endpoint: Endpoint) -> RecordSent:
        client: ClientRecord = request.state.client

        def record_sent(what: str, version: int) -> None:
            self._state.clients.record_sent(client, endpoint, what, version)

        return record_sent

    def _headers(self) -> dict[str, str]:
        return {"X-LD-EnvID": self._state.environment_id, "Cache-Control": "no-cache"}

    def _stream(self, request: Request, endpoint: Endpoint, frames: AsyncGenerator[bytes, None]) -> Response:
        return _EventStream(self._state, endpoint, request.state.client, frames, self._headers())

    def _json(self, request: Request, endpoint: Endpoint, what: str, body: Callable[[], bytes]) -> Response:
        """The body, or 304 if the client already has this version."""
        state = self._state
        tag = f'"{state.payload_id}-{state.version}"'
        headers = {**self._headers(), "ETag": tag}
        known_tags = request.headers.get("If-None-Match", "") if request.method == "GET" else ""
        if tag in (candidate.strip().removeprefix("W/") for candidate in known_tags.split(",")):
            self._sent_recorder(request, endpoint)("unchanged", state.version)
            return Response(status_code=304, headers=headers)
        self._sent_recorder(request, endpoint)(what, state.version)
        return Response(body(), headers=headers, media_type="application/json")


class _EventStream(StreamingResponse):
    """A streaming response that is counted while it is open, and that closes its generator at the end."""

    def __init__(
        self,
        state: ServerState,
        endpoint: Endpoint,
        client: ClientRecord,
        frames: AsyncGenerator[bytes, None],
        headers: dict[str, str],
    ) -> None:
        super().__init__(frames, headers=headers, media_type="text/event-stream")
        self._state, self._endpoint, self._client, self._frames = state, endpoint, client, frames

    async def stream_response(self, send: Send) -> None:
        with self._state.count_stream(self._endpoint), self._state.clients.record_stream(self._client, self._endpoint):
            async with aclosing(self._frames):
                await super().stream_response(send)
