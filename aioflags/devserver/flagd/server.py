"""Serves flagd's gRPC services on real sockets, in the running event loop. It needs the extra ``flagd``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio

from aioflags.transport.grpc import require_grpc, without_fork_support

try:
    import_module("google.protobuf")
    with without_fork_support():  # the first import of gRPC in a program that uses this server
        import grpc
        import grpc.aio
except ModuleNotFoundError as _missing:
    _package = {"grpc": "grpcio", "google": "protobuf"}.get((_missing.name or "").partition(".")[0])
    if _package is None:
        raise
    _message = f'flagd\'s gRPC services need {_package}: pip install "aioflags[flagd]"'
    raise ModuleNotFoundError(_message, name=_missing.name) from None

from aioflags.devserver.endpoints import GRPC_ENDPOINTS, Endpoint
from aioflags.devserver.faults import FaultKind
from aioflags.devserver.flagd.relay import Relay
from aioflags.devserver.flagd.services import SYNC_ENDPOINTS, ServiceOptions, grpc_services
from aioflags.devserver.serve import LOOPBACK
from aioflags.devserver.state import ServerState
from aioflags.runtime.fork import ProcessBound
from aioflags.runtime.logs import logger
from aioflags.transport.grpc_process import KEEPER

_LAST_MESSAGES: Final = 0.1
"""Seconds in which streams may send their last message when the server stops."""
_CLOSE_TIMEOUT: Final = 5.0
_OPTIONS: Final = ServiceOptions()

if TYPE_CHECKING:
    _Handlers = Mapping[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]]


@dataclass(frozen=True, slots=True)
class RunningFlagd(ProcessBound):
    """The addresses of running gRPC services: ``port`` has the evaluation services, ``sync_port`` the sync service.

    ``socket_path``: the Unix socket with all services, if there is one.
    """

    host: str
    port: int
    sync_port: int
    socket_path: Path | None = None
    _relays: list[Relay] = field(default_factory=list[Relay], repr=False)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack, repr=False)

    async def aclose(self) -> None:
        """Stop before the block of :func:`serve_flagd` ends."""
        await self._stack.aclose()

    def drop_connections(self) -> int:
        """Abort every connection, as a failing network would. Returns how many there were."""
        return sum(relay.cut() for relay in self._relays)


@asynccontextmanager
async def serve_flagd(
    state: ServerState,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    sync_port: int = 0,
    socket_path: Path | None = None,
    options: ServiceOptions = _OPTIONS,
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncGenerator[RunningFlagd, None]:
    """Serve the flags of ``state`` until the block ends; then streams end, and connections are closed.

    Args:
        state: the flags and faults.
        host: the address to bind.
        port: the port of the evaluation services; 0 takes a free port. flagd has 8013.
        sync_port: the port of the sync service; 0 takes a free port. flagd has 8015.
        socket_path: a Unix socket that gets all services.
        options: how the services behave.
        credentials: the certificate for TLS.

    Raises:
        OSError: an address cannot be used.
        ConfigError: gRPC cannot be used in this process.
    """
    require_grpc()
    KEEPER.keep()
    closing = asyncio.Event()
    relays: list[Relay] = []
    async with AsyncExitStack() as stack:

        async def start(endpoints: frozenset[Endpoint], *, is_socket: bool = False) -> Relay:
            def find_rate() -> float | None:
                faults = (injected.fault for injected in state.faults.in_effect)
                return next((fault.rate for fault in faults if fault.kind is FaultKind.DRIP and fault.endpoints & endpoints), None)

            relay = Relay(find_rate)
            handlers = grpc_services(endpoints, state, options, relay.cut, closing)
            await stack.enter_async_context(_grpc_servers(relay, handlers, None if is_socket else credentials))
            relays.append(relay)
            return relay

        evaluation = await start(GRPC_ENDPOINTS - SYNC_ENDPOINTS)
        bound = await stack.enter_async_context(evaluation.listen(host, port))
        sync = await start(SYNC_ENDPOINTS)
        bound_sync = await stack.enter_async_context(sync.listen(host, sync_port))
        if socket_path is not None:
            both = await start(GRPC_ENDPOINTS, is_socket=True)
            await stack.enter_async_context(both.listen_on_socket(str(socket_path)))
        stack.enter_context(state.count_grpc_server())

        async def end_streams() -> None:
            # Clients open their streams again at once, on their old connection or on a new one.
            closing.set()
            for relay in relays:
                relay.refuse_connections()
            state.notify()
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(_LAST_MESSAGES)

        stack.push_async_callback(end_streams)
        yield RunningFlagd(host, bound, bound_sync, socket_path, relays, stack)


@asynccontextmanager
async def _grpc_servers(
    relay: Relay, handlers: _Handlers, credentials: grpc.ServerCredentials | None
) -> AsyncGenerator[None, None]:
    """Run a gRPC server on a free port of this machine, the target of ``relay``, until the block ends.

    A request whose path is not UTF-8 ends a server of grpcio 1.85, so another server then takes its place.
    """
    first, relay.target = await _started(handlers, credentials)
    stopping = asyncio.Event()

    async def run(server: grpc.aio.Server) -> None:
        stop = asyncio.create_task(stopping.wait())
        while True:
            ended = asyncio.create_task(server.wait_for_termination())
            await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                break
            logger.warning("the gRPC server ended: %s; another one takes its place", ended.exception())
            server, relay.target = await _started(handlers, credentials)
        with contextlib.suppress(UnicodeDecodeError):
            await server.stop(None)
        await asyncio.wait({ended})

    running = asyncio.create_task(run(first), name="aioflags gRPC server")
    try:
        yield
    finally:
        stopping.set()
        with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            await asyncio.wait({running})


async def _started(handlers: _Handlers, credentials: grpc.ServerCredentials | None) -> tuple[grpc.aio.Server, int]:
    """A gRPC server that runs, and its port."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, dict(methods)) for name, methods in handlers.items()]
    )
    address = f"{LOOPBACK}:0"
    port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    try:
        await server.start()
    except BaseException:  # cancelled, for example
        with anyio.CancelScope(shield=True):
            await server.stop(None)
        raise
    return server, port
