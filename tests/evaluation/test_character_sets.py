"""The characters that can come first in a match of a pattern."""

from __future__ import annotations

import itertools
import re

import pytest

from aioflags.evaluation.backtracking import _SUCCESS, _Analysis
from aioflags.evaluation.pattern_tree import ANY, BEYOND, END, NULLABLE, parse


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
