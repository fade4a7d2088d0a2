"""Clients of flagd for its provider features: their servers and files, and the steps about events and lost connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import trustme

from aioflags.devserver import Fault, FaultKind, GrpcCode, RunningFlagd, ServerState, create_app, serve, serve_flagd
from aioflags.devserver.data.flagd_flags import read_flagd_document
from aioflags.devserver.flagd.services import ServiceOptions
from aioflags.flagd.client import FlagdClient
from aioflags.flagd.config import FlagdConfig
from aioflags.model.context import Context
from aioflags.model.status import EventKind, Status
from tests.conformance.config_options import Options, arguments_of
from tests.conformance.evaluations import Details, Evaluations, Flag
from tests.conformance.flag_sets import ALL_FLAGS, CONFIGS, INJECTED, source, sources_of, toggled
from tests.conformance.steps import StepTable
from tests.conformance.values import EXPECTED

__all__ = ["CONNECTION_STEPS", "OUTAGE_STEPS", "Connections", "Provider"]

LIMIT: Final = "30000"
"""How many milliseconds a step waits for an event."""

PACE: Final = 10
"""How many seconds of an outage in a feature file are one second here. The client's waits are shorter by the same factor."""

CHANGING: Final = "changing-flag"
"""The flag that the steps modify."""

OPTIONS: dict[str, Any] = {
    "deadline": 4.0 / PACE,  # shorter than the outage in which a case evaluates a flag
    "stream_deadline": 0.0,
    "retry_backoff": 0.5 / PACE,
    "retry_backoff_max": 0.5 / PACE,
    "retry_grace_period": 2.0 / PACE,
    "offline_poll_interval": 0.1 / PACE,
}
"""Waits that end soon, for the sockets of a real server."""

HOST = "127.0.0.1"
NO_PORT = 1
"""Nothing listens here."""


@dataclass
class FlagFile:
    """A file that the client reads."""

    path: Path
    document: dict[str, Any]

    async def lose(self) -> None:
        self.path.unlink()

    async def restore(self) -> None:
        self.path.write_text(json.dumps(self.document), "utf-8")

    async def change(self) -> None:
        self.document["flags"][CHANGING] = toggled(self.document["flags"][CHANGING])
        await self.restore()


class Server:
    """A flagd in this process, with the services that a mode needs."""

    def __init__(self, kind: str, mode: str, version: int, folder: Path) -> None:
        config = CONFIGS.get(kind, CONFIGS["stable"])
        documents = [read_flagd_document(source(uri), source=uri) for uri in sources_of(config)]
        self._state = ServerState(documents[0], fractional_version=version)
        for document in documents[1:]:
            self._state.replace(document)
        self._state.set_static_context(INJECTED)
        if kind == "forbidden":
            self._state.inject(Fault(kind=FaultKind.STATUS, code=GrpcCode.PERMISSION_DENIED))
        self._mode = mode
        self._options = ServiceOptions(has_metadata=config != CONFIGS["syncpayload"])
        self._socket = folder / "flagd.socket" if kind == "socket" else None
        self._certificate = folder / "ca.pem" if kind == "ssl" else None
        self._credentials = None if self._certificate is None else _credentials(self._certificate)
        self._ports: dict[str, int] = {}
        self._running = AsyncExitStack()

    async def restore(self) -> None:
        if self._mode == "ofrep":
            http = await self._running.enter_async_context(serve(create_app(self._state), port=self._ports.get("port", 0)))
            self._ports = {"port": http.port}
            return
        flagd: RunningFlagd = await self._running.enter_async_context(
            serve_flagd(
                self._state,
                port=self._ports.get("port", 0),
                sync_port=self._ports.get("sync_port", 0),
                socket_path=self._socket,
                options=self._options,
                credentials=self._credentials,
            )
        )
        self._ports = {"port": flagd.port, "sync_port": flagd.sync_port}

    async def lose(self) -> None:
        await self._running.aclose()

    async def change(self) -> None:
        self._state.put(CHANGING, toggled(self._state.document()["flags"][CHANGING]))

    def address(self, target_uri: str | None) -> dict[str, Any]:
        """The options that lead to the server. ``target_uri``: that of the case, without a port."""
        port = self._ports["sync_port" if self._mode == "in-process" else "port"]
        if self._mode == "ofrep":
            return {"ofrep_base_url": f"http://{HOST}:{port}"}
        if self._socket is not None:
            return {"socket_path": str(self._socket)}
        if target_uri is not None:
            return {"target_uri": target_uri.replace("<port>", str(port))}
        tls = {} if self._certificate is None else {"tls": True, "cert_path": str(self._certificate)}
        return {"host": HOST, "port": port, **tls}


def _credentials(certificate: Path) -> grpc.ServerCredentials:
    """Those of a server whose clients need this file."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(certificate))
    issued = authority.issue_cert(HOST)
    return grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())])


@dataclass
class Connections:
    """The clients of one test, each with the origin of its flags. Cases with equal options share a client."""

    mode: str
    version: int
    folder: Path
    stack: AsyncExitStack
    _made: dict[str, tuple[FlagdClient, FlagFile | Server | None]] = field(default_factory=dict)

    async def client(self, kind: str, options: Mapping[str, Any]) -> tuple[FlagdClient, FlagFile | Server | None]:
        name = f"{kind} {options}"
        if name not in self._made:
            self._made[name] = await self._connected(kind, arguments_of(options))
        return self._made[name]

    async def _connected(self, kind: str, arguments: dict[str, Any]) -> tuple[FlagdClient, FlagFile | Server | None]:
        origin: FlagFile | Server | None = None
        if self.mode == "file":
            path = self.folder / f"flags {len(self._made)}.json"
            document = source(arguments.pop("selector", ALL_FLAGS))
            arguments["offline_flag_source_path"] = str(path)
            if kind != "unavailable":
                origin = FlagFile(path, document)
                await origin.restore()
        elif kind == "unavailable":
            arguments |= {"host": HOST, "port": NO_PORT}
        else:
            origin = server = Server(kind, self.mode, self.version, self.folder)
            self.stack.push_async_callback(server.lose)
            await server.restore()
            arguments |= server.address(arguments.get("target_uri"))
        options: dict[str, Any] = {**OPTIONS, "resolver": self.mode, "fractional_version": self.version, **arguments}
        client = await self.stack.enter_async_context(FlagdClient(FlagdConfig(**options, environment={})))
        if kind not in NEVER_READY:
            await client.wait_ready(timeout=START_LIMIT)
        return client, origin


NEVER_READY = frozenset({"unavailable", "forbidden"})
START_LIMIT = 30.0
STATES = {"ready": [Status.READY], "stale": [Status.STALE], "error": [Status.ERROR, Status.FATAL]}


@dataclass(kw_only=True)
class Provider(Evaluations, Options):
    """A case with a FlagdClient that is connected to something."""

    connections: Connections
    client: FlagdClient = field(init=False)
    origin: FlagFile | Server | None = None
    """Where the flags of the case come from: ``None`` if there is neither a file nor a server."""
    received: list[tuple[str, Any]] = field(default_factory=list)
    """The events since the last one that a step waited for, each with the keys of its flags."""
    last_change: tuple[str, ...] | None = None
    arrival: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def evaluate(self, flag: Flag) -> Details:
        context = Context(self.targeting_key, attributes=self.attributes)
        core = self.client._core
        snapshot, expected = core.holder.snapshot, EXPECTED[flag.kind]
        detail = await core.evaluator.typed_detail_awaited(snapshot, flag.key, context, flag.default, expected)
        return Details(
            flag_key=flag.key,
            value=detail.value,
            variant=detail.variant,
            reason=detail.reason.kind,
            error_code=detail.reason.error_kind,
            metadata=detail.metadata,
        )

    async def close(self) -> None:
        """Cancels what the steps began and no step waited for."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def a_client(world: Provider, kind: str) -> None:
    world.client, world.origin = await world.connections.client(kind, world.options)


def a_handler(world: Provider, kind: str) -> None:
    def note(keys: Any) -> None:
        world.received.append((kind, keys))
        world.arrival.set()

    if kind == "change":
        world.client.on_event(EventKind.CONFIGURATION_CHANGED, lambda event: note(event.flags_changed), inline=True)
        return
    for status in STATES[kind]:
        world.client.on_status(status, lambda _: note(None), inline=True)


async def an_event(world: Provider, kind: str, limit: str = LIMIT) -> None:
    async with asyncio.timeout(int(limit) / 1000):
        while kind not in (kinds := [name for name, _ in world.received]):
            world.arrival.clear()
            await world.arrival.wait()
    position = kinds.index(kind)
    if kind == "change":
        world.last_change = world.received[position][1]
    del world.received[: position + 1]


async def connection_lost(world: Provider, seconds: str) -> None:
    origin = world.origin
    assert origin is not None

    async def comes_back() -> None:
        await asyncio.sleep(float(seconds) / PACE)
        await origin.restore()

    await origin.lose()
    world.tasks.append(asyncio.create_task(comes_back()))


async def flag_modified(world: Provider) -> None:
    assert world.origin is not None
    await world.origin.change()


def flag_is_in_event(world: Provider) -> None:
    assert world.last_change is not None, "the event has no keys"
    assert world.flag.key in world.last_change


def client_is_fatal(world: Provider) -> None:
    assert world.client.status is Status.FATAL


CONNECTION_STEPS: Final[StepTable] = {"a {kind} flagd provider": a_client}

OUTAGE_STEPS: Final[StepTable] = {
    "a {kind} event handler": a_handler,
    "the {kind} event handler should have been executed": an_event,
    "the {kind} event handler should have been executed within {limit}ms": an_event,
    "the client should be in fatal state": client_is_fatal,
    "a {kind} event was fired": an_event,
    "the connection is lost for {seconds}s": connection_lost,
    "the flag was modified": flag_modified,
    "the flag should be part of the event payload": flag_is_in_event,
}
