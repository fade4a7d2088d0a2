"""DynamoDBStore: its options, its layout, and data that other programs wrote to the table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiobotocore.session import AioSession

from aioflags import ConfigError, StoreError
from aioflags.model.change import ObjectKind
from aioflags.stores import DynamoDBStore, Store, StoreContext, StoredItem
from aioflags.stores.dynamodb_connection import keys
from tests.support.canaries import KEY
from tests.support.dynamodb_server import CREDENTIALS, REGION, TABLE, DynamoDBServer
from tests.support.raw_server import raw_server, saying

CONTEXT = StoreContext(environment="an environment")
FLAG, SEGMENT = ObjectKind.FLAG, ObjectKind.SEGMENT


def item(key: str, version: int = 1, kind: ObjectKind = FLAG) -> StoredItem:
    return StoredItem(kind, key, version, b'{"key":"%b","version":%d}' % (key.encode(), version))


@asynccontextmanager
async def opened(url: str, table: str = TABLE, **options: Any) -> AsyncGenerator[Store]:
    store = DynamoDBStore(table, endpoint_url=url, **options).build(CONTEXT)
    try:
        yield store
    finally:
        await store.aclose()


# -- options


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param({"table": 1}, "table: expected str, got int", id="a table that is not text"),
        pytest.param({"table": ""}, "table: expected the name of a table, got an empty one", id="no table"),
        pytest.param({"prefix": None}, "prefix: expected str, got NoneType", id="no prefix"),
        pytest.param({"region": 1}, "region: expected str or None, got int", id="a region that is not text"),
        pytest.param({"endpoint_url": "localhost:8000"}, "endpoint_url: expected an address that starts with http", id="no scheme"),
        pytest.param({"endpoint_url": "http://user:secret@db"}, "endpoint_url: remove the user name", id="a password"),
        pytest.param({"timeout": "1"}, "timeout: expected int or float, got str", id="a timeout that is text"),
        pytest.param({"client": "flags"}, "client: expected a dynamodb client of aiobotocore, got str", id="a client that is text"),
    ],
)
def test_an_invalid_option_is_refused(options: dict[str, Any], problem: str) -> None:
    given: dict[str, Any] = {"table": TABLE, **options}
    with pytest.raises(ConfigError) as raised:
        DynamoDBStore(**given)
    assert problem in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_synchronous_client_is_refused() -> None:
    client: Any = boto3.client("dynamodb", region_name=REGION, **CREDENTIALS)
    with pytest.raises(TypeError, match="got the synchronous DynamoDB of boto3"):
        DynamoDBStore(TABLE, client=client)
    client.close()


async def test_a_client_that_is_not_open_is_refused(aws: None) -> None:
    closed: Any = AioSession().create_client("dynamodb")
    with pytest.raises(TypeError, match="got one that is not open: use what async with returns"):
        DynamoDBStore(TABLE, client=closed)
    closed._coro.close()


def test_the_repr_has_what_was_given_except_the_client() -> None:
    store = DynamoDBStore(TABLE, prefix="shop", endpoint_url="http://localhost:8000/")
    shown = "table='flags', prefix='shop', region=None, endpoint_url='http://localhost:8000', timeout=2.0"
    assert repr(store) == f"DynamoDBStore({shown})"


# -- the layout


@pytest.mark.real_time
@pytest.mark.parametrize(("prefix", "start"), [("", ""), ("shop", "shop:")], ids=["without a prefix", "with a prefix"])
async def test_the_items_are_those_of_launchdarklys_sdks(dynamodb: DynamoDBServer, prefix: str, start: str) -> None:
    deleted = StoredItem(SEGMENT, "s", 3, b'{"key":"s","version":3,"deleted":true}')
    async with opened(dynamodb.url, prefix=prefix) as store:
        await store.replace({SEGMENT: {"s": deleted}, FLAG: {"ü": item("ü", 7)}})
    assert sorted(dynamodb.items, key=lambda each: each["namespace"]["S"]) == [
        {"namespace": {"S": f"{start}$inited"}, "key": {"S": f"{start}$inited"}, "item": {"S": "$inited segments features"}},
        {
            "namespace": {"S": f"{start}features"},
            "key": {"S": "ü"},
            "version": {"N": "7"},
            "item": {"S": '{"key":"ü","version":7}'},
        },
        {
            "namespace": {"S": f"{start}segments"},
            "key": {"S": "s"},
            "version": {"N": "3"},
            "item": {"S": '{"key":"s","version":3,"deleted":true}'},
        },
    ]


@pytest.mark.real_time
@pytest.mark.holds("DS-133")
async def test_a_prefix_keeps_data_apart(dynamodb: DynamoDBServer) -> None:
    async with opened(dynamodb.url, prefix="ours") as ours, opened(dynamodb.url) as theirs:
        await ours.replace({FLAG: {"a": item("a")}})
        await theirs.replace({FLAG: {}})
        assert await ours.get(FLAG, "a") == item("a")
        assert await theirs.get(FLAG, "a") is None


# -- what DynamoDB refuses


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        pytest.param(
            StoredItem(FLAG, "odd", 5, b'{"version":5,"x":"%b"}' % (b"x" * 400_000)),
            "flag odd is not stored: it has 400055 bytes, and DynamoDB takes 400000",
            id="an item of more than 400 kB",
        ),
        pytest.param(
            item("ü" * 513, 5), "is not stored: its key has 1026 bytes, and DynamoDB takes 1 to 1024", id="a key of more than 1 kB"
        ),
        pytest.param(item("", 5), "flag  is not stored: its key has 0 bytes", id="an empty key"),
    ],
)
async def test_what_dynamodb_would_refuse_is_left_out_with_one_line_in_the_log(
    dynamodb: DynamoDBServer, refused: StoredItem, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(dynamodb.url) as store:
        await store.replace({FLAG: {"odd": item("odd", 1), "good": item("good", 1)}})
        for _ in range(2):
            await store.replace({FLAG: {refused.key: refused, "good": item("good", 2)}})
            assert set((await store.load())[FLAG]) == {"good"}
        await store.upsert([refused, item("good", 3)])
        assert (await store.load())[FLAG] == {"good": item("good", 3)}
        assert await store.get(FLAG, refused.key) is None
    assert [(record.levelno, reason in record.message) for record in caplog.records] == [(logging.ERROR, True)]


@pytest.mark.real_time
async def test_an_item_of_exactly_the_limit_is_stored(dynamodb: DynamoDBServer) -> None:
    names_and_keys = len("namespacefeatures" + "keylargest" + "version1" + "item")
    text = b'{"version":1,"x":"%b"}' % (b"x" * (400_000 - names_and_keys - len('{"version":1,"x":""}')))
    async with opened(dynamodb.url) as store:
        await store.replace({FLAG: {"largest": StoredItem(FLAG, "largest", 1, text)}})
        assert await store.get(FLAG, "largest") == StoredItem(FLAG, "largest", 1, text)


# -- what others wrote


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("attributes", "version"),
    [
        pytest.param({"item": {"S": '{"version":7,"deleted":true}'}}, 7, id="a tombstone without a key"),
        pytest.param({"item": {"S": '{"key":"$deleted","version":7,"deleted":true}'}}, 7, id="a tombstone with the key $deleted"),
        pytest.param({"item": {"S": '{"key":"other","version":7}'}, "more": {"BOOL": True}}, 7, id="another key and attribute"),
        pytest.param({"item": {"S": '{"version":7'}}, None, id="half a document"),
        pytest.param({"item": {"S": "[7]"}}, None, id="an array"),
        pytest.param({"item": {"S": ""}}, None, id="empty text"),
        pytest.param({"item": {"S": "[" * 100_000}}, None, id="nested without end"),
        pytest.param({"item": {"N": "7"}}, None, id="a number for text"),
        pytest.param({"item": {"M": {"version": {"N": "7"}}}}, None, id="a map for text"),
        pytest.param({"item": {"NULL": True}}, None, id="null"),
        pytest.param({"version": {"S": "seven"}}, None, id="no document, and a version that is text"),
        pytest.param({}, None, id="no attributes"),
    ],
)
async def test_an_unreadable_item_is_left_out_and_the_others_are_read(
    dynamodb: DynamoDBServer, attributes: dict[str, Any], version: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"version": {"N": "7"}} if "item" in attributes else {}
    dynamodb.put("$inited", "$inited")
    dynamodb.put("features", "odd", **given, **attributes)
    dynamodb.put("features", "good", version={"N": "1"}, item={"S": '{"key":"good","version":1}'})
    async with opened(dynamodb.url) as store:
        flags = (await store.load())[FLAG]
        assert flags["good"].version == 1
        assert (flags["odd"].version if "odd" in flags else None) == version
        assert await store.get(FLAG, "odd") == flags.get("odd")
        assert caplog.text.count("flag odd cannot be read") == (version is None)
        await store.upsert([item("odd", 8)])
        assert (await store.load())[FLAG]["odd"] == item("odd", 8)


@pytest.mark.real_time
async def test_only_what_is_not_stored_yet_is_written(dynamodb: DynamoDBServer) -> None:
    async with _given(dynamodb) as client:
        counting = _Counting(client)
        store = DynamoDBStore(TABLE, client=counting).build(CONTEXT)
        flags = {f"flag-{n}": item(f"flag-{n}") for n in range(60)}
        await store.replace({FLAG: flags})
        assert counting.written == 61
        dynamodb.put("features", "theirs", version={"N": "1"})
        await store.replace({FLAG: {**flags, "flag-1": item("flag-1", 2)}})
        assert counting.written == 61 + 2  # what is new, and what is deleted
        assert (await store.load())[FLAG] == {**flags, "flag-1": item("flag-1", 2)}


@pytest.mark.real_time
@pytest.mark.parametrize("written", [0, 1, 26, 51, 60, 61])
async def test_a_writer_that_dies_while_it_refills_leaves_no_store_that_looks_whole(dynamodb: DynamoDBServer, written: int) -> None:
    flags = {FLAG: {f"flag-{n}": item(f"flag-{n}") for n in range(60)}}
    async with _given(dynamodb) as client, opened(dynamodb.url) as heir:
        dynamodb.put("$inited", "$inited", item={"S": "$inited features"})
        # The marker is deleted, then come the flags, 25 in a request, then the marker.
        writer = DynamoDBStore(TABLE, client=_Counting(client, most=written)).build(CONTEXT)
        with pytest.raises(StoreError, match="EOFError"):
            await writer.replace(flags)
        assert len(dynamodb.items) < 61
        assert not await heir.initialized()
        await heir.upsert([item("new")])
        assert not await heir.initialized()
        await heir.replace(flags)
        assert await heir.initialized()
        assert (await heir.load())[FLAG] == flags[FLAG]


@pytest.mark.real_time
@pytest.mark.parametrize(("before", "after"), [("theirs", "ours"), ("older", "theirs")])
async def test_a_marker_is_not_changed_if_another_process_has_changed_it(dynamodb: DynamoDBServer, before: str, after: str) -> None:
    dynamodb.put("$inited", "$inited", item={"S": "theirs"})
    connection = DynamoDBStore(TABLE, endpoint_url=dynamodb.url).connection()
    await connection.put_if_unchanged({**keys("$inited", "$inited"), "item": {"S": "ours"}}, before={"item": {"S": before}})
    await connection.aclose()
    assert [each["item"]["S"] for each in dynamodb.items] == [after]


class _Counting:
    """A client that counts the writes in its batches. Its program dies before it has written more than ``most``."""

    def __init__(self, client: Any, most: int = 1000) -> None:
        self._client, self._most, self.written = client, most, 0
        self.get_item, self.put_item, self.query = client.get_item, client.put_item, client.query

    async def __aenter__(self) -> None: ...

    async def batch_write_item(self, RequestItems: dict[str, list[Any]]) -> Any:
        self.written += len(RequestItems[TABLE])
        if self.written > self._most:
            raise EOFError
        return await self._client.batch_write_item(RequestItems=RequestItems)


# -- the client


@asynccontextmanager
async def _given(dynamodb: DynamoDBServer) -> AsyncGenerator[Any]:
    """A client of the program."""
    context: Any = AioSession().create_client("dynamodb", endpoint_url=dynamodb.url)
    async with context as client:
        yield client


@pytest.mark.real_time
async def test_a_ready_client_is_used_and_left_open(dynamodb: DynamoDBServer) -> None:
    async with _given(dynamodb) as client:
        store = DynamoDBStore(TABLE, client=client).build(CONTEXT)
        await store.replace({FLAG: {"a": item("a")}})
        await store.aclose()
        assert (await client.scan(TableName=TABLE))["Count"] == 2


Call = Callable[[Store], Awaitable[object]]
CALLS: dict[str, Call] = {
    "initialized": lambda store: store.initialized(),
    "load": lambda store: store.load(),
    "get": lambda store: store.get(FLAG, "a"),
    "replace": lambda store: store.replace({FLAG: {"a": item("a")}}),
    "upsert": lambda store: store.upsert([item("a")]),
    "is_available": lambda store: store.is_available(),
}


@pytest.mark.real_time
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_missing_table_is_an_error_that_names_it(dynamodb: DynamoDBServer, call: Call) -> None:
    async with opened(dynamodb.url, "nowhere") as store:
        with pytest.raises(StoreError) as caught:
            await call(store)
    advice = "create it with the partition key namespace and the sort key key, both strings"
    assert str(caught.value) == f"DynamoDB at {dynamodb.url} has no table nowhere: {advice}"


@pytest.mark.real_time
async def test_a_table_with_other_keys_is_an_error_that_names_the_right_ones(dynamodb: DynamoDBServer) -> None:
    dynamodb.create_table("others", "id", "range")
    async with opened(dynamodb.url, "others") as store:
        with pytest.raises(StoreError, match="needs the partition key namespace and the sort key key"):
            await store.is_available()


@pytest.mark.slow
@pytest.mark.real_time
async def test_credentials_of_a_server_that_is_silent_are_named_as_the_cause(
    dynamodb: DynamoDBServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name.upper())
    monkeypatch.setenv("HOME", str(tmp_path))
    async with raw_server(saying()) as silent, opened(dynamodb.url) as store:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{silent.port}")
        with pytest.raises(StoreError, match=r"AWS credentials were not found within 1\.5 s .*; set AWS_ACCESS_KEY_ID"):
            await store.is_available()


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        pytest.param(["AWS_DEFAULT_REGION"], "no AWS region: set AWS_DEFAULT_REGION, or the option region", id="no region"),
        pytest.param([name.upper() for name in CREDENTIALS], "no AWS credentials: set AWS_ACCESS_KEY_ID", id="no credentials"),
        pytest.param(["AWS_SECRET_ACCESS_KEY"], "missing: AWS_SECRET_ACCESS_KEY", id="half of the credentials"),
    ],
)
async def test_the_environment_is_read_again_after_it_lacked(
    dynamodb: DynamoDBServer, monkeypatch: pytest.MonkeyPatch, missing: list[str], problem: str
) -> None:
    async with opened(dynamodb.url) as store:
        with monkeypatch.context() as changed:
            for name in missing:
                changed.delenv(name)
            for _ in range(2):
                with pytest.raises(StoreError) as caught:
                    await store.is_available()
                assert problem in str(caught.value)
        assert await store.is_available()


@pytest.mark.real_time
async def test_a_refused_connection_is_noticed_at_once(aws: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with opened("http://127.0.0.1:9") as store:
        with pytest.raises(StoreError, match=r"Could not connect to the endpoint URL: .http://127\.0\.0\.1:9/"):
            await store.is_available()


@pytest.mark.real_time
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_the_timeout_of_a_silent_server_has_its_address(aws: None, call: Call) -> None:
    async with _answering(None) as url, opened(url, timeout=0.1) as store:
        with pytest.raises(StoreError) as caught:
            await call(store)
        assert str(caught.value) == f"DynamoDB at {url} did not answer within 0.1 s"


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        pytest.param(
            b'HTTP/1.1 400 \r\nContent-Length: 42\r\n\r\n{"__type":"x#UnrecognizedClientException"}',
            "refused the credentials (UnrecognizedClientException)",
            id="that the credentials are wrong",
        ),
        pytest.param(b"\x00\xffgarbage\r\n$-7\r\n\r\n", "HTTPClientError", id="garbage"),
        pytest.param(b"HTTP/1.1 200 \r\nContent-Length: 7\r\n\r\ngarbage", "invalid answer", id="what is not JSON"),
        pytest.param(b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n[]", "", id="an array"),
        pytest.param(b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}", "invalid answer", id="nothing"),
        pytest.param(b"HTTP/1.1 404 \r\nContent-Length: 4\r\n\r\nnone", "404", id="the page of another server"),
        pytest.param(b"", "ConnectionClosedError", id="with the end of the connection"),
    ],
)
async def test_a_server_that_answers(aws: None, answer: bytes, problem: str) -> None:
    async with _answering(answer) as url, opened(url) as store:
        with pytest.raises(StoreError) as caught:
            await store.load()
        assert problem in str(caught.value)


@asynccontextmanager
async def _answering(answer: bytes | None) -> AsyncGenerator[str]:
    """The address of a server that answers every request with these bytes, or never."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.real_time
async def test_no_error_and_no_log_line_has_the_credentials(
    dynamodb: DynamoDBServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", KEY)
    caplog.set_level(logging.INFO)  # with DEBUG, botocore logs the token of every request
    async with opened(dynamodb.url) as store:
        await store.replace({FLAG: {"a": item("a")}})
        assert CREDENTIALS["aws_secret_access_key"] not in repr(vars(store))
    async with opened(dynamodb.url, "nowhere") as store:
        with pytest.raises(StoreError):
            await store.load()
