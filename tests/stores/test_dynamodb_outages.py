"""A DynamoDB that fails below a client: flags come from memory, the log has one line, and the table is complete afterwards."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import anyio
import pytest

from aioflags import Client, Config, DataSystem, StoreStatus
from aioflags.stores import DynamoDBStore
from aioflags.testing import FaultProxy, toxics
from tests.support.canaries import KEY, secretive
from tests.support.dynamodb_server import TABLE, DynamoDBServer
from tests.support.feed import Feed, change, changes, full
from tests.support.store_clients import beside

pytestmark = [pytest.mark.real_time, pytest.mark.slow]

USER = secretive("user-123")
CURRENT = StoreStatus(available=True, stale=False)
Trouble = Callable[[DynamoDBServer, FaultProxy], Awaitable[None]]


async def _throttled(_: DynamoDBServer, proxy: FaultProxy) -> None:
    proxy.add(toxics.WrongStatus(status=503))


async def _dead(_: DynamoDBServer, proxy: FaultProxy) -> None:
    proxy.add(toxics.Refuse())


async def _hanging(_: DynamoDBServer, proxy: FaultProxy) -> None:
    proxy.add(toxics.BlackHole())


async def _without_table(server: DynamoDBServer, _: FaultProxy) -> None:
    await asyncio.to_thread(server.client.delete_table, TableName=TABLE)


async def _until(client: Client, holds: Callable[[StoreStatus], bool]) -> None:
    with anyio.fail_after(30):
        async for status in client.store_statuses():
            if holds(status):
                return


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        pytest.param(_throttled, "is busy (503)", id="that is overloaded"),
        pytest.param(_dead, "Could not connect", id="that is dead"),
        pytest.param(_hanging, "did not answer within 0.3 s", id="that hangs"),
        pytest.param(_without_table, "has no table flags", id="whose table is deleted"),
    ],
)
@pytest.mark.holds("DS-135")
async def test_flags_come_from_memory_beside_a_dynamodb(
    dynamodb: DynamoDBServer, trouble: Trouble, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "aioflags")
    feed = Feed()
    feed.say(full(n=1, other=1))
    async with FaultProxy(dynamodb.url) as proxy:
        store = DynamoDBStore(TABLE, endpoint_url=proxy.url, timeout=0.3)
        async with Client(KEY, beside(feed, store)) as client:
            await _until(client, lambda status: status == CURRENT)
            await trouble(dynamodb, proxy)
            proxy.drop_connections()
            feed.say(changes(change("n", 2, 2)))
            await _until(client, lambda status: not status.available)
            assert client.variation_nowait("n", USER, 0) == 2
            proxy.clear()
            await asyncio.to_thread(dynamodb.reset)
            await _until(client, lambda status: status == CURRENT)
            assert client.variation_nowait("n", USER, 0) == 2
    failures = [record.message for record in caplog.records if "is not called until it is available again" in record.message]
    assert [reason in failure for failure in failures] == [True]
    stored = {item["key"]["S"]: item.get("version", {}).get("N") for item in dynamodb.items}
    assert stored == {"n": "2", "other": "1", "$inited": None}
    assert "Traceback" not in caplog.text


async def test_flags_that_were_read_are_served_while_dynamodb_is_dead(dynamodb: DynamoDBServer) -> None:
    dynamodb.put("features", "n", version={"N": "1"}, item={"S": '{"key":"n","version":1,"offVariation":0,"variations":[7]}'})
    async with FaultProxy(dynamodb.url) as proxy:
        store = DynamoDBStore(TABLE, endpoint_url=proxy.url, timeout=0.3)
        async with Client("", Config(data_system=DataSystem.daemon(store, cache_ttl=0.1))) as client:
            assert await client.variation("n", USER, 0) == 7
            await _dead(dynamodb, proxy)
            proxy.drop_connections()
            await _until(client, lambda status: not status.available)
            assert await client.variation("n", USER, 0) == 7
            proxy.clear()
            await _until(client, lambda status: status == CURRENT)
            assert client.variation_nowait("n", USER, 0) == 7
