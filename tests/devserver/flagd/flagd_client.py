"""A plain gRPC client of flagd's services."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import grpc
import grpc.aio

from aioflags.transport.flagd_pb import evaluation_v1_pb2, evaluation_v2_pb2, sync_v1_pb2
from aioflags.transport.flagd_struct import from_struct, to_struct

SOON = 10.0
VERSIONS: dict[str, Any] = {"v1": evaluation_v1_pb2, "v2": evaluation_v2_pb2}


class FlagdRpc:
    """Calls over one channel. ``selector`` is sent with each of them."""

    def __init__(self, channel: grpc.aio.Channel, selector: str | None = None) -> None:
        self.channel = channel
        self.metadata = [] if selector is None else [("flagd-selector", selector)]

    async def call(self, method: str, request: Any, response_type: Any) -> Any:
        call: Any = self.channel.unary_unary(method, type(request).SerializeToString, response_type.FromString)
        return await call(request, timeout=SOON, metadata=self.metadata)

    async def resolve(self, kind: str, key: str, context: dict[str, Any] | None = None, version: str = "v2") -> Any:
        messages = VERSIONS[version]
        request = getattr(messages, f"Resolve{kind}Request")(flag_key=key, context=to_struct(context or {}))
        response = getattr(messages, f"Resolve{kind}Response")
        return await self.call(f"/flagd.evaluation.{version}.Service/Resolve{kind}", request, response)

    async def resolve_all(self, context: dict[str, Any] | None = None) -> Any:
        request = evaluation_v1_pb2.ResolveAllRequest(context=to_struct(context or {}))
        return await self.call("/flagd.evaluation.v1.Service/ResolveAll", request, evaluation_v1_pb2.ResolveAllResponse)

    async def fetch_all(self, selector: str = "") -> str:
        request = sync_v1_pb2.FetchAllFlagsRequest(selector=selector)
        method = "/flagd.sync.v1.FlagSyncService/FetchAllFlags"
        text: str = (await self.call(method, request, sync_v1_pb2.FetchAllFlagsResponse)).flag_configuration
        return text

    async def sync_metadata(self) -> dict[str, Any]:
        method = "/flagd.sync.v1.FlagSyncService/GetMetadata"
        answer = await self.call(method, sync_v1_pb2.GetMetadataRequest(), sync_v1_pb2.GetMetadataResponse)
        return from_struct(answer.metadata)

    def sync(self) -> RpcStream:
        call: Any = self.channel.unary_stream(
            "/flagd.sync.v1.FlagSyncService/SyncFlags",
            sync_v1_pb2.SyncFlagsRequest.SerializeToString,
            sync_v1_pb2.SyncFlagsResponse.FromString,
        )
        return RpcStream(call(sync_v1_pb2.SyncFlagsRequest(), metadata=self.metadata, wait_for_ready=True))

    def events(self, version: str = "v2") -> RpcStream:
        messages = VERSIONS[version]
        call: Any = self.channel.unary_stream(
            f"/flagd.evaluation.{version}.Service/EventStream",
            messages.EventStreamRequest.SerializeToString,
            messages.EventStreamResponse.FromString,
        )
        return RpcStream(call(messages.EventStreamRequest(), metadata=self.metadata, wait_for_ready=True))


class RpcStream:
    """A stream that is read message by message."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def next(self) -> Any:
        with anyio.fail_after(SOON):
            message = await self.call.read()
        assert message is not grpc.aio.EOF, "the stream ended"
        return message

    async def event(self) -> tuple[str, dict[str, Any]]:
        message = await self.next()
        return message.type, from_struct(message.data)

    async def end(self) -> grpc.StatusCode:
        """Read to the end, and return the status."""
        with anyio.fail_after(SOON):
            try:
                while await self.call.read() is not grpc.aio.EOF:
                    pass
            except grpc.aio.AioRpcError as error:
                return error.code()
            code: grpc.StatusCode = await self.call.code()
            return code


async def code_of(call: Awaitable[object]) -> grpc.StatusCode:
    """How a call ends."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@asynccontextmanager
async def connected(
    target: str, *, selector: str | None = None, options: Sequence[tuple[str, Any]] = ()
) -> AsyncGenerator[FlagdRpc]:
    quickly = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100), ("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(target, [*quickly, ("grpc.use_local_subchannel_pool", 1), *options]) as channel:
        yield FlagdRpc(channel, selector)
