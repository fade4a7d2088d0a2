"""EventForwarder: what waits for the end of initialize, what is emitted then, and what ends the forwarding."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeAlias

import pytest
from openfeature.event import ProviderEvent
from openfeature.exception import ErrorCode

from aioflags import ErrorInfo, FlagdClient, FlagdConfig, Status
from aioflags.openfeature.forwarding import EventForwarder
from tests.openfeature.emitted import CHANGED, ERROR, READY, STALE, Emitted
from tests.support.evaluating_clients import EvaluatingClient
from tests.support.leaks import more, on_the_loop, until_ended_on_the_loop
from tests.support.status_clients import DOWN, FATAL, UNUSABLE, StatusClient

SETTLED, CORRECTED = 0.05, 1.0
"""Seconds after the end of initialize at which the status that the SDK shows is compared."""
DOCUMENT = {
    "flags": {"f": {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}},
    "metadata": {"flagSetId": "shop"},
}


class Forwarding:
    """A client that the test reports facts of, a forwarder of its events, and what that emits."""

    def __init__(self) -> None:
        self.facts = StatusClient()
        self.client = EvaluatingClient(self.facts)
        self.emitted = Emitted()
        self.forwarder = self.begin()

    def begin(self, *, reports_lifecycle: bool = False) -> EventForwarder:
        """A new forwarder. Without one, facts happen before the forwarding."""
        self.forwarder = EventForwarder(self.client, self.emitted, self.emitted.read_status, reports_lifecycle=reports_lifecycle)
        return self.forwarder


Step: TypeAlias = "Callable[[Forwarding], object] | float"
"""What happens, or seconds that pass."""


def does(method: str, *arguments: Any, **named: Any) -> Callable[[Forwarding], object]:
    return lambda on: getattr(on.facts, method)(*arguments, **named)


good, better = does("data", f=1), does("data", f=2)
interrupted = does("interrupted")
out = does("off")
"""No source is left."""


def again(on: Forwarding) -> None:
    """Another forwarder of the client, after the first has been stopped."""
    on.forwarder.stop()
    on.begin()


def marked(on: Forwarding) -> None:
    """The SDK reads life-cycle events."""
    on.forwarder.stop()
    on.begin(reports_lifecycle=True)


def released(written: Status) -> Step:
    """Initialize ends, and the SDK writes its status."""
    return lambda on: on.emitted.release(on.forwarder, written)


def unwritten(status: Status) -> Step:
    """Initialize ends, and the SDK writes nothing."""
    return lambda on: on.forwarder.release(status)


def shows(status: Status | None) -> Step:
    """The SDK shows this status; it cannot be read with ``None``."""
    return lambda on: setattr(on.emitted, "shows", status)


def right_before(seconds: float, fact: Callable[[Forwarding], object]) -> Step:
    """A fact right before the timers of that time, in the same cycle of the loop: its events are not delivered yet."""
    return lambda on: asyncio.get_running_loop().call_later(seconds - 5e-10, fact, on)


def stop(on: Forwarding) -> None:
    on.forwarder.stop()


def nothing(on: Forwarding) -> None:
    """Nothing has been emitted."""
    assert on.emitted.names == []


def emitted_before(*names: ProviderEvent) -> Step:
    """These events have been emitted, and do not count any more."""

    def step(on: Forwarding) -> None:
        assert on.emitted.names == list(names)
        on.emitted.events.clear()

    return step


def reconciling(on: Forwarding) -> None:
    on.facts.cell.reconcile()


def first_reconciled(on: Forwarding) -> None:
    on.facts.cell.reconciled(1)


def reconciled(error: ErrorInfo | None = None) -> Step:
    """A new context whose change has ended."""
    return lambda on: on.facts.cell.reconciled(on.facts.cell.reconcile(), error)


async def go_through(on: Forwarding, steps: Sequence[Step]) -> None:
    for step in steps:
        if isinstance(step, int | float):
            await asyncio.sleep(step)
        else:
            step(on)


READY_CLIENT: list[Step] = [good, again]
SETTLED_CLIENT: list[Step] = [*READY_CLIENT, released(Status.READY), 2 * CORRECTED, nothing]
MARKED_CLIENT: list[Step] = [good, marked, released(Status.READY), 2 * CORRECTED, emitted_before(READY)]


@pytest.fixture
def emitted() -> Emitted:
    return Emitted()


@pytest.fixture
async def on() -> AsyncIterator[Forwarding]:
    on = Forwarding()
    await on.facts.start(0)
    yield on
    on.forwarder.stop()
    await on.facts.aclose()


@pytest.mark.parametrize(
    ("steps", "events"),
    [
        # -- what happens before initialize ends
        pytest.param([*READY_CLIENT, better, 1, nothing, released(Status.READY), 2], ["CHANGED f"], id="changes wait for the end"),
        pytest.param([*READY_CLIENT, better, released(Status.READY), 2], ["CHANGED f"], id="a change right before the end"),
        pytest.param(
            [*READY_CLIENT, interrupted, good, released(Status.ERROR), 2],
            ["READY connected", "CHANGED"],
            id="of several statuses the last is emitted",
        ),
        pytest.param(
            [*READY_CLIENT, interrupted, good, 1, nothing, released(Status.READY), 2],
            ["CHANGED"],
            id="an event before initialize begins waits, too",
        ),
        pytest.param([*READY_CLIENT, released(Status.READY), 2], [], id="the status that the SDK wrote is not emitted again"),
        pytest.param([good, interrupted, again, released(Status.READY), 2], ["STALE down"], id="a status of before the forwarding"),
        pytest.param(
            [good, interrupted, good, again, released(Status.ERROR), 1],
            ["READY connected"],
            id="a status after an outage does not have the message of the outage",
        ),
        pytest.param(
            [*READY_CLIENT, out, released(Status.READY), 0.1],
            ["ERROR GENERAL down"],
            id="an error of the status has its code and message",
        ),
        # -- what happens after that
        pytest.param(
            [released(Status.ERROR), 0.5, good, 2], ["READY connected"], id="a client that gets ready after initialize raised"
        ),
        pytest.param(
            [*READY_CLIENT, interrupted, released(Status.READY), 1.5],
            ["STALE down"],
            id="an older status is emitted once if the SDK wrote in time",
        ),
        pytest.param(
            [*READY_CLIENT, interrupted, released(Status.READY), 0.5, shows(Status.READY), 1],
            ["STALE down"] * 2,
            id="it is emitted again if a late thread of the SDK wrote over it",
        ),
        pytest.param(
            [*READY_CLIENT, shows(None), interrupted, unwritten(Status.READY), 2, good, 2],
            ["STALE down", "READY connected", "CHANGED"],
            id="an SDK whose status cannot be read gets each status once",
        ),
        pytest.param(
            [*READY_CLIENT, right_before(SETTLED, interrupted), released(Status.READY), 2],
            ["STALE down"],
            id="a status that begins when the status is compared the first time",
        ),
        pytest.param(
            [*READY_CLIENT, right_before(CORRECTED, interrupted), released(Status.READY), 2],
            ["STALE down"],
            id="a status that begins when the status is compared the second time",
        ),
        pytest.param(
            [good, interrupted, again, right_before(SETTLED, good), released(Status.READY), 2],
            ["CHANGED"],
            id="a status that the SDK has written before it begins is not emitted",
        ),
        pytest.param(
            [*READY_CLIENT, right_before(SETTLED, better), released(Status.READY), 2],
            ["CHANGED f"],
            id="a change that comes when the status is compared",
        ),
        pytest.param(
            [*SETTLED_CLIENT, interrupted, good, interrupted, 1],
            ["STALE down", "READY connected", "CHANGED", "STALE down"],
            id="statuses that begin in one cycle of the loop are all emitted",
        ),
        pytest.param(
            [*READY_CLIENT, interrupted, released(Status.READY), 0.01, stop, stop, 2],
            [],
            id="after the stop no timer emits anything",
        ),
        pytest.param(
            [*READY_CLIENT, interrupted, released(Status.READY), stop, 2], [], id="nor after a stop right after the release"
        ),
        # -- an SDK that reads life-cycle events
        pytest.param(
            [good, marked, interrupted, better, 0, 0],
            ["STALE down", "READY connected", "CHANGED f"],
            id="with the marker no event waits",
        ),
        pytest.param(
            [good, shows(Status.READY), marked, unwritten(Status.READY), unwritten(Status.READY)],
            ["READY connected"],
            id="with the marker the status is emitted whatever the SDK shows",
        ),
        pytest.param(
            [marked, unwritten(Status.ERROR)],
            ["ERROR PROVIDER_NOT_READY the client is NOT_READY"],
            id="an error without any data names the status",
        ),
        # -- a client that changes its context
        pytest.param(
            [*SETTLED_CLIENT, reconciling, 1, nothing, first_reconciled, 1],
            ["CHANGED"],
            id="a change of context is a change of flags",
        ),
        pytest.param(
            [*SETTLED_CLIENT, reconciled(DOWN), 1, emitted_before(ERROR), reconciled(), 1],
            ["CHANGED", "READY connected"],
            id="a context that ends an error makes the provider ready",
        ),
        pytest.param(
            [*MARKED_CLIENT, reconciled(DOWN), 1, emitted_before(ERROR), reconciled(), 1],
            ["CHANGED", "READY connected"],
            id="with the marker, too",
        ),
        pytest.param([*SETTLED_CLIENT, reconciled(), reconciling, 1], ["CHANGED"], id="between two contexts there is no error"),
        pytest.param([*MARKED_CLIENT, reconciled(), reconciling, 1], ["CHANGED"], id="nor is there one with the marker"),
    ],
)
async def test_these_events_are_emitted(on: Forwarding, steps: Sequence[Step], events: list[str]) -> None:
    await go_through(on, steps)
    assert on.emitted.shown == events


@pytest.mark.parametrize("late", [pytest.param(0.0, id="at once"), pytest.param(0.5, id="a thread that was late")])
async def test_a_client_that_starts_after_initialize_is_ready_in_the_end(late: float) -> None:
    on = Forwarding()
    on.forwarder.release(Status.ERROR)
    await on.facts.start(0)
    on.facts.data(f=1)
    await asyncio.sleep(late)
    on.emitted.shows = Status.ERROR
    await asyncio.sleep(2)
    assert (on.emitted.shows, on.emitted.names.count(READY)) == (Status.READY, 2 if late else 1)
    on.forwarder.stop()
    await on.facts.aclose()


async def test_many_changes_that_wait_are_one(on: Forwarding) -> None:
    on.facts.data(f=1)
    on.emitted.events.clear()
    on.begin()
    for number in range(3000):
        on.facts.data(**{"f": 1, f"g{number % 3}": number})
        await asyncio.sleep(0.001)
    on.emitted.release(on.forwarder, Status.READY)
    await asyncio.sleep(2)
    assert [(event, details.flags_changed) for event, details in on.emitted.events] == [(CHANGED, ["g0", "g1", "g2"])]


async def test_an_event_that_the_sdk_does_not_take_is_logged(on: Forwarding, caplog: pytest.LogCaptureFixture) -> None:
    await go_through(on, SETTLED_CLIENT)
    on.emitted.fails = True
    better(on)
    good(on)
    await asyncio.sleep(1)
    assert on.emitted.names == [CHANGED, CHANGED]
    assert "OpenFeature did not take the event PROVIDER_CONFIGURATION_CHANGED" in caplog.text


@pytest.mark.parametrize("in_thread", [False, True], ids=["on the event loop", "in another thread"])
@pytest.mark.parametrize("pause", [0.0, 0.01, 0.5], ids=["before they begin", "at once", "when the first is over"])
async def test_a_stop_ends_the_timers(on: Forwarding, pause: float, in_thread: bool) -> None:
    await go_through(on, READY_CLIENT)
    before = on_the_loop()
    on.emitted.release(on.forwarder, Status.READY)
    if pause:
        await asyncio.sleep(pause)
        assert more(before, on_the_loop()) != []
    if in_thread:
        await asyncio.to_thread(on.forwarder.stop)
    else:
        on.forwarder.stop()
    assert await until_ended_on_the_loop(before) == []


async def test_the_status_is_compared_twice_after_initialize(on: Forwarding) -> None:
    await go_through(on, [*READY_CLIENT, interrupted, released(Status.READY)])
    seen: list[int] = []
    for seconds in (SETTLED - 0.001, 0.002, CORRECTED - SETTLED - 0.002, 0.002, 5):
        await asyncio.sleep(seconds)
        seen.append(len(on.emitted.events))
        on.emitted.shows = Status.READY  # a slow thread of the SDK
    assert seen == [0, 1, 1, 2, 2]


async def test_changes_without_a_pause_do_not_delay_the_first_events(on: Forwarding) -> None:
    await go_through(on, [*READY_CLIENT, released(Status.READY), 0])
    for value in range(2, 20):
        on.facts.data(f=value)
        await asyncio.sleep(SETTLED / 5)
        if value == 10:
            assert on.emitted.names[0] is CHANGED
    await asyncio.sleep(2 * CORRECTED)
    assert on.emitted.reads == 2


async def test_a_forwarder_that_was_stopped_is_not_kept_by_its_client(on: Forwarding) -> None:
    marked(on)
    is_gone = weakref.ref(on.forwarder)
    again(on)
    await asyncio.sleep(1)
    gc.collect()
    assert is_gone() is None


# -- threads and event loops


@pytest.mark.parametrize(
    "reports_lifecycle", [pytest.param(False, id="without the marker"), pytest.param(True, id="with the marker")]
)
@pytest.mark.real_time
async def test_events_are_emitted_on_the_loop_if_initialize_ends_in_another_thread(on: Forwarding, reports_lifecycle: bool) -> None:
    # In debug mode a loop refuses calls of other threads that would not wake it.
    asyncio.get_running_loop().set_debug(True)
    await go_through(on, [good, interrupted, marked if reports_lifecycle else again])
    emitted = on.emitted

    def initialize() -> None:
        emitted.release(on.forwarder, Status.READY)
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


async def test_a_ready_event_has_the_metadata_of_the_flag_set(emitted: Emitted) -> None:
    async with FlagdClient.local(DOCUMENT, FlagdConfig(environment={})) as client:
        forwarder = EventForwarder(client, emitted, emitted.read_status, reports_lifecycle=False)
        emitted.release(forwarder, Status.ERROR)
        await asyncio.sleep(1)
    ((event, details),) = emitted.events
    assert (event, details.message, details.metadata) == (READY, "connected", {"flagSetId": "shop"})


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
    on: Forwarding, error: ErrorInfo, event: ProviderEvent, code: ErrorCode | None, is_late: bool
) -> None:
    await go_through(on, READY_CLIENT if is_late else SETTLED_CLIENT)
    (on.facts.off if error is FATAL else on.facts.interrupted)(error)
    if is_late:
        on.emitted.release(on.forwarder, Status.READY)
    await asyncio.sleep(0.5)
    ((name, details),) = on.emitted.events
    assert (name, details.error_code) == (event, code)
    assert details.message
