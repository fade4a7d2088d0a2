"""A snapshot between two contexts: until the flags of the new one arrive, those of the old one are hidden or go on."""

from __future__ import annotations

import pytest

from aioflags.evaluation.client_side import CLIENT_SIDE
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import Change, ChangeKind, ChangeSet, ObjectKind, Selector
from aioflags.model.context import Context
from aioflags.model.detail import FlagEvaluation

ANNA, BEN = Context("anna"), Context("ben")


def changes(kind: ChangeKind, **values: object) -> ChangeSet:
    flags = [FlagEvaluation(key=key, version=1, value=value) for key, value in values.items()]
    return ChangeSet(
        kind=kind,
        changes=tuple(Change(ObjectKind.FLAG, flag.key, 1, flag) for flag in flags),
        selector=Selector("s", 1),
    )


@pytest.fixture
def flags_of_anna() -> Snapshot:
    return Snapshot.empty(dialect=CLIENT_SIDE).switched(ANNA, keeps_flags=False).apply(changes(ChangeKind.FULL, a=1, b=2))


def value(snapshot: Snapshot, key: str) -> object:
    assert snapshot.evaluated_for is not None
    return snapshot.evaluate(key, snapshot.evaluated_for, None, wanted=object).detail.value


def test_the_flags_of_another_context_are_hidden(flags_of_anna: Snapshot) -> None:
    between = flags_of_anna.switched(BEN, keeps_flags=False)
    assert (value(between, "a"), dict(between.flags), between.selector.is_defined) == (None, {}, False)
    assert between.evaluate("a", BEN, None).detail.reason.error_kind == "FLAG_NOT_FOUND"
    assert between.has_data


def test_the_flags_of_an_equal_context_go_on_without_a_selector(flags_of_anna: Snapshot) -> None:
    between = flags_of_anna.switched(Context("anna"), keeps_flags=True)
    assert (value(between, "a"), between.selector.is_defined) == (1, False)


def test_hidden_flags_stay_hidden_for_the_next_context(flags_of_anna: Snapshot) -> None:
    between = flags_of_anna.switched(BEN, keeps_flags=False).switched(Context("ben"), keeps_flags=True)
    assert value(between, "a") is None


@pytest.mark.parametrize("kind", [ChangeKind.FULL, ChangeKind.CHANGES])
def test_the_first_flags_of_a_context_replace_those_of_another_one(flags_of_anna: Snapshot, kind: ChangeKind) -> None:
    between = flags_of_anna.switched(BEN, keeps_flags=False)
    arrived = changes(kind, a=1, c=3)
    after = between.apply(arrived)
    assert [value(after, key) for key in "abc"] == [1, None, 3]
    assert after.changed_since(between, arrived) == {"b", "c"}, "a has the same value as before"
