"""Which flags change with a change set."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.compiled_data import updated_index
from aioflags.evaluation.launchdarkly import LAUNCHDARKLY
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeSet
from tests.evaluation.data import change_set, changes, needs, partial, segment
from tests.support.pauses import with_pauses


def f(key: str, *needed: Any, segments: Any = (), version: int = 1) -> dict[str, Any]:
    clauses = [{"op": "segmentMatch", "values": list(segments)}]
    return needs(key, *needed, version=version, rules=[{"clauses": clauses}] if segments else [])


def s(key: str, *needed: Any, version: int = 1) -> dict[str, Any]:
    return segment(key, version=version, rules=[{"clauses": [{"op": "segmentMatch", "values": list(needed)}]}])


def full(flags: Any, segments: Any = ()) -> ChangeSet:
    return change_set(*changes(flags, segments))


BASE = full([f("a"), f("b", "a"), f("c", "b"), f("d", segments=["s"]), f("e")], [s("s", "t"), s("t")])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([ChangeSet.unchanged()], "", id="a confirmation: none"),
        pytest.param([partial(f("e"))], "e", id="a put of the same version"),
        pytest.param([partial(f("a"))], "abc", id="direct and indirect dependents"),
        pytest.param([partial(f("b", "a"))], "bc", id="not the prerequisites of a changed flag"),
        pytest.param([partial(segments=[s("t")])], "d", id="a segment in a segment"),
        pytest.param([partial(segments=[s("u")])], "", id="a segment without dependents"),
        pytest.param([partial(deletes=["a"])], "abc", id="a delete"),
        pytest.param([partial(deletes=["a"]), partial(f("a"))], "abc", id="a flag that is put after its delete"),
        pytest.param([partial(f("b", "new")), partial(f("new"))], ["b", "c", "new"], id="a prerequisite that arrives later"),
        pytest.param([partial(f("b")), partial(f("a"))], "a", id="a flag that is no longer a prerequisite"),
        pytest.param(
            [partial(f("e")), partial(f("b")), partial(f("a"))],
            "a",
            id="a flag that is no longer a prerequisite, by an updated index",
        ),
        pytest.param([partial(f("a", "c")), partial(f("b", "a"))], "abc", id="a circle"),
        pytest.param([partial(f("a", version=1), versioned=True)], "", id="an outdated version"),
        pytest.param([partial(f("a", version=2), versioned=True)], "abc", id="a newer version"),
        pytest.param([full([f("x")])], "abcdex", id="a full set of something else"),
        pytest.param([BASE], "", id="the same full set again"),
        pytest.param(
            [full([f("a", version=2), f("b", "a"), f("c", "b"), f("e")])], "abcd", id="a full set with a newer and a missing flag"
        ),
        pytest.param(
            [full([f("a"), f("b", "a"), f("c", "b"), f("d", segments=["s"]), f("e")], [s("s", "t"), s("t", version=2)])],
            "d",
            id="a full set with a newer segment",
        ),
    ],
)
@pytest.mark.parametrize("is_watched", [True, False], ids=["followed from the start", "followed at the last step"])
def test_a_change_reports(steps: list[ChangeSet], expected: Any, is_watched: bool) -> None:
    new = Snapshot.empty()
    changed = frozenset[str]()
    for number, step in enumerate([BASE, *steps]):
        old, new = new, new.apply(step)
        if is_watched or number == len(steps):
            changed = new.changed_since(old, step)
    assert changed == set(expected)


def test_the_first_full_set_reports_every_flag() -> None:
    new = Snapshot.empty().apply(BASE)
    assert new.changed_since(Snapshot.empty(), BASE) == set("abcde")
    assert new.dependents is None, "the index is not needed if all flags have changed"


def test_the_index_is_kept_if_nothing_changed() -> None:
    old, step = Snapshot.empty().apply(BASE), partial(f("e"))
    new = old.apply(step)
    new.changed_since(old, step)
    again = new.apply(BASE)
    assert again.changed_since(new, BASE) == frozenset()
    assert again.dependents is new.dependents is not None


KEYS = st.sampled_from("abcd")
SEGMENT_KEYS = st.sampled_from("st")


@st.composite
def partial_sets(draw: st.DrawFn) -> ChangeSet:
    flags = [f(key, *draw(st.sets(KEYS)), segments=draw(st.sets(SEGMENT_KEYS))) for key in draw(st.lists(KEYS, unique=True))]
    segments = [s(key, *draw(st.sets(SEGMENT_KEYS))) for key in draw(st.lists(SEGMENT_KEYS, unique=True))]
    return partial(*flags, segments=segments, deletes=draw(st.sets(KEYS)))


@given(steps=st.lists(partial_sets(), min_size=1, max_size=4))
def test_an_updated_index_gives_the_same_changes_as_a_new_one(steps: list[ChangeSet]) -> None:
    followed = fresh = Snapshot.empty().apply(BASE)
    for step in steps:
        older, followed = followed, followed.apply(step)
        before, fresh = fresh, fresh.apply(step)
        before.dependents = None
        assert followed.changed_since(older, step) == fresh.changed_since(before, step)


MANY = full([f(str(number), segments=["s"]) for number in range(1000)], [s("s")])
ONE_NEWER = full([f(str(number), segments=["s"], version=2 if number == 7 else 1) for number in range(1000)], [s("s")])
ANOTHER_SEGMENT = partial(segments=[s("s", version=2)])


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param(MANY, 0, id="the same full set"),
        pytest.param(ONE_NEWER, 1, id="a full set with one newer flag"),
        pytest.param(ANOTHER_SEGMENT, 1000, id="a segment that all flags depend on"),
    ],
)
def test_a_traced_builder_updates_the_index_in_slices(step: ChangeSet, expected: int) -> None:
    old = Snapshot.empty().apply(MANY)
    new, pauses = with_pauses(old.builder(step, traced=True))
    assert (new.dependents is not None) == bool(expected)
    assert pauses >= 1000 // 100
    assert len(new.changed_since(old, step)) == expected


ALONE = [f(str(number)) for number in range(300)]


@pytest.mark.parametrize(
    ("flags", "index", "step"),
    [
        pytest.param(ALONE[:299], None, partial(*ALONE[:1]), id="made"),
        pytest.param(ALONE, {}, partial(*ALONE[:299]), id="followed"),
    ],
)
def test_index_work_pauses_after_each_hundred_definitions(flags: Any, index: Any, step: ChangeSet) -> None:
    old = Snapshot.empty().apply(full(flags))
    assert sum(1 for _ in updated_index(index, old.items, old.apply(step).items, step, LAUNCHDARKLY.dependencies)) == 2
