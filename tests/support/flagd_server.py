"""A small flagd in the test process: a real gRPC server whose answers the test writes.

A stream follows a script: messages, and steps between them. The first stream follows the first script, and so on; the last script
is followed by all later streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from aioflags.transport.flagd_pb import evaluation_v1_pb2 as v1
from aioflags.transport.flagd_pb import evaluation_v2_pb2 as v2
from aioflags.transport.flagd_pb import sync_v1_pb2 as sync
from aioflags.transport.grpc_settings import EVALUATION_V1, EVALUATION_V2, SYNC

STREAMS: dict[str, Any] = {
    f"/{SYNC}/SyncFlags": sync.SyncFlagsRequest,
    f"/{EVALUATION_V1}/EventStream": v1.EventStreamRequest,
    f"/{EVALUATION_V2}/EventStream": v2.EventStreamRequest,
}
SILENCE = asyncio.Event
"""A step that lasts until the stream is cancelled."""


@dataclass(frozen=True)
class Fail:
    """A step or an answer: the call ends with this code."""

    code: grpc.StatusCode
    details: str = ""


Step: TypeAlias = Message | bytes | Fail | float | asyncio.Event | type[asyncio.Event]
"""A message, bytes that are sent as one, an end with a code, seconds of silence, or silence until an event is set."""
Answer: TypeAlias = Message | Fail | type[asyncio.Event] | Callable[[Any], "Message | Fail"]


@dataclass(frozen=True)
class Received:
    """A call that the server received."""

    method: str
    request: Any
    metadata: dict[str, str]
    authority: str


@dataclass
class FlagdServer:
    """``answers`` has the answers of unary methods by their path, ``scripts`` the scripts of streams by theirs."""

    answers: dict[str, Answer] = field(default_factory=dict)
    scripts: dict[str, Sequence[Iterable[Step]]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    cancelled: int = 0
    """How many streams their client has cancelled."""
    compression: grpc.Compression = grpc.Compression.NoCompression
    """How messages are sent."""
    _server: grpc.aio.Server | None = None

    async def start(self, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen, and return the port."""
        options = (("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1))
        self._server = grpc.aio.server(options=options, compression=self.compression)
        self._server.add_generic_rpc_handlers((_Handler(self),))
        if credentials is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, credentials)
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Close all connections at once."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(grace=None)

    def calls(self, method: str) -> list[Received]:
        """What was received for a method, which is the end of a path."""
        return [call for call in self.received if call.method.endswith(method)]

    async def stream(self, method: str, context: Any) -> AsyncIterator[bytes]:
        """The messages of one stream."""
        scripts = self.scripts[method]
        number = len([call for call in self.received if call.method == method]) - 1
        try:
            for step in scripts[min(number, len(scripts) - 1)]:
                match step:
                    case Message():
                        yield step.SerializeToString()
                    case bytes():
                        yield step
                    case Fail():
                        await context.abort(step.code, step.details)
                    case asyncio.Event():
                        await step.wait()
                    case type():
                        await asyncio.Event().wait()
                    case _:
                        await asyncio.sleep(step)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, server: FlagdServer) -> None:
        self._server = server

    def service(self, handler_call_details: Any) -> Any:
        method: str = handler_call_details.method
        if method in self._server.scripts:
            return grpc.unary_stream_rpc_method_handler(self._stream(method), STREAMS[method].FromString, None)
        if method in self._server.answers:
            return grpc.unary_unary_rpc_method_handler(self._unary(method), None, None)
        return None

    def _stream(self, method: str) -> Any:
        async def stream(request: Any, context: Any) -> AsyncIterator[bytes]:
            self._note(method, request, context)
            async for message in self._server.stream(method, context):
                yield message

        return stream

    def _unary(self, method: str) -> Any:
        async def unary(data: bytes, context: Any) -> bytes:
            request = _request_class(method).FromString(data)
            self._note(method, request, context)
            answer = self._server.answers[method]
            if isinstance(answer, type):
                await asyncio.Event().wait()
                return b""  # never: silence does not end
            answer = answer if isinstance(answer, (Message, Fail)) else answer(request)
            if isinstance(answer, Fail):
                await context.abort(answer.code, answer.details)
            return b"" if isinstance(answer, Fail) else answer.SerializeToString()

        return unary

    def _note(self, method: str, request: Any, context: Any) -> None:
        metadata = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        self._server.received.append(Received(method, request, metadata, context.peer()))


def _request_class(method: str) -> Any:
    service, name = method.strip("/").split("/")
    return getattr({EVALUATION_V1: v1, EVALUATION_V2: v2, SYNC: sync}[service], f"{name}Request")


def struct(**values: Any) -> Struct:
    """A Struct of JSON values."""
    made = Struct()
    made.update(values)
    return made


def flag_set(text: str = '{"flags": {}}', **sync_context: Any) -> sync.SyncFlagsResponse:
    """A message of the sync stream; without values its static context is absent."""
    if not sync_context:
        return sync.SyncFlagsResponse(flag_configuration=text)
    return sync.SyncFlagsResponse(flag_configuration=text, sync_context=struct(**sync_context))


def event(kind: str, **data: Any) -> v2.EventStreamResponse:
    """A message of the event stream of version 2. That of version 1 is the same on the wire."""
    return v2.EventStreamResponse(type=kind, data=struct(**data))
