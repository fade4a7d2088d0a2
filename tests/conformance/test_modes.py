"""The features of flagd's providers, for each mode of FlagdClient: against a flagd in this process, and with a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from aioflags.devserver import Fault, FaultKind, GrpcCode, RunningFlagd, ServerState, create_app, serve, serve_flagd
from aioflags.devserver.data.flagd_flags import read_flagd_document
from aioflags.devserver.flagd.services import ServiceOptions
from aioflags.flagd.client import FlagdClient
from aioflags.flagd.config import FlagdConfig
from aioflags.model.context import Context
from aioflags.model.status import EventKind, Status
from tests.conformance.config_options import OPTION_STEPS, arguments_of
from tests.conformance.connections import CHANGING, CONNECTION_STEPS, OUTAGE_STEPS, PACE, Connected, FlagOrigin
from tests.conformance.evaluations import EVALUATION_STEPS, Details, Flag
from tests.conformance.features import Case, cases_of, needs_data, parameters, versions
from tests.conformance.flag_sets import ALL_FLAGS, CONFIGS, INJECTED, source, sources_of, toggled
from tests.conformance.steps import Steps
from tests.conformance.values import EXPECTED

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
class FlagFile(FlagOrigin):
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


class Server(FlagOrigin):
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
    _made: dict[str, tuple[FlagdClient, FlagOrigin | None]] = field(default_factory=dict)

    async def client(self, kind: str, options: Mapping[str, Any]) -> tuple[FlagdClient, FlagOrigin | None]:
        name = f"{kind} {options}"
        if name not in self._made:
            self._made[name] = await self._connected(kind, arguments_of(options))
        return self._made[name]

    async def _connected(self, kind: str, arguments: dict[str, Any]) -> tuple[FlagdClient, FlagOrigin | None]:
        origin: FlagOrigin | None = None
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
class Provider(Connected):
    """A case with a FlagdClient."""

    connections: Connections
    client: FlagdClient | None = None

    async def connect(self, kind: str) -> None:
        self.client, self.origin = await self.connections.client(kind, self.options)

    @property
    def known_client(self) -> FlagdClient:
        assert self.client is not None, "nothing is connected"
        return self.client

    @property
    def is_fatal(self) -> bool:
        return self.known_client.status is Status.FATAL

    def observe(self, kind: str, note: Callable[[Any], None]) -> None:
        if kind == "change":
            self.known_client.on_event(EventKind.CONFIGURATION_CHANGED, lambda event: note(event.flags_changed), inline=True)
            return
        for status in STATES[kind]:
            self.known_client.on_status(status, lambda _: note(None), inline=True)

    async def evaluate(self, flag: Flag) -> Details:
        context = Context(self.targeting_key, attributes=self.attributes)
        core = self.known_client._core
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


STEPS = Steps[Provider](EVALUATION_STEPS, OPTION_STEPS, CONNECTION_STEPS, OUTAGE_STEPS)

FILES = tuple(
    f"provider/{file}"
    for file in (
        "connection",
        "contextEnrichment",
        "disabled",
        "evaluation",
        "events",
        "metadata",
        "rpc-caching",
        "selector",
        "sync-payload",
        "targeting",
    )
)

MODES = ("file", "in-process", "rpc", "ofrep")

NO_STREAM = "OFREP has no stream, so that the client learns of changes and outages from evaluations alone"
GRPC_ONLY = "an option for gRPC"
LEFT_OUT = {
    "caching": "OFREP has no cache",
    **dict.fromkeys(("events", "forbidden", "grace", "reconnect", "unavailable"), NO_STREAM),
    **dict.fromkeys(("customCert", "targetURI", "unixsocket"), GRPC_ONLY),
}
"""Why OFREP does not run the cases with a tag that are for rpc."""


def is_for(case: Case, mode: str) -> bool:
    """Whether a case is meant for a mode. One without the tag of any mode is meant for all, one for rpc also for OFREP."""
    tagged = case.tags & set(MODES)
    return not tagged or ("rpc" if mode == "ofrep" else mode) in tagged


def in_mode(mode: str) -> list[Any]:
    """A parameter for each case that is meant for a mode."""
    return parameters((case for case in cases_of(*FILES) if is_for(case, mode)), LEFT_OUT if mode == "ofrep" else {})


def is_quiet(case: Case) -> bool:
    """Whether a case leaves the client as it was, so that other cases can have it."""
    return not any(STEPS.bound(step)[0] in OUTAGE_STEPS.values() for step in case.steps)


def run_in(mode: str, *, quiet: bool) -> Iterator[Case]:
    yield from (each.values[0] for each in in_mode(mode) if not each.marks and is_quiet(each.values[0]) is quiet)


def alone(*modes: str) -> list[Any]:
    """A parameter for each case that needs a client of its own."""
    return [pytest.param(case, mode, id=f"{mode}: {case.id}") for mode in modes for case in run_in(mode, quiet=False)]


def together(*modes: str) -> list[Any]:
    """A parameter for the other cases of a file and one version of ``fractional``."""
    groups: dict[tuple[str, str, int], list[Case]] = {}
    for mode in modes:
        for case in run_in(mode, quiet=True):
            for version in versions(case):
                groups.setdefault((mode, case.file, version), []).append(case)
    return [
        pytest.param(cases, mode, version, id=f"{mode}: {file}: fractional {version}")
        for (mode, file, version), cases in groups.items()
    ]


async def play(cases: list[Case], mode: str, version: int, folder: Path) -> None:
    """Plays cases one after the other. Each error has a note with the id of its case."""
    errors: list[Exception] = []
    async with AsyncExitStack() as stack:
        connections = Connections(mode, version, folder, stack)
        for case in cases:
            world = Provider(connections=connections)
            try:
                await STEPS.play(case, world)
            except Exception as error:  # noqa: BLE001 - it is raised below
                error.add_note(case.id)
                errors.append(error)
            finally:
                await world.close()
    if errors:
        raise ExceptionGroup(f"{len(errors)} of {len(cases)} cases", errors)


@needs_data
@pytest.mark.parametrize(("cases", "mode", "version"), together("file"))
async def test_the_cases_of_a_file_with_one_client(cases: list[Case], mode: str, version: int, tmp_path: Path) -> None:
    await play(cases, mode, version, tmp_path)


@needs_data
@pytest.mark.parametrize(("case", "mode"), alone("file"))
async def test_a_case_with_a_file(case: Case, mode: str, tmp_path: Path) -> None:
    await play([case], mode, 3, tmp_path)


@needs_data
@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.parametrize(("cases", "mode", "version"), together("in-process", "rpc", "ofrep"))
async def test_the_cases_of_a_file_with_one_server(cases: list[Case], mode: str, version: int, tmp_path: Path) -> None:
    await play(cases, mode, version, tmp_path)


@needs_data
@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.parametrize(("case", "mode"), alone("in-process", "rpc", "ofrep"))
async def test_a_case_with_a_server(case: Case, mode: str, tmp_path: Path) -> None:
    await play([case], mode, 3, tmp_path)
