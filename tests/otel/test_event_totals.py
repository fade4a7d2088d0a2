"""EventTotals: sums of recorded, sent and dropped events do not fall when a client is collected."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from weakref import ref

import pytest

from aioflags import Events
from aioflags.client_core.status import StatusCell
from aioflags.evaluation.snapshot import Snapshot
from aioflags.events.recorder import Recorder
from aioflags.otel.metrics import EventTotals, SumKey
from aioflags.supervisor.next_snapshot import SnapshotHolder
from tests.support.events import U1


class StandInClient:
    """Stands for a client: it has a recorder and a status cell."""

    def __init__(self, environment: str | None = "e") -> None:
        self.recorder = Recorder(Events())
        self.recorder.open()
        self.cell = StatusCell(SnapshotHolder(Snapshot.empty()))
        self.cell.environment_id = environment

    def add_to(self, totals: EventTotals) -> StandInClient:
        totals.add(self, self.recorder, self.cell)
        return self

    def identify(self, events: int) -> StandInClient:
        for _ in range(events):
            self.recorder.identified(U1)
        return self


def single(totals: EventTotals, environment: str | None = "e") -> Mapping[str, int]:
    """The numbers of single events of one environment, by outcome, without zeros."""
    found = {amount.outcome: number for amount, number in totals.read().items() if amount[:2] == (environment, "single")}
    return {outcome: number for outcome, number in found.items() if number}


def test_totals_are_sums_for_each_environment_kind_and_outcome() -> None:
    totals = EventTotals()
    owners = [StandInClient(environment).add_to(totals).identify(2) for environment in ("e", "e", "other")]
    assert (single(totals), single(totals, "other")) == ({"recorded": 4, "pending": 4}, {"recorded": 2, "pending": 2})
    assert totals.read().keys() == {
        SumKey(environment, kind, outcome)
        for environment in ("e", "other")
        for kind in ("single", "summarized")
        for outcome in ("recorded", "sent", "dropped", "pending")
    }
    del owners


def test_without_clients_there_are_no_sums() -> None:
    assert EventTotals().read() == {}


@pytest.mark.parametrize("is_looked_at", [True, False], ids=["read before the client is collected", "not read before"])
def test_the_counts_of_a_collected_client_stay(is_looked_at: bool) -> None:
    totals = EventTotals()
    kept, gone = StandInClient().add_to(totals).identify(1), StandInClient().add_to(totals).identify(3)
    assert gone.recorder.drain() is not None
    gone.recorder.mark_settled(events=3, is_sent=True)
    if is_looked_at:
        totals.read()
    del gone
    gc.collect()
    for _ in range(2):
        assert single(totals) == {"recorded": 4, "sent": 3, "pending": 1}
    assert kept.recorder.stats.events_recorded == 1


def test_pending_events_of_a_collected_client_count_as_dropped() -> None:
    totals = EventTotals()
    owner = StandInClient().add_to(totals).identify(3)
    assert single(totals) == {"recorded": 3, "pending": 3}
    del owner
    gc.collect()
    assert single(totals) == {"recorded": 3, "dropped": 3}


def test_events_before_the_environment_was_known_do_not_move_to_it() -> None:
    totals = EventTotals()
    owner, other = StandInClient(None).add_to(totals).identify(2), StandInClient(None).add_to(totals).identify(1)
    assert single(totals, None) == {"recorded": 3, "pending": 3}
    owner.cell.set_environment("e")
    owner.identify(1)
    assert single(totals, None) == {"recorded": 3, "pending": 1}
    assert single(totals) == {"recorded": 1, "pending": 3}
    del other


def test_a_client_that_is_added_twice_counts_once() -> None:
    totals = EventTotals()
    owner = StandInClient().add_to(totals).identify(1)
    owner.add_to(totals)
    assert single(totals) == {"recorded": 1, "pending": 1}


@pytest.mark.slow
def test_collected_clients_do_not_accumulate_without_reads() -> None:
    totals = EventTotals()
    recorders = [ref(StandInClient().add_to(totals).identify(1).recorder) for _ in range(100)]
    gc.collect()
    StandInClient().add_to(totals)
    gc.collect()
    assert sum(recorder() is not None for recorder in recorders) <= 1
    assert single(totals) == {"recorded": 100, "dropped": 100}


def test_in_the_child_of_a_fork_the_sums_continue() -> None:
    totals = EventTotals()
    owner = StandInClient().add_to(totals).identify(3)
    totals.read()
    for after_fork in (totals, owner.recorder):
        after_fork.after_fork()
    assert single(totals) == {"recorded": 3}
    owner.recorder.open()
    owner.identify(1)
    assert single(totals) == {"recorded": 4, "pending": 1}
