"""DynamoDBConnection: its client, which opens without blocking the loop, repeated calls, batches and messages."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoRegionError,
    PartialCredentialsError,
    ReadTimeoutError,
)

from aioflags import StoreError
from aioflags.stores.dynamodb_connection import BUSY, DynamoDBClient, DynamoDBConnection, DynamoDBItem, keys
from tests.support.canaries import KEY
from tests.support.dynamodb_server import CREDENTIALS, TABLE, DynamoDBServer
from tests.support.forks import succeeds_in_a_child

URL = "http://127.0.0.1:9"
CLOSED = ConnectionClosedError(endpoint_url=URL)


def answered(code: str, status: int = 400, message: str = "a message") -> ClientError:
    """The error for an answer of DynamoDB."""
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetItem")


THROUGHPUT_EXCEEDED = answered("ProvisionedThroughputExceededException")


class Scripted:
    """A client whose calls end in the errors of a list, then succeed. It has what each call was given, and when it came."""

    def __init__(self, *errors: Exception, unprocessed: Callable[[list[Any]], list[Any]] = lambda _: []) -> None:
        self.errors = list(errors)
        self.calls: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.pages: list[dict[str, Any]] = []
        self._unprocessed = unprocessed

    async def get_item(self, **parameters: Any) -> dict[str, Any]:
        self._came(parameters)
        return {"Item": keys("n", "k")}

    put_item = get_item

    async def query(self, **parameters: Any) -> dict[str, Any]:
        self._came(parameters)
        return self.pages.pop(0)

    async def batch_write_item(self, **parameters: Any) -> dict[str, Any]:
        batch = parameters["RequestItems"]["flags"]
        self._came({"batch": batch})
        left = self._unprocessed(batch)
        return {"UnprocessedItems": {"flags": left} if left else {}}

    def _came(self, parameters: dict[str, Any]) -> None:
        self.calls.append(parameters)
        self.times.append(anyio.current_time())
        if self.errors:
            raise self.errors.pop(0)


def connection(client: Scripted, chance: float = 0.5) -> DynamoDBConnection:
    return DynamoDBConnection(client, "flags", chance=lambda: chance)


def item(number: int, text: str = "") -> DynamoDBItem:
    return {**keys("features", f"flag-{number}"), "item": {"S": text}}


# -- busy


@pytest.mark.parametrize(
    ("failures", "chance", "seconds"),
    [
        pytest.param(0, 0.9, 0, id="none before the first attempt"),
        pytest.param(1, 0.5, 0.025, id="up to 50 ms before the second"),
        pytest.param(3, 0.5, 0.1, id="up to 200 ms before the fourth"),
        pytest.param(9, 0.5, 0.5, id="never more than a second"),
        pytest.param(5, 0, 0, id="none for chance 0"),
    ],
)
def test_the_pause_while_dynamodb_is_busy(failures: int, chance: float, seconds: float) -> None:
    assert BUSY.pause(failures, chance) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(THROUGHPUT_EXCEEDED, id="the capacity of the table is used up"),
        pytest.param(answered("ThrottlingException"), id="throttled"),
        pytest.param(answered("RequestLimitExceeded"), id="the capacity of the account is used up"),
        pytest.param(answered("InternalServerError", 500), id="an error of DynamoDB"),
        pytest.param(answered("502", 502), id="an error of what is in between"),
    ],
)
async def test_a_call_is_repeated_after_growing_pauses_while_dynamodb_is_busy(error: Exception) -> None:
    client = Scripted(*[error] * 5)
    assert await connection(client).get("n", "k") == keys("n", "k")
    pauses = [after - before for before, after in zip(client.times, client.times[1:], strict=False)]
    assert pauses == pytest.approx([0.025, 0.05, 0.1, 0.2, 0.4])


async def test_a_call_gives_up_after_six_attempts_within_the_time_of_a_look_up() -> None:
    client, began = Scripted(*[THROUGHPUT_EXCEEDED] * 100), anyio.current_time()
    with pytest.raises(StoreError, match="DynamoDB is busy"):
        await connection(client, chance=0.999).get("n", "k")
    assert len(client.calls) == 6
    assert anyio.current_time() - began < 2


@pytest.mark.parametrize("error", [CLOSED, EndpointConnectionError(endpoint_url=URL)], ids=["while it was idle", "at once"])
async def test_a_call_is_repeated_once_after_a_lost_connection(error: Exception) -> None:
    client, began = Scripted(error), anyio.current_time()
    await connection(client).get("n", "k")
    assert (len(client.calls), anyio.current_time()) == (2, began)
    client = Scripted(error, error)
    with pytest.raises(StoreError):
        await connection(client).get("n", "k")
    assert len(client.calls) == 2


async def test_a_condition_that_does_not_hold_is_not_an_error() -> None:
    client = Scripted(answered("ConditionalCheckFailedException"))
    await connection(client).put_if_newer({**keys("n", "k"), "version": {"N": "1"}})
    assert len(client.calls) == 1


# -- batches


@pytest.mark.parametrize(
    ("texts", "sizes"),
    [
        pytest.param(["short"] * 60, [25, 25, 10], id="25 items at most"),
        pytest.param(["x" * 150_000] * 5, [2, 2, 1], id="400,000 characters at most"),
        pytest.param(["x" * 390_000, "short", "x" * 399_000], [2, 1], id="one large item"),
        pytest.param([], [], id="nothing"),
    ],
)
async def test_items_are_written_in_batches_and_in_order(texts: list[str], sizes: list[int]) -> None:
    client, items = Scripted(), [item(number, text) for number, text in enumerate(texts)]
    await connection(client).put(items)
    assert [len(call["batch"]) for call in client.calls] == sizes
    assert [request["PutRequest"]["Item"] for call in client.calls for request in call["batch"]] == items


async def test_items_are_deleted_in_batches() -> None:
    client = Scripted()
    await connection(client).delete([keys("n", str(number)) for number in range(30)])
    assert [len(call["batch"]) for call in client.calls] == [25, 5]
    assert client.calls[1]["batch"][-1] == {"DeleteRequest": {"Key": keys("n", "29")}}


async def test_what_is_left_unwritten_is_sent_again_after_a_pause() -> None:
    client = Scripted(unprocessed=lambda batch: batch[1:])  # one at a time
    await connection(client).put([item(number) for number in range(20)])
    assert Counter(len(call["batch"]) for call in client.calls) == Counter(range(1, 21))
    pauses = [after - before for before, after in zip(client.times, client.times[1:], strict=False)]
    assert pauses == pytest.approx([0.025] * 19)  # each attempt wrote something


async def test_a_batch_of_which_nothing_is_written_is_given_up_after_six_attempts() -> None:
    client, began = Scripted(unprocessed=lambda batch: batch), anyio.current_time()
    with pytest.raises(StoreError, match="DynamoDB is busy: it wrote nothing of a batch in 6 attempts"):
        await connection(client, chance=0.999).put([item(number) for number in range(60)])
    assert [len(call["batch"]) for call in client.calls] == [25] * 6
    assert anyio.current_time() - began < 2


# -- pages


async def test_a_namespace_is_read_page_after_page() -> None:
    client, read = Scripted(), list[DynamoDBItem]()
    client.pages = [{"Items": [item(1)], "LastEvaluatedKey": keys("n", "1")}, {"Items": []}]
    await connection(client).each_page("n", read.extend)
    assert read == [item(1)]
    assert client.calls[0]["ExpressionAttributeValues"] == {":namespace": {"S": "n"}}
    assert [call.get("ExclusiveStartKey") for call in client.calls[1:]] == [keys("n", "1")]


@pytest.mark.parametrize("answer", [{}, {"Items": None, "Count": None}, {"Items": {"a": 1}, "Count": "0"}], ids=str)
async def test_an_invalid_answer_is_not_an_empty_namespace(answer: dict[str, Any]) -> None:
    client = Scripted()
    client.pages = [answer, answer]
    with pytest.raises(StoreError, match="invalid answer"):
        await connection(client).each_page("n", list[DynamoDBItem]().extend)
    with pytest.raises(StoreError, match="invalid answer"):
        await connection(client).is_empty("n")


@pytest.mark.parametrize(("count", "is_empty"), [(0, True), (1, False)])
async def test_one_item_is_read_to_learn_whether_a_namespace_is_empty(count: int, is_empty: bool) -> None:
    client = Scripted()
    client.pages = [{"Count": count, "LastEvaluatedKey": keys("n", "1")}]
    assert await connection(client).is_empty("n") is is_empty
    (call,) = client.calls
    assert (call["Limit"], call["Select"], call["ConsistentRead"]) == (1, "COUNT", True)


# -- errors


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(
            answered("ResourceNotFoundException"),
            "DynamoDB has no table flags: create it with the partition key namespace and the sort key key, both strings",
            id="no table",
        ),
        pytest.param(
            answered("ValidationException", message="The provided key element does not match the schema"),
            "the table flags of DynamoDB needs the partition key namespace and the sort key key, both strings",
            id="a table with other keys",
        ),
        pytest.param(
            answered("InvalidSignatureException", message=f"The Canonical String should have been x-amz-security-token:{KEY}"),
            "DynamoDB refused the credentials (InvalidSignatureException)",
            id="a wrong secret, without the text that repeats the request",
        ),
        pytest.param(
            answered("UnrecognizedClientException"),
            "DynamoDB refused the credentials (UnrecognizedClientException)",
            id="a wrong key",
        ),
        pytest.param(
            answered("AccessDeniedException", message="not authorized to perform: dynamodb:Query"),
            "not authorized to perform: dynamodb:Query",
            id="a missing permission",
        ),
        pytest.param(ReadTimeoutError(endpoint_url=URL), "DynamoDB did not answer in time", id="no answer"),
        pytest.param(ConnectTimeoutError(endpoint_url=URL), "DynamoDB did not answer in time", id="no connection"),
        pytest.param(NoRegionError(), "no AWS region: set AWS_DEFAULT_REGION, or the option region", id="no region"),
        pytest.param(PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), "AWS_SECRET_ACCESS_KEY", id="half"),
        pytest.param(ValueError("a bug"), "ValueError: a bug", id="anything else"),
    ],
)
async def test_a_failed_call_is_not_repeated_and_says_what_to_do(error: Exception, message: str) -> None:
    client = Scripted(error)
    with pytest.raises(StoreError) as caught:
        await connection(client).get("n", "k")
    assert message in str(caught.value)
    assert len(client.calls) == 1
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


# -- DynamoDBClient: makes one client, without blocking the event loop, and leaves nothing open


def client_of(server: DynamoDBServer) -> DynamoDBClient:
    return DynamoDBClient(region=None, endpoint_url=server.url, timeout=2)


@pytest.mark.real_time
async def test_calls_at_once_get_the_same_client(dynamodb: DynamoDBServer) -> None:
    client, made = client_of(dynamodb), list[object]()

    async def ask() -> None:
        made.append(await client.get())

    async with anyio.create_task_group() as askers:
        for _ in range(5):
            askers.start_soon(ask)
    assert len(made) == 5
    assert len({id(each) for each in made}) == 1
    await client.aclose()


@pytest.mark.real_time
@pytest.mark.parametrize("turns", range(6))
async def test_a_call_that_is_cancelled_while_the_client_is_made_leaves_nothing_behind(
    dynamodb: DynamoDBServer, turns: int
) -> None:
    client = client_of(dynamodb)
    call = asyncio.create_task(client.get())
    for _ in range(turns):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait({call})
    assert (await (await client.get()).list_tables())["TableNames"] == [TABLE]
    await client.aclose()


@pytest.mark.real_time
async def test_a_closed_client_has_no_connections(dynamodb: DynamoDBServer) -> None:
    client = client_of(dynamodb)
    async with anyio.create_task_group() as askers:
        for _ in range(5):
            askers.start_soon((await client.get()).list_tables)
    await client.aclose()
    await client.aclose()


@pytest.mark.real_time
@pytest.mark.parametrize("turns", [0, 1, 2, 3, None])
async def test_a_call_that_meets_the_close_opens_no_client(dynamodb: DynamoDBServer, turns: int | None) -> None:
    """A look-up of big segments may pause while the program closes its client."""
    client = client_of(dynamodb)
    call = None if turns is None else asyncio.create_task(client.get())
    for _ in range(turns or 0):
        await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(StoreError, match="closed"):
        await (client.get() if call is None else call)
    with pytest.raises(StoreError, match="closed"):
        await client.get()


@pytest.mark.real_time
async def test_profiles_and_their_files_are_read_off_the_event_loop(
    dynamodb: DynamoDBServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    credentials = tmp_path.with_suffix(".credentials")  # beside the folder, which may not have a canary
    credentials.write_text("\n".join(["[shop]", *(f"{name} = {value}" for name, value in CREDENTIALS.items())]))
    for name in CREDENTIALS:
        monkeypatch.delenv(name.upper())
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_PROFILE", "shop")
    client = client_of(dynamodb)
    assert (await (await client.get()).list_tables())["TableNames"] == [TABLE]
    await client.aclose()


@pytest.mark.real_time
@pytest.mark.slow
def test_the_first_client_of_a_process_blocks_the_event_loop_for_a_moment_only(dynamodb: DynamoDBServer) -> None:
    """In a process that has not imported botocore: an event loop that was blocked by it has a task that was late."""
    program = f"""
import asyncio, time
from aioflags.stores.dynamodb_connection import DynamoDBClient
from blockbuster import blockbuster_ctx

async def main():
    with blockbuster_ctx("aioflags") as alarm:
        for function in alarm.functions.values():
            function.can_block_in("aioflags/stores/dynamodb_connection.py", {{"_credentials"}})
        client = DynamoDBClient(region=None, endpoint_url={dynamodb.url!r}, timeout=2)
        assert "botocore" not in __import__("sys").modules
        making = asyncio.create_task(client.get())
        turns = 0
        while not making.done():
            turns += 1
            await asyncio.sleep(0.001)
        await making
        await client.aclose()
        assert turns > 20, turns

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=Path(__file__).parents[2])


@pytest.mark.real_time
@pytest.mark.slow
async def test_a_child_of_a_fork_leaves_the_connections_of_its_parent_alone(dynamodb: DynamoDBServer) -> None:
    client = client_of(dynamodb)
    parents = await client.get()

    async def child() -> None:
        childs = await client.get()
        assert childs is not parents
        assert (await childs.list_tables())["TableNames"] == [TABLE]
        await client.aclose()
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        gc.collect()
        assert complaints == []

    assert succeeds_in_a_child(child)
    assert await client.get() is parents
    assert (await parents.list_tables())["TableNames"] == [TABLE]
    await client.aclose()
    assert not [thread for thread in threading.enumerate() if thread.name == "aioflags-dynamodb"]
