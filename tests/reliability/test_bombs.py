"""R16: bodies, headers, messages and files that are small to send and expensive to read. The client keeps its memory and its flags.

``amount("R16")`` is the limit of the client in megabytes. Bombs that have no end of their own are sent until the client hangs up.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest

from aioflags import Client, Config, Context, DataSystem, Events, FlagdClient, FlagdConfig, MobileClient, MobileConfig
from aioflags.events.options import MobileEvents
from aioflags.mobile.modes import ConnectionMode, ModeDefinition
from aioflags.model.change import ObjectKind
from aioflags.sources import (
    Basis,
    Cache,
    Fdv1Polling,
    Fdv1Streaming,
    Polling,
    Selector,
    SourceBuilder,
    SourceContext,
    Streaming,
    from_function,
    read_document,
)
from aioflags.stores import DiskStore, StoreContext, StoredItem
from aioflags.transport.flagd_pb import evaluation_v2_pb2 as v2
from aioflags.transport.grpc_settings import EVALUATION_V2, SYNC
from aioflags.transport.settings import Http
from tests.reliability.kinds import AnyClient, value_of
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import amount
from tests.support.canaries import KEY
from tests.support.flagd_server import SILENCE, FlagdServer, event, flag_set
from tests.support.raw_server import RawServer, raw_server

Pieces: TypeAlias = Iterator[bytes]

MEGABYTE = 1_000_000
LIMIT = amount("R16") * MEGABYTE
MORE = 16 * MEGABYTE
"""What the memory may grow by, in addition to the limit."""
WITHIN = 30 * LIMIT
"""What the memory may grow by for a document of very many values that is within the limit: ``{}`` has three bytes and costs 70."""
REJECTED = max(LIMIT / (16 * MEGABYTE), 1.0)
"""In seconds of processor time, with the share of the service: other processes slow the machine down. A second for each 16 MB."""
PIECE = 64 * 1024
STATUS = Path("/proc/self/status")
ANN = Context("ann")

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.speed,
    pytest.mark.holds("RB-R16"),
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of the memory is read from /proc"),
]


def reset_peak() -> int:
    """Let the peak of the memory begin now. Returns the present memory in bytes."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


Defused: TypeAlias = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture
def defused(caplog: pytest.LogCaptureFixture, figures: Figures) -> Defused:
    """The block explodes a bomb and waits until the client reports it. The log has one line about it."""

    @asynccontextmanager
    async def measured(allowed: int = LIMIT + MORE, *, may_be_silent: bool = False) -> AsyncGenerator[None]:
        """``allowed``: by how many bytes the memory may grow. ``may_be_silent``: the log need not have a line."""
        before = await asyncio.to_thread(reset_peak)
        caplog.clear()
        began = time.process_time()
        async with asyncio.timeout(30):
            yield
        seconds = time.process_time() - began
        rise = await asyncio.to_thread(_memory, "VmHWM") - before
        figures.worst("slowest rejection", seconds, "s")
        figures.worst("rise of memory", rise / MEGABYTE, "MB")
        figures.total("bombs", 1)
        lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        others = [line for line in lines if not line.startswith("start")]  # a start without an answer has its own line
        assert len(others) <= 1, others[:5]
        assert lines or may_be_silent
        assert all(len(line) < 1000 for line in lines)
        assert rise <= allowed
        assert seconds <= REJECTED

    return measured


# -- bombs that are JSON values


def nested() -> Pieces:
    yield from repeat(b"[" * 10_000, 10)


def long_number() -> Pieces:
    yield from repeat(b"9" * 10_000, 100)


def long_text() -> Pieces:
    yield b'"'
    yield from repeat(b"x" * PIECE)


def many_keys() -> Pieces:
    """Just below the limit."""
    yield b'{"k":0'
    yield from (
        b"".join(b',"k%d":%d' % (number, number) for number in range(start, start + 4000)) for start in range(0, LIMIT // 16, 4000)
    )
    yield b"}"


def many_items() -> Pieces:
    """Just below the limit."""
    yield b"[0"
    yield from repeat(b",{}" * 10_000, LIMIT // 32_000)
    yield b"]"


VALUES: list[Any] = [
    pytest.param(nested, id="100,000 levels"),
    pytest.param(long_number, id="a number of 1,000,000 digits"),
    pytest.param(long_text, id="an endless text"),
    pytest.param(many_keys, id="very many keys"),
    pytest.param(many_items, id="very many items"),
]

# flagd's flags count one by one, so a document whose flags are all malformed is used.
REFUSED_IN_A_FILE = [value for value in VALUES if value.values[0] is not many_keys]


def allowed_for(value: object) -> int:
    """By how many bytes the memory may grow."""
    return LIMIT + MORE if value not in (many_keys, many_items) else max(WITHIN, LIMIT + MORE)


# -- bombs of HTTP


def zipped(piece: bytes) -> Pieces:
    """The piece again and again, without an end, at one thousandth of its length."""
    packer = zlib.compressobj(9, wbits=31)
    yield packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    yield from repeat(packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH))


def headers(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "Connection: close", "", ""]).encode()


HTTP_BOMBS: list[Any] = [
    pytest.param(lambda: chain([headers("Content-Encoding: gzip")], zipped(b" " * MEGABYTE)), id="gzip 1 to 1000"),
    pytest.param(
        lambda: chain([headers("Content-Encoding: gzip, gzip")], zipped(next(zipped(b" " * MEGABYTE)) * 1000)), id="gzip in gzip"
    ),
    pytest.param(lambda: chain([headers()], repeat(b" " * PIECE)), id="an endless body"),
    pytest.param(lambda: chain([b"HTTP/1.1 200 OK\r\n"], (b"X-%d: y\r\n" % n * 1000 for n in count())), id="endless headers"),
    pytest.param(lambda: chain([b"HTTP/1.1 200 OK\r\nX: "], repeat(b"y" * PIECE)), id="an endless header"),
    pytest.param(lambda: chain([b"HTTP/1.1 200 "], repeat(b"y" * PIECE)), id="an endless status line"),
    pytest.param(lambda: chain([headers(f"Content-Length: {'9' * 5000}")], repeat(b" " * PIECE)), id="a length of 5,000 digits"),
]
STREAM = headers("Content-Type: text/event-stream")
INTENT = b'event: server-intent\ndata: {"payloads":[{"id":"p","target":1,"intentCode":"xfer-full","reason":"r"}]}\n\n'
STREAM_BOMBS: list[Any] = [
    pytest.param(lambda: chain([STREAM], repeat(b"x" * PIECE)), id="an endless line"),
    pytest.param(lambda: chain([STREAM, b"event: put\n"], repeat(b"data: x\n" * 5000)), id="an endless event"),
    pytest.param(
        lambda: chain([headers("Content-Type: text/event-stream", "Content-Encoding: gzip")], zipped(b":\n" * MEGABYTE)),
        id="a zipped stream",
    ),
]


async def until_hang_up(pieces: Pieces, writer: asyncio.StreamWriter) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)  # a drain that does not wait lets no other task run


@asynccontextmanager
async def bombing(bomb: Callable[[], Pieces]) -> AsyncGenerator[str]:
    """A service whose first response is the bomb. Later requests wait."""

    async def talk(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        if len(server.heads) == 1:
            await until_hang_up(bomb(), writer)
        else:
            while await reader.read(1024):
                pass

    async with raw_server(talk) as server:
        yield f"http://127.0.0.1:{server.port}"


# -- clients that have the flag ``a`` before their source gets the bomb


async def _old(_context: SourceContext, _selector: Callable[[], Selector]) -> AsyncGenerator[Basis]:
    yield Basis(change_set=read_document({"flagValues": {"a": "old"}}), directive=None)


HTTP = Http(max_response_bytes=LIMIT, max_event_bytes=LIMIT)
OLD = from_function("old", _old)


def server_client(url: str, source: SourceBuilder) -> Client:
    system = DataSystem.custom(initializers=[OLD], synchronizers=[source])
    return Client(
        KEY, Config(base_uri=url, stream_uri=url, http=HTTP, data_system=system, events=Events(send_events=False), start_wait=0.01)
    )


def mobile_client(url: str, source: SourceBuilder) -> MobileClient:
    modes: dict[str, ModeDefinition] = {ConnectionMode.STREAMING: ModeDefinition(initializers=[Cache()], synchronizers=[source])}
    config = MobileConfig(
        base_uri=url,
        stream_uri=url,
        http=HTTP,
        modes=modes,
        bootstrap={"a": "old"},
        events=MobileEvents(send_events=False),
        start_wait=0.01,
        debounce=0,
    )
    return MobileClient("mob-key", ANN, config)


async def rejects(client: AnyClient) -> None:
    """The client reports a failure of its source and serves what it had."""
    await client.wait_until(lambda report: report.last_error is not None, 30)


POLLS: list[Any] = [
    pytest.param(server_client, Polling(), b'{"events":[{"event":"server-intent","data":%s}]}', id="server FDv2"),
    pytest.param(server_client, Fdv1Polling(), b'{"flags":%s}', id="server FDv1"),
    pytest.param(mobile_client, Polling(), b'{"events":[{"event":"server-intent","data":%s}]}', id="mobile FDv2"),
    pytest.param(mobile_client, Fdv1Polling(), b"%s", id="mobile FDv1"),
]
STREAMS: list[Any] = [
    pytest.param(server_client, Streaming(), INTENT + b"event: put-object\ndata: %s\n\n", id="server FDv2"),
    pytest.param(server_client, Fdv1Streaming(), b'event: put\ndata: {"data":{"flags":%s}}\n\n', id="server FDv1"),
    pytest.param(mobile_client, Streaming(), INTENT + b"event: put-object\ndata: %s\n\n", id="mobile FDv2"),
]
Build: TypeAlias = Callable[[str, SourceBuilder], AnyClient]


def cases() -> Iterator[Any]:
    """Every bomb and every value in a poll and in a stream of each kind."""
    for where, head, targets, bombs in (
        ("a poll", headers(), POLLS, HTTP_BOMBS),
        ("a stream", STREAM, STREAMS, [*STREAM_BOMBS, *HTTP_BOMBS[3:6]]),
    ):
        for target in targets:
            build, source, around = target.values
            before, after = around.split(b"%s")
            for bomb in bombs:
                yield pytest.param(build, source, bomb.values[0], LIMIT + MORE, id=f"{target.id}, {bomb.id} in {where}")
            for value in VALUES:
                pieces = value.values[0]
                bomb = partial(_wrapped, [head, before], pieces, [after])
                yield pytest.param(build, source, bomb, allowed_for(pieces), id=f"{target.id}, {value.id} in {where}")


def _wrapped(before: list[bytes], pieces: Callable[[], Pieces], after: list[bytes]) -> Pieces:
    return chain(before, pieces(), after)


@pytest.mark.parametrize(("build", "source", "bomb", "allowed"), list(cases()))
async def test_a_client_survives_a_bomb(
    build: Build, source: SourceBuilder, bomb: Callable[[], Pieces], allowed: int, defused: Defused
) -> None:
    async with bombing(bomb) as url:
        client = build(url, source)
        async with defused(allowed):
            await client.start()
            await rejects(client)
        assert await value_of(client, "a", ANN) == "old"
        await client.aclose()


# -- flagd

SYNC_FLAGS = f"/{SYNC}/SyncFlags"
EVENTS_OF_FLAGS = f"/{EVALUATION_V2}/EventStream"
RESOLVE = f"/{EVALUATION_V2}/ResolveString"
FLAG_A = '{"flags":{"a":{"state":"ENABLED","variants":{"x":"old"},"defaultVariant":"x"}}}'


def alias_bomb() -> str:
    """Each of 30 lists has the one before ten times."""
    lists = ["a0: &a0 [x]", *(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 30))]
    return "\n".join([*lists, "flags: *a29"])


def text_of(value: Callable[[], Pieces]) -> str:
    """A document whose flags are that value. An endless text has the length of the limit, the document is longer."""
    text = "".join(piece.decode() for piece in ([b'"', b"x" * LIMIT, b'"'] if value is long_text else value()))
    return f'{{"flags":{text}}}'


@asynccontextmanager
async def flagd(tmp_path: Path) -> AsyncGenerator[tuple[FlagdServer, dict[str, Any]]]:
    """A server that does not listen yet, and the options of its clients."""
    server = FlagdServer()
    path = str(tmp_path / "s")
    yield server, {"socket_path": path, "environment": {}, "deadline": 5, "max_message_bytes": LIMIT}
    await server.stop()


@pytest.mark.parametrize("value", VALUES)
async def test_a_value_in_a_flag_set(value: Any, tmp_path: Path, defused: Defused) -> None:
    explode = asyncio.Event()
    async with flagd(tmp_path) as (server, options):
        message = flag_set(text_of(value)).SerializeToString()
        server.scripts = {SYNC_FLAGS: [[flag_set(FLAG_A), explode, message, SILENCE], [SILENCE]]}
        await server.start(f"unix:{options['socket_path']}")
        async with FlagdClient(FlagdConfig(resolver="in-process", **options)) as client:
            async with defused(allowed_for(value)):
                explode.set()
                await rejects(client)
            assert client.rejected_payloads == 1
            assert await value_of(client, "a", ANN) == "old"


async def test_a_flag_set_that_inflates(tmp_path: Path, defused: Defused) -> None:
    """A thousandth of the limit arrives, and inflates to twice the limit."""
    explode = asyncio.Event()
    async with flagd(tmp_path) as (server, options):
        server.compression = grpc.Compression.Gzip
        message = flag_set(FLAG_A + " " * 2 * LIMIT).SerializeToString()
        server.scripts = {SYNC_FLAGS: [[flag_set(FLAG_A), explode, message, SILENCE], [SILENCE]]}
        await server.start(f"unix:{options['socket_path']}")
        async with FlagdClient(FlagdConfig(resolver="in-process", **options)) as client:
            # The server is in the same process: it makes two more copies of the message.
            async with defused(6 * LIMIT + MORE):
                explode.set()
                await rejects(client)
            assert "Decompressed message larger than max" in str(client.report.last_error)
            assert await value_of(client, "a", ANN) == "old"
            assert client.rejected_payloads == 1


async def test_a_huge_answer_of_flagd(tmp_path: Path, defused: Defused) -> None:
    async with flagd(tmp_path) as (server, options):
        server.scripts = {EVENTS_OF_FLAGS: [[event("provider_ready"), SILENCE]]}
        server.answers[RESOLVE] = v2.ResolveStringResponse(value="x" * (LIMIT + 1), reason="STATIC", variant="x")
        await server.start(f"unix:{options['socket_path']}")
        client = FlagdClient(FlagdConfig(resolver="rpc", **options))
        # The server is in the same process: it makes two more copies of the message.
        async with client, defused(4 * LIMIT + MORE):
            assert await client.variation("a", ANN, "default") == "default"


@pytest.mark.parametrize("value", [*REFUSED_IN_A_FILE, pytest.param(alias_bomb, id="aliases of aliases")])
async def test_a_document_in_a_file(value: Any, tmp_path: Path, defused: Defused) -> None:
    ending, text = ("yaml", alias_bomb()) if value is alias_bomb else ("json", text_of(value))
    path, bomb = tmp_path / f"flags.{ending}", tmp_path / f"bomb.{ending}"
    await asyncio.to_thread(lambda: (path.write_text(FLAG_A), bomb.write_text(text)))
    config = FlagdConfig(resolver="file", offline_flag_source_path=str(path), offline_poll_interval=0.1, environment={})
    async with FlagdClient(config) as client:
        # A file that changed is read twice, and compared: was it written to the end?
        async with defused(allowed_for(value) + 2 * LIMIT):
            await asyncio.to_thread(bomb.replace, path)
            await rejects(client)
        assert await value_of(client, "a", ANN) == "old"


@pytest.mark.parametrize(
    "bomb",
    [*HTTP_BOMBS, *(pytest.param(lambda value=value.values[0]: chain([headers()], value()), id=value.id) for value in VALUES)],
)
async def test_a_bomb_in_an_answer_of_ofrep(bomb: Any, defused: Defused) -> None:
    async with bombing(bomb) as url:
        config = FlagdConfig(resolver="ofrep", ofrep_base_url=url, environment={}, deadline=5, http=HTTP)
        # Below the limit, "very many" costs more, as everywhere else.
        allowed = max(WITHIN, LIMIT + MORE)
        async with FlagdClient(config) as client, defused(allowed, may_be_silent=True):
            assert await client.variation("a", ANN, "default") == "default"


@pytest.mark.parametrize("value", [pytest.param(nested, id="100,000 levels"), pytest.param(many_items, id="very many items")])
async def test_a_value_in_a_store(value: Any, tmp_path: Path, defused: Defused) -> None:
    """A stored flag that cannot be read is left out, and the others are used."""
    store = DiskStore(tmp_path / "store").build(StoreContext(environment="a" * 64))
    old = json.dumps({"key": "b", "version": 1, "on": True, "variations": ["old"], "fallthrough": {"variation": 0}}).encode()
    bomb = StoredItem(ObjectKind.FLAG, "a", 1, b"".join(value()))
    await store.replace({ObjectKind.FLAG: {"a": bomb, "b": StoredItem(ObjectKind.FLAG, "b", 1, old)}})
    client = Client(KEY, Config(data_system=DataSystem.daemon(store, cache="infinite"), events=Events(send_events=False)))
    async with defused(allowed_for(value)):
        await client.start()
        assert await client.variation("a", ANN, "default") == "default"
    assert await client.variation("b", ANN, None) == "old"
    await client.aclose()
