"""Channels to flagd over real sockets: where they connect, with which certificate, and what they report if they cannot.

Source: ``flagd.md`` 1.4, 1.5 and 3.7.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import anyio
import grpc
import grpc.aio
import pytest
import trustme

from aioflags import FlagdClient, FlagdConfig
from aioflags.devserver import ServerState
from aioflags.devserver.flagd.server import serve_flagd
from aioflags.errors import ConfigError
from aioflags.protocol.requests import GivenHeaders
from aioflags.transport.flagd_pb import sync_v1_pb2 as sync
from aioflags.transport.flagd_struct import RpcFailed, SyncMessage
from aioflags.transport.grpc import FlagdChannel, require_grpc
from aioflags.transport.grpc_settings import EVALUATION_V2, SYNC, GrpcTarget, read_target
from tests.support.flagd_parts import grpc_settings
from tests.support.flagd_server import SILENCE, Fail, FlagdServer, flag_set
from tests.support.full_loop import run_full

pytestmark = pytest.mark.real_time

LOGGER = logging.getLogger("aioflags")


@pytest.fixture
async def server() -> AsyncIterator[FlagdServer]:
    """A server that streams one flag set."""
    made = FlagdServer(scripts={f"/{SYNC}/SyncFlags": [[flag_set("{}", region="eu"), SILENCE]]})
    yield made
    await made.stop()


def channel(target: str | GrpcTarget, **options: Any) -> FlagdChannel:
    """A channel to a target, with short waits."""
    options = dict[str, Any](retry_backoff=0.05, retry_backoff_max=0.1) | options
    return FlagdChannel(grpc_settings(target, **options), LOGGER)


async def first_message(made: FlagdChannel) -> SyncMessage:
    """The first message of the sync stream."""
    async with made.opened() as calls:
        assert await calls.connect(()) is None
        stream = calls.sync_flags(provider_id=None, timeout=None)
        try:
            return await anext(stream)
        finally:
            await stream.aclose()


async def failure(made: FlagdChannel) -> str:
    """Why the first attempt to connect failed."""
    async with made.opened() as calls:
        return await asyncio.wait_for(calls.connect(()), 5) or "connected"


@asynccontextmanager
async def listening(answer: bytes | None) -> AsyncGenerator[int]:
    """The port of a server that answers each connection with bytes; ``None``: with a reset."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(10)
            if answer is None:
                writer.transport.abort()
            else:
                writer.write(answer)
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield made.sockets[0].getsockname()[1]
    finally:
        made.close()


@pytest.mark.holds("FL-13")
async def test_a_call_succeeds_with_the_retry_policy(server: FlagdServer) -> None:
    port = await server.start()
    assert await first_message(channel(f"127.0.0.1:{port}")) == SyncMessage(flag_configuration="{}", sync_context={"region": "eu"})


@pytest.mark.holds("FL-13")
@pytest.mark.parametrize(("code", "attempts"), [("UNAVAILABLE", 4), ("UNKNOWN", 4), ("INTERNAL", 1), ("DEADLINE_EXCEEDED", 1)])
async def test_a_call_is_repeated_by_the_retry_policy_of_the_channel(server: FlagdServer, code: str, attempts: int) -> None:
    server.answers[f"/{SYNC}/GetMetadata"] = Fail(grpc.StatusCode[code], "no")
    port = await server.start()
    async with channel(f"127.0.0.1:{port}", deadline=10, retry_backoff=0.01, retry_backoff_max=0.01).opened() as calls:
        with pytest.raises(RpcFailed, match=f"^{code}: no"):
            await calls.get_metadata()
    assert len(server.received) == attempts


async def _signed(go_on: Any, details: Any, request: Any) -> Any:
    metadata = grpc.aio.Metadata(*(details.metadata or ()), ("signature", details.method.decode()))
    return await go_on(details._replace(metadata=metadata), request)


class _SignCalls(grpc.aio.UnaryUnaryClientInterceptor):
    """Adds metadata to calls with one answer."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await _signed(continuation, client_call_details, request)


class _SignStreams(grpc.aio.UnaryStreamClientInterceptor):
    """Adds metadata to streams."""

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await _signed(continuation, client_call_details, request)


@pytest.mark.leaves("generators", reason="gRPC does not close those that it makes for an interceptor")
async def test_interceptors_see_every_call(server: FlagdServer) -> None:
    server.answers[f"/{SYNC}/GetMetadata"] = sync.GetMetadataResponse()
    port = await server.start()
    made = channel(f"127.0.0.1:{port}", deadline=10, interceptors=[_SignCalls(), _SignStreams()], selector="source=x")
    async with made.opened() as calls:
        await calls.get_metadata()
        await first_message(made)
    assert [(call.metadata["signature"], call.metadata["flagd-selector"]) for call in server.received] == [
        (f"/{SYNC}/GetMetadata", "source=x"),
        (f"/{SYNC}/SyncFlags", "source=x"),
    ]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Authorization": "Bearer abc", "X-Team": "web", "Host": "x", "TE": "x", "Content-Type": "x"}, id="a mapping"),
        pytest.param(lambda: {"authorization": "Bearer abc", "x-team": "web"}, id="a function"),
    ],
)
async def test_headers_are_the_metadata_of_every_call(server: FlagdServer, headers: GivenHeaders) -> None:
    server.answers[f"/{SYNC}/GetMetadata"] = sync.GetMetadataResponse()
    port = await server.start()
    made = channel(f"127.0.0.1:{port}", deadline=10, headers=headers, selector="source=x")
    async with made.opened() as calls:
        await calls.get_metadata()
        await first_message(made)
    sent = ("authorization", "x-team", "flagd-selector")
    assert [[call.metadata[name] for name in sent] for call in server.received] == [["Bearer abc", "web", "source=x"]] * 2


async def test_a_function_for_headers_is_called_for_every_call(server: FlagdServer) -> None:
    server.answers[f"/{SYNC}/GetMetadata"] = sync.GetMetadataResponse()
    port = await server.start()
    tokens = iter(["one", "two"])
    async with channel(f"127.0.0.1:{port}", deadline=10, headers=lambda: {"token": next(tokens)}).opened() as calls:
        await calls.get_metadata()
        await calls.get_metadata()
    assert [call.metadata["token"] for call in server.received] == ["one", "two"]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        pytest.param(lambda: 1 / 0, "UNKNOWN: the function headers raised ZeroDivisionError", id="it raises"),
        pytest.param(lambda: {"token": b"secret"}, "UNKNOWN: headers: expected a string for token, got bytes", id="bytes"),
        pytest.param(lambda: {"grpc-status": "0"}, "UNKNOWN: headers: 'grpc-status' is not the name", id="a name of gRPC's"),
    ],
)
async def test_without_usable_headers_no_call_is_made(
    server: FlagdServer, headers: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = await server.start()
    made = channel(f"127.0.0.1:{port}", deadline=10, headers=headers)
    async with made.opened() as calls:
        for call in (calls.get_metadata(), calls.get_metadata(), first_message(made)):
            with pytest.raises(RpcFailed, match=f"^{message}"):
                await call
    assert server.received == []
    assert "secret" not in caplog.text
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) <= 2  # once for each channel


class _BrokenCalls(grpc.aio.UnaryUnaryClientInterceptor):
    """Raises, as one does whose token cannot be fetched."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        raise self._error


class _BrokenStreams(grpc.aio.UnaryStreamClientInterceptor):
    """Raises for streams."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        raise self._error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(LookupError("no token"), "LookupError: no token", id="an error"),
        pytest.param(TimeoutError("slow"), "TimeoutError: slow", id="a time limit of the interceptor"),
        pytest.param(asyncio.CancelledError(), "a task or future that it awaited was cancelled", id="a cancelled task"),
    ],
)
@pytest.mark.parametrize("deadline", [0, 10])
async def test_an_interceptor_that_raises_fails_the_call(
    server: FlagdServer, error: BaseException, reason: str, deadline: float
) -> None:
    port = await server.start()
    text = f"^UNKNOWN: an interceptor failed: {reason}$"
    made = channel(f"127.0.0.1:{port}", deadline=deadline, interceptors=[_BrokenCalls(error), _BrokenStreams(error)])
    async with made.opened() as calls:
        with pytest.raises(RpcFailed, match=text):
            await calls.get_metadata()
        with pytest.raises(RpcFailed, match=text):
            await anext(calls.sync_flags(provider_id=None, timeout=None))
    assert server.received == []


class _CountCalls(grpc.aio.UnaryUnaryClientInterceptor):
    """Counts calls, as that of OpenTelemetry makes a span for each."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        self.methods.append(client_call_details.method.decode())
        return await continuation(client_call_details, request)


@pytest.mark.leaves("generators", reason="gRPC does not close those that it makes for an interceptor")
async def test_interceptors_do_not_see_how_the_reason_of_a_failed_attempt_is_found() -> None:
    counting, broken = _CountCalls(), _BrokenCalls(LookupError("no token"))
    for interceptors in ([counting], [broken]):
        assert "refused" in await failure(channel("127.0.0.1:1", interceptors=interceptors))
    async with channel("127.0.0.1:1", deadline=0.2, interceptors=[counting]).opened() as calls:
        with pytest.raises(RpcFailed, match="refused"):
            await calls.get_metadata()
    assert counting.methods == [f"/{SYNC}/GetMetadata"]


async def test_a_call_ends_soon_after_its_deadline_while_the_channel_connects() -> None:
    async with listening(b"") as port, channel(f"127.0.0.1:{port}", deadline=0.1).opened() as calls:
        began = asyncio.get_running_loop().time()
        with pytest.raises(RpcFailed, match=r"^DEADLINE_EXCEEDED: "):
            await calls.get_metadata()
        # gRPC itself takes a second: so long may an attempt to connect last.
        assert 0.1 <= asyncio.get_running_loop().time() - began < 0.8


@pytest.mark.holds("FL-12")
@pytest.mark.parametrize("tls", [False, True])
async def test_a_socket_path_is_connected_in_plaintext(server: FlagdServer, tmp_path: Path, tls: bool) -> None:
    path = str(tmp_path / "flagd.sock")
    await server.start(f"unix:{path}")
    made = channel(read_target(host="x", port=1, target_uri=None, socket_path=path), tls=tls)
    assert (await first_message(made)).flag_configuration == "{}"


def server_credentials(authority: trustme.CA, name: str) -> grpc.ServerCredentials:
    """A certificate for a server of this name."""
    certificate = authority.issue_cert(name)
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    return grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)])


@pytest.mark.parametrize("by", ["file", "credentials"])
async def test_a_connection_with_tls(server: FlagdServer, authority: trustme.CA, ca_file: str, by: str) -> None:
    port = await server.start(credentials=server_credentials(authority, "localhost"))
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    options: dict[str, Any] = {"tls": True, "cert_path": ca_file} if by == "file" else {"credentials": credentials}
    assert (await first_message(channel(f"localhost:{port}", **options))).flag_configuration == "{}"


@pytest.mark.holds("FL-11")
async def test_envoy_is_asked_for_the_authority(server: FlagdServer, authority: trustme.CA, ca_file: str) -> None:
    port = await server.start(credentials=server_credentials(authority, "svc"))
    target = read_target(host="x", port=1, target_uri=f"envoy://localhost:{port}/svc", socket_path=None)
    # The certificate is for svc alone: the connection succeeds if svc is the authority.
    assert (await first_message(channel(target, tls=True, cert_path=ca_file))).flag_configuration == "{}"


async def test_a_certificate_for_another_name_is_named(server: FlagdServer, authority: trustme.CA, ca_file: str) -> None:
    port = await server.start(credentials=server_credentials(authority, "other.example"))
    reason = await failure(channel(f"localhost:{port}", tls=True, cert_path=ca_file))
    assert "Hostname Verification Check failed" in reason


async def test_a_certificate_of_an_unknown_authority_is_reported(server: FlagdServer, ca_file: str) -> None:
    port = await server.start(credentials=server_credentials(trustme.CA(), "localhost"))
    assert "CERTIFICATE_VERIFY_FAILED" in await failure(channel(f"localhost:{port}", tls=True, cert_path=ca_file))


async def test_a_server_without_tls_is_reported(server: FlagdServer, ca_file: str) -> None:
    port = await server.start()
    assert "WRONG_VERSION_NUMBER" in await failure(channel(f"localhost:{port}", tls=True, cert_path=ca_file))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(b"garbage" * 5, "(Expected SETTINGS frame|Failed parsing HTTP/2)", id="garbage"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "http1.x server", id="HTTP/1"),
        pytest.param(b"", "timed out before receiving SETTINGS frame", id="silence"),
        pytest.param(None, "127.0.0.1", id="a reset"),
    ],
)
async def test_another_service_on_the_port_is_reported(answer: bytes | None, reason: str) -> None:
    async with listening(answer) as port:
        assert re.search(reason, await failure(channel(f"127.0.0.1:{port}")))


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        pytest.param("127.0.0.1:1", "Connection refused", id="a closed port"),
        pytest.param("unix:///nowhere/x", "No such file or directory", id="a socket that does not exist"),
    ],
)
async def test_an_address_without_a_server_is_reported(target: str, reason: str) -> None:
    assert reason in await failure(channel(target))


async def test_a_proxy_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("grpc_proxy", "http://anna:secret@127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    reason = await failure(channel("flagd.invalid:8013"))
    assert "127.0.0.1:9: Failed to connect to remote host: Connection refused" in reason
    assert reason.endswith(" (the proxy 127.0.0.1:9 for flagd.invalid:8013)")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"])
async def test_a_certificate_of_a_variable_is_trusted(
    server: FlagdServer, authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    monkeypatch.setenv(variable, ca_file)
    port = await server.start(credentials=server_credentials(authority, "localhost"))
    assert (await first_message(channel(f"localhost:{port}", tls=True))).flag_configuration == "{}"


async def test_a_variable_of_grpc_that_names_a_folder_does_not_end_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(tmp_path))
    assert "Connection refused" in await failure(channel("127.0.0.1:1", tls=True))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: {tmp_path} cannot be used: Is a directory")


def test_a_channel_that_gets_no_thread_fails_like_one_without_a_server() -> None:
    made = channel("127.0.0.1:9")
    with pytest.raises(RpcFailed, match="can't start new thread"):
        run_full(failure(made))
    assert made.problem == "cannot connect to flagd: can't start new thread"


async def test_a_reason_is_reported_once_and_then_the_channel_connects(server: FlagdServer, tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'flagd.sock'}"
    async with channel(address).opened() as calls:
        reason = await calls.connect(())
        assert reason is not None
        pending = asyncio.ensure_future(calls.connect({reason}))
        await asyncio.sleep(0.2)
        assert not pending.done()
        await server.start(address)
        assert await asyncio.wait_for(pending, 5) is None


async def test_the_server_of_another_service_has_no_such_method() -> None:
    other = FlagdServer(scripts={f"/{EVALUATION_V2}/EventStream": [[SILENCE]]})
    port = await other.start()
    with pytest.raises(RpcFailed, match=r"^UNIMPLEMENTED: "):
        await first_message(channel(f"127.0.0.1:{port}"))
    await other.stop()


async def test_bytes_that_are_not_a_message_are_reported(server: FlagdServer) -> None:
    server.scripts[f"/{SYNC}/SyncFlags"] = [[b"\xff\xff\xff"]]
    port = await server.start()
    with pytest.raises(RpcFailed, match="INTERNAL: the server sent something else than a SyncFlagsResponse"):
        await first_message(channel(f"127.0.0.1:{port}"))


@pytest.mark.holds("FL-50")
@pytest.mark.parametrize(("limit", "arrives"), [(64 * 2**20, True), (2**20, False)])
async def test_a_flag_set_of_twenty_megabytes(server: FlagdServer, limit: int, arrives: bool) -> None:
    server.scripts[f"/{SYNC}/SyncFlags"] = [[flag_set("x" * 20_000_000), SILENCE]]
    port = await server.start()
    made = channel(f"127.0.0.1:{port}", max_message_bytes=limit)
    if arrives:
        assert len((await first_message(made)).flag_configuration) == 20_000_000
    else:
        with pytest.raises(RpcFailed, match=r"^RESOURCE_EXHAUSTED: "):
            await first_message(made)


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
async def test_a_certificate_that_cannot_be_used_is_a_config_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    made = channel("localhost:1", tls=True, cert_path=str(path))
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match=r"^cert_path: the certificates cannot be used: "):
            await stack.enter_async_context(made.opened())
    assert made.calls is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
async def test_a_certificate_that_is_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    os.mkfifo(path)
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match="expected a regular file, got a FIFO"):
            await asyncio.wait_for(stack.enter_async_context(channel("localhost:1", tls=True, cert_path=str(path)).opened()), 10)


async def test_a_channel_is_open_during_a_block_and_can_be_opened_again() -> None:
    made = channel("localhost:1")
    async with made.opened() as first:
        assert first is made.calls
    assert made.calls is None
    async with made.opened() as second:
        assert second is made.calls is not first


LOOPS = """
import asyncio, logging
from aioflags.transport.grpc import FlagdChannel
from tests.support.flagd_parts import grpc_settings

async def use():
    channel = FlagdChannel(grpc_settings("127.0.0.1:1"), logging.getLogger())
    async with channel.opened() as calls:
        reason = await calls.connect(())
        stream = calls.sync_flags(provider_id=None, timeout=None)
        tasks = [asyncio.ensure_future(task) for task in (calls.connect({reason}), anext(stream))]
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

for _ in range(20):
    asyncio.run(use())
print("used 20 times")
"""


@pytest.mark.slow
def test_grpc_reports_nothing_to_an_event_loop_that_has_ended() -> None:
    ran = subprocess.run([sys.executable, "-c", LOOPS], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (ran.stdout.strip(), ran.stderr) == ("used 20 times", "")


@pytest.mark.parametrize("name", ["call", "stream"])
async def test_a_scope_of_anyio_that_expires_during_a_call_ends_the_call_alone(server: FlagdServer, name: str) -> None:
    server.scripts, server.answers = {f"/{SYNC}/SyncFlags": [[SILENCE]]}, {f"/{SYNC}/GetMetadata": SILENCE}
    made = channel(f"127.0.0.1:{await server.start()}", deadline=30)
    async with made.opened() as calls:
        assert await calls.connect(()) is None
        for _ in range(20):
            with anyio.move_on_after(0.01) as scope:
                if name == "call":
                    await calls.get_metadata()
                else:
                    async with aclosing(calls.sync_flags(provider_id=None, timeout=None)) as stream:
                        await anext(stream)
            assert scope.cancelled_caught
        pending = asyncio.ensure_future(calls.get_metadata())
        await asyncio.sleep(0.01)
        pending.cancel()
        await asyncio.wait({pending})
        assert pending.cancelled()


async def test_a_call_ends_when_its_channel_closes() -> None:
    made = channel("unix:///nowhere/x", deadline=30)
    async with made.opened() as calls:
        pending = asyncio.ensure_future(calls.get_metadata())
        await asyncio.sleep(0.05)
    with pytest.raises(RpcFailed, match="CANCELLED: the channel was closed"):
        await pending
    with pytest.raises(RpcFailed, match="CANCELLED: the channel was closed"):
        await calls.get_metadata()


def test_pings_that_servers_refuse_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    channel("localhost:1", keep_alive_time=5)
    assert [record.message for record in caplog.records] == [
        "keep_alive_time: servers may end connections with pings more often than every 30 s"
    ]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_grpc()
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ConfigError, match=r"install aioflags\[flagd\]"):
        require_grpc()


@pytest.mark.parametrize(
    ("module", "function", "argument"),
    [
        pytest.param("gevent.monkey", "is_module_patched", "threading", id="gevent"),
        pytest.param("eventlet.patcher", "is_monkey_patched", "thread", id="eventlet"),
    ],
)
async def test_grpc_is_refused_where_threads_are_patched(
    monkeypatch: pytest.MonkeyPatch, module: str, function: str, argument: str
) -> None:
    patched = {"socket"}
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{function: patched.__contains__}))
    made = channel("localhost:1")
    require_grpc()
    patched.add(argument)
    refusal = f"gRPC hangs where {module.partition('.')[0]} has patched threads: there use resolver='ofrep' or 'file'"
    for refused in (made.opened(), serve_flagd(ServerState())):
        with pytest.raises(ConfigError, match=refusal):
            await refused.__aenter__()
    resolvers: tuple[Literal["rpc", "in-process"], ...] = ("rpc", "in-process")
    for resolver in resolvers:
        with pytest.raises(ConfigError, match=refusal):
            FlagdClient(FlagdConfig(resolver=resolver))
    FlagdClient(FlagdConfig(resolver="ofrep"))
