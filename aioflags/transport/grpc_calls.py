"""FlagdCalls: the calls of flagd's services over one open channel. This module imports gRPC and protobuf.

Source: ``flagd.md`` 1.4, 2, 3.3.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import unquote

import anyio
import anyio.lowlevel
import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from aioflags.errors import ConfigError
from aioflags.protocol.requests import FLAGD_SELECTOR, AddedHeaders
from aioflags.runtime.checkpoints import pause_when_spent
from aioflags.runtime.cooperative import Budget
from aioflags.runtime.event_loops import StrayCancellationError, contain_cancellation, loop_time
from aioflags.runtime.logs import describe_error
from aioflags.runtime.logs import logger as package_logger
from aioflags.transport.flagd_pb import evaluation_v1_pb2 as v1
from aioflags.transport.flagd_pb import evaluation_v2_pb2 as v2
from aioflags.transport.flagd_pb import sync_v1_pb2 as sync
from aioflags.transport.flagd_struct import (
    RpcFailed,
    ServerEvent,
    ServerValue,
    SyncMessage,
    ValueKind,
    from_struct,
    whole,
)
from aioflags.transport.grpc_process import KEEPER
from aioflags.transport.grpc_settings import EVALUATION_V1, EVALUATION_V2, SYNC, GrpcSettings, channel_arguments
from aioflags.transport.peers import peer_of
from aioflags.transport.proxies import grpc_proxy
from aioflags.transport.tls import read_certificates, root_certificates, warn_once

if TYPE_CHECKING:
    from collections.abc import Generator


M = TypeVar("M", bound=Message)

_PROBE: Final = "/aioflags.Probe/Reason"
"""A method that no server has. See :meth:`FlagdCalls.connect`."""
_ALL_FAILED: Final = "failed to connect to all addresses; last error: "
_IPV6: Final = re.compile(r"ipv6:%5B[^\s\]]*?%5D")
_RAW_ADDRESS: Final = re.compile(r"[\x00-\x1f]*\x00.*", re.DOTALL)
"""The bytes of an address that gRPC appends to the reason if it cannot make a socket."""
_PROBE_INTERVAL: Final = 1.0
_PROBE_TIMEOUT: Final = 0.25
"""Seconds. A call that does not wait for a connection fails in less than one millisecond."""
_REPORTED_WITHIN: Final = 0.25
"""Seconds after the deadline of a call until it is abandoned."""
_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.1
"""Seconds between two reads of the state of a channel that connects. The pause doubles each time."""
_LAST_REPORTS: Final = 0.02
"""Seconds after a close in which gRPC reports the ends of calls."""
_READY: Final = grpc.ChannelConnectivity.READY
_FAILING: Final = grpc.ChannelConnectivity.TRANSIENT_FAILURE
"""The last attempt to connect failed. The state stays until one succeeds."""
_CUT_OFF: Final = "gRPC cannot be used in the child of a fork if a client was connected before; start clients after the fork"
_USE_DEFAULT: Final = frozenset({"DEFAULT", "DISABLED"})
"""Reasons that, without a variant, mean that the value is absent. Version 1 has no other sign of that."""


def prepare(settings: GrpcSettings, logger: logging.Logger) -> Callable[[], FlagdCalls]:
    """A function that opens a channel on the running event loop. Reads the certificate: call this one in a thread.

    Raises:
        ConfigError: the certificate cannot be used.
        RpcFailed: gRPC cannot be used in this process.
    """
    if KEEPER.is_cut_off:
        raise RpcFailed("UNAVAILABLE", _CUT_OFF)
    credentials = _credentials(settings, logger)

    def make() -> FlagdCalls:
        KEEPER.keep()
        name, arguments = settings.target.name, channel_arguments(settings)
        if credentials is None:
            channel = grpc.aio.insecure_channel(name, options=arguments, interceptors=settings.interceptors)
        else:
            channel = grpc.aio.secure_channel(name, credentials, options=arguments, interceptors=settings.interceptors)
        calls = FlagdCalls(channel, settings, logger)
        KEEPER.open_channels.add(calls)
        return calls

    return make


def _credentials(settings: GrpcSettings, logger: logging.Logger) -> grpc.ChannelCredentials | None:
    if settings.target.is_local:
        return None
    if settings.credentials is not None:
        return settings.credentials
    if not settings.tls:
        return None
    if settings.cert_path is None:
        return grpc.ssl_channel_credentials(root_certificates(partial(warn_once, logger)))
    try:
        return grpc.ssl_channel_credentials(read_certificates(settings.cert_path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cert_path: the certificates cannot be used: {describe_error(error)}") from error


class FlagdCalls:
    """Calls over one channel, which belongs to the event loop that made it. Calls raise :class:`RpcFailed`."""

    def __init__(self, channel: grpc.aio.Channel, settings: GrpcSettings, logger: logging.Logger = package_logger) -> None:
        self._channel = channel
        self._settings = settings
        self._added = AddedHeaders(settings.headers, logger)
        self._proxy = grpc_proxy(settings.target.name, os.environ)
        self._is_closed = False
        self._has_v2 = True
        """Until a method of version 2 is unknown to the server: for the life of the channel."""
        self._lost_at: float | None = None
        """When a call first found the channel without a connection, on the event loop's clock; ``None`` if it had one last."""
        self._last_reason: str | None = None
        """Why the last attempt to connect failed, in the current outage. A call each to ask for it would delay all other calls."""

    async def aclose(self) -> None:
        """Cancel the open calls and close the channel."""
        self._is_closed = True
        try:
            with self._unless_intercepted():
                await self._channel.close()
        finally:
            KEEPER.open_channels.discard(self)
        # The thread of gRPC reports the ends of the calls. If this event loop had ended by then, gRPC would log an error.
        await anyio.sleep(_LAST_REPORTS)

    async def connect(self, reported: Collection[str]) -> str | None:
        """Wait until the channel is connected and return ``None``, or return why an attempt failed, unless it is in ``reported``.

        gRPC reports this reason only to calls that do not wait for a connection. So after a failed attempt a call that gRPC fails
        at once asks for it; it does not reach a server.
        """
        pause, next_probe = _FIRST_PAUSE, 0.0
        with self._failures():
            while (state := self._state()) is not _READY:
                if state is _FAILING and anyio.current_time() >= next_probe:
                    next_probe = anyio.current_time() + _PROBE_INTERVAL
                    if (reason := await self._reason()) is not None and reason not in reported:
                        return reason
                # gRPC can wait for another state, but such a wait cannot be cancelled: it would outlive the event loop.
                await anyio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        return None

    def _state(self) -> grpc.ChannelConnectivity:
        """The state of the channel, which connects unless it is connected."""
        state = self._channel.get_state(try_to_connect=True)
        if state is _READY:
            self._lost_at = self._last_reason = None
        elif self._lost_at is None:
            self._lost_at = loop_time()
        return state

    async def _reason(self) -> str | None:
        probe = cast("Any", self._channel.unary_unary(_PROBE))
        with suppress(AttributeError):  # if gRPC keeps them elsewhere
            # Interceptors do not see this call: OpenTelemetry's would report an error each second while the server is away.
            probe._interceptors = ()  # noqa: SLF001 -- gRPC has no public way
        # Twice a limit: if the threads of gRPC get no processor, its own limit is late.
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT + _REPORTED_WITHIN):
                await _answered(probe(b"", timeout=_PROBE_TIMEOUT))
        except TimeoutError:
            return None
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                peer = "" if self._proxy is None else f" ({peer_of(self._settings.target.name, self._proxy)})"
                self._last_reason = _details(error).removeprefix(_ALL_FAILED) + peer
                return self._last_reason
        return None

    # -- flagd.sync.v1

    async def sync_flags(self, *, provider_id: str | None, timeout: float | None) -> AsyncGenerator[SyncMessage, None]:
        """The messages of a sync stream. Its normal end is the end of the generator."""
        request = sync.SyncFlagsRequest(provider_id=provider_id or "", selector=self._settings.selector or "")
        async with aclosing(self._stream(f"/{SYNC}/SyncFlags", request, timeout)) as stream:
            async for data in stream:
                message = _parsed(sync.SyncFlagsResponse, data)
                context = from_struct(message.sync_context) if message.HasField("sync_context") else None
                yield SyncMessage(flag_configuration=message.flag_configuration, sync_context=context)

    async def get_metadata(self) -> Mapping[str, Any]:
        """The static context of the server; empty if it does not offer it."""
        try:
            data = await self._unary(f"/{SYNC}/GetMetadata", sync.GetMetadataRequest())
        except RpcFailed as failed:
            if failed.code == "UNIMPLEMENTED":
                return {}
            raise
        return from_struct(_parsed(sync.GetMetadataResponse, data).metadata)

    # -- flagd.evaluation

    async def events(self, *, timeout: float | None) -> AsyncGenerator[ServerEvent, None]:
        """The messages of an event stream. Its normal end is the end of the generator."""
        if self._has_v2:
            try:
                async with aclosing(self._events(EVALUATION_V2, v2, timeout)) as events:
                    async for event in events:
                        yield event
                return
            except RpcFailed as failed:
                if failed.code != "UNIMPLEMENTED":
                    raise
                self._has_v2 = False
        async with aclosing(self._events(EVALUATION_V1, v1, timeout)) as events:
            async for event in events:
                yield event

    async def _events(self, service: str, messages: Any, timeout: float | None) -> AsyncGenerator[ServerEvent, None]:
        async with aclosing(self._stream(f"/{service}/EventStream", messages.EventStreamRequest(), timeout)) as stream:
            async for data in stream:
                message: Any = _parsed(messages.EventStreamResponse, data)
                yield ServerEvent(type=message.type, data=from_struct(message.data))

    async def resolve(self, kind: ValueKind, key: str, context: Any) -> ServerValue:
        """The server's evaluation of a flag. ``context`` is a Struct with the attributes."""
        if self._has_v2:
            try:
                return await self._resolve(EVALUATION_V2, kind, key, context)
            except RpcFailed as failed:
                if failed.code != "UNIMPLEMENTED":
                    raise
                self._has_v2 = False
        return await self._resolve(EVALUATION_V1, kind, key, context)

    async def _resolve(self, service: str, kind: ValueKind, key: str, context: Any) -> ServerValue:
        messages: Any = v2 if service == EVALUATION_V2 else v1
        request = getattr(messages, f"Resolve{kind}Request")(flag_key=key, context=context)
        data = await self._unary(f"/{service}/Resolve{kind}", request)
        response: Any = _parsed(getattr(messages, f"Resolve{kind}Response"), data)
        # In version 1 only an object can be absent.
        is_set = response.HasField("value") if messages is v2 or kind is ValueKind.OBJECT else True
        value = from_struct(response.value) if kind is ValueKind.OBJECT else response.value
        return _server_value(response, value, is_set=is_set)

    async def resolve_all(self, context: Any) -> tuple[dict[str, ServerValue], Mapping[str, Any]]:
        """The server's evaluations of all flags by key, and the metadata of the flag set. Only version 1 has this call.

        A large answer is read in slices.
        """
        data = await self._unary(f"/{EVALUATION_V1}/ResolveAll", v1.ResolveAllRequest(context=context))
        response = _parsed(v1.ResolveAllResponse, data)
        values: dict[str, ServerValue] = {}
        budget = Budget()
        for key, flag in response.flags.items():
            values[key] = _any_value(flag)
            await pause_when_spent(budget)
        return values, from_struct(response.metadata)

    # -- calls

    async def _unary(self, method: str, request: Message) -> bytes | None:
        """The answer to a call; ``None`` if it ended without one. In an outage longer than the deadline, the call fails at once."""
        deadline = self._settings.deadline or None
        if deadline is not None:
            await self._check_connection(min_outage=deadline)
        try:
            return await self._answer(method, request, deadline)
        except RpcFailed as failed:
            if failed.code == "DEADLINE_EXCEEDED":
                await self._check_connection(min_outage=0.0)
            raise

    async def _answer(self, method: str, request: Message, deadline: float | None) -> bytes | None:
        call, metadata = cast("Any", self._channel.unary_unary(method)), self._metadata()
        # gRPC ends a call at its deadline, but reports it late while the channel connects. It replaces the CancelledError of a task
        # sometimes: asyncio's limit recognizes that one as its own, anyio's does not.
        limit = asyncio.timeout(None if deadline is None else deadline + _REPORTED_WITHIN)
        with self._failures():
            try:
                async with limit:
                    data: bytes | None = await _answered(
                        call(request.SerializeToString(), timeout=deadline, metadata=metadata, wait_for_ready=True)
                    )
                    return data
            except TimeoutError:
                if not limit.expired():
                    raise  # an interceptor did
                raise RpcFailed("DEADLINE_EXCEEDED", f"no answer within {self._settings.deadline:g} s") from None

    async def _check_connection(self, *, min_outage: float) -> None:
        """Raise the reason why the channel cannot connect, if it has not been connected for ``min_outage`` seconds."""
        with self._failures():
            if self._state() is not _FAILING or self._lost_at is None or anyio.current_time() - self._lost_at < min_outage:
                return
            reason = self._last_reason or await self._reason()
        if reason is not None:
            raise RpcFailed("UNAVAILABLE", f"cannot connect: {reason}")

    async def _stream(self, method: str, request: Message, timeout: float | None) -> AsyncGenerator[bytes, None]:
        stream, metadata = cast("Any", self._channel.unary_stream(method)), self._metadata()
        with self._failures():
            call = stream(request.SerializeToString(), timeout=timeout, metadata=metadata, wait_for_ready=True)
        try:
            while True:
                with self._failures():
                    data = await _answered(call.read())
                if data is grpc.aio.EOF:
                    return
                yield data
        finally:
            with self._unless_intercepted():
                call.cancel()

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call that starts now: the headers of the program, and the selector."""
        try:
            headers = self._added.now()
        except ConfigError as error:
            raise RpcFailed("UNKNOWN", str(error)) from error
        if self._settings.selector is not None:
            headers[FLAGD_SELECTOR] = self._settings.selector
        return tuple(headers.items())

    def _unless_intercepted(self) -> AbstractContextManager[None]:
        """Ignore that gRPC cannot cancel a call for which an interceptor returned no call, such as ``None``."""
        return suppress(Exception) if self._settings.interceptors else nullcontext()

    @contextmanager
    def _failures(self) -> Generator[None]:
        """Raise RpcFailed for what gRPC raises. Calls of a channel that is closed are cancelled, and their tasks are not."""
        try:
            with contain_cancellation():
                yield
        except grpc.aio.AioRpcError as error:
            raise RpcFailed(error.code().name, _details(error)) from error
        except (StrayCancellationError, grpc.aio.UsageError) as error:
            if isinstance(error, StrayCancellationError) and self._settings.interceptors and not self._is_closed:
                raise RpcFailed("UNKNOWN", f"an interceptor failed: {error}") from error
            raise RpcFailed("CANCELLED", "the channel was closed") from error
        except RpcFailed:
            raise
        except Exception as error:
            if not self._settings.interceptors:
                raise  # a bug in aioflags
            raise RpcFailed("UNKNOWN", f"an interceptor failed: {describe_error(error)}") from error


def _details(error: grpc.aio.AioRpcError) -> str:
    """Why a call failed. gRPC escapes the brackets of addresses, which are shown as they are written."""
    return _IPV6.sub(lambda address: unquote(address[0]), _RAW_ADDRESS.sub("", error.details() or ""))


async def _answered(call: Awaitable[Any]) -> Any:
    """Return what gRPC answers. If a scope of anyio cancels the task, the scope gets back the CancelledError that it raised.

    gRPC replaces that error by another one, which the scope would not recognize: it would leave the whole task cancelled.
    """
    try:
        return await call
    except asyncio.CancelledError:
        await anyio.lowlevel.checkpoint()
        raise


def _parsed(kind: type[M], data: bytes | None) -> M:
    if data is None:  # gRPC's answer to damaged bytes that end a call with success before its message
        raise RpcFailed("INTERNAL", f"the server sent no {kind.DESCRIPTOR.name}")
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise RpcFailed("INTERNAL", f"the server sent something else than a {kind.DESCRIPTOR.name}") from error


def _any_value(flag: v1.AnyFlag) -> ServerValue:
    name = flag.WhichOneof("value")
    value: Any = None if name is None else getattr(flag, name)
    if name == "object_value":
        value = from_struct(value)
    elif name == "double_value":  # this message has no whole numbers
        value = whole(value)
    return _server_value(flag, value, is_set=name is not None)


def _server_value(message: Any, value: Any, *, is_set: bool) -> ServerValue:
    """``message`` has reason, variant and metadata."""
    return ServerValue(
        value=value,
        has_value=is_set and not (message.reason in _USE_DEFAULT and not message.variant),
        reason=message.reason,
        variant=message.variant or None,
        metadata=from_struct(message.metadata),
    )
