"""A client whose root task ends early: by a bug, by itself, or because other code cancels it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from aioflags import Client, Config, DataSystem, NotReadyError
from aioflags.model.status import SourceState
from aioflags.sources import MemorySource, Selector, SourceBuilder, SourceContext, Update, from_function
from tests.support.scripted_clients import USER, all_tasks, cancel_root_before_its_first_step, client_of, data_after
from tests.support.status_clients import Idle, StatusClient


async def test_a_bug_in_the_supervisor_ends_updates_and_not_evaluations(caplog: pytest.LogCaptureFixture) -> None:
    client = client_of(data_after(0))

    async def work() -> None:
        raise ZeroDivisionError

    client._data_updates.run = work  # type: ignore[method-assign]
    with caplog.at_level(logging.ERROR):
        report = await client.start(60)
    assert (report.source_state, report.status) == ("OFF", "FATAL")
    assert report.last_error is not None
    assert "ZeroDivisionError" in report.last_error.message
    assert sum("internal error" in record.message for record in caplog.records) == 1
    assert await client.variation("f", USER, 3) == 3
    await client.aclose()


class EndsAtOnce:
    """A store session that ends before its release, as a task group does if one of its tasks cancels it."""

    async def run(self, work: object) -> None:
        """Does nothing."""

    async def release(self) -> None:
        """Does nothing."""


async def test_a_store_session_that_ends_by_itself_sets_the_status_to_fatal() -> None:
    client = client_of(data_after(0))
    data_updates: Any = client._data_updates
    data_updates.store_session = EndsAtOnce()
    report = await client.start(60)
    assert (report.source_state, report.status) == ("OFF", "FATAL")
    assert report.last_error is not None
    assert "unexpectedly" in report.last_error.message
    await client.aclose()


async def test_a_client_without_synchronizers_stays_ready_after_its_initializer() -> None:
    source = MemorySource({"f": 1})
    async with Client("", Config(data_system=DataSystem.custom(initializers=[basis_of(source)]))) as client:
        await asyncio.sleep(60)
        assert (client.status, client.report.last_error) == ("READY", None)


def basis_of(source: MemorySource) -> SourceBuilder:
    async def fetch(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        yield Update(state=SourceState.VALID, directive=None, change_set=source.change_set())

    return from_function("once", fetch)


async def test_a_start_ends_although_the_root_task_is_cancelled_before_its_first_step() -> None:
    client = client_of(data_after(0))
    starting = asyncio.create_task(client.start(60))
    await cancel_root_before_its_first_step(starting)
    report = await asyncio.wait_for(starting, 1)
    assert report.source_state == "OFF"
    await client.aclose()


async def test_a_root_task_that_other_code_cancels_ends_the_ready_status() -> None:
    client = client_of(data_after(0))
    await client.start()
    waiter = asyncio.create_task(first_state_after_valid(client))
    await asyncio.sleep(0)
    for task in all_tasks() - {waiter}:
        task.cancel()
    assert (await waiter) == "OFF"
    with pytest.raises(NotReadyError):
        await client.wait_ready()
    assert await client.variation("f", USER, 0) == 1
    await client.aclose()


class Broken(Idle):
    """Its connections fail at once, or after a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def open(self) -> AbstractAsyncContextManager[object]:
        return self.opened()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None, None]:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.fail())
            yield

    async def fail(self) -> None:
        await asyncio.sleep(self.seconds)
        raise OSError("the socket is gone")


@pytest.mark.parametrize("after", [0.0, 10.0])
async def test_a_root_task_that_an_exception_ends_reports_the_exception(after: float, caplog: pytest.LogCaptureFixture) -> None:
    client = StatusClient(workload=Broken(after), start_wait=5)
    await client.start()
    report = await client.wait_until(lambda report: report.source_state == "OFF", 20)
    assert report.last_error is not None
    assert "the socket is gone" in report.last_error.message
    assert "cancelled" not in report.last_error.message
    assert caplog.text.count("stopped after an internal error") == 1
    assert "OSError: the socket is gone" in caplog.text
    await client.aclose()


async def first_state_after_valid(client: Client) -> str:
    async for report in client.reports():
        if report.source_state != "VALID":
            return report.source_state.value
    return "ended"
