"""The close of a client: what it ends, how long it takes, what it loses, and the warning if a started client is not closed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from aioflags import BigSegments, Client, Config, Context, DataSystem, Events, Persistence
from aioflags.model.defaults import CLOSE_TIMEOUT
from aioflags.model.status import SourceState
from aioflags.plugins import EnvironmentMetadata, Plugin
from aioflags.sources import ChangeSet, MemorySource, Selector, SourceContext, Update
from aioflags.testing import MemoryClient
from aioflags.testing.virtual_time import VirtualTimeLoop
from tests.support.canaries import KEY
from tests.support.memory_store import MemoryStore
from tests.support.scripted_clients import USER, all_tasks, cancel_root_before_its_first_step, client_of, data_after, seconds
from tests.support.scripted_http import HANG, Answer, Service, payload, poll_of, sse, stream_of
from tests.support.scripted_memberships import ScriptedMemberships


class IgnoresCancellation:
    """A source that ignores cancellation until it is released."""

    def __init__(self) -> None:
        self.is_released = False

    async def sync(self, context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        yield Update(state=SourceState.VALID, directive=None, change_set=ChangeSet.unchanged())
        while not self.is_released:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)


@pytest.mark.holds("CS-C19", "DS-96")
async def test_a_closed_client_evaluates_and_a_second_close_does_nothing() -> None:
    client = client_of(data_after(1))
    await client.start()
    reports = client.reports()
    await client.aclose()
    await client.aclose()
    assert (client.status, client.report.source_state) == ("NOT_READY", "OFF")
    assert [report.seq async for report in reports] == [client.report.seq]
    assert await client.variation("f", USER, 0) == 1
    assert client.is_initialized
    assert all_tasks() == set()


class SlowPlugin(Plugin):
    """Registers for three seconds, so that a start can be cancelled before any source runs."""

    name = "slow"

    async def register(self, client: Client, environment: EnvironmentMetadata) -> None:
        await asyncio.sleep(3)


async def close_without_start(client: Client) -> None:
    await client.aclose()


async def close_twice(client: Client) -> None:
    await asyncio.gather(client.aclose(), client.aclose())


async def cancel_the_start(client: Client) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.start(), 1)


async def cancel_the_close(client: Client) -> None:
    await client.start()
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.sleep(3)


async def cancel_the_root_task_before_its_first_step(client: Client) -> None:
    starting = asyncio.create_task(client.start())
    await cancel_root_before_its_first_step(starting)
    await starting
    await client.aclose()


@pytest.mark.parametrize(
    "end", [close_without_start, close_twice, cancel_the_start, cancel_the_close, cancel_the_root_task_before_its_first_step]
)
async def test_stores_are_closed_once_and_status_iterators_end_after(
    end: Callable[[Client], Awaitable[None]],
) -> None:
    store, memberships = MemoryStore(), ScriptedMemberships()
    system = DataSystem.custom(synchronizers=[MemorySource({"f": 1})], persistence=Persistence(store=store))
    big_segments = BigSegments(store=memberships)
    client = Client("", Config(data_system=system, big_segments=big_segments, plugins=[SlowPlugin()], close_timeout=60))
    iterators = asyncio.gather(last_of(client.reports()), last_of(client.store_statuses()), last_of(client.big_segments_statuses()))
    await end(client)
    await asyncio.wait_for(iterators, 1)
    assert (store.closed, memberships.closed) == (1, 1)
    await client.aclose()
    assert (store.closed, memberships.closed) == (1, 1)


async def last_of(statuses: AsyncIterator[object]) -> None:
    async for _ in statuses:
        pass


async def test_a_client_that_was_never_started_can_be_closed() -> None:
    client = client_of(data_after(1))
    await client.aclose()
    assert client.report.source_state == "OFF"


@pytest.mark.parametrize("delay", [0, 0.5, 1, 4.9])
async def test_closing_during_the_start_ends_both(delay: float) -> None:
    client = client_of(data_after(60))
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(delay)
    began = seconds()
    await client.aclose()
    assert seconds() - began <= 2
    if delay:
        assert (await starting).source_state == "OFF"
    else:
        await asyncio.gather(starting, return_exceptions=True)
    assert all_tasks() == set()


async def test_concurrent_closes_end_together() -> None:
    client = client_of(data_after(1))
    await client.start()
    await asyncio.gather(client.aclose(), client.aclose(), client.aclose())
    assert all_tasks() == set()


@pytest.mark.real_time  # it is cancelled in every turn of the loop, so that virtual time would never pass
@pytest.mark.speed
async def test_a_source_that_does_not_end_is_abandoned_in_time(caplog: pytest.LogCaptureFixture) -> None:
    source = IgnoresCancellation()
    client = client_of(source.sync, close_timeout=0.2)
    await client.start()
    began = seconds()
    await client.aclose()
    assert seconds() - began < CLOSE_TIMEOUT
    assert caplog.text.count("abandoned") == 1
    source.is_released = True
    await asyncio.wait(all_tasks(), timeout=60)
    assert all_tasks() == set()


@pytest.mark.parametrize("timeout", [0, -1, 0.001])
async def test_a_close_without_time_logs_the_lost_events_and_blames_no_source(
    timeout: float, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()
    service.takes = [Answer(202, after=HANG)]
    system = DataSystem.custom(synchronizers=[MemorySource({"f": 1})])
    client = Client(KEY, Config(http=service.http(), data_system=system, events=Events(diagnostic_opt_out=True)))
    await client.start()
    await client.variation("f", USER, 0)
    client.track("x", USER)
    began = seconds()
    await client.aclose(timeout)
    assert seconds() - began <= max(timeout, 0)
    assert "lost: 2 events and the counts of 1 evaluation" in caplog.text
    assert "abandoned" not in caplog.text
    assert (client.stats.events_dropped, client.stats.evaluations_dropped) == (2, 1)
    assert all_tasks() == set()


@pytest.mark.parametrize("held", [0.15, 0.2, 60])
@pytest.mark.parametrize("takes", [Answer(202, after=HANG), Answer(503)], ids=["no answer", "a failure, and the pause after it"])
async def test_a_close_while_the_loop_is_blocked_counts_lost_events_and_blames_no_source(
    held: float, takes: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()
    service.takes = [takes]
    system = DataSystem.custom(synchronizers=[MemorySource({"f": 1})])
    client = Client(KEY, Config(http=service.http(), data_system=system, events=Events(diagnostic_opt_out=True)))
    await client.start()
    client.track("x", USER)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.call_later(0.85, loop.advance, held)
    await client.aclose(1)
    assert "abandoned" not in caplog.text
    assert client.stats.events_dropped == client.stats.events_recorded == 2
    assert all_tasks() == set()


@pytest.mark.parametrize("at", range(12))
async def test_a_close_that_is_cancelled_still_closes(at: int) -> None:
    client = client_of(data_after(0))
    await client.start()
    closing = asyncio.create_task(client.aclose())
    for _ in range(at):
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await client.aclose()
    assert client.report.source_state == "OFF"
    assert all_tasks() == set()


# -- clients that are not closed


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
