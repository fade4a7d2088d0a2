"""DynamoDBClient: makes one client, without blocking the event loop, and leaves nothing open."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest

from aioflags.errors import StoreError
from aioflags.stores.dynamodb_connection import DynamoDBClient
from tests.support.dynamodb_server import CREDENTIALS, TABLE, DynamoDBServer
from tests.support.forks import succeeds_in_a_child

pytestmark = pytest.mark.real_time


def client_of(server: DynamoDBServer) -> DynamoDBClient:
    return DynamoDBClient(region=None, endpoint_url=server.url, timeout=2)


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


async def test_a_closed_client_has_no_connections(dynamodb: DynamoDBServer) -> None:
    client = client_of(dynamodb)
    async with anyio.create_task_group() as askers:
        for _ in range(5):
            askers.start_soon((await client.get()).list_tables)
    await client.aclose()
    await client.aclose()


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
