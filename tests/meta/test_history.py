"""The checker of histories accepts what a correct client may read, and reports each kind of wrong read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pytest

from tests.reliability.history import History, HistoryError, Listener, Reads, Value

Values: TypeAlias = Mapping[str, Value]
CHANGE_SETS: Sequence[Values] = [{"a": 1, "b": 1}, {"a": 2}, {"a": 3, "b": 3}, {"b": None}, {"b": 5, "c": 5}]
"""Versions 1 to 5."""


@pytest.fixture
def history() -> History:
    history = History()
    for change_set in CHANGE_SETS:
        history.commit(change_set)
    return history


def read(reads: Reads, *several: Values) -> None:
    """Reads one after another."""
    for values in several:
        reads.see(values, reads.begin())


CORRECT = [
    pytest.param([{"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 3, "b": 3}, {"a": 3, "b": None}, {"a": 3, "b": 5}], id="every version"),
    pytest.param([{"a": None, "b": None}, {"a": 3, "b": 3}, {"a": 3, "b": 3}], id="some versions, from before the first"),
    pytest.param([{"a": 3}, {"a": 3}, {"b": 3}, {"b": None}, {"c": None}, {"b": 5}], id="single flags"),
]


@pytest.mark.parametrize("several", CORRECT)
@pytest.mark.parametrize("is_atomic", [True, False])
def test_correct_reads_are_accepted(history: History, several: Sequence[Values], *, is_atomic: bool) -> None:
    read(Reads(history, is_atomic=is_atomic), *several)
    history.check()


@pytest.mark.parametrize(
    ("several", "violation"),
    [
        pytest.param([{"a": 4}], "a = 4 was never served", id="an unknown value"),
        pytest.param([{"d": 1}], "d = 1 was never served", id="an unknown flag"),
        pytest.param([{"a": [1]}], r"a = \[1\] was never served", id="a value of another type"),
        pytest.param([{"a": 2, "b": 3}], "are values of different versions", id="half of a change set"),
        pytest.param([{"a": 2, "b": None}], "are values of different versions", id="half of a deletion"),
        pytest.param([{"a": 2}, {"a": 1}], "is version 1, after a read of version 2", id="an older value"),
        pytest.param([{"b": 3}, {"a": 2}], "is version 2, after a read of version 3", id="an older value of another flag"),
        pytest.param([{"b": 5}, {"c": None}], "is version 4, after a read of version 5", id="a flag that is forgotten"),
        pytest.param([{"a": 3, "b": 5}, {"a": None, "b": None}], "is version 0, after", id="all flags forgotten"),
    ],
)
def test_a_wrong_read_is_reported(history: History, several: Sequence[Values], violation: str) -> None:
    read(Reads(history, "ann"), *several)
    with pytest.raises(HistoryError, match=f"ann: .*{violation}"):
        history.check()


def test_a_value_of_the_future_was_never_served() -> None:
    history = History()
    history.commit({"a": 1})
    read(Reads(history), {"a": 2})
    history.commit({"a": 2})
    with pytest.raises(HistoryError, match="never served"):
        history.check()


@pytest.mark.parametrize(("is_atomic", "is_accepted"), [(True, False), (False, True)])
def test_flags_have_an_order_each_if_change_sets_are_not_atomic(history: History, *, is_atomic: bool, is_accepted: bool) -> None:
    read(Reads(history, is_atomic=is_atomic), {"a": 2, "b": 3}, {"b": 3, "a": 2})
    assert (not history.violations) is is_accepted
    read(Reads(history, is_atomic=False), {"a": 3}, {"a": 2})
    with pytest.raises(HistoryError):
        history.check()


def test_a_read_may_be_older_than_one_that_ended_after_it_began(history: History) -> None:
    reads = Reads(history)
    begun = reads.begin()
    read(reads, {"a": 3})
    reads.see({"a": 2}, begun)
    history.check()
    reads.see({"a": 2}, reads.begin())
    with pytest.raises(HistoryError, match="after a read of version 3"):
        history.check()


def test_a_full_transfer_may_bring_older_values(history: History) -> None:
    reads = Reads(history)
    read(reads, {"a": 3})
    reads.begin_again()
    read(reads, {"a": 2})
    history.check()


def test_a_client_has_converged_if_it_has_all_newest_values(history: History) -> None:
    reads = Reads(history)
    assert reads.converged({"a": 3, "b": 5, "c": 5})
    assert not reads.converged({"a": 3, "b": 5})
    assert not reads.converged({"a": 3, "b": None, "c": 5})


@pytest.mark.parametrize(
    ("changes", "violation"),
    [
        pytest.param([(1, 2), (2, 3)], None, id="every change"),
        pytest.param([(1, 3)], None, id="two changes as one"),
        pytest.param([(1, 2)], "the last change was to 2, not to 3", id="a lost last change"),
        pytest.param([(2, 3)], "a change from 2 follows a change to 1", id="a lost change"),
        pytest.param([(1, 3), (3, 2), (2, 3)], "2 was never served, or is older than version 3", id="changes in the wrong order"),
        pytest.param([(1, 4), (4, 3)], "4 was never served", id="an unknown value"),
    ],
)
def test_a_listener_gets_changes_in_order(history: History, changes: Sequence[tuple[Value, Value]], violation: str | None) -> None:
    listener = Listener(history, "a", 1)
    for old, new in changes:
        listener.changed(old, new)
    listener.ended()
    if violation is None:
        history.check()
    else:
        with pytest.raises(HistoryError, match=violation):
            history.check()


def test_many_violations_are_shortened(history: History) -> None:
    read(Reads(history), *[{"a": 4}] * 7)
    with pytest.raises(HistoryError, match="and 2 more") as raised:
        history.check()
    assert len(str(raised.value).splitlines()) == 6
