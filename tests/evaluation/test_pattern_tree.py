"""The characters that can come first in a match of a pattern."""

from __future__ import annotations

import functools
import itertools
import re
import sys

import pytest

from aioflags.evaluation.backtracking import _SUCCESS, _Analysis
from aioflags.evaluation.pattern_tree import ANY, BEYOND, END, NULLABLE, is_cramped, parse, shortened
from aioflags.evaluation.patterns import compile_pattern, max_length_without_re2
from tests.evaluation.data import with_frames_left


def first(pattern: str) -> int:
    tree = parse(pattern)
    assert tree is not None
    return _Analysis(1000).sequence(tuple(tree), _SUCCESS, tree.state.flags).first


@pytest.mark.parametrize(
    "pattern",
    [
        "abc",
        "a|b",
        "a?b",
        "a??b",
        "a*b",
        "a+b",
        "a{0}b",
        "a{2}b",
        "a{0,2}b",
        "a{1,2}b",
        "(ab)*c",
        "(ab)+c",
        "(a|b)?c",
        "(a*|b)c",
        "(?>a)b",
    ],
)
def test_the_first_characters_of_a_pattern(pattern: str) -> None:
    texts = ("".join(text) for size in range(1, 5) for text in itertools.product("abc", repeat=size))
    openings = {text[0] for text in texts if re.fullmatch(pattern, text)}
    assert first(pattern) == sum(1 << ord(character) for character in openings)


@pytest.mark.parametrize(
    "pattern",
    [
        *("a", "[^a]", "[a-cx]", "[^a-c]", ".", "(?s).", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"[^\w-]", r"[\dé]", "é"),
        *(
            "(?i)a",
            "(?i)K",
            "(?i)[a-c]",
            "(?i)[^a-c]",
            "(?i)é",
            "(?i)ß",
            "[x-é]",
            "[é-ü]",
            "[^é]",
            "(?i)[k-m]",
            "(?i)(a)",
            "(?i)(?-i:a)",
            "((?i:a))",
            r"(?i)[^\s]",
            r"[^\D]",
        ),
    ],
)
def test_the_characters_that_a_pattern_takes(pattern: str) -> None:
    characters = first(pattern)
    matched = {chr(code) for code in range(128) if re.fullmatch(pattern, chr(code))}
    in_set = {chr(code) for code in range(128) if characters >> code & 1}
    assert matched <= in_set
    # For a negated set without letter case, only one case of each character is left out. Characters beyond ASCII share one bit.
    assert in_set == matched or "(?i)[^" in pattern
    if any(re.fullmatch(pattern, character) for character in "éÜß٣中\u2028\u212a\u017f"):
        assert characters & BEYOND
    assert not characters & (END | NULLABLE)


@pytest.mark.parametrize(
    ("pattern", "is_beyond"),
    [("a", False), ("[a-c]", False), ("[x-\x7f]", False), ("[x-\x80]", True), ("\x7f", False), ("\x80", True), ("[é-ü]", True)],
)
def test_whether_a_pattern_takes_characters_beyond_ascii(pattern: str, is_beyond: bool) -> None:
    assert bool(first(pattern) & BEYOND) is is_beyond


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param("$", END | 1 << ord("\n"), id="the end, and a line break before it"),
        pytest.param(r"\Z", END, id="the very end"),
        pytest.param("^", ANY, id="anywhere else anything"),
        pytest.param("(?=a)", ANY, id="in front of something anything"),
        pytest.param("", 0, id="nothing"),
    ],
)
def test_the_characters_that_can_follow_a_position(pattern: str, expected: int) -> None:
    assert first(pattern) == expected


# -- Parsing patterns when the stack is short. Tests of what shortened patterns match are in test_backtracking.py.

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
