"""Patterns as searches: what runs where, and that none holds an evaluation up."""

from __future__ import annotations

import re
from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.patterns import LONGEST_SUBJECT, compile_pattern, installed_re2
from tests.evaluation.test_backtracking import PIECES, WILD

pytest.importorskip("re2", reason="the extra re2 is what most of this is about")


class Notes(list[str]):
    def __call__(self, problem: str) -> None:
        self.append(problem)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        pytest.param("b+", "abbbc", True, id="anywhere"),
        pytest.param("^b", "abbbc", False, id="at the start"),
        pytest.param("B", "abbbc", False, id="case matters"),
        pytest.param("(?i)B", "abbbc", True, id="unless the pattern says otherwise"),
        pytest.param(".*b.*", "abc", True, id="anything around it"),
        pytest.param(".*?b.*?", "abc", True, id="as little as possible around it"),
        pytest.param(r"b\.*", "ab", True, id="dots at the end"),
        pytest.param(r"b\\.*", "ab\\", True, id="a backslash and anything at the end"),
        pytest.param(r"b\\.*", "ab", False, id="a backslash that is not there"),
        pytest.param(".*+b", "ab", False, id="anything, and nothing given back"),
        pytest.param("a$", "a\n", True, id="re's own end of a text"),
        pytest.param(r"(a+)+$", "caa", True, id="a wild one"),
        pytest.param(r"^(a+)+$", "aab", False, id="a wild one that does not match"),
    ],
)
def test_a_search(pattern: str, subject: Any, expected: Any) -> None:
    notes = Notes()
    assert compile_pattern(pattern, notes)(subject) is expected
    assert notes == []


@pytest.mark.parametrize(
    ("pattern", "with_re2", "word"),
    [
        pytest.param("***", True, "no regular expression", id="no pattern at all"),
        pytest.param("(" * 5000 + ")" * 5000, True, "no regular expression", id="one that is too deep"),
        pytest.param("(a+)+$", False, "aioflags[re2]", id="a wild one, without RE2"),
        pytest.param(r"(.)\1", True, "does not take", id="one that RE2 refuses"),
    ],
)
def test_it_never_matches_and_says_why(pattern: str, with_re2: bool, word: str) -> None:
    notes = Notes()
    search = compile_pattern(pattern, notes, with_re2=with_re2)
    assert not any(map(search, ["", "a", "aa", pattern]))
    assert len(notes) == 1
    assert word in notes[0]
    assert repr(pattern[:20])[:-1] in notes[0]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param("foo", True, id="text: any length"),
        pytest.param(".*foo.*", True, id="anything around it: any length"),
        pytest.param("fo+$", False, id="a repetition: 4096 characters"),
        pytest.param("(o+)+$", True, id="by RE2: any length"),
    ],
)
def test_long_subjects(pattern: str, expected: Any) -> None:
    long = "x" * (LONGEST_SUBJECT - 2) + "foo"
    search = compile_pattern(pattern, Notes())
    assert search(long[1:])
    assert search(long) is expected


def test_half_a_surrogate_pair_is_not_found_by_re2() -> None:
    assert not compile_pattern("(a+)+$", Notes())("\ud800a")


def test_a_warning_of_the_parser_is_no_error() -> None:
    assert compile_pattern("[[a]x", Notes())("[x")


def test_re2_is_loaded_once() -> None:
    assert installed_re2() is installed_re2() is not None


@given(pattern=PIECES, ends=st.sampled_from([("", ""), (".*", ".*"), (".*?", ""), ("", ".*?")]))
def test_a_tame_pattern_is_found_where_re_finds_it(pattern: str, ends: tuple[str, str]) -> None:
    """Leaving out what is idle at its ends changes nothing."""
    notes, whole = Notes(), ends[0] + pattern + ends[1]
    search = compile_pattern(whole, notes, with_re2=False)
    if not notes:
        for subject in ("", "a", "ab1é", "bba\naé", "é" * 41 + "b"):
            assert search(subject) is (re.search(whole, subject) is not None)


ATTACKS = ["a", "ab", "a1", "aA.", "x", "xy", "@.", "foo", "foobar", "-_", " ", "ba.", "aaab"]


@pytest.mark.real_time
@pytest.mark.speed
@pytest.mark.parametrize(
    "pattern", [*WILD, "a+b", "a[ab]+c", r"@.*\.com", r"^.*@.*\.com$", r"^([a-z]+\.)+com$", r"a\w+c", "^(a|b)*c"]
)
def test_no_pattern_holds_an_evaluation_up(pattern: str) -> None:
    search = compile_pattern(pattern, Notes())
    for attack in ATTACKS:
        subject = (attack * LONGEST_SUBJECT)[:LONGEST_SUBJECT]
        for ending in ("", "!"):
            began = thread_time()
            search(subject[: LONGEST_SUBJECT - len(ending)] + ending)
            assert thread_time() - began < 0.5
