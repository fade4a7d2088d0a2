"""Applying change sets to definitions."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.evaluation.items import applied
from aioflags.evaluation.launchdarkly import same_definition
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind
from tests.evaluation.data import change_set, changes, flag, segment, snapshot_of

FLAG, SEGMENT = ObjectKind.FLAG, ObjectKind.SEGMENT


def put(version: int, **properties: Any) -> Change:
    return changes([flag("f", version=version, **properties)])[0]


def delete(version: int) -> Change:
    return Change(FLAG, "f", version, None)


@pytest.mark.parametrize(
    ("stored", "change", "versioned", "after"),
    [
        pytest.param([put(5)], put(4), False, 4, id="an older version, unversioned"),
        pytest.param([put(5)], put(4), True, 5, id="an older version, versioned"),
        pytest.param([put(5)], put(5), True, 5, id="the same version"),
        pytest.param([put(5)], put(6), True, 6, id="a newer version"),
        pytest.param([], put(1), True, 1, id="the first version"),
        pytest.param([put(5)], delete(5), True, 5, id="an outdated delete"),
        pytest.param([put(5)], delete(6), True, None, id="a delete"),
        pytest.param([put(5)], delete(1), False, None, id="an older delete, unversioned"),
        pytest.param([put(5), delete(7)], put(6), True, None, id="an outdated put after a delete"),
        pytest.param([put(5), delete(7)], put(8), True, 8, id="a put after a delete"),
        pytest.param([delete(7)], put(6), False, 6, id="an older put after a delete, unversioned"),
        pytest.param([put(5)], put(6, deleted=True), True, None, id="a delete written as a flag"),
    ],
)
def test_a_change_of_a_stored_flag(stored: list[Change], change: Change, versioned: bool, after: int | None) -> None:
    old = snapshot_of().apply(change_set(*stored))
    new = old.apply(change_set(change, kind=ChangeKind.CHANGES, versioned=versioned))
    definition = new.flags.get("f")
    assert (None if definition is None else definition.version) == after
    assert ((FLAG, "f") in new.items.tombstones) is (definition is None)


def test_changes_of_one_key_are_applied_in_order() -> None:
    new = snapshot_of().apply(change_set(put(3), put(1), delete(2), kind=ChangeKind.CHANGES, versioned=True))
    assert new.flags["f"].version == 3


def test_changes_after_an_outdated_one_are_applied() -> None:
    late, news = put(1), changes([flag("g")])[0]
    new = snapshot_of(flag("f", version=5)).apply(change_set(late, news, kind=ChangeKind.CHANGES, versioned=True))
    assert {key: definition.version for key, definition in new.flags.items()} == {"f": 5, "g": 1}


def test_a_delete_written_as_a_flag_has_the_version_of_the_flag() -> None:
    (deleted,) = changes([flag("f", version=6, deleted=True)])
    new = snapshot_of().apply(change_set(Change(FLAG, "f", 2, deleted.definition)))
    assert dict(new.items.tombstones) == {(FLAG, "f"): 6}


def test_a_full_set_removes_tombstones() -> None:
    assert not snapshot_of().apply(change_set(delete(7))).apply(change_set(*changes([flag("g")]))).items.tombstones


def test_a_full_set_replaces_everything() -> None:
    old = snapshot_of(flag("f"), flag("g"), segments=[segment("s")])
    new = old.apply(change_set(*changes([flag("f", version=1)]), Change(FLAG, "g", 4, None), versioned=True))
    assert set(new.flags) == {"f"}
    assert not new.segments
    assert dict(new.items.tombstones) == {(FLAG, "g"): 4}
    assert set(old.flags) == {"f", "g"}


def test_a_definition_without_key_or_version_gets_those_of_its_change() -> None:
    (bare,) = changes([{"key": "", "on": False}])
    (dated,) = changes([{"key": "", "version": 7}])
    (named,) = changes([{"key": "h"}])
    parts = {"f": bare, "g": dated, "h": named}
    new = snapshot_of().apply(change_set(*(Change(FLAG, key, 3, change.definition) for key, change in parts.items())))
    assert [(key, definition.key, definition.version) for key, definition in new.flags.items()] == [
        ("f", "f", 3),
        ("g", "g", 7),
        ("h", "h", 3),
    ]
    flag_f = new.compiled("f")
    assert flag_f is not None
    assert (flag_f.key, flag_f.version) == ("f", 3)


def many(count: int, kind: ChangeKind = ChangeKind.FULL) -> ChangeSet:
    return change_set(*changes([flag(str(number)) for number in range(count)]), kind=kind)


@pytest.mark.parametrize(
    ("stored", "step", "expected"),
    [
        pytest.param(0, many(500), 0, id="one slice of a first set"),
        pytest.param(0, many(501), 1, id="two slices of a first set"),
        pytest.param(0, many(1001), 2, id="three slices of a first set"),
        pytest.param(1, many(1000, ChangeKind.CHANGES), 1, id="two slices of a partial set"),
        pytest.param(1, many(100), 1, id="two slices of a full set that is compared"),
    ],
)
def test_work_pauses_between_slices(stored: int, step: ChangeSet, expected: int) -> None:
    items = snapshot_of(*(flag(str(number)) for number in range(stored))).items
    assert sum(1 for _ in applied(items, step, same_definition)) == expected
