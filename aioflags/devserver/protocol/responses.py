"""The responses of LaunchDarkly's endpoints: polls and streams of FDv2 and FDv1, and the acceptance of events.

What flag data they have, and how the data are encoded, is for the handlers to say.

Source: ``data-system.md`` 1 to 3; ``client-side.md`` 1 and 2.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from aioflags.devserver.bodies import TooLargeError, read_body
from aioflags.devserver.clients import ClientRecord
from aioflags.devserver.data.overrides import gate_keys
from aioflags.devserver.data.served_data import ServedData
from aioflags.devserver.protocol.encoding import Encoding, Fdv1Events, fdv2_messages, poll_body
from aioflags.devserver.protocol.endpoints import Endpoint
from aioflags.devserver.protocol.streams import RecordSent, fdv1_stream, fdv2_stream
from aioflags.devserver.state import ServerState
from aioflags.model.change import ObjectKind


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
            return Response(str(error), status_code=413, headers={"Connection": "close"})
        except ClientDisconnect:
            return Response(status_code=400)
        # Includes the gates of lifted overrides, because clients still send events about them.
        flags = {key for flag in self._state.live(ObjectKind.FLAG) for key in (flag.key, *gate_keys(flag.key))}
        self._state.events.add_payload(body, request.headers, client=client.number, flags=flags, is_analytics=is_analytics)
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
