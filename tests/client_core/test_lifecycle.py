"""The life of a client: start, wait_ready, other event loops, other processes, and forks."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import os
import pickle
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from aioflags import Client, Config, Context, FlagdClient, LifecycleError, MobileClient, MobileConfig, NotReadyError
from aioflags.model.status import SourceState
from aioflags.plugins import Plugin
from aioflags.sources import ChangeSet, Selector, SourceContext, Update
from tests.support.scripted_clients import REFUSED, USER, all_tasks, client_of, data_after, refused, seconds

# -- start


@pytest.mark.parametrize("enter", ["async with", "await", "start"])
async def test_async_with_await_and_start_start_a_client(enter: str) -> None:
    client = client_of(data_after(1))
    match enter:
        case "async with":
            async with client as entered:
                assert entered is client
        case "await":
            assert await client is client
        case _:
            assert (await client.start()).status == "READY"
    assert await client.variation("f", USER, 0) == 1
    await client.aclose()


@pytest.mark.parametrize(
    ("first", "second", "waited"),
    [
        pytest.param((), (), 2, id="the second waits for the first"),
        pytest.param((0,), (), 0, id="a start that does not wait, then async with"),
        pytest.param((1,), (), 1, id="the limit of the first call counts"),
        pytest.param((1,), (3,), 4, id="a limit of the second call counts from that call"),
    ],
)
async def test_two_starts_without_data_wait_for(first: tuple[float, ...], second: tuple[float, ...], waited: float) -> None:
    began = seconds()
    client = client_of(data_after(10), start_wait=2)
    await client.start(*first)
    await client.start(*second)
    assert seconds() - began == pytest.approx(waited, abs=0.01)
    await client.aclose()


@pytest.mark.holds("CS-C4", "DS-67")
async def test_a_start_without_time_returns_and_the_client_becomes_ready_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    began = seconds()
    client = client_of(data_after(3))
    report = await client.start(0.001)
    assert seconds() - began < 0.01
    assert (report.status, report.source_state) == ("ERROR", "INITIALIZING")
    assert "defaults are served" in caplog.text
    assert not client.is_initialized
    await client.wait_ready()
    assert seconds() - began == pytest.approx(3)
    assert client.is_initialized
    await client.aclose()


@pytest.mark.holds("CS-C6")
async def test_data_that_arrive_after_the_start_wait_make_the_client_ready(caplog: pytest.LogCaptureFixture) -> None:
    client = client_of(data_after(8))
    began = seconds()
    report = await client.start()
    assert seconds() - began == pytest.approx(5)
    assert "after 5 s" in caplog.text
    assert report.source_state == "INITIALIZING"
    await asyncio.sleep(4)
    assert client.is_initialized
    assert client.status == "READY"
    await client.aclose()


@pytest.mark.holds("CS-C5", "DS-75")
async def test_a_permanent_failure_ends_the_start_at_once(caplog: pytest.LogCaptureFixture) -> None:
    client = client_of(refused)
    began = seconds()
    report = await client.start(60)
    assert seconds() - began < 1
    assert (report.status, report.source_state, report.last_error) == ("FATAL", "OFF", REFUSED)
    assert "no data source is left" in caplog.text
    assert await client.variation("f", USER, 7) == 7
    with pytest.raises(NotReadyError, match="the key was refused"):
        await client.wait_ready()
    await client.aclose()


async def test_start_with_a_wait_of_0_returns_at_once() -> None:
    client = client_of(data_after(1))
    began = seconds()
    await client.start(0)
    assert seconds() == began
    await client.aclose()


async def test_the_start_limit_changes_the_status_even_if_no_call_waits() -> None:
    client = client_of(data_after(20))
    await client.start(0)
    await asyncio.sleep(6)
    assert client.status == "ERROR"
    await asyncio.sleep(20)
    assert client.status == "READY"
    await client.aclose()


async def test_starting_again_does_nothing_and_concurrent_starts_share_one() -> None:
    started = 0

    async def sync(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        nonlocal started
        started += 1
        await asyncio.sleep(1)
        yield Update(state=SourceState.VALID, directive=None, change_set=ChangeSet.unchanged())
        await asyncio.Event().wait()

    client = client_of(sync)
    reports = await asyncio.gather(client.start(), client.start(), client.start())
    await client.start()
    assert started == 1
    assert {report.status.value for report in reports} == {"READY"}
    await client.aclose()


@pytest.mark.holds("CS-C20")
async def test_a_closed_client_cannot_be_started() -> None:
    client = client_of(data_after(0))
    await client.start()
    await client.aclose()
    with pytest.raises(LifecycleError, match="closed"):
        await client.start()


async def test_a_start_that_is_cancelled_closes_the_client() -> None:
    client = client_of(data_after(60))
    task = asyncio.create_task(client.start())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client.report.source_state == "OFF"
    assert all_tasks() == set()


async def test_a_client_is_started_by_one_task_and_closed_by_another() -> None:
    client = client_of(data_after(1))
    await asyncio.create_task(client.start())
    await asyncio.create_task(client.aclose())
    assert all_tasks() == set()


async def test_background_work_does_not_inherit_the_callers_variables() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    seen: list[str] = []

    async def sync(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        seen.append(variable.get())
        yield Update(state=SourceState.VALID, directive=None, change_set=ChangeSet.unchanged())

    variable.set("a request")
    async with client_of(sync):
        assert seen == ["none"]


# -- wait_ready


async def test_wait_ready_gives_up_in_time() -> None:
    client = client_of(data_after(60))
    await client.start(0)
    began = seconds()
    with pytest.raises(NotReadyError, match="after 2 s") as missed:
        await client.wait_ready(2)
    assert seconds() - began == pytest.approx(2)
    assert missed.value.report.source_state == "INITIALIZING"
    assert isinstance(missed.value, TimeoutError)
    await client.aclose()


async def test_wait_ready_ends_when_the_client_closes() -> None:
    client = client_of(data_after(60))
    await client.start(0)
    waiter = asyncio.create_task(client.wait_ready())
    await asyncio.sleep(1)
    await client.aclose()
    with pytest.raises(NotReadyError, match="closed"):
        await waiter


# -- other loops, forks


def test_a_client_belongs_to_the_loop_that_started_it() -> None:
    client = client_of(data_after(0))

    async def start() -> None:
        await client.start()

    async def on_another_loop() -> None:
        for call in (client.start(), client.wait_ready(), client.aclose()):
            with pytest.raises(LifecycleError, match=r"one client for each asyncio.*Runner; in tests, .*one loop_scope"):
                await call
        assert client.variation_nowait("f", USER, 0) == 1
        # The refused aclose() closed nothing.
        assert client.status == "READY"

    with asyncio.Runner() as one:
        one.run(start())
        with asyncio.Runner() as other:
            other.run(on_another_loop())
        one.run(client.aclose())


@pytest.mark.holds("RB-R23")
@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_child_of_a_fork_evaluates_reports_not_ready_and_can_start() -> None:
    client = client_of(data_after(0))

    async def child() -> None:
        assert client.status == "NOT_READY"
        assert client.variation_nowait("f", USER, 0) == 1
        assert (await client.start()).status == "READY"
        await client.aclose()

    with asyncio.Runner() as runner:
        runner.run(client.start())
        assert client.status == "READY"
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                asyncio.events._set_running_loop(None)
                asyncio.new_event_loop().run_until_complete(child())
                status = 0
            finally:
                os._exit(status)
        _, ended = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(ended) == 0
        assert client.status == "READY"
        runner.run(client.aclose())


# -- bugs stay small


async def test_wait_ready_raises_before_the_start() -> None:
    with pytest.raises(LifecycleError, match="not started"):
        await client_of(data_after(0)).wait_ready()


class SlowPlugin(Plugin):
    """Registers for four seconds."""

    name = "slow"

    async def register(self, client: object, environment: object) -> None:
        await asyncio.sleep(4)


@pytest.mark.parametrize("wait", [0, 2])
async def test_a_plugin_that_registers_slowly_does_not_make_a_start_longer_than_its_wait(wait: float) -> None:
    client = client_of(data_after(0), plugins=[SlowPlugin()])
    began = seconds()
    report = await client.start(wait)
    assert seconds() - began == pytest.approx(wait)
    assert report.status == ("ERROR" if wait else "NOT_READY")
    await client.wait_ready(20)
    await client.aclose()


# -- where a client cannot work


CLIENTS = [
    pytest.param(lambda: Client("sdk-key", Config(offline=True)), id="server-side"),
    pytest.param(lambda: MobileClient("mob-key", Context("u"), MobileConfig(offline=True)), id="mobile"),
    pytest.param(FlagdClient, id="flagd"),
]


@pytest.mark.parametrize("make", CLIENTS)
@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_client_is_not_copied_to_another_process(make: Callable[[], Any], duplicate: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"^\w*Client objects cannot be pickled or copied: make one in each process$"):
        duplicate(make())


@pytest.mark.parametrize("make", CLIENTS)
def test_a_start_without_asyncio_names_asyncio(make: Callable[[], Any]) -> None:
    """As under trio, which drives the coroutine without an event loop of asyncio."""
    with pytest.raises(LifecycleError, match=r"needs the event loop of asyncio.*trio"):
        make().start().send(None)
