"""RedisStore: its options, and data that other programs wrote to the database."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from aioflags import ConfigError, StoreError
from aioflags.model.change import ObjectKind
from aioflags.stores import RedisStore, StoreContext, StoredItem
from tests.stores.conftest import Build
from tests.stores.test_items import STORED_TEXTS
from tests.support.redis_server import UNNAMED

CONTEXT = StoreContext(environment="an environment")
FLAG, SEGMENT = ObjectKind.FLAG, ObjectKind.SEGMENT


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param({"url": 1}, "url: expected str, got int", id="an address that is not text"),
        pytest.param({"url": "localhost:6379"}, "url: expected an address that starts with redis://", id="no scheme"),
        pytest.param({"url": "redis://:secret@host:port"}, "url: redis-py cannot read this address", id="no port"),
        pytest.param({"prefix": None}, "prefix: expected str, got NoneType", id="no prefix"),
        pytest.param({"timeout": "1"}, "timeout: expected int or float, got str", id="a timeout that is text"),
        pytest.param(
            {"client": "redis://localhost"},
            "client: expected a redis.asyncio.Redis",
            id="a client that is not an object of redis-py",
        ),
    ],
)
def test_an_invalid_option_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem.replace(".", r"\.")) as raised:
        RedisStore(**options)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(redis.Redis, id="a Redis"),
        pytest.param(redis.StrictRedis, id="a StrictRedis"),
        pytest.param(lambda: redis.RedisCluster.__new__(redis.RedisCluster), id="a RedisCluster"),
    ],
)
def test_a_synchronous_client_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"client: expected a redis\.asyncio\.Redis or RedisCluster, got the synchronous redis\."):
        RedisStore(client=make())


def test_the_repr_does_not_show_the_address() -> None:
    assert repr(RedisStore("redis://user:secret@flags.example", prefix="shop")) == "RedisStore(prefix='shop', timeout=2.0)"


def test_an_empty_prefix_is_the_default_one() -> None:
    assert RedisStore(prefix="").prefix == "launchdarkly"


@pytest.mark.real_time
@pytest.mark.holds("DS-133")
async def test_a_prefix_keeps_data_apart(build: Build, redis_url: str) -> None:
    ours, theirs = (build(RedisStore(redis_url, prefix=prefix)) for prefix in ("ours", "theirs"))
    await ours.replace({FLAG: {"a": StoredItem(FLAG, "a", 1, b'{"key":"a","version":1}')}})
    assert await ours.initialized()
    assert not await theirs.initialized()
    assert await theirs.get(FLAG, "a") is None
    async with _client(redis_url) as client:
        assert sorted(await client.keys()) == [b"ours:$inited", b"ours:features"]


@pytest.mark.real_time
@pytest.mark.parametrize(("text", "version"), STORED_TEXTS)
async def test_an_unreadable_record_is_left_out_and_the_others_are_read(
    build: Build, redis_url: str, text: bytes, version: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with _client(redis_url) as client:
        await client.hset("launchdarkly:features", mapping={"odd": text, "good": b'{"key":"good","version":1}'})
        await client.set("launchdarkly:$inited", "")
    store = build(RedisStore(redis_url))
    flags = (await store.load())[FLAG]
    assert flags["good"].version == 1
    assert (flags["odd"].version if "odd" in flags else None) == version
    assert await store.get(FLAG, "odd") == flags.get("odd")
    assert caplog.text.count("flag odd cannot be read") == (version is None)
    await store.upsert([StoredItem(FLAG, "odd", 8, b'{"key":"odd","version":8}')])
    assert (await store.load())[FLAG]["odd"].version == 8


@pytest.mark.real_time
async def test_a_key_that_is_not_text_is_left_out_and_the_others_are_read(
    build: Build, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with _client(redis_url) as client:
        await client.hset("launchdarkly:segments", mapping={b"\xff": b'{"version":1}', b"good": b'{"version":1}'})
    store = build(RedisStore(redis_url))
    assert set((await store.load())[SEGMENT]) == {"good"}
    assert "cannot be read" in caplog.text


@pytest.mark.real_time
async def test_a_ready_client_is_used_and_left_open(redis_url: str) -> None:
    async with _client(redis_url, decode_responses=True) as client:
        store = RedisStore(client=client).build(CONTEXT)
        item = StoredItem(FLAG, "ü", 1, '{"key":"ü","version":1}'.encode())
        await store.replace({FLAG: {"ü": item}})
        assert await store.get(FLAG, "ü") == item
        assert (await store.load())[FLAG] == {"ü": item}
        await store.upsert([StoredItem(FLAG, "ü", 2, b'{"version":2}')])
        await store.aclose()
        assert await client.exists("launchdarkly:$inited") == 1
        assert await client.hget("launchdarkly:features", "ü") == '{"version":2}'


@pytest.mark.real_time
async def test_an_upsert_starts_again_if_another_process_writes(redis_url: str) -> None:
    async with _client(redis_url) as other:
        await other.set("launchdarkly:$inited", "")
        store = RedisStore(client=_Meddled(other, times=3)).build(CONTEXT)
        await store.upsert([StoredItem(FLAG, "a", 5, b'{"version":5}')])
        assert await other.hget("launchdarkly:features", "a") == b'{"version":5}'


@pytest.mark.real_time
async def test_an_unfinished_data_set_is_not_visible_and_expires_in_a_minute(redis_url: str) -> None:
    def flags(version: int) -> dict[ObjectKind, dict[str, StoredItem]]:
        text = b'{"version":%d}' % version
        return {FLAG: {str(number): StoredItem(FLAG, str(number), version, text) for number in range(250)}}

    async with _client(redis_url) as other:
        store = RedisStore(client=other).build(CONTEXT)
        await store.replace(flags(1))
        assert sorted(await other.keys()) == [b"launchdarkly:$inited", b"launchdarkly:features"]
        assert await other.ttl("launchdarkly:features") == -1
        with pytest.raises(RedisConnectionError):
            await RedisStore(client=_Cut(other)).build(CONTEXT).replace(flags(2))
        assert (await store.load())[FLAG] == flags(1)[FLAG]
        (unfinished,) = {*await other.keys()} - {b"launchdarkly:$inited", b"launchdarkly:features"}
        assert 0 < await other.ttl(unfinished) <= 60


@pytest.mark.real_time
async def test_a_refused_connection_is_noticed_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = RedisStore("redis://user:secret@127.0.0.1:9").build(CONTEXT)
    with pytest.raises(RedisConnectionError):
        await store.is_available()
    await store.aclose()
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("message", "cause", "words"),
    [
        pytest.param(
            "Error 111 connecting to 127.0.0.1:9. 111.",
            ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 9)"),
            "Error 111 connecting to 127.0.0.1:9. 111. 127.0.0.1:9: Connection refused",
            id="refused, a number alone",
        ),
        pytest.param(
            "Error -2 connecting to nohost:6379. -2.",
            socket.gaierror(-2, "Name or service not known"),
            "Error -2 connecting to nohost:6379. -2. Name or service not known",
            id="an unknown name, a number alone",
        ),
        pytest.param(
            "Error -2 connecting to nohost:6379. Name or service not known.",
            socket.gaierror(-2, "Name or service not known"),
            "Error -2 connecting to nohost:6379. Name or service not known.",
            id="the words of the system",
        ),
        pytest.param("Connection closed by server.", None, "Connection closed by server.", id="nothing else happened"),
    ],
)
async def test_the_error_of_a_failed_connection_says_why(message: str, cause: OSError | None, words: str) -> None:
    error = RedisConnectionError(message)
    error.__context__ = cause
    with pytest.raises(RedisConnectionError) as raised:
        await RedisStore(client=_Unreachable(error)).build(CONTEXT).load()
    assert str(raised.value) == words


def _client(url: str, **options: Any) -> Any:
    # Without it redis-py looks its own version up on the disk.
    return redis.asyncio.Redis.from_url(url, **UNNAMED, **options)


class _Unreachable:
    """A client whose first command fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def pipeline(self, *, transaction: bool) -> Any:
        raise self._error


class _Cut:
    """A client whose connection breaks in the middle of a long data set."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.pipeline = client.pipeline

    async def hset(self, *_: object, **__: object) -> None:
        raise RedisConnectionError("it broke")


class _Meddled:
    """A client whose first ``times`` transactions fail because another client has written to the watched keys."""

    def __init__(self, client: Any, *, times: int) -> None:
        self._client, self._times = client, times

    def pipeline(self, *, transaction: bool) -> Any:
        pipe, client = self._client.pipeline(transaction=transaction), self._client
        if self._times > 0:
            self._times -= 1
            multi = pipe.execute

            async def execute() -> Any:
                await client.hset("launchdarkly:features", "other", f'{{"version":{self._times}}}')
                return await multi()

            pipe.execute = execute
        return pipe


@pytest.mark.real_time
@pytest.mark.parametrize("own", [True, False], ids=["with an address", "with a ready client"])
async def test_the_timeout_of_a_silent_server_has_its_address(own: object) -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
        url = f"redis://:secret@127.0.0.1:{port}"
        options: dict[str, Any] = UNNAMED | {"retry": Retry(NoBackoff(), 0)}
        client: Any = None if own else redis.asyncio.Redis.from_url(url, socket_timeout=0.1, **options)
        described = RedisStore(url, timeout=0.1, client=client)
        flags, memberships = described.build(StoreContext(environment="a")), described.build_memberships()
        for call in (flags.initialized, flags.load, lambda: memberships.memberships("hash"), memberships.last_updated_ms):
            with pytest.raises(StoreError) as caught:
                await call()
            assert str(caught.value) == f"Redis at 127.0.0.1:{port} did not answer within 0.1 s"
        await flags.aclose()
        await memberships.aclose()
        if client is not None:
            await client.aclose()


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.redis
@pytest.mark.real_time
async def test_a_closed_store_opens_no_other_connection(redis_url: str, used: bool) -> None:
    """A call may go on after a pause, when the program has closed its client."""
    store = RedisStore(redis_url).build(CONTEXT)
    if used:
        await store.initialized()
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreError, match="closed"):
        await store.initialized()
    with pytest.raises(StoreError, match="closed"):
        await store.upsert([StoredItem(ObjectKind.FLAG, "a", 1, b'{"key":"a","version":1}')])


@pytest.mark.skipif(int(redis.__version__.partition(".")[0]) >= 8, reason="this redis-py works with a cluster")
def test_a_client_of_a_cluster_is_refused_if_its_redis_py_has_no_transactions_there() -> None:
    with pytest.raises(ConfigError, match="a RedisCluster needs redis-py 8 or later"):
        RedisStore(client=redis.asyncio.RedisCluster("localhost"))
