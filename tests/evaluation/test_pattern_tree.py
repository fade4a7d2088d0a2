"""Parsing patterns when the stack is short. Tests of what shortened patterns match are in test_backtracking.py."""

from __future__ import annotations

import functools
import sys

import pytest

from aioflags.evaluation.pattern_tree import is_cramped, parse, shortened
from aioflags.evaluation.patterns import compile_pattern, max_length_without_re2
from tests.evaluation.data import with_frames_left

NESTED = "(?:" * 2000 + "a" + "b)?" * 2000


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param("a+b*", "a", id="unbounded at both ends"),
        pytest.param("(?:ab)+c", "abc", id="several characters"),
        pytest.param("a{2,5}bc{3,}", "a{2}bc{3}", id="a least count"),
        pytest.param("a*(?:b?)c", "c", id="the next node at the end is cut, too"),
        pytest.param("(?i:a+b)c", "(?i:ab)c", id="inside a group"),
        pytest.param("(?:a*b|c+d)", "b|cd", id="inside alternatives"),
        pytest.param("a++b", "a++b", id="not possessive"),
        pytest.param("(?>a+)b", "(?>a+)b", id="not atomic"),
        pytest.param(r"\ba+b", r"\ba+b", id="not after a condition"),
        pytest.param("^a+b", "^a+b", id="not after the start of the text"),
        pytest.param("ba+$", "ba+$", id="not before the end of the text"),
        pytest.param("xa+b+x", "xa+b+x", id="not in the middle"),
        pytest.param(".*", "", id="everything is cut"),
    ],
)
def test_repetitions_at_the_ends_of_a_pattern_are_cut(pattern: str, expected: str) -> None:
    assert repr(shortened(parse(pattern))) == repr(parse(expected))


def test_a_pattern_that_is_nested_too_deeply_is_refused() -> None:
    notes: list[str] = []
    assert not compile_pattern(NESTED, notes.append)("ab")
    assert len(notes) == 1


def test_a_caller_without_stack_gets_a_recursion_error() -> None:
    with pytest.raises(RecursionError):
        with_frames_left(sys.getrecursionlimit() // 4, functools.partial(max_length_without_re2, NESTED))


@pytest.mark.parametrize(("used", "expected"), [pytest.param(0.45, False, id="less"), pytest.param(0.55, True, id="more")])
def test_a_caller_is_cramped_if_it_uses_more_than_half_of_the_stack(used: float, expected: bool) -> None:
    left = int(sys.getrecursionlimit() * (1 - used))
    assert with_frames_left(left, is_cramped) is expected
