"""Redis clusters, Sentinel, and TLS."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis
import trustme

from aioflags import BigSegments, Client, Config, Context, DataSystem, StoreError, StoreStatus
from aioflags.model.change import ObjectKind
from aioflags.runtime.clock import now_ms
from aioflags.stores import RedisStore, StoreContext, StoredItem
from aioflags.stores.base import context_hash
from tests.stores.conftest import Build
from tests.support.canaries import KEY
from tests.support.feed import Feed, change, changes, full
from tests.support.redis_server import RedisCluster, RedisServer, WatchedRedis
from tests.support.store_clients import beside

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(60)]

CONTEXT = StoreContext(environment="an environment")
USER = Context("user-123")
FLAG = ObjectKind.FLAG
ITEM = StoredItem(FLAG, "a", 1, b'{"key":"a","version":1}')
BIG = {
    "segments": {"beta-users": {"unbounded": True, "generation": 2, "version": 1}},
    "flags": {
        "beta": {
            "on": True,
            "version": 1,
            "variations": [False, True],
            "fallthrough": {"variation": 0},
            "rules": [{"variation": 1, "clauses": [{"op": "segmentMatch", "attribute": "", "values": ["beta-users"]}]}],
        }
    },
}


# -- a cluster


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        pytest.param("load", [], id="reading"),
        pytest.param("replace", [{FLAG: {"a": ITEM}}], id="writing everything"),
        pytest.param("upsert", [[ITEM, StoredItem(ObjectKind.SEGMENT, "s", 1, b'{"version":1}')]], id="writing changes"),
    ],
)
async def test_the_error_for_keys_in_several_slots_has_advice(redis_cluster: RedisCluster, call: str, arguments: list[Any]) -> None:
    async with redis_cluster.client() as client:
        with pytest.raises(StoreError, match=r'put the prefix in braces, as in prefix="{launchdarkly}"'):
            await getattr(RedisStore(client=client).build(CONTEXT), call)(*arguments)


@pytest.mark.slow
async def test_a_client_refused_by_a_cluster_logs_it_once_and_continues(
    redis_cluster: RedisCluster, caplog: pytest.LogCaptureFixture
) -> None:
    feed = Feed()
    feed.say(full(n=1))
    async with (
        redis_cluster.client() as cluster,
        Client(KEY, beside(feed, RedisStore(client=cluster))) as client,
    ):
        assert await client.variation("n", USER, -1) == 1
        await anyio.sleep(2)
        assert client.store_status is not None
        assert client.store_status.stale
    assert caplog.text.count("put the prefix in braces") == 1
    assert "Traceback" not in caplog.text


async def test_the_error_for_a_single_server_client_in_a_cluster_has_advice(build: Build, redis_cluster: RedisCluster) -> None:
    store = build(RedisStore(redis_cluster.url))
    with pytest.raises(StoreError, match="one server of a cluster: RedisStore needs client="):
        await store.load()


async def test_two_clients_that_write_to_a_cluster_leave_the_newest_versions(redis_cluster: RedisCluster) -> None:
    async with redis_cluster.client() as one, redis_cluster.client() as other:
        stores = [RedisStore(client=client, prefix="{flags}").build(CONTEXT) for client in (one, other)]
        await stores[0].replace({})
        async with anyio.create_task_group() as tasks:
            for version in range(1, 41):
                item = StoredItem(FLAG, "a", version, b'{"key":"a","version":%d}' % version)
                tasks.start_soon(stores[version % 2].upsert, [item])
        assert (await stores[0].load())[FLAG]["a"].version == 40


@pytest.mark.parametrize("prefix", ["launchdarkly", "{launchdarkly}"])
async def test_big_segments_in_a_cluster_need_no_braces(redis_cluster: RedisCluster, prefix: str) -> None:
    async with redis_cluster.client() as cluster:
        await cluster.sadd(f"{prefix}:big_segment_include:{context_hash('user-123')}", "beta-users.g2")
        await cluster.set(f"{prefix}:big_segments_synchronized_on", now_ms())
        options = BigSegments(store=RedisStore(client=cluster, prefix=prefix))
        async with Client.local(BIG, Config(big_segments=options)) as client:
            assert await client.big_segments_status() == StoreStatus(available=True, stale=False)
            assert await client.variation("beta", USER, False) is True
            assert await client.variation("beta", Context("somebody"), True) is False


# -- a sentinel


@pytest.mark.slow
async def test_the_replica_of_a_dead_master_has_the_data_soon(
    watched_redis: WatchedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    feed, newest, wrong = Feed(), 0, list[Any]()
    feed.say(full(*(change(f"flag-{number}", number) for number in range(500)), n=0))

    async def ask(client: Client) -> None:
        while True:
            value = await client.variation("n", USER, -1)
            if not 0 <= value <= newest:
                wrong.append(value)
            await anyio.sleep(0.001)

    async with (
        watched_redis.client() as master,
        Client(KEY, beside(feed, RedisStore(client=master))) as client,
        anyio.create_task_group() as tasks,
    ):
        await _until(client, StoreStatus(available=True, stale=False))
        tasks.start_soon(ask, client)
        await asyncio.to_thread(watched_redis.master.stop)
        for newest in range(1, 11):
            feed.say(changes(change("n", newest, newest + 1)))
            await anyio.sleep(0.05)
        await _until(client, StoreStatus(available=False, stale=True))
        with anyio.fail_after(15):
            await _until(client, StoreStatus(available=True, stale=False))
        tasks.cancel_scope.cancel()
    assert wrong == []
    with redis.Redis.from_url(watched_redis.replica.url) as database:
        stored: Any = database.hgetall("launchdarkly:features")
    assert len(stored) == 501
    assert b'"variations":[10]' in stored[b"n"]
    assert "Traceback" not in caplog.text


# -- TLS


@pytest.fixture
def tls_redis(tmp_path: Path, authority: trustme.CA, ca_file: str) -> Iterator[RedisServer]:
    """A server that speaks TLS alone."""
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(key))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(certificate), append=True)
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", ca_file)
    server = RedisServer(tmp_path, *files, "--tls-auth-clients", "no", tls=True)
    server.start()
    yield server
    server.stop()


@pytest.mark.redis
async def test_flags_are_stored_over_tls_if_the_certificate_is_trusted(tls_redis: RedisServer, ca_file: str) -> None:
    feed = Feed()
    feed.say(full(n=1))
    async with Client(KEY, beside(feed, RedisStore(f"{tls_redis.url}?ssl_ca_certs={ca_file}"))) as client:
        await _until(client, StoreStatus(available=True, stale=False))
        await anyio.sleep(0.2)
    system = DataSystem.daemon(RedisStore(f"{tls_redis.url}?ssl_ca_certs={ca_file}"))
    async with Client("", Config(data_system=system)) as client:
        assert await client.variation("n", USER, -1) == 1


@pytest.mark.redis
async def test_an_untrusted_certificate_is_refused(tls_redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async with Client("", Config(data_system=DataSystem.daemon(RedisStore(tls_redis.url)), start_wait=0.5)) as client:
        with anyio.fail_after(20):
            await _until(client, StoreStatus(available=False, stale=True))
        assert await client.variation("n", USER, -1) == -1
    assert "certificate" in caplog.text.lower()


async def _until(client: Client, expected: StoreStatus) -> None:
    async for status in client.store_statuses():
        if status == expected:
            return
