"""EventForwarder: events that come while initialize ends, other event loops and threads, and the details of events."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
from openfeature.event import ProviderEvent
from openfeature.exception import ErrorCode

from aioflags import ErrorInfo, FlagdClient, FlagdConfig, Status
from aioflags.openfeature.forwarding import EventForwarder
from tests.openfeature.emitted import CHANGED, ERROR, READY, STALE, Emitted
from tests.support.evaluating_clients import EvaluatingClient
from tests.support.status_clients import DOWN, FATAL, UNUSABLE, StatusClient

SETTLED, CORRECTED = 0.05, 1.0
"""Seconds after the end of initialize at which the status that the SDK shows is compared."""
DOCUMENT = {
    "flags": {"f": {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}},
    "metadata": {"flagSetId": "shop"},
}


@pytest.fixture
async def facts() -> AsyncIterator[StatusClient]:
    """A client that is ready."""
    facts = StatusClient()
    await facts.start(0)
    facts.data(f=1)
    yield facts
    await facts.aclose()


@pytest.fixture
def emitted() -> Emitted:
    return Emitted()


def forwarder_of(facts: StatusClient, emitted: Emitted, *, reports_lifecycle: bool = False) -> EventForwarder:
    return EventForwarder(EvaluatingClient(facts), emitted, emitted.read_status, reports_lifecycle=reports_lifecycle)


def right_before(seconds: float, function: Callable[[], object]) -> None:
    """Calls a function right before the timers of that time, in the same cycle of the loop: its events are not delivered yet."""
    asyncio.get_running_loop().call_later(seconds - 5e-10, function)


async def settled(facts: StatusClient, emitted: Emitted) -> EventForwarder:
    """A forwarder after the end of initialize. Nothing waits."""
    forwarder = forwarder_of(facts, emitted)
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(2 * CORRECTED)
    emitted.events.clear()
    return forwarder


# -- when initialize ends


async def test_the_status_is_compared_twice_after_initialize(facts: StatusClient, emitted: Emitted) -> None:
    facts.interrupted()
    emitted.release(forwarder_of(facts, emitted), Status.READY)
    seen: list[int] = []
    for seconds in (SETTLED - 0.001, 0.002, CORRECTED - SETTLED - 0.002, 0.002, 5):
        await asyncio.sleep(seconds)
        seen.append(len(emitted.events))
        emitted.shows = Status.READY  # a slow thread of the SDK
    assert seen == [0, 1, 1, 2, 2]


async def test_changes_without_a_pause_do_not_delay_the_first_events(facts: StatusClient, emitted: Emitted) -> None:
    emitted.release(forwarder_of(facts, emitted), Status.READY)
    await asyncio.sleep(0)
    for value in range(2, 20):
        facts.data(f=value)
        await asyncio.sleep(SETTLED / 5)
        if value == 10:
            assert emitted.names[0] is CHANGED
    await asyncio.sleep(2 * CORRECTED)
    assert emitted.reads == 2


async def test_a_change_that_comes_right_before_initialize_ends_is_emitted_once(facts: StatusClient, emitted: Emitted) -> None:
    forwarder = forwarder_of(facts, emitted)
    facts.data(f=2)
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(2 * CORRECTED)
    assert [(event, details.flags_changed) for event, details in emitted.events] == [(CHANGED, ["f"])]


@pytest.mark.parametrize("at", [pytest.param(SETTLED, id="the first time"), pytest.param(CORRECTED, id="the second time")])
async def test_a_status_that_begins_when_the_status_is_compared_is_emitted_once(
    facts: StatusClient, emitted: Emitted, at: float
) -> None:
    forwarder = forwarder_of(facts, emitted)
    right_before(at, facts.interrupted)
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(2 * CORRECTED)
    assert [(event, details.message) for event, details in emitted.events] == [(STALE, "down")]


async def test_a_status_that_the_sdk_has_written_before_it_begins_is_not_emitted(facts: StatusClient, emitted: Emitted) -> None:
    facts.interrupted()
    forwarder = forwarder_of(facts, emitted)
    right_before(SETTLED, partial(facts.data, f=1))
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(2 * CORRECTED)
    assert emitted.names == [CHANGED]  # the end of an outage is announced as one


async def test_a_change_that_comes_when_the_status_is_compared_is_emitted(facts: StatusClient, emitted: Emitted) -> None:
    forwarder = forwarder_of(facts, emitted)
    right_before(SETTLED, partial(facts.data, f=2))
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(2 * CORRECTED)
    assert [(event, details.flags_changed) for event, details in emitted.events] == [(CHANGED, ["f"])]


async def test_a_forwarder_that_was_stopped_is_not_kept_by_its_client(facts: StatusClient, emitted: Emitted) -> None:
    client = EvaluatingClient(facts)
    forwarders = [EventForwarder(client, emitted, emitted.read_status, reports_lifecycle=True)]
    is_gone = weakref.ref(forwarders[0])
    forwarders.pop().stop()
    await asyncio.sleep(1)
    gc.collect()
    assert is_gone() is None


async def test_statuses_that_begin_in_one_cycle_of_the_loop_are_all_emitted(facts: StatusClient, emitted: Emitted) -> None:
    await settled(facts, emitted)
    facts.interrupted()
    facts.data(f=1)
    facts.interrupted()
    await asyncio.sleep(1)
    assert [name for name in emitted.names if name is not CHANGED] == [STALE, READY, STALE]


# -- threads and event loops


@pytest.mark.parametrize(
    "reports_lifecycle", [pytest.param(False, id="without the marker"), pytest.param(True, id="with the marker")]
)
@pytest.mark.real_time
async def test_events_are_emitted_on_the_loop_if_initialize_ends_in_another_thread(
    facts: StatusClient, emitted: Emitted, reports_lifecycle: bool
) -> None:
    # In debug mode a loop refuses calls of other threads that would not wake it.
    asyncio.get_running_loop().set_debug(True)
    facts.interrupted()
    forwarder = forwarder_of(facts, emitted, reports_lifecycle=reports_lifecycle)

    def initialize() -> None:
        emitted.release(forwarder, Status.READY)
        assert emitted.names == ([STALE] if reports_lifecycle else [])

    async with asyncio.timeout(3):
        await asyncio.to_thread(initialize)
    await asyncio.sleep(3 * SETTLED)
    assert (emitted.names, emitted.threads) == ([STALE], {threading.get_ident()})


@pytest.mark.parametrize("settles", [pytest.param(False, id="before the status is compared"), pytest.param(True, id="after that")])
def test_a_forwarder_follows_its_client_to_another_event_loop(emitted: Emitted, settles: bool) -> None:
    client = FlagdClient.local(DOCUMENT, FlagdConfig(environment={}))
    forwarder = EventForwarder(client, emitted, emitted.read_status, reports_lifecycle=False)

    async def first() -> None:
        async with client:
            emitted.release(forwarder, Status.READY)
            await asyncio.sleep(2 * SETTLED if settles else 0.0)

    async def second() -> None:
        async with client:
            await asyncio.sleep(2 * SETTLED)

    asyncio.run(first())
    assert emitted.names == []
    emitted.shows = Status.ERROR
    asyncio.run(second())
    assert emitted.names == [READY]


class PretendsToRun(asyncio.SelectorEventLoop):
    """Ends after the question whether it runs."""

    def is_running(self) -> bool:
        return self.is_closed() or super().is_running()


@pytest.mark.parametrize(
    ("loop_factory", "names"),
    [
        pytest.param(asyncio.SelectorEventLoop, [ERROR], id="it has ended"),
        pytest.param(PretendsToRun, [], id="it ends meanwhile"),
    ],
)
def test_an_initialize_ends_if_the_loop_of_the_client_does(
    emitted: Emitted, loop_factory: type[asyncio.AbstractEventLoop], names: list[ProviderEvent]
) -> None:
    client = FlagdClient.local(DOCUMENT, FlagdConfig(environment={}))

    async def run() -> None:
        async with client:
            pass

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())
    for reports_lifecycle in (False, True):
        EventForwarder(client, emitted, emitted.read_status, reports_lifecycle=reports_lifecycle).release(Status.ERROR)
    assert emitted.names == names


# -- an SDK that reads life-cycle events


async def test_with_the_marker_no_event_waits(facts: StatusClient, emitted: Emitted) -> None:
    forwarder_of(facts, emitted, reports_lifecycle=True)
    facts.interrupted()
    facts.data(f=2)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert emitted.names == [STALE, READY, CHANGED]


async def test_with_the_marker_the_status_is_emitted_whatever_the_sdk_shows(facts: StatusClient, emitted: Emitted) -> None:
    emitted.shows = Status.READY  # of the provider before
    forwarder = forwarder_of(facts, emitted, reports_lifecycle=True)
    forwarder.release(Status.READY)
    forwarder.release(Status.READY)
    assert emitted.names == [READY]


# -- details


async def test_a_ready_event_has_the_metadata_of_the_flag_set(emitted: Emitted) -> None:
    async with FlagdClient.local(DOCUMENT, FlagdConfig(environment={})) as client:
        forwarder = EventForwarder(client, emitted, emitted.read_status, reports_lifecycle=False)
        emitted.release(forwarder, Status.ERROR)
        await asyncio.sleep(1)
    ((event, details),) = emitted.events
    assert (event, details.message, details.metadata) == (READY, "connected", {"flagSetId": "shop"})


async def test_a_status_after_an_outage_does_not_have_the_message_of_the_outage(facts: StatusClient, emitted: Emitted) -> None:
    facts.interrupted()
    facts.data(f=1)
    emitted.release(forwarder_of(facts, emitted), Status.ERROR)
    await asyncio.sleep(1)
    assert [(event, details.message) for event, details in emitted.events] == [(READY, "connected")]


@pytest.mark.parametrize(
    ("error", "event", "code"),
    [
        pytest.param(DOWN, STALE, None, id="an outage"),
        pytest.param(UNUSABLE, STALE, ErrorCode.PARSE_ERROR, id="data that cannot be used"),
        pytest.param(FATAL, ERROR, ErrorCode.PROVIDER_FATAL, id="a fatal error"),
    ],
)
@pytest.mark.parametrize("is_late", [pytest.param(False, id="an event"), pytest.param(True, id="the status alone")])
async def test_an_event_has_the_code_and_the_message_of_the_status(
    emitted: Emitted, facts: StatusClient, error: ErrorInfo, event: ProviderEvent, code: ErrorCode | None, is_late: bool
) -> None:
    forwarder = forwarder_of(facts, emitted) if is_late else await settled(facts, emitted)
    if error is FATAL:
        facts.off(FATAL)
    else:
        facts.interrupted(error)
    if is_late:
        emitted.release(forwarder, Status.READY)
    await asyncio.sleep(0.5)
    forwarder.stop()
    ((name, details),) = emitted.events
    assert (name, details.error_code) == (event, code)
    assert details.message


async def test_an_error_without_any_data_names_the_status(emitted: Emitted) -> None:
    facts = StatusClient()
    forwarder_of(facts, emitted, reports_lifecycle=True).release(Status.ERROR)
    ((event, details),) = emitted.events
    assert (event, details.error_code, details.message) == (ERROR, ErrorCode.PROVIDER_NOT_READY, "the client is NOT_READY")


# -- a client that changes its context


async def test_a_change_of_context_is_a_change_of_flags(facts: StatusClient, emitted: Emitted) -> None:
    await settled(facts, emitted)
    number = facts.cell.reconcile()
    await asyncio.sleep(1)
    assert emitted.names == []
    facts.cell.reconciled(number)
    await asyncio.sleep(1)
    assert emitted.names == [CHANGED]


@pytest.mark.parametrize(
    "reports_lifecycle", [pytest.param(False, id="without the marker"), pytest.param(True, id="with the marker")]
)
async def test_a_context_that_ends_an_error_makes_the_provider_ready(
    facts: StatusClient, emitted: Emitted, reports_lifecycle: bool
) -> None:
    emitted.release(forwarder_of(facts, emitted, reports_lifecycle=reports_lifecycle), Status.READY)
    await asyncio.sleep(2 * CORRECTED)
    emitted.events.clear()
    facts.cell.reconciled(facts.cell.reconcile(), DOWN)
    await asyncio.sleep(1)
    assert emitted.names == [ERROR]
    facts.cell.reconciled(facts.cell.reconcile())
    await asyncio.sleep(1)
    assert (emitted.names, emitted.shows) == ([ERROR, CHANGED, READY], Status.READY)


@pytest.mark.parametrize(
    "reports_lifecycle", [pytest.param(False, id="without the marker"), pytest.param(True, id="with the marker")]
)
async def test_between_two_contexts_there_is_no_error(facts: StatusClient, emitted: Emitted, reports_lifecycle: bool) -> None:
    forwarder = forwarder_of(facts, emitted, reports_lifecycle=reports_lifecycle)
    emitted.release(forwarder, Status.READY)
    await asyncio.sleep(2 * CORRECTED)
    emitted.events.clear()
    facts.cell.reconciled(facts.cell.reconcile())
    facts.cell.reconcile()
    await asyncio.sleep(1)
    assert emitted.names == [CHANGED]
