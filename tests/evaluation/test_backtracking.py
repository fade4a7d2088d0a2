"""The judgement on patterns: which are tame enough for ``re``. The clock is asked in test_patterns.py."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.backtracking import backtracking

TAME = [
    *("foo", "b+", "^b", "a|b|c", "(?i)foo|bar", "[a-z]", r"\d\d", "x?y?z", "^(foo|foobar|fo)x", r"^\d{1,3}(\.\d{1,3}){3}$"),
    *(r"^[^@]+@[^@]+\.com$", r"@.*\.com", r"^.*@.*\.com$", r"^[\w.+-]+@[\w-]+\.[\w.-]+$", r"^user-[0-9a-f]{8}-\d+$"),
    *(r"^([a-z]+\.)+com$", "^(?!admin).*$", r"\s+$", "^(a|b)*c", r"a+b", r"\bfoo\b", r"^(?:[0-9]{2}:){2}", "(?s)a.b", "x{0}y"),
    *("", "$", "(?P<name>a)b", "(?>ab)c", "a*+b", "[^a-c]x", r"[^\w]x", r"\D\S\W", "(?i:ab)c", "(?i)^é+x"),
]
WILD = [
    *("(a+)+$", "(a|aa)+$", "(a|a)*$", "(a*)*b", "(a*)+b", "(a?)*b", "(x+x+)+y", "(.*a){12}", "(a|a?)+$", r"^(\w+\s?)*$"),
    *(r"(.)\1", r"(?P<a>.)(?P=a)", "(a)?(?(1)b|c)", "foo.*bar.*baz", r"^(([a-z])+.)+[A-Z]([a-z])+$", "(a?){30}a{30}"),
    *("a?" * 9 + "b", r"^(a+)*\d", r"([a-z]+\.)+com", "(ab?)+d", r"\w+\b\w+\b\w+x", "^.*a.*b.*c.*d", "x*x*x*x*y", "(?:a|b|ab)*c"),
    *(r"^([a-zA-Z0-9])(([\-.]|[_]+)?([a-zA-Z0-9]+))*(@){1}[a-z0-9]+[.]{1}(([a-z]{2,3})|([a-z]{2,3}[.]{1}[a-z]{2,3}))$",),
    *("(?i)(k+)(K+)K*x", "(?m)^.*x.*y", "a{1,30}a{1,30}a{1,30}b", "((a{1,5}){1,5}){1,5}b", "(?s).*x.*y.*z"),
]


@pytest.mark.parametrize("pattern", TAME)
def test_it_is_tame(pattern: str) -> None:
    assert backtracking(pattern).is_tame


@pytest.mark.parametrize("pattern", WILD)
def test_it_is_not(pattern: str) -> None:
    assert not backtracking(pattern).is_tame


@pytest.mark.parametrize(
    ("pattern", "is_bounded"),
    [
        pytest.param("foo", True, id="text"),
        pytest.param("a?b{2,5}c", True, id="a few of each"),
        pytest.param("x.*", True, id="an end that may be anything"),
        pytest.param("ab+", True, id="an end that is repeated"),
        pytest.param("a+b", False, id="a repetition before something"),
        pytest.param("^a+$", False, id="a repetition before the end of the text"),
        pytest.param("a{0,1000}b", False, id="very many"),
    ],
)
def test_texts_of_any_length_may_be_searched(pattern: str, is_bounded: bool) -> None:
    assert backtracking(pattern).is_bounded is is_bounded


def test_a_pattern_that_would_take_long_to_judge_is_given_up() -> None:
    assert not backtracking("(" * 12 + "a" + "b?){1,5}" * 12).is_tame


def test_a_pattern_that_is_nested_deeper_than_the_interpreter_recurses_is_given_up() -> None:
    assert not backtracking("(?:" * 2000 + "a" + "b)?" * 2000).is_tame


PIECES = st.recursive(
    st.sampled_from(["a", "b", "[ab]", ".", r"\w", r"\d", "^", "$", r"\b", "(?=a)", "é"]),
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,3}", "{1,40}", "*?"])).map(lambda p: f"(?:{p[0]}){p[1]}")
        | st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})")
    ),
    max_leaves=8,
)


@given(pattern=PIECES)
def test_every_pattern_gets_a_judgement(pattern: str) -> None:
    re.compile(pattern)
    backtracking(pattern)
