"""Shared by all tests: virtual time, an error for calls that block the event loop, and rule numbers in test ids."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
import redis
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

from aioflags.testing.virtual_time import VirtualTimeLoop
from tests.support.consul_server import CONSUL, ConsulAgent, ConsulServer, consul_with_tokens
from tests.support.dynamodb_server import CREDENTIALS, REGION, DynamoDBServer
from tests.support.played_consul import PlayedConsulServer
from tests.support.redis_server import REDIS_SERVER, RedisCluster, RedisServer, WatchedRedis

pytest_plugins = [
    "pytester",
    "tests.reliability.plugin",
    "tests.support.absent_libraries",
    "tests.support.canaries",
    "tests.support.certificates",
    "tests.support.leaks",
    "tests.support.name_lookups",
]

# pytester unloads modules that an inner run imported first. This extension cannot be imported twice, so import it here.
importlib.import_module("yaml")

# A client imports this in a separate thread. In a fresh clone pytest rewrites assertions at that time, and CPython 3.11 cannot
# parse in two threads at once: "AST constructor recursion depth mismatch".
importlib.import_module("aioflags.transport.clients")

# In a fresh clone hypothesis first builds its tables of characters, which takes ten seconds of the first test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Mutation runs use the same few examples each time, so their result does not depend on chance.
settings.register_profile("mutants", settings.get_profile("patient"), derandomize=True, max_examples=25, database=None)
settings.load_profile("patient")

if "MUTANT_UNDER_TEST" in os.environ:
    sys.setrecursionlimit(3 * sys.getrecursionlimit())  # mutmut puts two frames beneath each call


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Time jumps, unless the test asks for the wall clock."""
    if item.get_closest_marker("real_time"):
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualTimeLoop}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``@pytest.mark.holds("DS-22", "FB-13")`` puts the numbers of the rules that a test checks into its id."""
    numbers = [str(number) for marker in metafunc.definition.iter_markers("holds") for number in marker.args]
    if numbers:
        metafunc.fixturenames.append("_holds")
        metafunc.parametrize("_holds", [numbers], ids=[" ".join(numbers)])


@pytest.fixture(autouse=True)
def _nothing_blocks() -> Iterator[None]:
    """Raises an error for a call of the package that blocks the thread of the event loop."""
    with blockbuster_ctx("aioflags") as alarm:
        # Coverage locks its own data for a moment when a thread is the first to enter a file.
        alarm.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", {"lock_data"})
        # For every command of a transaction in a cluster redis-py waits for a separate thread.
        alarm.functions["threading.Lock.acquire"].can_block_in("redis/asyncio/cluster.py", {"execute_command"})
        # Runs an event loop in a thread, because AWS's libraries read credentials with blocking calls in coroutines.
        for function in alarm.functions.values():
            function.can_block_in("aioflags/stores/dynamodb_connection.py", {"_credentials"})
        # Before a fork, gRPC's thread has to end: a child of a process with that thread is aborted.
        alarm.functions["threading.Lock.acquire"].can_block_in("aioflags/transport/grpc_process.py", {"release"})
        yield


@pytest.fixture(scope="session")
def _collected_once() -> None:
    gc.collect()


@pytest.fixture(autouse=True)
def _own_garbage_only(request: pytest.FixtureRequest) -> Iterator[None]:
    """While a test measures time, the collector passes over the objects of that test alone. A pass over those of the whole run,
    with 16,000 tests collected, takes half a second.
    """
    if request.node.get_closest_marker("speed") is None:
        yield
        return
    request.getfixturevalue("_collected_once")
    gc.freeze()
    yield
    gc.unfreeze()


def pytest_report_header() -> list[str]:
    """Lines that report which databases are installed, and so which tests are skipped or run on a played one."""
    lines = [f"Consul: {CONSUL or 'the one that the tests play; no consul is installed'}"]
    return lines if REDIS_SERVER else [*lines, "no redis-server is installed: tests that need a real Redis are left out"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects tests that need Redis if none is installed, except with --collect-only. In a mutation run, the tests of the
    mutated module come first.
    """
    if mutant := os.environ.get("MUTANT_UNDER_TEST"):
        own = f"test_{mutant.rpartition('.')[0].rpartition('.')[2]}"
        items.sort(key=lambda item: item.path.stem != own)
    if REDIS_SERVER is None and not config.option.collectonly:
        left_out = [item for item in items if _needs_redis(item)]
        items[:] = [item for item in items if not _needs_redis(item)]
        config.hook.pytest_deselected(items=left_out)


_REDIS = {"redis_url", "own_redis", "redis_cluster", "watched_redis"}
"""Fixtures that need a Redis."""


def _needs_redis(item: pytest.Item) -> bool:
    fixtures: list[str] = getattr(item, "fixturenames", [])
    return item.get_closest_marker("redis") is not None or not _REDIS.isdisjoint(fixtures)


@pytest.fixture(scope="session")
def _redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(_redis_server: RedisServer) -> str:
    """The address of a real, empty Redis. Without ``redis-server`` the test is deselected."""
    with redis.Redis.from_url(_redis_server.url) as client:
        client.flushall()
    return _redis_server.url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may stop and freeze. Without ``redis-server`` the test is deselected."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def _redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path_factory.mktemp("redis-cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def redis_cluster(_redis_cluster: RedisCluster) -> RedisCluster:
    """A real, empty cluster. Without ``redis-server`` the test is deselected."""
    if int(redis.__version__.partition(".")[0]) < 8:
        pytest.skip("RedisStore needs redis-py 8 for a cluster")
    _redis_cluster.empty()
    return _redis_cluster


@pytest.fixture
def watched_redis(tmp_path: Path) -> Iterator[WatchedRedis]:
    """A real master with a replica and a sentinel. Without ``redis-server`` the test is deselected."""
    watched = WatchedRedis(tmp_path)
    try:
        watched.start()
        yield watched
    finally:
        watched.stop()


@pytest.fixture(scope="session")
def _dynamodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DynamoDBServer]:
    server = DynamoDBServer(tmp_path_factory.mktemp("dynamodb"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials and a region in the environment, and nothing from the files or the network of this machine."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    given = {name.upper(): value for name, value in CREDENTIALS.items()}
    for name, value in {**files, **given, "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def dynamodb(_dynamodb_server: DynamoDBServer, aws: None) -> DynamoDBServer:
    """A server of DynamoDB with an empty table, and credentials for it in the environment."""
    _dynamodb_server.reset()
    return _dynamodb_server


@pytest.fixture(scope="session")
def _consul_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    agent = ConsulAgent(tmp_path_factory.mktemp("consul"))
    try:
        agent.start()
        yield agent
    finally:
        agent.stop()


@pytest.fixture
def consul_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty Consul: a real one, or a played one if none is installed."""
    if CONSUL is not None:
        agent: ConsulAgent = request.getfixturevalue("_consul_agent")
        httpx.delete(f"{agent.url}/v1/kv/?recurse", trust_env=False).raise_for_status()
        yield agent.url
        return
    played = PlayedConsulServer()
    played.start()
    yield played.url
    played.stop()


@pytest.fixture
def consul_tokens(tmp_path: Path) -> Iterator[ConsulServer]:
    """An empty Consul that refuses what a token does not allow; its tokens are ``tests.support.consul_server.SECRETS``."""
    server = consul_with_tokens(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()
