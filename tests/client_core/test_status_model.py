"""Random runs of the core: facts from tasks, threads and handlers, also within a step, and observers that come and go.

``AIOFLAGS_SEEDS=10000`` runs the long form; ``AIOFLAGS_SEED`` sets the first seed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from aioflags import Status, StatusReport
from aioflags.client_core.condition import Fact, FactKind
from aioflags.client_core.observers import Subscription
from aioflags.client_core.readers import EventIterator
from aioflags.model.status import Event, EventKind, SourceState
from aioflags.testing import VirtualTimeLoop
from tests.support.status_clients import DOWN, FATAL, UNUSABLE, StatusClient

FIRST_SEED = int(os.environ.get("AIOFLAGS_SEED", "0"))
SEEDS = int(os.environ.get("AIOFLAGS_SEEDS", "300"))
BATCHES = 10

STATUS_OF = {
    EventKind.READY: {Status.READY},
    EventKind.STALE: {Status.STALE},
    EventKind.ERROR: {Status.ERROR, Status.FATAL},
    EventKind.RECONCILING: {Status.RECONCILING},
    EventKind.CONTEXT_CHANGED: {Status.READY},
}


@dataclass
class World:
    """One run: the client, what was published, and what observers saw."""

    chance: random.Random
    client: StatusClient = field(init=False)
    value: int = 0
    reports: list[StatusReport] = field(default_factory=list[StatusReport])
    values: dict[int, int] = field(default_factory=dict[int, int])
    """The value that was served when the report with that number was published."""
    whole: list[Event] = field(default_factory=list[Event])
    iterators: list[tuple[int, EventIterator]] = field(default_factory=list[tuple[int, EventIterator]])
    handled: list[list[Event]] = field(default_factory=list[list[Event]])
    subscriptions: list[Subscription] = field(default_factory=list[Subscription])
    calls: list[int] = field(default_factory=list[int])
    problems: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.client = StatusClient(
            grace=self.chance.choice([None, 0, 3]),
            revives=self.chance.random() < 0.3,
            start_wait=self.chance.choice([0.5, 20]),
            close_timeout=30,
            on_step=lambda events, _: self.step(events),
        )
        self.reports.append(self.client.report)

    def step(self, events: Sequence[Event]) -> None:
        """Inside a step: the client still has the report of before. A fact that is reported here waits for the end of the step."""
        before = self.client.report
        self.whole.extend(events)
        for event in events:
            if event.seq != before.seq + 1:
                self.problems.append(f"{event} follows {before}")
            if event.kind in STATUS_OF and event.report.status is before.status:
                self.problems.append(f"{event} repeats {before}")
        if self.chance.random() < 0.1:
            self.report()

    # -- facts

    def report(self) -> None:
        """One random fact, and the checks that hold after each step."""
        chance, cell = self.chance, self.client.cell
        actions: list[Callable[[], object]] = [
            *[self.data] * 6,
            *[lambda: self.client.interrupted(chance.choice([DOWN, UNUSABLE, None]))] * 4,
            lambda: cell.report(SourceState.VALID),
            lambda: cell.report(SourceState.OFF, error=DOWN, next_attempt=chance.choice([None, 1000.0])),
            cell.start_timed_out,
            lambda: self.calls.append(cell.reconcile()),
            self.reconciled,
            self.reconciled,
        ]
        if chance.random() < 0.01:
            actions = [lambda: self.client.off(FATAL)]
        chance.choice(actions)()
        self.check_step()

    def data(self) -> None:
        self.value += self.chance.random() < 0.8
        self.client.data(f=self.value)

    def reconciled(self) -> None:
        if self.calls:
            call = self.calls.pop(self.chance.randrange(len(self.calls)))
            self.client.cell.reconciled(call, self.chance.choice([None, DOWN]))

    def check_step(self) -> None:
        """R1, R7: each step counts one, and changes something or has an event."""
        newest = self.client.report
        if newest is not self.reports[-1]:
            self.reports.append(newest)
        if isinstance(value := self.client.value("f"), int):
            self.values.setdefault(newest.seq, value)

    # -- observers

    def observe(self) -> None:
        chance, client = self.chance, self.client
        match chance.randrange(6):
            case 0:
                self.iterators.append((client.report.seq, client.events()))
            case 1:
                self.handled.append(seen := [])
                pause, running = chance.choice([0, 0.1, 2]), list[int]()

                async def slow(event: Event) -> None:
                    if running:
                        self.problems.append("runs of one handler overlap")
                    running.append(event.seq)
                    self.check_handler(event)
                    await asyncio.sleep(pause)
                    seen.append(event)
                    running.clear()

                self.subscriptions.append(client.on_event(None, slow))
            case 2:
                quick: list[Event] = []
                self.handled.append(quick)
                self.subscriptions.append(client.on_event(chance.choice(list(EventKind)), quick.append, inline=True))
            case 3:
                again = iter(range(3))

                def reenter(event: Event) -> None:
                    """Reports a fact while others wait, a few times."""
                    self.check_handler(event)
                    if next(again, None) is not None:
                        self.report()

                self.subscriptions.append(client.on_event(chance.choice([None, *EventKind]), reenter, inline=True))
            case 4:
                status = chance.choice(list(Status))

                async def entered(report: StatusReport) -> None:
                    if report.status is not status or client.report.seq < report.seq:
                        self.problems.append(f"a handler of {status} got {report}")
                    if chance.random() < 0.2:
                        self.report()

                self.subscriptions.append(client.on_status(status, entered))
            case _:
                if self.subscriptions:
                    chance.choice(self.subscriptions).cancel()

    def check_handler(self, event: Event) -> None:
        """R3, R5: the status and the data are at least as new as the event."""
        value = self.client.value("f")
        is_old = event.seq in self.values and isinstance(value, int) and value < self.values[event.seq]
        if is_old or self.client.report.seq < event.seq:
            self.problems.append(f"a handler of {event} sees {value} and {self.client.report}")


async def run(seed: int) -> None:
    world = World(random.Random(seed))
    client, chance = world.client, world.chance
    await client.start(0)
    followed: list[StatusReport] = []

    async def follow() -> None:
        async for report in client.reports():
            followed.append(report)
            await asyncio.sleep(chance.choice([0, 1]))

    async def sources() -> None:
        for _ in range(15):
            if chance.random() < 0.4:
                world.observe()
            world.report()
            await asyncio.sleep(chance.choice([0, 0, 0.01, 1, 4]))

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(sources())
        for number in range(2 if seed % 5 == 0 else 0):
            tasks.create_task(asyncio.to_thread(post_facts, client, random.Random(f"{seed}:{number}")))
    last = client.report
    await client.aclose()
    await following
    await check_run(world, followed, last)


POSTED = [FactKind.DATA, FactKind.INTERRUPTED, FactKind.OFF, FactKind.START_LIMIT, FactKind.RECONCILE, FactKind.RECONCILED]


def post_facts(client: StatusClient, chance: random.Random) -> None:
    for _ in range(5):
        kind = chance.choice(POSTED)
        error = DOWN if kind in {FactKind.INTERRUPTED, FactKind.OFF} else None
        client.cell.post(Fact(kind=kind, error=error, number=chance.randrange(3)))


async def check_run(world: World, followed: list[StatusReport], last: StatusReport) -> None:
    client, whole = world.client, world.whole
    # R1: steps are counted, and observed in order.
    assert [report.seq for report in world.reports] == sorted({report.seq for report in world.reports})
    # R2, A4: the last event of a step says what its report says.
    for event, later in pairwise([*whole, None]):
        assert event is not None
        assert event.report.seq == event.seq
        if event.kind in STATUS_OF and (later is None or later.seq > event.seq):
            assert event.report.status in STATUS_OF[event.kind]
    # R2, R7: each step counts one, and an event of a status is that of another status than before.
    assert world.problems == []
    # R6: a fatal code is left by closing alone.
    assert last.status is Status.FATAL or not client.cell.is_fatal
    # R9: the first report, newer ones in order, and the last.
    assert [report.seq for report in followed] == sorted({report.seq for report in followed})
    assert followed[-1] == client.report
    # R10, R14: each observer has the exact rest of the run.
    for seq, iterator in world.iterators:
        assert [event async for event in iterator] == [event for event in whole if event.seq > seq]
    for seen in world.handled:
        assert [event.seq for event in seen] == sorted(event.seq for event in seen)
    assert (client.status, client.report.source_state) == (Status.NOT_READY, SourceState.OFF)
    assert replace(client.report, seq=0) != replace(last, seq=0)


@pytest.mark.holds("OF-R1", "OF-R2", "OF-R7")
@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_runs_keep_the_promises_to_observers(batch: int, caplog: pytest.LogCaptureFixture) -> None:
    for seed in range(FIRST_SEED + batch, FIRST_SEED + SEEDS, BATCHES):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            try:
                runner.run(run(seed))
            except BaseException as error:
                error.add_note(f"AIOFLAGS_SEED={seed}")
                raise
            errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
            assert [text for text in errors if not text.startswith("no contact to the source of flag data")] == [], seed
