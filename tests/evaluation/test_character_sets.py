"""Which characters can come first in a match of a pattern."""

from __future__ import annotations

import itertools
import re

import pytest

from aioflags.evaluation.backtracking import _SUCCESS, _Analysis
from aioflags.evaluation.character_sets import ANY, BEYOND, END, NULLABLE
from aioflags.evaluation.pattern_tree import parse


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
def test_what_can_come_first_is_known(pattern: str) -> None:
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
    found = first(pattern)
    wanted = {chr(code) for code in range(128) if re.fullmatch(pattern, chr(code))}
    known = {chr(code) for code in range(128) if found >> code & 1}
    assert wanted <= known
    # One of both cases may be known for each character left out, and of all those beyond ASCII nothing but that there are some.
    assert known == wanted or "(?i)[^" in pattern
    if any(re.fullmatch(pattern, character) for character in "éÜß٣中\u2028\u212a\u017f"):
        assert found & BEYOND
    assert not found & (END | NULLABLE)


@pytest.mark.parametrize(
    ("pattern", "is_beyond"),
    [("a", False), ("[a-c]", False), ("[x-\x7f]", False), ("[x-\x80]", True), ("\x7f", False), ("\x80", True), ("[é-ü]", True)],
)
def test_whether_a_pattern_takes_characters_beyond_ascii(pattern: str, is_beyond: bool) -> None:
    assert bool(first(pattern) & BEYOND) is is_beyond


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        pytest.param("$", END | 1 << ord("\n"), id="the end, and a line break before it"),
        pytest.param(r"\Z", END, id="the very end"),
        pytest.param("^", ANY, id="anywhere else anything"),
        pytest.param("(?=a)", ANY, id="in front of something anything"),
        pytest.param("", 0, id="nothing"),
    ],
)
def test_places_take_what_may_come_there(pattern: str, found: int) -> None:
    assert first(pattern) == found
