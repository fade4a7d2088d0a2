"""A client whose Consul fails: evaluations serve the last good data, the log has one line, the store's status shows it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

import anyio
import httpx
import pytest

from aioflags import Client, Config, DataSystem, Events, Http, StoreStatus
from aioflags.model.change import ObjectKind
from aioflags.model.defaults import STORE_CHECK_INTERVAL
from aioflags.stores import ConsulStore
from tests.support.canaries import KEY
from tests.support.feed import Feed, change, changes, flag_json, full
from tests.support.played_consul import ConsulAnswer, PlayedConsul
from tests.support.store_clients import USER, beside

FLAGS = "launchdarkly/features"
TOKEN = "c0ffee00-token-of-a-test"


class FailingConsul(PlayedConsul):
    """A Consul with a ``trouble``: every request gets this answer, or this exception, or hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: ConsulAnswer | Exception | float | None = None

    def client(self) -> httpx.AsyncClient:
        async def answer(request: httpx.Request) -> httpx.Response:
            body = await request.aread()
            match self.trouble:
                case None:
                    status, headers, content = self.answer(request.method, request.url.raw_path.decode(), request.headers, body)
                case float() | int():
                    await anyio.sleep(self.trouble)
                    raise AssertionError("the request was not given up")
                case Exception():
                    raise self.trouble
                case (status, headers, content):
                    pass
            return httpx.Response(status, headers=headers, content=content)

        return httpx.AsyncClient(transport=httpx.MockTransport(answer), timeout=2, trust_env=False)

    def put(self, key: str, value: bytes) -> None:
        """Write a key as another program does."""
        headers: Mapping[str, str] = {}
        assert self.answer("PUT", f"/v1/kv/{key}", headers, value)[0] == 200

    @property
    def store(self) -> ConsulStore:
        return ConsulStore(token=TOKEN, http=Http(client_factory=self.client))


TROUBLES = [
    pytest.param((500, {}, b"No cluster leader"), "Consul answered 500: No cluster leader", id="no leader"),
    pytest.param((403, {}, b"ACL not found"), "Consul answered 403: ACL not found", id="a deleted token"),
    pytest.param((404, {}, b"no such page"), "Consul answered 404: no such page", id="another server"),
    pytest.param((413, {}, b"Request body too large"), "Consul answered 413", id="a lower limit"),
    pytest.param((429, {}, b"slow down"), "Consul answered 429: slow down", id="too many requests"),
    pytest.param(
        (409, {}, b'{"Results":null,"Errors":[{"What":"session invalid"}]}'), "session invalid|Consul answered 409", id="refused"
    ),
    pytest.param((200, {}, b"<html>"), "Consul sent an invalid answer|Consul sent an answer", id="a page of a proxy"),
    pytest.param((200, {}, b"\xff\xfe"), "not UTF-8", id="bytes that are not text"),
    pytest.param(httpx.ConnectError("refused"), "ConnectError: refused", id="dead"),
    pytest.param(httpx.ReadError("cut"), "ReadError: cut", id="a connection that breaks"),
    pytest.param(1e6, "no answer within", id="hanging"),
]


def reading(consul: FailingConsul) -> Config:
    return Config(events=Events(send_events=False), data_system=DataSystem.daemon(consul.store))


async def until(client: Client, expected: StoreStatus) -> None:
    with anyio.fail_after(30):
        async for status in client.store_statuses():
            if status == expected:
                return


@pytest.mark.parametrize(("trouble", "reason"), TROUBLES)
async def test_a_client_that_writes_goes_on_and_writes_everything_afterwards(
    trouble: ConsulAnswer | Exception | float, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    consul, feed = FailingConsul(), Feed()
    feed.say(full(a=1, b=1))
    async with Client(KEY, beside(feed, consul.store)) as client:
        await until(client, StoreStatus(available=True, stale=False))
        consul.trouble = trouble
        for version in range(2, 12):
            feed.say(changes(change("a", version, version)))
            await anyio.sleep(2)
            assert client.variation_nowait("a", USER, 0) == version
        assert client.store_status == StoreStatus(available=False, stale=True)
        consul.trouble = None
        await until(client, StoreStatus(available=True, stale=False))
    assert consul.kept.keys() == {"launchdarkly/$inited", f"{FLAGS}/a", f"{FLAGS}/b"}
    assert b'"variations":[11]' in consul.kept[f"{FLAGS}/a"].value
    about = [message for message in caplog.messages if "the store of flag data" in message]
    assert len(about) == 2
    assert re.search(reason, about[0])
    assert "available again" in about[1]
    assert TOKEN not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(("trouble", "reason"), TROUBLES)
async def test_a_client_that_only_reads_serves_what_it_read_last(
    trouble: ConsulAnswer | Exception | float, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    consul = FailingConsul()
    consul.put(f"{FLAGS}/a", flag_json("a", "first"))
    async with Client("", reading(consul)) as client:
        assert await client.variation("a", USER, "none") == "first"
        consul.put(f"{FLAGS}/a", flag_json("a", "second", 2))
        consul.trouble = trouble
        await anyio.sleep(120)
        assert client.store_status == StoreStatus(available=False, stale=True)
        assert await client.variation("a", USER, "none") == "first"
        consul.trouble = None
        await until(client, StoreStatus(available=True, stale=False))
        assert await client.variation("a", USER, "none") == "second"
    assert len([message for message in caplog.messages if re.search(reason, message)]) == 1


@pytest.mark.parametrize("lost", ["features", "segments"])
async def test_a_deleted_folder_is_filled_again_and_readers_keep_their_flags_until_then(lost: str) -> None:
    consul, feed = FailingConsul(), Feed()
    feed.say(full(change("s", None, 1, kind=ObjectKind.SEGMENT), a=1, b=1))
    async with Client(KEY, beside(feed, consul.store)) as writer:
        await anyio.sleep(1)
        before = set(consul.kept)
        async with Client("", reading(consul)) as reader:
            assert await reader.variation("b", USER, 0) == 1
            consul.answer("DELETE", f"/v1/kv/launchdarkly/{lost}/?recurse", {}, b"")
            feed.say(changes(change("b", 2, 2)))
            await anyio.sleep(STORE_CHECK_INTERVAL - 1)
            assert {key for key in before if lost not in key} == set(consul.kept)
            assert await reader.variation("b", USER, 0) == 1
            await until(writer, StoreStatus(available=True, stale=True))
            await until(writer, StoreStatus(available=True, stale=False))
            assert consul.kept.keys() == before
            await anyio.sleep(20)
            assert await reader.variation("b", USER, 0) == 2


async def test_a_value_that_cannot_be_read_is_logged_once_and_the_others_are_served(caplog: pytest.LogCaptureFixture) -> None:
    consul = FailingConsul()
    consul.put(f"{FLAGS}/a", flag_json("a", "first"))
    consul.put(f"{FLAGS}/b", b"written by hand")
    async with Client("", reading(consul)) as client:
        await anyio.sleep(120)
        assert await client.variation("a", USER, "none") == "first"
        assert await client.variation("b", USER, "none") == "none"
        assert client.store_status == StoreStatus(available=True, stale=False)
        consul.put(f"{FLAGS}/b", flag_json("b", "mended"))
        await anyio.sleep(30)
        assert await client.variation("b", USER, "none") == "mended"
    assert len([message for message in caplog.messages if "flag b cannot be read" in message]) == 1
