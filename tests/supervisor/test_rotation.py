"""Rotation: which source is current after each verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aioflags.sources.base import SourceBuilder
from aioflags.supervisor.rotation import Rotation, RotationEntry
from aioflags.supervisor.verdict import Verdict
from tests.support.scripted_sources import World

WORLD = World()
A, B, C, F = (WORLD.source(name) for name in "ABCF")


def named(rotation: Rotation) -> str:
    """The sources that are left, the current one in upper case."""
    letters: dict[SourceBuilder, str] = {A: "a", B: "b", C: "c", F: "f"}
    names = [letters[entry.builder] for entry in rotation.remaining]
    if names:
        names[rotation.index] = names[rotation.index].upper()
    return "".join(names)


def rotation_of(names: str, *, fallback: SourceBuilder | None = F) -> Rotation:
    """A rotation of the named synchronizers, the current one in upper case. ``F`` alone: on FDv1."""
    new = Rotation.of((A, B, C), fallback)
    entries = dict(zip("abcf", (*new.configured, new.fallback or RotationEntry(F)), strict=True))
    left = tuple(entries[name.lower()] for name in names)
    index = next((index for index, name in enumerate(names) if name.isupper()), 0)
    return replace(new, remaining=left, index=index, on_fdv1=names in {"F", ""})


@pytest.mark.parametrize(
    ("before", "verdict", "after"),
    [
        pytest.param("Abc", Verdict.NEXT, "aBc", id="NEXT: the following source"),
        pytest.param("abC", Verdict.NEXT, "Abc", id="NEXT after the last: the first"),
        pytest.param("A", Verdict.NEXT, "A", id="NEXT of the only source: the same"),
        pytest.param("abC", Verdict.RECOVER, "Abc", id="RECOVER: the first"),
        pytest.param("bC", Verdict.RECOVER, "Bc", id="RECOVER: the first that was not removed"),
        pytest.param("Abc", Verdict.REMOVE, "Bc", id="REMOVE the first: its successor"),
        pytest.param("aBc", Verdict.REMOVE, "aC", id="REMOVE a middle one: its successor"),
        pytest.param("abC", Verdict.REMOVE, "Ab", id="REMOVE the last: the first"),
        pytest.param("A", Verdict.REMOVE, "", id="REMOVE the only one: none"),
        pytest.param("aBc", Verdict.STAY, "aBc", id="STAY changes nothing"),
        pytest.param("aBc", Verdict.DONE, "aBc", id="DONE is for initializers and changes nothing"),
        pytest.param("aBc", Verdict.FDV1, "F", id="FB-16 FDV1: the fallback alone"),
        pytest.param("F", Verdict.FDV1, "F", id="FB-22 FDV1 on FDv1 changes nothing"),
        pytest.param("F", Verdict.NEXT, "F", id="FB-21 NEXT on FDv1: the same"),
        pytest.param("F", Verdict.REMOVE, "", id="FB-21 REMOVE the fallback: none"),
        pytest.param("F", Verdict.RECOVER, "Abc", id="RECOVER on FDv1: the whole FDv2 list"),
        pytest.param("", Verdict.RECOVER, "Abc", id="DS-123 RECOVER after the fallback was removed: the FDv2 list"),
        pytest.param("", Verdict.RETRY, "F", id="DS-155 RETRY on FDv1: the fallback alone"),
        pytest.param("bC", Verdict.RETRY, "Abc", id="DS-151 RETRY: all that were removed"),
        pytest.param("", Verdict.NEXT, "", id="NEXT of none"),
        pytest.param("", Verdict.FDV1, "", id="FDV1 after the fallback was removed"),
        pytest.param("", Verdict.REMOVE, "", id="REMOVE of none"),
    ],
)
def test_the_rotation_after(before: str, verdict: Verdict, after: str) -> None:
    assert named(rotation_of(before).after(verdict)) == after


@pytest.mark.holds("FB-23")
def test_a_directive_without_a_fallback_leaves_no_source() -> None:
    on_fdv1 = rotation_of("aBc", fallback=None).after(Verdict.FDV1)
    assert (on_fdv1.current, on_fdv1.on_fdv1) == (None, True)


def test_a_directive_after_a_recovery_leads_to_the_fallback_again() -> None:
    assert named(rotation_of("F").after(Verdict.RECOVER).after(Verdict.FDV1)) == "F"


@pytest.mark.holds("FB-29")
def test_a_synchronizer_is_never_used_as_the_fallback() -> None:
    assert Rotation.of((A, F), None).after(Verdict.FDV1).remaining == ()


def test_one_builder_may_be_in_the_list_twice() -> None:
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
def test_is_alone_and_is_primary(names: str, alone: bool, primary: bool) -> None:
    assert (rotation_of(names).is_alone, rotation_of(names).is_primary) == (alone, primary)


@pytest.mark.parametrize(
    ("runs", "rounds"),
    [
        pytest.param("", 0, id="before the first run"),
        pytest.param("x", 0, id="the others have not run"),
        pytest.param("xxx", 1, id="all of them have run"),
        pytest.param("xxxx", 1, id="within the second round"),
        pytest.param("xxxxxx", 2, id="all of them have run twice"),
        pytest.param("xxvxx", 0, id="one was VALID"),
        pytest.param("xxvxxx", 1, id="a round after one was VALID"),
        pytest.param("xrx", 1, id="all but a removed one have run"),
        pytest.param("xxcx", 0, id="after a recovery"),
    ],
)
def test_rounds_without_a_valid_source_are_counted(runs: str, rounds: int) -> None:
    verdicts = {"x": Verdict.NEXT, "v": Verdict.NEXT, "r": Verdict.REMOVE, "c": Verdict.RECOVER}
    after = rotation_of("Abc")
    for run in runs:
        after = after.after(verdicts[run], was_valid=run in "vc")
    assert after.failed_rounds == rounds


def test_a_refusal_is_remembered_until_all_start_again() -> None:
    refused = rotation_of("Abc").after(Verdict.REMOVE, was_refused=True).after(Verdict.REMOVE).after(Verdict.REMOVE)
    assert (refused.current, refused.was_refused) == (None, True)
    assert not refused.after(Verdict.RETRY).was_refused
    assert not rotation_of("Abc").after(Verdict.REMOVE, was_refused=True).after(Verdict.FDV1).was_refused


def test_the_back_off_of_an_entry_survives_every_verdict() -> None:
    new = rotation_of("Abc")
    later = new.after(Verdict.REMOVE, was_refused=True).after(Verdict.NEXT).after(Verdict.FDV1).after(Verdict.RECOVER)
    assert [entry.retry_state for entry in later.remaining] == [entry.retry_state for entry in new.remaining]
    assert len({id(entry.retry_state) for entry in new.remaining}) == 3
