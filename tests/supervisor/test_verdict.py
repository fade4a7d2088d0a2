"""The decisions about sources, as truth tables: verdicts, the rotation, and how long a directive holds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from aioflags.model.change import FallbackDirective, Result
from aioflags.model.status import SourceState
from aioflags.sources.base import SourceBuilder
from aioflags.supervisor.policy import SERVER
from aioflags.supervisor.rotation import FallbackState, Rotation, RotationEntry, lifetime
from aioflags.supervisor.verdict import Verdict, final_verdict, is_ready, judge, judge_expiry, limits, state_after
from tests.support.scripted_sources import DIRECTIVE, World, basis, down, failure, off, valid

INITIALIZING, VALID, INTERRUPTED = SourceState.INITIALIZING, SourceState.VALID, SourceState.INTERRUPTED


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        pytest.param(basis(1), Verdict.DONE, id="a basis with a selector completes the initialization"),
        pytest.param(basis(1, selector=False), Verdict.STAY, id="a basis without a selector may be followed by a better one"),
        pytest.param(basis(None), Verdict.STAY, id="DS-63 a basis without data"),
        pytest.param(failure(401), Verdict.STAY, id="a failed fetch does not end the source"),
        pytest.param(valid(1), Verdict.STAY, id="data"),
        pytest.param(valid(), Verdict.STAY, id="an update without data"),
        pytest.param(down(), Verdict.STAY, id="an interruption"),
        pytest.param(off(), Verdict.REMOVE, id="OFF"),
        pytest.param(basis(1, directive=DIRECTIVE), Verdict.FDV1, id="FB-18 a directive outranks a complete basis"),
        pytest.param(basis(1, selector=False, directive=DIRECTIVE), Verdict.FDV1, id="FB-19 a directive on an incomplete basis"),
        pytest.param(basis(None, directive=DIRECTIVE), Verdict.FDV1, id="a directive on a basis without data"),
        pytest.param(failure(500, DIRECTIVE), Verdict.FDV1, id="FB-17 a directive on a failed fetch"),
        pytest.param(valid(1, DIRECTIVE), Verdict.FDV1, id="a directive on data"),
        pytest.param(valid(None, DIRECTIVE), Verdict.FDV1, id="a directive on an update without data"),
        pytest.param(down(503, DIRECTIVE), Verdict.FDV1, id="a directive outranks an interruption"),
        pytest.param(off(401, DIRECTIVE), Verdict.FDV1, id="FB-16 a directive outranks OFF"),
    ],
)
def test_the_verdict_on(result: Result, verdict: Verdict) -> None:
    assert judge(result) is verdict


@pytest.mark.parametrize(
    ("result", "applied", "state"),
    [
        pytest.param(basis(1), True, VALID, id="a complete basis"),
        pytest.param(basis(1, selector=False), True, None, id="a basis without a selector"),
        pytest.param(basis(None), False, None, id="a basis without data"),
        pytest.param(basis(1, directive=DIRECTIVE), True, VALID, id="FB-18 a complete basis with a directive"),
        pytest.param(
            basis(1, selector=False, directive=DIRECTIVE), True, VALID, id="FB-19 a basis without a selector but with a directive"
        ),
        pytest.param(basis(None, directive=DIRECTIVE), False, None, id="a directive without data"),
        pytest.param(failure(), False, INTERRUPTED, id="a failed fetch"),
        pytest.param(valid(1), True, VALID, id="data"),
        pytest.param(valid(), False, VALID, id="an update without data"),
        pytest.param(down(), False, INTERRUPTED, id="an interruption"),
        pytest.param(off(), False, INTERRUPTED, id="OFF of one source is an interruption"),
        pytest.param(off(401, DIRECTIVE), False, INTERRUPTED, id="FB-25 OFF with a directive"),
    ],
)
def test_the_state_that_follows_from(result: Result, applied: bool, state: SourceState | None) -> None:
    assert state_after(result, judge(result), applied=applied) is state


@pytest.mark.parametrize(
    ("state", "latched", "is_over", "verdict"),
    [
        pytest.param(INITIALIZING, None, False, Verdict.NEXT, id="it never started"),
        pytest.param(INTERRUPTED, None, False, Verdict.NEXT, id="it was interrupted for too long"),
        pytest.param(VALID, None, False, Verdict.RECOVER, id="it was valid for long enough"),
        pytest.param(INITIALIZING, DIRECTIVE, False, Verdict.FDV1, id="DS-112 it never started, with a latched directive"),
        pytest.param(INTERRUPTED, DIRECTIVE, False, Verdict.FDV1, id="it was interrupted, with a latched directive"),
        pytest.param(VALID, DIRECTIVE, False, Verdict.FDV1, id="it was valid, with a latched directive"),
        pytest.param(INTERRUPTED, None, True, Verdict.RECOVER, id="its time is over, in any state"),
        pytest.param(INITIALIZING, DIRECTIVE, True, Verdict.FDV1, id="its time is over, with a latched directive"),
        pytest.param(INITIALIZING, None, True, Verdict.RECOVER, id="its time is over, and it never started"),
    ],
)
def test_the_verdict_on_an_expired_timer(state: SourceState, latched: None, is_over: bool, verdict: Verdict) -> None:
    assert judge_expiry(state, latched, is_over=is_over) is verdict


@pytest.mark.parametrize("verdict", Verdict)
def test_a_latched_directive_outranks_every_verdict(verdict: Verdict) -> None:
    assert final_verdict(verdict, DIRECTIVE) is Verdict.FDV1
    assert final_verdict(verdict, None) is verdict


@pytest.mark.parametrize(
    ("state", "sources_left", "ready"),
    [
        pytest.param(VALID, True, True, id="VALID"),
        pytest.param(VALID, False, True, id="VALID and no source left"),
        pytest.param(None, True, False, id="DS-61 data without a state"),
        pytest.param(INTERRUPTED, True, False, id="DS-65 an interruption"),
        pytest.param(SourceState.OFF, False, True, id="DS-64 OFF and no source left"),
        pytest.param(INTERRUPTED, False, True, id="an interruption and no source left"),
    ],
)
def test_waiters_wake_after(state: SourceState | None, sources_left: bool, ready: bool) -> None:
    assert is_ready(state, sources_left=sources_left) is ready


@pytest.mark.parametrize(
    ("alone", "primary", "bounds"),
    [
        pytest.param(True, True, {}, id="the only source"),
        pytest.param(True, False, {}, id="the only source that is left"),
        pytest.param(False, True, {INITIALIZING: 10, INTERRUPTED: 60}, id="the first source"),
        pytest.param(False, False, {INITIALIZING: 10, INTERRUPTED: 60, VALID: 300}, id="a later source"),
    ],
)
def test_the_limits_of(alone: bool, primary: bool, bounds: dict[SourceState, float]) -> None:
    assert limits(SERVER, alone=alone, primary=primary) == bounds


# -- Rotation


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


# -- FallbackState


@pytest.mark.parametrize("random", [0.0, 0.5, 0.999999])
@pytest.mark.parametrize(
    ("ttl", "exact"),
    [
        pytest.param(60.0, 60.0, id="DS-122 a number in range is used"),
        pytest.param(0.5, 0.5, id="a small number"),
        pytest.param(3600.0, 3600.0, id="the maximum"),
        pytest.param(0.0, None, id="DS-122 zero"),
        pytest.param(-5.0, None, id="DS-122 a negative number"),
        pytest.param(7200.0, None, id="DS-122 too long"),
        pytest.param(math.nan, None, id="not a number"),
        pytest.param(math.inf, None, id="infinity"),
        pytest.param(None, None, id="DS-122 absent"),
    ],
)
def test_a_directive_holds_for(ttl: float | None, exact: float | None, random: float) -> None:
    seconds = lifetime(FallbackDirective(ttl=ttl, origin="header"), lambda: random)
    if exact is None:
        assert 1800 < seconds <= 3600
        assert seconds == pytest.approx(3600 - 1800 * random)
    else:
        assert seconds == exact


def test_a_new_state_is_on_fdv2() -> None:
    state = FallbackState()
    assert (state.is_on_fdv1, state.until) == (False, math.inf)


def test_a_second_directive_does_not_move_the_deadline() -> None:
    state = FallbackState()
    state.start(DIRECTIVE, until=60)
    state.start(DIRECTIVE, until=120)
    assert (state.is_on_fdv1, state.until) == (True, 60)


def test_a_directive_after_the_end_sets_a_new_deadline() -> None:
    state = FallbackState()
    state.start(DIRECTIVE, until=60)
    state.end()
    assert not state.is_on_fdv1
    state.start(DIRECTIVE, until=120)
    assert state.until == 120
