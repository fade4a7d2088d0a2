"""Answers of a server that are kept until their flags change.

Source: ``flagd.md`` 7.2.
"""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.flagd.rpc import AnswerCache
from aioflags.model.detail import ErrorKind, EvaluationDetail, FlagMetadata, Reason, ReasonKind


def answer(value: Any = True, kind: ReasonKind | str = ReasonKind.STATIC) -> EvaluationDetail[Any]:
    """An answer of a server."""
    return EvaluationDetail(value, None, Reason(kind=kind), "on", FlagMetadata({"a": 1}))


def cache(*keys: str, size: int = 10) -> AnswerCache:
    """A cache with answers for booleans."""
    made = AnswerCache(size)
    for key in keys:
        made.put(key, bool, answer(), made.generation)
    return made


def kept(made: AnswerCache, *keys: str) -> list[str]:
    """Those of the keys whose answers are kept."""
    return [key for key in keys if made.get(key, bool) is not None]


@pytest.mark.holds("FL-62")
def test_a_hit_differs_only_in_its_reason() -> None:
    hit = cache("a").get("a", bool)
    assert hit == EvaluationDetail(True, None, Reason(kind=ReasonKind.CACHED), "on", FlagMetadata({"a": 1}))


def test_a_caller_that_changes_an_object_changes_no_other_answer() -> None:
    made, value = cache(), {"list": [1]}
    made.put("a", dict, answer(value), made.generation)
    value["list"].append(2)
    for _ in range(2):
        hit = made.get("a", dict)
        assert hit is not None
        assert hit.value == {"list": [1]}
        hit.value["list"].append(3)


@pytest.mark.holds("FL-63")
@pytest.mark.parametrize("kind", ["TARGETING_MATCH", "DEFAULT", "DISABLED", "CACHED", "SPLIT", "ERROR", "UNKNOWN"])
def test_only_static_answers_are_kept(kind: str) -> None:
    made = cache()
    made.put("a", bool, answer(kind=ReasonKind(kind) if kind in set(ReasonKind) else kind), made.generation)
    assert len(made) == 0


def test_an_error_is_not_kept() -> None:
    made = cache()
    error = EvaluationDetail(True, None, Reason(kind=ReasonKind.ERROR, error_kind=ErrorKind.GENERAL))
    made.put("a", bool, error, made.generation)
    assert len(made) == 0


def test_the_default_of_a_caller_is_not_kept() -> None:
    made = cache()
    made.put("a", bool, EvaluationDetail(True, None, Reason(kind=ReasonKind.STATIC)), made.generation)
    assert len(made) == 0


@pytest.mark.holds("FL-64")
def test_an_answer_of_one_type_does_not_answer_for_another() -> None:
    assert cache("a").get("a", str) is None


@pytest.mark.holds("FL-65")
@pytest.mark.parametrize(
    ("keys", "left"),
    [
        pytest.param(["b"], ["a", "c"], id="one key"),
        pytest.param({"a", "c", "x"}, ["b"], id="several keys, and one that is not there"),
        pytest.param([], ["a", "b", "c"], id="no key"),
        pytest.param(None, [], id="all keys"),
    ],
)
def test_an_invalidation_removes(keys: list[str] | None, left: list[str]) -> None:
    made = cache("a", "b", "c")
    made.invalidate(keys)
    assert kept(made, "a", "b", "c") == left


def test_an_invalidation_removes_all_types_of_a_flag() -> None:
    made = cache("a")
    made.put("a", str, answer("x"), made.generation)
    made.invalidate(["a"])
    assert len(made) == 0


@pytest.mark.holds("FL-66")
@pytest.mark.parametrize("keys", [["a"], None])
def test_an_answer_from_before_an_invalidation_is_not_kept(keys: list[str] | None) -> None:
    made = cache()
    before = made.generation
    made.invalidate(keys)
    made.put("a", bool, answer(), before)
    assert kept(made, "a") == []


def test_the_least_recently_used_answer_goes_first() -> None:
    made = cache("a", "b", size=2)
    made.get("a", bool)
    made.put("c", bool, answer(), made.generation)
    assert kept(made, "a", "b", "c") == ["a", "c"]


def test_an_answer_that_comes_again_takes_no_second_place() -> None:
    made = cache("a", "b", "a", size=2)
    assert kept(made, "a", "b") == ["a", "b"]


@pytest.mark.holds("FL-73")
def test_size_zero_keeps_nothing() -> None:
    assert len(cache("a", size=0)) == 0
