"""Whose turn it is, after each verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aioflags.sources.base import SourceBuilder
from aioflags.supervisor.rotation import Rotation, RotationEntry
from aioflags.supervisor.verdict import Verdict
from tests.support.scripted_sources import World

WORLD = World()
A, B, C, F = (WORLD.source(name) for name in "ABCF")


def named(roster: Rotation) -> str:
    """The sources that are left, the current one in upper case."""
    letters: dict[SourceBuilder, str] = {A: "a", B: "b", C: "c", F: "f"}
    names = [letters[entry.builder] for entry in roster.remaining]
    if names:
        names[roster.index] = names[roster.index].upper()
    return "".join(names)


def roster(names: str, *, fallback: SourceBuilder | None = F) -> Rotation:
    """A roster of the synchronizers that are named, with the turn of the one in upper case; of F alone, an engaged one."""
    new = Rotation.of((A, B, C), fallback)
    entries = dict(zip("abcf", (*new.configured, new.fallback or RotationEntry(F)), strict=True))
    left = tuple(entries[name.lower()] for name in names)
    index = next((index for index, name in enumerate(names) if name.isupper()), 0)
    return replace(new, remaining=left, index=index, on_fdv1=names in {"F", ""})


@pytest.mark.parametrize(
    ("before", "verdict", "after"),
    [
        pytest.param("Abc", Verdict.NEXT, "aBc", id="next is the one after it"),
        pytest.param("abC", Verdict.NEXT, "Abc", id="next after the last is the first"),
        pytest.param("A", Verdict.NEXT, "A", id="next of one is the same"),
        pytest.param("abC", Verdict.RECOVER, "Abc", id="recovery goes to the first"),
        pytest.param("bC", Verdict.RECOVER, "Bc", id="recovery goes to the first that is left"),
        pytest.param("Abc", Verdict.REMOVE, "Bc", id="without the first its successor has the turn"),
        pytest.param("aBc", Verdict.REMOVE, "aC", id="without a middle one its successor has the turn"),
        pytest.param("abC", Verdict.REMOVE, "Ab", id="without the last the first has the turn"),
        pytest.param("A", Verdict.REMOVE, "", id="without the only one nobody has the turn"),
        pytest.param("aBc", Verdict.STAY, "aBc", id="stay changes nothing"),
        pytest.param("aBc", Verdict.DONE, "aBc", id="done is said of initializers"),
        pytest.param("aBc", Verdict.FDV1, "F", id="FB-16 a directive leaves the fallback alone"),
        pytest.param("F", Verdict.FDV1, "F", id="FB-22 the fallback cannot be sent away"),
        pytest.param("F", Verdict.NEXT, "F", id="FB-21 the fallback has nobody after it"),
        pytest.param("F", Verdict.REMOVE, "", id="FB-21 without the fallback nobody has the turn"),
        pytest.param("F", Verdict.RECOVER, "Abc", id="the whole list returns when the directive's time is over"),
        pytest.param("", Verdict.RECOVER, "Abc", id="DS-123 it returns although the fallback was removed"),
        pytest.param("", Verdict.RETRY, "F", id="DS-155 while a directive holds, FDv1 alone starts again"),
        pytest.param("bC", Verdict.RETRY, "Abc", id="DS-151 all that were removed start again"),
        pytest.param("", Verdict.NEXT, "", id="nobody after nobody"),
        pytest.param("", Verdict.FDV1, "", id="a fallback that was removed stays so"),
        pytest.param("", Verdict.REMOVE, "", id="nobody to remove"),
    ],
)
def test_after(before: str, verdict: Verdict, after: str) -> None:
    assert named(roster(before).after(verdict)) == after


@pytest.mark.holds("FB-23")
def test_a_directive_without_a_fallback_leaves_nobody() -> None:
    on_fdv1 = roster("aBc", fallback=None).after(Verdict.FDV1)
    assert (on_fdv1.current, on_fdv1.on_fdv1) == (None, True)


def test_a_directive_after_a_recovery_is_acted_on_as_the_first_was() -> None:
    assert named(roster("F").after(Verdict.RECOVER).after(Verdict.FDV1)) == "F"


@pytest.mark.holds("FB-29")
def test_the_fallback_is_never_taken_from_the_synchronizers() -> None:
    assert Rotation.of((A, F), None).after(Verdict.FDV1).remaining == ()


def test_one_builder_may_stand_in_the_list_twice() -> None:
    twice = Rotation.of((A, B, A), None).after(Verdict.NEXT).after(Verdict.NEXT).after(Verdict.REMOVE)
    assert [entry.builder for entry in twice.remaining] == [A, B]


@pytest.mark.parametrize(
    ("names", "alone", "primary"),
    [
        pytest.param("Abc", False, True, id="the first"),
        pytest.param("aBc", False, False, id="another"),
        pytest.param("A", True, True, id="the only one"),
    ],
)
def test_what_a_place_is_called(names: str, alone: bool, primary: bool) -> None:
    assert (roster(names).is_alone, roster(names).is_primary) == (alone, primary)


@pytest.mark.parametrize(
    ("runs", "rounds"),
    [
        pytest.param("", 0, id="before the first run"),
        pytest.param("x", 0, id="others have not run yet"),
        pytest.param("xxx", 1, id="all of them have run"),
        pytest.param("xxxx", 0, id="within the second round"),
        pytest.param("xxxxxx", 2, id="twice"),
        pytest.param("xxvxx", 0, id="one was valid"),
        pytest.param("xxvxxx", 1, id="a round after one was valid"),
        pytest.param("xrx", 1, id="all but the one that was removed"),
        pytest.param("xxcx", 0, id="after a recovery"),
    ],
)
def test_rounds_without_a_valid_source_are_counted(runs: str, rounds: int) -> None:
    verdicts = {"x": Verdict.NEXT, "v": Verdict.NEXT, "r": Verdict.REMOVE, "c": Verdict.RECOVER}
    after = roster("Abc")
    for run in runs:
        after = after.after(verdicts[run], was_valid=run in "vc")
    assert after.failed_rounds == rounds


def test_a_refusal_is_remembered_until_all_start_again() -> None:
    refused = roster("Abc").after(Verdict.REMOVE, was_refused=True).after(Verdict.REMOVE).after(Verdict.REMOVE)
    assert (refused.current, refused.was_refused) == (None, True)
    assert not refused.after(Verdict.RETRY).was_refused
    assert not roster("Abc").after(Verdict.REMOVE, was_refused=True).after(Verdict.FDV1).was_refused


def test_the_back_off_of_a_place_outlives_whatever_happens_to_it() -> None:
    new = roster("Abc")
    later = new.after(Verdict.REMOVE, was_refused=True).after(Verdict.NEXT).after(Verdict.FDV1).after(Verdict.RECOVER)
    assert [entry.retry_state for entry in later.remaining] == [entry.retry_state for entry in new.remaining]
    assert len({id(entry.retry_state) for entry in new.remaining}) == 3
