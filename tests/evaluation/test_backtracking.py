"""The bound on the steps of a search. Measured times are in test_patterns.py."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.backtracking import (
    MAX_STEPS,
    MAX_SUBJECT_LENGTH,
    _is_anchored,
    _period,
    max_subject_length,
    step_bound,
    value,
)
from aioflags.evaluation.pattern_tree import compile_tree, parse, shortened

LINEAR = [
    *("foo", "b+", "^b", "a|b|c", "(?i)foo|bar", "[a-z]", r"\d\d", "x?y?z", "^(foo|foobar|fo)x", r"^\d{1,3}(\.\d{1,3}){3}$"),
    *(r"^[^@]+@[^@]+\.com$", r"^[\w.+-]+@[\w-]+\.[\w.-]+$", r"^user-[0-9a-f]{8}-\d+$", "^[^@]+@example\\.com$", "@example\\.com$"),
    *(r"^([a-z]+\.)+com$", "^(?!admin).*$", r"\s+$", "^(a|b)*c", r"a+b", r"\bfoo\b", r"^(?:[0-9]{2}:){2}", "(?s)a.b", "x{0}y"),
    *("", "$", "(?P<name>a)b", "(?>ab)c", "^a*+b", "[^a-c]x", r"[^\w]x", r"\D\S\W", "(?i:ab)c", "(?i)^é+x", r"^\d+\.\d+"),
    *(r"\w+\d", "(a+)b", "a+$", r"\d+\.\d+", "(a+)+$", "x*x*x*x*y", "(a|aa)+$", "^(alice|bob|carol)$"),
]
"""Patterns that search at least 4096 characters."""
SUPERLINEAR = {
    r"[a-z]+@[a-z]+\.com": 481,
    r"^.*@.*\.com$": 389,
    r"@.*\.com": 467,
    "foo.*bar": 858,
    "Mozilla.*Chrome": 1115,
    "foo.*bar.*baz": 123,
    "^a*a*b": 628,
    "(x+x+)+y": 627,
    r"\b\w+x": 456,
    "a[ab]+c": 467,
    "(?m)^.*x": 573,
    "(?i)(k+)(K+)K*x": 75,
    "a{1,30}a{1,30}a{1,30}b": 205,
}
"""Patterns with a polynomial bound, and the longest subjects that they search."""
HOPELESS = [
    *(
        "^(a+)+$",
        "^(a|aa)+$",
        "^(a|a)*$",
        "^(a*)*b",
        "^(a?)*b",
        "^(x+x+)+y",
        "^(a|a?)+$",
        r"^(\w+\s?)*$",
        "^" + "a?" * 30 + "a" * 30,
    ),
    *(r"(.)\1", r"(?P<a>.)(?P=a)", "(a)?(?(1)b|c)", "a.*b.*c.*d.*e.*f.*g", r"^(([a-z])+.)+[A-Z]([a-z])+$", "(a?){30}a{30}"),
    *(r"^(a+)*\d", r"^\w+\b\w+\b\w+\b\w+x", "^(?:a|b|ab)*c", "^((a{1,5}){1,5}){1,5}b", "^(?:(?=b*c)b)*d"),
    *(r"^([a-zA-Z0-9])(([\-.]|[_]+)?([a-zA-Z0-9]+))*(@){1}[a-z0-9]+[.]{1}(([a-z]{2,3})|([a-z]{2,3}[.]{1}[a-z]{2,3}))$",),
]
"""Patterns that search fewer than 64 characters."""


def longest(pattern: str) -> int | None:
    return max_subject_length(shortened(parse(pattern)), len(pattern))


@pytest.mark.parametrize("pattern", LINEAR)
def test_a_linear_pattern_searches_long_subjects(pattern: str) -> None:
    assert longest(pattern) in {None, MAX_SUBJECT_LENGTH}


@pytest.mark.parametrize("pattern", HOPELESS)
def test_a_hopeless_pattern_searches_fewer_than_64_characters(pattern: str) -> None:
    limit = longest(pattern)
    assert limit is not None
    assert limit < 64


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        *SUPERLINEAR.items(),
        pytest.param("foo", None, id="text"),
        pytest.param("a?b{2,5}c", None, id="a few of each"),
        pytest.param("x.*", None, id="an end that may be anything"),
        pytest.param("ab+", None, id="an end that is repeated"),
        pytest.param("a+b", None, id="a repetition at the start"),
        pytest.param("a{0,1000}b", None, id="very many at the start"),
        pytest.param("xa{0,1000}b", 627, id="very many in the middle"),
        pytest.param("^a+$", MAX_SUBJECT_LENGTH, id="a repetition before the end of the text"),
        pytest.param("|".join(f"user-{number}" for number in range(20)), None, id="20 names"),
        pytest.param("^(" + "|".join(f"{number:x}-user" for number in range(5000)) + ")$", None, id="5,000 names"),
        pytest.param("https://example.com/a/very/long/path/of/a/page/with/a/long/name/index.html" * 4, None, id="a long text"),
    ],
)
def test_the_maximal_length_of_subjects(pattern: str, expected: int | None) -> None:
    assert longest(pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "is_anchored"),
    [
        *(("^a", True), (r"\Aa", True), ("(^a)b", True), ("((^a))", True), ("(^a|^b)", True), (r"(?:^a|\Ab|^c)d", True)),
        *(("a", False), ("", False), ("a^", False), ("$a", False), ("(^a|b)", False), (r"\ba", False), ("(^)*a", False)),
        *(("(?m)^a", False), ("(?m:^a)", False), (r"(?m)\Aa", True), ("((?m:^a|^b))", False)),
    ],
)
def test_a_pattern_is_anchored_if_it_matches_only_at_the_start(pattern: str, is_anchored: bool) -> None:
    tree = parse(pattern)
    assert tree is not None
    assert _is_anchored(tuple(tree), tree.state.flags) is is_anchored


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", 1),
        ("aa", 1),
        ("ab", 2),
        ("abab", 2),
        ("aba", 2),
        ("abcab", 3),
        ("aab", 3),
        ("aabaa", 3),
        ("aabaaa", 4),
        ("abcabcabc", 3),
    ],
)
def test_the_period_of_a_text(text: str, expected: int) -> None:
    assert _period([ord(character) for character in text]) == expected


# pattern -> degree of the bound of a search
DEGREES = {
    "^": 0,
    "^abc": 0,
    "^(a|b|ab)c": 0,
    "^a?a?a?b": 0,
    "^a{0,255}a": 0,
    "^a{0,256}a": 1,
    "^a{256}a": 0,
    "": 1,
    "abc": 1,
    "^a*b": 1,
    "^a*b*c": 1,
    "^a*a*b": 2,
    "^a*b?a": 1,
    "^[^a]+b*$": 2,  # a line break before the end of the text suits both
    r"^\d+\D*x": 2,  # beyond ASCII, characters are not distinguished
    "^a*a*a*b": 3,
    "^a*+b": 1,
    "^a+$": 1,
    "^[^a]+$": 1,
    r"^\n+\Z": 1,
    r"^\d+\D": 1,
    "^(?i:a+)B": 1,
    "^a+(?=b)": 1,
    "^(?=a*b)a": 1,
    "^(?!a?a)b": 0,
    "^(ab)*c": 1,
    "^(ab){0,6}a": 1,
    "^(ab){6}c": 1,
    "^(a|b)*c": 1,
    "^(a|ab)*c": 1,
    "^(a*b)+c": 1,
    "^((ab)+c|d)e": 1,
    "xa*b": 2,
    "xa*a*b": 3,
    "(xa*b)+c": 2,
    "c(a*b)+": 2,
    "c(ab)*": 1,
}


@pytest.mark.parametrize("pattern", DEGREES)
def test_the_degree_of(pattern: str) -> None:
    steps = step_bound(shortened(parse(pattern)), len(pattern))
    assert len(steps) - 1 == DEGREES[pattern]
    assert all(map(math.isfinite, steps))


@pytest.mark.parametrize("pattern", ["^(?:)*b", "^(a|a)*c", "^(a?)*b", r"^(.)\1", "^(?:(?=b*c)b)*d", "^" + "a*" * 9 + "b"])
def test_there_is_no_bound_for(pattern: str) -> None:
    assert value(step_bound(shortened(parse(pattern)), len(pattern)), 1) == math.inf


def test_a_pattern_that_takes_long_to_analyse_has_no_bound() -> None:
    assert longest("^(" * 12 + "a" + "b?){1,5}" * 12 + "c") == 0


STAND_INS = ["a", "b", "[ab]", ".", r"\w", r"\d", "^", "$", r"\b", "(?=a)", "(?!b)", "(?<=a)", "é", r"\s", "\n", "k"]
PIECES = st.recursive(
    st.sampled_from(STAND_INS),
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,3}", "{1,40}", "*?", "*+"])).map(
            lambda p: f"(?:{p[0]}){p[1]}"
        )
        | st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})")
        | inner.map("(?>{})".format)
    ),
    max_leaves=8,
)
FLAGS = st.sampled_from(["", "(?i)", "(?m)", "(?s)", "(?a)", "(?ims)"])
SUBJECTS = ["".join(text) for size in range(4) for text in itertools.product("ab\né1", repeat=size)]


@given(pattern=PIECES, flags=FLAGS)
def test_a_shortened_pattern_occurs_in_the_same_texts(pattern: str, flags: str) -> None:
    whole, short = re.compile(flags + pattern), compile_tree(shortened(parse(flags + pattern)))
    for subject in SUBJECTS:
        assert (short.search(subject) is None) is (whole.search(subject) is None), subject


@given(pattern=PIECES, flags=FLAGS)
def test_every_pattern_has_a_bound_that_grows(pattern: str, flags: str) -> None:
    steps = step_bound(shortened(parse(flags + pattern)), len(pattern))
    assert all(coefficient >= 0 for coefficient in steps)
    limit = longest(flags + pattern)
    assert limit is None or limit == MAX_SUBJECT_LENGTH or value(steps, limit + 1) > MAX_STEPS
