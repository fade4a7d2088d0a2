"""A client whose Consul fails: evaluations serve the last good data, the log has one line, the store's status shows it."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags import Client, Config, DataSystem, Events, Http, StoreError, StoreStatus
from aioflags.model.change import ObjectKind
from aioflags.model.defaults import STORE_CHECK_INTERVAL
from aioflags.runtime.cooperative import run_at_once
from aioflags.stores import ConsulStore
from aioflags.stores.consul_connection import (
    MAX_VALUE,
    ConsulEntry,
    ConsulWrite,
    batches,
    is_in_url,
    is_storable,
    read_conflict,
    read_entries,
)
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


# -- Consul's JSON: writes fit its limits, and answers of any shape are read or refused.

BODY = 512 * 1024


def shown(writes: list[ConsulWrite], namespace: str | None = None) -> list[list[Any]]:
    """The operations of every transaction, and single writes by their key."""
    return [[batch.key] if isinstance(batch, ConsulWrite) else json.loads(batch) for batch in batches(writes, namespace)]


@pytest.mark.parametrize(
    ("write", "operation"),
    [
        pytest.param(ConsulWrite(key="a", text=b"{}"), {"Verb": "set", "Key": "a", "Value": "e30="}, id="a value"),
        pytest.param(ConsulWrite(key="a", text=b""), {"Verb": "set", "Key": "a", "Value": ""}, id="an empty value"),
        pytest.param(ConsulWrite(key="a", text=None), {"Verb": "delete", "Key": "a"}, id="a delete"),
        pytest.param(
            ConsulWrite(key="ü", text=b"{}", index=7),
            {"Verb": "cas", "Key": "ü", "Value": "e30=", "Index": 7},
            id="a check-and-set",
        ),
        pytest.param(
            ConsulWrite(key="a", text=b"{}", index=0), {"Verb": "cas", "Key": "a", "Value": "e30=", "Index": 0}, id="of a new key"
        ),
    ],
)
def test_a_write_is_an_operation(write: ConsulWrite, operation: dict[str, object]) -> None:
    assert shown([write]) == [[{"KV": operation}]]
    assert shown([write], "team") == [[{"KV": {**operation, "Namespace": "team"}}]]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [pytest.param(0, [], id="none"), (1, [1]), (64, [64]), (65, [64, 1]), (200, [64, 64, 64, 8])],
)
def test_a_transaction_has_at_most_64_operations(count: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in shown([ConsulWrite(key=str(n), text=b"{}") for n in range(count)])] == sizes


@given(st.lists(st.one_of(st.none(), st.integers(0, 5000), st.integers(300_000, MAX_VALUE)), max_size=80))
def test_no_batch_exceeds_a_limit_and_the_writes_keep_their_order(sizes: list[int | None]) -> None:
    writes = [ConsulWrite(key=f"key-{n}", text=None if size is None else b"x" * size) for n, size in enumerate(sizes)]
    made = list(batches(writes))
    assert all(len(batch) <= BODY and len(json.loads(batch)) <= 64 for batch in made if isinstance(batch, bytes))
    keys = [
        key for batch in shown(writes) for key in (batch if isinstance(batch[0], str) else [each["KV"]["Key"] for each in batch])
    ]
    assert keys == [write.key for write in writes]


@pytest.mark.parametrize(
    ("key", "size", "expected"),
    [
        pytest.param("a", 100, True, id="a small one"),
        pytest.param("a", MAX_VALUE, True, id="the largest one"),
        pytest.param("a", MAX_VALUE + 1, False, id="a byte more"),
        pytest.param("a/../b", 380_000, True, id="one that a transaction can take, under a key for which there is no URL"),
        pytest.param("a/../b", 400_000, False, id="one that only a URL could take, under such a key"),
    ],
)
def test_which_values_can_be_stored(key: str, size: int, expected: bool) -> None:
    write = ConsulWrite(key=key, text=b"x" * size)
    assert is_storable(write) == expected
    if expected:
        (batch,) = batches([write])
        assert is_in_url(key) or isinstance(batch, bytes)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        *((key, True) for key in ("a", "a/b", "a b", "ü/..x", "...", "a?b#c%2e")),
        *((key, False) for key in ("", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "\ud800")),
    ],
)
def test_which_keys_a_url_can_address(key: str, expected: bool) -> None:
    assert is_in_url(key) == expected


# -- answers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("e30=", b"{}", id="a value"),
        pytest.param(None, b"", id="an empty value"),
        pytest.param("e30", None, id="base64 that is cut"),
        pytest.param("e3*0=", None, id="not base64"),
        pytest.param("ü", None, id="not ASCII"),
    ],
)
def test_the_value_of_an_entry(value: str | None, text: bytes | None) -> None:
    body = json.dumps([{"LockIndex": 0, "Key": "a", "Flags": 3, "Value": value, "CreateIndex": 1, "ModifyIndex": 5}])
    assert run_at_once(read_entries(body.encode())) == [ConsulEntry(key="a", modify_index=5, value=value)]
    assert ConsulEntry(key="a", modify_index=5, value=value).text == text


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"null", b"<html>", b"[1]", b'[{"Key":1,"ModifyIndex":1}]', b'[{"Key":"a"}]', b'[{"Key":"a","ModifyIndex":-'),
        *(b'[{"Key":"a","ModifyIndex":1,"Value":["e30="]}]', pytest.param(b"[" * 100_000, id="nested without end")),
    ],
)
def test_an_answer_that_is_not_a_list_of_entries_is_refused(body: bytes) -> None:
    with pytest.raises(StoreError, match="not a list of entries"):
        run_at_once(read_entries(body))


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_reading_any_bytes_gives_entries_or_a_store_error(body: bytes) -> None:
    for read in (lambda: run_at_once(read_entries(body)), lambda: read_conflict(body)):
        try:
            read()
        except StoreError:
            continue


@given(st.dictionaries(st.text(max_size=20), st.binary(max_size=20), max_size=5))
def test_entries_are_read_back(values: dict[str, bytes]) -> None:
    body = json.dumps([{"Key": key, "ModifyIndex": 1, "Value": base64.b64encode(value).decode()} for key, value in values.items()])
    assert {entry.key: entry.text for entry in run_at_once(read_entries(body.encode(errors="replace")))} == values


@pytest.mark.parametrize(
    ("body", "conflict"),
    [
        pytest.param(b'{"Results":[],"Errors":null}', False, id="no errors"),
        pytest.param(b'{"Results":null,"Errors":[]}', False, id="an empty list of errors"),
        pytest.param(
            b'{"Results":null,"Errors":[{"OpIndex":1,"What":"failed to set key \\"a\\", index is stale"}]}',
            True,
            id="a stale index",
        ),
    ],
)
def test_the_answer_to_a_transaction(body: bytes, conflict: bool) -> None:
    assert read_conflict(body) == conflict


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            b'{"Results":null,"Errors":[{"OpIndex":0,"What":"Permission denied"}]}',
            "Consul refused a transaction: Permission denied",
        ),
        *((body, "Consul sent an invalid answer to a transaction") for body in (b"", b"true", b"{}", b'{"Results":[],"Errors":7}')),
    ],
)
def test_a_transaction_that_consul_refused_is_an_error(body: bytes, problem: str) -> None:
    with pytest.raises(StoreError, match=problem):
        read_conflict(body)
