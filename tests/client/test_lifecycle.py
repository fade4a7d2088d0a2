"""The life of a client: start, wait, close, from any task; other loops; forks; and bugs that stay small."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from aioflags import BigSegments, Client, Config, DataSystem, ErrorInfo, Events, LifecycleError, NotReadyError, Persistence
from aioflags.model.defaults import CLOSE_TIMEOUT
from aioflags.model.result import FailureKind, SourceState
from aioflags.plugins.plugin import EnvironmentMetadata, Plugin
from aioflags.sources import ChangeSet, MemorySource, Selector, SourceBuilder, SourceContext, Update, from_function
from aioflags.testing.virtual_time import VirtualTimeLoop
from tests.support.canaries import KEY, secretive
from tests.support.memory_store import MemoryStore
from tests.support.scripted_http import HANG, Answer, Service
from tests.support.scripted_memberships import ScriptedMemberships

USER = secretive("u")
REFUSED = ErrorInfo(kind=FailureKind.ERROR_RESPONSE, message="the key was refused", time=1.0, status_code=401)

Sync = Callable[[SourceContext, Callable[[], Selector]], AsyncGenerator[Update, None]]


def client_of(sync: Sync, **options: Any) -> Client:
    return Client("", Config(data_system=DataSystem.custom(synchronizers=[from_function("scripted", sync)]), **options))


def data_after(seconds: float) -> Sync:
    async def sync(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        await asyncio.sleep(seconds)
        yield Update(state=SourceState.VALID, directive=None, change_set=MemorySource({"f": 1}).change_set())
        await asyncio.Event().wait()

    return sync


async def refused(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
    await asyncio.sleep(0.1)
    yield Update(state=SourceState.OFF, directive=None, error=REFUSED)


class Stubborn:
    """A source that does not let itself be cancelled, until it is released."""

    def __init__(self) -> None:
        self.is_released = False

    async def sync(self, context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        yield Update(state=SourceState.VALID, directive=None, change_set=ChangeSet.unchanged())
        while not self.is_released:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)


def seconds() -> float:
    return asyncio.get_running_loop().time()


# -- start


@pytest.mark.parametrize("enter", ["async with", "await", "start"])
async def test_there_are_three_spellings_of_the_same_start(enter: str) -> None:
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


@pytest.mark.holds("CS-C4", "DS-67")
async def test_a_start_that_is_not_given_time_returns_and_the_client_becomes_ready_later(
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
async def test_data_that_come_after_the_start_wait_count_without_further_calls(caplog: pytest.LogCaptureFixture) -> None:
    client = client_of(data_after(8))
    began = seconds()
    report = await client.start()
    assert seconds() - began == pytest.approx(5)
    assert "after 5 s" in caplog.text
    assert report.source_state == "INITIALIZING"
    await asyncio.sleep(4)
    assert client.is_initialized
    assert client.status.status == "READY"
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
    assert client.status.status == "ERROR"
    await asyncio.sleep(20)
    assert client.status.status == "READY"
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
    assert client.status.source_state == "OFF"
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


# -- close


def all_tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {current} if (current := asyncio.current_task()) else set()


@pytest.mark.holds("CS-C19", "DS-96")
async def test_closing_twice_is_closing_once_and_evaluation_goes_on() -> None:
    client = client_of(data_after(1))
    await client.start()
    reports = client.statuses()
    await client.aclose()
    await client.aclose()
    assert (client.status.status, client.status.source_state) == ("NOT_READY", "OFF")
    assert [report.seq async for report in reports] == [client.status.seq]
    assert await client.variation("f", USER, 0) == 1
    assert client.is_initialized
    assert all_tasks() == set()


class Slow(Plugin):
    """Takes its time to register, so that a start can be cancelled before there is anything else."""

    name = "slow"

    async def register(self, client: Client, environment: EnvironmentMetadata) -> None:
        await asyncio.sleep(3)


async def closed_unstarted(client: Client) -> None:
    await client.aclose()


async def closed_twice(client: Client) -> None:
    await asyncio.gather(client.aclose(), client.aclose())


async def cancelled_start(client: Client) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.start(), 1)


async def cancelled_close(client: Client) -> None:
    await client.start()
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.sleep(3)


async def cancelled_before_the_first_step(client: Client) -> None:
    starting = asyncio.create_task(client.start())
    await cancel_root_at_once(starting)
    await starting
    await client.aclose()


async def cancel_root_at_once(starting: asyncio.Task[Any]) -> None:
    """Cancels the client's task before its first step."""
    others = all_tasks()
    while not (roots := all_tasks() - others - {starting}):
        await asyncio.sleep(0)
    for root in roots:
        root.cancel()


@pytest.mark.parametrize("end", [closed_unstarted, closed_twice, cancelled_start, cancelled_close, cancelled_before_the_first_step])
async def test_however_a_client_ends_its_stores_are_closed_once_and_their_followers_come_to_an_end(
    end: Callable[[Client], Awaitable[None]],
) -> None:
    store, memberships = MemoryStore(), ScriptedMemberships()
    system = DataSystem.custom(synchronizers=[MemorySource({"f": 1})], persistence=Persistence(store=store))
    big = BigSegments(store=memberships)
    client = Client("", Config(data_system=system, big_segments=big, plugins=[Slow()], close_timeout=60))
    followed = asyncio.gather(last_of(client.statuses()), last_of(client.store_statuses()), last_of(client.big_segments_statuses()))
    await end(client)
    await asyncio.wait_for(followed, 1)
    assert (store.closed, memberships.closed) == (1, 1)
    await client.aclose()
    assert (store.closed, memberships.closed) == (1, 1)


async def last_of(statuses: AsyncIterator[object]) -> None:
    async for _ in statuses:
        pass


async def test_closing_a_client_that_was_never_started_is_fine() -> None:
    client = client_of(data_after(1))
    await client.aclose()
    assert client.status.source_state == "OFF"


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
    source = Stubborn()
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
    assert client.status.source_state == "OFF"
    assert all_tasks() == set()


# -- other loops, forks


def test_a_client_belongs_to_the_loop_that_started_it() -> None:
    client = client_of(data_after(0))

    async def start() -> None:
        await client.start()

    async def elsewhere() -> None:
        for call in (client.start(), client.wait_ready(), client.aclose()):
            with pytest.raises(LifecycleError, match="one client for each asyncio"):
                await call
        assert client.variation_nowait("f", USER, 0) == 1
        # Not half closed, either.
        assert client.status.status == "READY"

    with asyncio.Runner() as one:
        one.run(start())
        with asyncio.Runner() as other:
            other.run(elsewhere())
        one.run(client.aclose())


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_child_of_a_fork_evaluates_reports_not_ready_and_may_start_anew() -> None:
    client = client_of(data_after(0))

    async def child() -> None:
        assert client.status.status == "NOT_READY"
        assert client.variation_nowait("f", USER, 0) == 1
        assert (await client.start()).status == "READY"
        await client.aclose()

    with asyncio.Runner() as runner:
        runner.run(client.start())
        assert client.status.status == "READY"
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
        assert client.status.status == "READY"
        runner.run(client.aclose())


# -- bugs stay small


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


class Ended:
    """A keeper that ends although nobody asked it to, as task groups do when one of theirs cancels them."""

    async def run(self, work: object) -> None:
        """Does nothing."""

    async def release(self) -> None:
        """The same."""


async def test_a_store_session_that_ends_by_itself_sets_the_status_to_fatal() -> None:
    client = client_of(data_after(0))
    data_updates: Any = client._data_updates
    data_updates.store_session = Ended()
    report = await client.start(60)
    assert (report.source_state, report.status) == ("OFF", "FATAL")
    assert report.last_error is not None
    assert "unexpectedly" in report.last_error.message
    await client.aclose()


async def test_a_client_without_synchronizers_stays_ready_after_its_initializer() -> None:
    source = MemorySource({"f": 1})
    async with Client("", Config(data_system=DataSystem.custom(initializers=[basis_of(source)]))) as client:
        await asyncio.sleep(60)
        assert (client.status.status, client.status.last_error) == ("READY", None)


def basis_of(source: MemorySource) -> SourceBuilder:
    async def fetch(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
        yield Update(state=SourceState.VALID, directive=None, change_set=source.change_set())

    return from_function("once", fetch)


async def test_a_start_ends_although_the_root_task_is_cancelled_before_its_first_step() -> None:
    client = client_of(data_after(0))
    starting = asyncio.create_task(client.start(60))
    await cancel_root_at_once(starting)
    report = await asyncio.wait_for(starting, 1)
    assert report.source_state == "OFF"
    await client.aclose()


async def test_a_root_task_that_other_code_cancels_ends_the_ready_status() -> None:
    client = client_of(data_after(0))
    await client.start()
    waiter = asyncio.create_task(anext_after_ready(client))
    await asyncio.sleep(0)
    for task in all_tasks() - {waiter}:
        task.cancel()
    assert (await waiter) == "OFF"
    with pytest.raises(NotReadyError):
        await client.wait_ready()
    assert await client.variation("f", USER, 0) == 1
    await client.aclose()


async def anext_after_ready(client: Client) -> str:
    async for report in client.statuses():
        if report.source_state != "VALID":
            return report.source_state.value
    return "ended"


async def test_wait_ready_raises_before_the_start() -> None:
    with pytest.raises(LifecycleError, match="not started"):
        await client_of(data_after(0)).wait_ready()
