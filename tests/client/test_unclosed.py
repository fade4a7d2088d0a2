"""A client that was started and not closed causes a ResourceWarning when it is collected."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from aioflags import Client, Config, Context, Events
from aioflags.testing import MemoryClient
from tests.support.canaries import KEY
from tests.support.scripted_clients import all_tasks
from tests.support.scripted_http import Service, payload, poll_of, sse, stream_of


def run(*steps: Callable[[Client], Any], kind: Callable[[], Client] = lambda: Client.local({})) -> Client:
    """A client after these awaited steps, on an event loop that has ended."""
    client = kind()

    async def take() -> None:
        for step in steps:
            await step(client)

    asyncio.run(take())
    return client


def refused() -> Client:
    wrong: Any = 5
    with pytest.raises(TypeError):
        Client(wrong)
    return Client("")


class Offline(Client):
    def __init__(self) -> None:
        super().__init__("", Config(offline=True))


async def start(client: Client) -> None:
    await client.start()


async def close(client: Client) -> None:
    await client.aclose()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda: run(start), ["unclosed client <Client"], id="a started client"),
        pytest.param(lambda: run(start, kind=Offline), ["unclosed client <Offline"], id="a started client of a subclass"),
        pytest.param(lambda: run(start, kind=MemoryClient), [], id="a started MemoryClient"),
        pytest.param(lambda: run(start, close), [], id="a closed client"),
        pytest.param(lambda: run(close), [], id="a client that was closed before its start"),
        pytest.param(lambda: Client.local({}), [], id="a client that was never started"),
        pytest.param(refused, [], id="a client whose constructor raised"),
    ],
)
def test_a_collected_client_warns_only_if_it_was_started_and_not_closed(make: Callable[[], Client], expected: list[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client = weakref.ref(make())
        gc.collect()
    assert client() is None
    assert [warning.category for warning in caught] == [ResourceWarning] * len(expected)
    for warning, beginning in zip(caught, expected, strict=True):
        assert str(warning.message).startswith(beginning)
        assert "aclose()" in str(warning.message)


PROGRAM = """
import asyncio, os, sys
from aioflags import Client, Config

client = Client.local({"flagValues": {"a": True}})

async def main():
    await client.start()
    if "close" in sys.argv:
        await client.aclose()

runner = asyncio.Runner()
runner.run(main())
if "fork" in sys.argv:
    # Neither in the loop nor in its runner: CPython 3.14 hangs, or closes generators that run, with or without a client.
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    os.waitpid(pid, 0)
    runner.run(client.aclose())
runner.close()
"""


@pytest.mark.parametrize(
    ("argument", "count"),
    [
        pytest.param("leave", 1, id="once for an open client"),
        pytest.param("close", 0, id="not for a closed client"),
        pytest.param(
            "fork",
            0,
            id="not in the child of a fork",
            marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork"),
        ),
    ],
)
def test_an_interpreter_that_exits_warns(argument: str, count: int) -> None:
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", PROGRAM, argument]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stderr.count("ResourceWarning: unclosed client <Client ") == count
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


def test_a_loop_that_ends_before_the_close_leaves_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    client = Client.local({})

    async def leave() -> None:
        await client.start()
        sys.exit(3)

    with pytest.raises(SystemExit):
        asyncio.run(leave())
    assert caplog.messages == ["the client's task was cancelled, and what was not sent is lost: await aclose(), or use async with"]
    asyncio.run(client.aclose())


async def test_a_running_client_that_is_dropped_is_collected_at_once() -> None:
    clients = [Client.local({"flagValues": {"theme": "dark"}})]
    await clients[0].start()
    is_gone = weakref.ref(clients[0])
    with pytest.warns(ResourceWarning, match="unclosed client <Client READY"):
        clients.clear()
    assert is_gone() is None


@pytest.mark.parametrize("in_thread", [False, True], ids=["on the event loop", "in another thread"])
async def test_a_running_client_that_is_dropped_is_closed(in_thread: bool, caplog: pytest.LogCaptureFixture) -> None:
    service = Service(poll_of(*payload("f")), stream_of(sse(*payload("f"))))
    clients = [Client(KEY, Config(http=service.http(), events=Events(diagnostic_opt_out=True)))]
    await clients[0].start()
    clients[0].track("dropped", Context("anna"))

    async def drop() -> None:
        if in_thread:
            await asyncio.to_thread(clients.clear)
        else:
            clients.clear()

    with pytest.warns(ResourceWarning, match="unclosed client"):
        await drop()
    await asyncio.sleep(1)
    assert all_tasks() == set()
    assert b'"dropped"' in service.posts[-1].content
    assert service.all_closed
    assert caplog.text.count("closing a client that the program dropped") == 1


async def test_a_client_of_tests_that_is_dropped_is_closed_too(caplog: pytest.LogCaptureFixture) -> None:
    clients = [MemoryClient({})]
    await clients[0].start()
    clients.clear()
    await asyncio.sleep(1)
    assert all_tasks() == set()
    assert caplog.text == ""
