"""Clients for flagd over real sockets: their status and their events when streams begin and end.

Source: ``flagd.md`` 3.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import grpc
import pytest

from aioflags.errors import NotReadyError
from aioflags.flagd.client import FlagdClient
from aioflags.flagd.config import FlagdConfig
from aioflags.model.context import Context
from aioflags.model.status import Event, Status
from aioflags.transport.flagd_pb import evaluation_v2_pb2 as v2
from aioflags.transport.grpc_settings import EVALUATION_V2, SYNC
from tests.support.flagd_server import SILENCE, Fail, FlagdServer, Step, event, flag_set

pytestmark = pytest.mark.real_time

STREAM = f"/{SYNC}/SyncFlags"
EVENTS = f"/{EVALUATION_V2}/EventStream"
NUMBER = f"/{EVALUATION_V2}/ResolveFloat"
READY = event("provider_ready")
DENIED = Fail(grpc.StatusCode.PERMISSION_DENIED, "no")
INTERNAL = Fail(grpc.StatusCode.INTERNAL, "broken")
BAD = flag_set("not JSON")
ANN = Context("ann")


def flags(value: int = 1, **sync_context: Any) -> Any:
    """A flag set with one flag."""
    text = f'{{"flags": {{"a": {{"state": "ENABLED", "variants": {{"x": {value}}}, "defaultVariant": "x"}}}}}}'
    return flag_set(text, **sync_context)


class World:
    """A server, a client of it, and the events of the client."""

    def __init__(self, address: str) -> None:
        self.path = address
        self.server = FlagdServer()
        self.seen: list[Event] = []

    async def start(self) -> None:
        """Let the server listen."""
        await self.server.start(f"unix:{self.path}")

    def config(self, **options: Any) -> FlagdConfig:
        """The options of a client of the server, with short waits."""
        short = dict[str, Any](resolver="in-process", retry_backoff=0.02, retry_backoff_max=0.05, deadline=0.5)
        return FlagdConfig(environment={}, socket_path=self.path, **(short | options))

    @asynccontextmanager
    async def client(self, *, is_served: bool = True, **options: Any) -> AsyncGenerator[FlagdClient]:
        """A client that was started, and notes its events. ``is_served``: the server listens."""
        if is_served:
            await self.start()
        made = FlagdClient(self.config(**options))
        made.on_event(None, self.seen.append, inline=True)
        try:
            await made.start()
            yield made
        finally:
            await made.aclose()

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events until now."""
        return [each.kind.value for each in self.seen]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until it is true."""
        with anyio.fail_after(10):
            while not condition():
                await asyncio.sleep(0.005)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A server that does not listen yet."""
    made = World(str(tmp_path / "s"))
    yield made
    await made.server.stop()


@pytest.mark.holds("FL-14")
@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_a_client_is_ready_when_its_start_returns(world: World, resolver: str) -> None:
    world.server.scripts = {STREAM: [[flags(), SILENCE]], EVENTS: [[READY, SILENCE]]}
    world.server.answers[NUMBER] = v2.ResolveFloatResponse(value=1, reason="STATIC", variant="x")
    async with world.client(resolver=resolver) as client:
        assert client.status is Status.READY
        assert await client.variation("a", ANN, 0) == 1
        await world.until(lambda: world.kinds)
        assert world.kinds.count("READY") == 1


@pytest.mark.holds("FL-15", "FL-16")
async def test_a_server_that_appears_after_the_start_makes_the_client_ready(world: World) -> None:
    world.server.scripts = {STREAM: [[flags(), SILENCE]]}
    began = asyncio.get_running_loop().time()
    async with world.client(is_served=False) as client:
        assert 0.3 < asyncio.get_running_loop().time() - began < 0.9
        assert client.status is Status.ERROR
        await world.until(lambda: world.kinds == ["ERROR"])
        with pytest.raises(NotReadyError):
            await client.wait_ready(timeout=0)
        await world.start()
        await world.until(lambda: world.kinds[1:] == ["READY", "CONFIGURATION_CHANGED"])
        assert str(client.status) == "READY"


@pytest.mark.holds("FL-17", "FL-34")
async def test_a_fatal_code_ends_the_start(world: World) -> None:
    world.server.scripts = {STREAM: [[DENIED]]}
    async with world.client(deadline=5, fatal_status_codes=["PERMISSION_DENIED"]) as client:
        assert client.status is Status.FATAL
        assert client.report.error is not None
        assert client.report.error.code == "PROVIDER_FATAL"
        await asyncio.sleep(0.2)
        assert len(world.server.received) == 1
        await client.aclose()
        await client.start()
        assert client.status is Status.FATAL
        assert len(world.server.received) == 1


@pytest.mark.holds("FL-22", "FL-23")
@pytest.mark.parametrize("end", [INTERNAL, None])
async def test_a_stream_that_ends_and_comes_back(world: World, end: Fail | None) -> None:
    finish = asyncio.Event()
    first: list[Step] = [flags(), finish] if end is None else [flags(), finish, end]
    world.server.scripts = {STREAM: [first, [flags(2), SILENCE]]}
    async with world.client(retry_backoff_max=0.3) as client:
        finish.set()
        await world.until(lambda: client.status is Status.STALE)
        assert len(world.server.received) == 1
        assert await client.variation("a", ANN, 0) == 1
        await world.until(lambda: client.status is Status.READY)
        assert await client.variation("a", ANN, 0) == 2
        await world.until(lambda: world.kinds[-3:] == ["STALE", "READY", "CONFIGURATION_CHANGED"])
        assert "ERROR" not in world.kinds


@pytest.mark.holds("FL-24", "FL-25")
async def test_an_outage_longer_than_the_grace(world: World) -> None:
    finish, back = asyncio.Event(), asyncio.Event()
    world.server.scripts = {STREAM: [[flags(), finish], [back, flags(2), SILENCE]]}
    async with world.client(retry_grace_period=0.2) as client:
        await world.until(lambda: world.kinds)
        world.seen.clear()
        finish.set()
        await world.until(lambda: client.status is Status.ERROR)
        assert await client.variation("a", ANN, 0) == 1
        back.set()
        await world.until(lambda: world.kinds[-1:] == ["CONFIGURATION_CHANGED"])
        assert world.kinds == ["STALE", "ERROR", "READY", "CONFIGURATION_CHANGED"]
        assert world.seen[1].error_code == "GENERAL"


@pytest.mark.holds("FL-27")
async def test_short_streams_alternate_between_stale_and_ready(world: World) -> None:
    world.server.scripts = {STREAM: [[flags(), SILENCE]]}
    async with world.client(stream_deadline=0.1):
        await world.until(lambda: world.kinds.count("STALE") == 4)
    steps = [kind for kind in world.kinds if kind != "CONFIGURATION_CHANGED"]
    assert steps[:7] == ["READY", "STALE", "READY", "STALE", "READY", "STALE", "READY"]


@pytest.mark.holds("FL-31", "FL-32", "FL-33")
async def test_a_client_that_was_closed_starts_anew(world: World) -> None:
    world.server.scripts = {STREAM: [[flags()], [flags(), SILENCE]]}
    before = asyncio.all_tasks()
    async with world.client(retry_backoff_max=60) as client:
        await world.until(lambda: "STALE" in world.kinds)
        world.seen.clear()
        began = asyncio.get_running_loop().time()
        await client.aclose()
        await client.aclose()
        assert asyncio.get_running_loop().time() - began < 0.5
        assert (client.status, world.kinds) == (Status.NOT_READY, [])
        await world.until(lambda: {task for task in asyncio.all_tasks() - before if "flag" in task.get_name()} == set())
        await client.start()
        assert client.status is Status.READY


@pytest.mark.holds("FL-35")
async def test_a_start_that_is_cancelled_leaves_no_stream(world: World) -> None:
    world.server.scripts = {STREAM: [[SILENCE]]}
    await world.start()
    client = FlagdClient(world.config(deadline=30))
    starting = asyncio.ensure_future(client.start())
    await world.until(lambda: world.server.received)
    starting.cancel()
    await asyncio.wait([starting])
    await world.until(lambda: world.server.cancelled == 1)
    await client.aclose()


@pytest.mark.holds("FL-37")
async def test_an_unusable_flag_set_makes_the_client_stale(world: World) -> None:
    bad, good = asyncio.Event(), asyncio.Event()
    world.server.scripts = {STREAM: [[flags(), bad, BAD, good, flags(2), SILENCE]]}
    async with world.client() as client:
        bad.set()
        await world.until(lambda: "STALE" in world.kinds)
        assert client.status is Status.STALE
        assert world.seen[-1].error_code == "PARSE_ERROR"
        assert await client.variation("a", ANN, 0) == 1
        good.set()
        await world.until(lambda: client.status is Status.READY)
        assert len(world.server.received) == 1
        assert await client.variation("a", ANN, 0) == 2


def only_region(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """An enricher that keeps one attribute."""
    return {"region": given["region"]}


@pytest.mark.holds("FL-46", "FL-47")
async def test_the_static_context_applies_also_during_an_outage(world: World) -> None:
    def rule(name: str) -> str:
        return f'{{"state": "ENABLED", "variants": {{"eu": 1, "x": 2}}, "targeting": {{"var": "{name}"}}}}'

    finish = asyncio.Event()
    text = f'{{"flags": {{"region": {rule("region")}, "zone": {rule("zone")}}}}}'
    world.server.scripts = {STREAM: [[flag_set(text, region="eu", zone="x"), finish], [SILENCE]]}
    async with world.client(context_enricher=only_region) as client:
        assert [await client.variation(key, ANN, 0) for key in ("region", "zone")] == [1, 0]
        finish.set()
        await world.until(lambda: client.status is Status.STALE)
        assert [await client.variation(key, ANN, 0) for key in ("region", "zone")] == [1, 0]


@pytest.mark.parametrize("resolver", ["in-process", "rpc"])
async def test_a_certificate_that_cannot_be_used_is_fatal(resolver: str) -> None:
    options = dict[str, Any](resolver=resolver, tls=True, cert_path="/nowhere/ca.pem")
    async with FlagdClient(FlagdConfig(environment={}, **options)) as client:
        assert client.status is Status.FATAL
        assert client.report.error is not None
        assert client.report.error.message.startswith("ConfigError: cert_path: ")
