"""The judgement on patterns: which are tame enough for ``re``. The clock is asked in test_patterns.py."""

from __future__ import annotations

import functools
import itertools
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.backtracking import (
    _ANY,
    _BEYOND,
    _END,
    _NULLABLE,
    _SUCCESS,
    Backtracking,
    _Cost,
    _is_anchored,
    _Judge,
    _parser,
    backtracking,
    is_cramped,
)
from tests.evaluation.data import with_frames_left

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


@pytest.mark.parametrize(
    ("pattern", "is_tame"),
    [
        pytest.param("a?" * 7 + "b", True, id="64 ways"),
        pytest.param("a{0,4}a{0,12}ab", False, id="65 ways"),
        pytest.param("^x+y" + "a?" * 7 + "b", True, id="64 ways at the end of each of many repetitions"),
        pytest.param("^x+y" + "a?" * 8 + "b", False, id="more ways at the end of each"),
        pytest.param("a+ba?a", True, id="a repetition from each place, and 2 ways"),
        pytest.param("a+ba{0,2}a", False, id="a repetition from each place, and 3 ways"),
        pytest.param("(ab)+c", False, id="a repetition of several characters from each place"),
        pytest.param("^(ab)+c", True, id="a repetition of several characters from one place"),
        pytest.param("^a*a*b", True, id="two repetitions from one place"),
        pytest.param("a*a*b", False, id="two repetitions from each place"),
        pytest.param("^a*a*a*b", False, id="three repetitions"),
    ],
)
def test_how_much_is_tame(pattern: str, is_tame: bool) -> None:
    assert backtracking(pattern).is_tame is is_tame


@pytest.mark.parametrize(
    ("pattern", "is_anchored"),
    [
        *(("^a", True), (r"\Aa", True), ("(^a)b", True), ("((^a))", True), ("(^a|^b)", True), (r"(?:^a|\Ab|^c)d", True)),
        *(("a", False), ("", False), ("a^", False), ("$a", False), ("(^a|b)", False), (r"\ba", False), ("(^)*a", False)),
        *(("(?m)^a", False), ("(?m:^a)", False), (r"(?m)\Aa", True), ("((?m:^a|^b))", False)),
    ],
)
def test_a_pattern_is_anchored_that_matches_at_the_start_alone(pattern: str, is_anchored: bool) -> None:
    parsed = _parser.parse(pattern)
    assert _is_anchored(tuple(parsed), parsed.state.flags) is is_anchored


def judged(pattern: str) -> _Cost:
    parsed = _parser.parse(pattern)
    return _Judge().sequence(tuple(parsed), _SUCCESS, parsed.state.flags)


# pattern → degree, choices; S: only single characters are repeated; C: no choice is ever taken back
COSTS = {
    "": (0, 1, "SC"),
    "abc": (0, 1, "SC"),
    "a|b": (0, 1, "SC"),
    "a|b|ab": (0, 2, "S"),
    "(a|ab)(c|cd)": (0, 1, "SC"),  # re reads it as a(|b)c(|d)
    "(aa|ab)a?a": (0, 2, "S"),
    "a?": (0, 1, "SC"),
    "a?b": (0, 1, "SC"),
    "a?a": (0, 2, "S"),
    "a??a": (0, 2, "S"),
    "a?a?a?b": (0, 4, "S"),
    "a{2}a": (0, 1, "SC"),
    "a{0}b": (0, 1, "SC"),
    "a{2,5}a": (0, 4, "S"),
    "a{1,20}a": (0, 20, "S"),
    "a{0,20}a": (0, 21, "S"),
    "a{0,21}a": (1, 1, "S"),
    "a{0,21}b": (1, 1, "SC"),
    "a*": (0, 1, "SC"),
    "a*b": (1, 1, "SC"),
    "a+b?a": (1, 1, "S"),
    "a*b*c": (1, 1, "SC"),
    "a*a*b": (2, 1, "S"),
    "a*a*a*b": (3, 1, "S"),
    "a*a?a": (1, 2, "S"),
    "a*+b": (1, 1, "SC"),
    "a+$": (1, 1, "SC"),
    "[^a]+$": (1, 1, "S"),
    r"\n+$": (1, 1, "S"),
    r"\n+\Z": (1, 1, "SC"),
    r"\d+\D": (1, 1, "S"),  # beyond ASCII nothing is told apart
    "(?i)a+B": (1, 1, "S"),
    "a+(?=b)": (1, 1, "S"),
    "(?=a*b)a": (1, 2, "S"),
    "(?!a?a)b": (0, 2, "S"),
    "(?!a?a)a": (0, 3, "S"),
    "(?>a|ab)b": (0, 2, "S"),
    "(ab){2}": (0, 1, "SC"),
    "(ab){2,4}": (0, 2, "S"),
    "(ab){0,5}a": (0, 32, "S"),
    "(?:ab){0,5}a": (0, 32, "S"),
    "(?:ab)*c": (1, 1, "C"),
    "(?:)*b": (99, 1, ""),
    "(ab){0,6}a": (1, 1, ""),
    "(ab){6}c": (1, 1, "C"),
    "(ab)*": (0, 1, "C"),
    "(ab)*c": (1, 1, "C"),
    "(ab)*a": (1, 1, ""),
    "(a|b)*c": (1, 1, "C"),
    "(a|ab)*c": (1, 1, "C"),
    "(a|a)*c": (99, 1, ""),
    "(a?)*b": (99, 1, ""),
    "(a*b)+c": (1, 1, "C"),
    "((ab)+c|d)e": (1, 1, "C"),
    "(d|(ab)+c)e": (1, 1, "C"),
    r"(.)\1": (99, 1, ""),
}


@pytest.mark.parametrize("pattern", COSTS)
def test_the_cost_of(pattern: str) -> None:
    cost = judged(pattern)
    marks = "S" * cost.is_simple + "C" * cost.is_certain
    assert (cost.degree, cost.choices, marks) == COSTS[pattern]


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
    found = {text[0] for text in texts if re.fullmatch(pattern, text)}
    assert judged(pattern).first == sum(1 << ord(character) for character in found)


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
    found = judged(pattern).first
    wanted = {chr(code) for code in range(128) if re.fullmatch(pattern, chr(code))}
    known = {chr(code) for code in range(128) if found >> code & 1}
    assert wanted <= known
    # One of both cases may be known for each character left out, and of all those beyond ASCII nothing but that there are some.
    assert known == wanted or "(?i)[^" in pattern
    if any(re.fullmatch(pattern, character) for character in "éÜß٣中\u2028\u212a\u017f"):
        assert found & _BEYOND
    assert not found & (_END | _NULLABLE)


@pytest.mark.parametrize(
    ("pattern", "is_beyond"),
    [("a", False), ("[a-c]", False), ("[x-\x7f]", False), ("[x-\x80]", True), ("\x7f", False), ("\x80", True), ("[é-ü]", True)],
)
def test_whether_a_pattern_takes_characters_beyond_ascii(pattern: str, is_beyond: bool) -> None:
    assert bool(judged(pattern).first & _BEYOND) is is_beyond


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        pytest.param("$", _END | 1 << ord("\n"), id="the end, and a line break before it"),
        pytest.param(r"\Z", _END, id="the very end"),
        pytest.param("^", _ANY, id="anywhere else anything"),
        pytest.param("(?=a)", _ANY, id="in front of something anything"),
        pytest.param("", 0, id="nothing"),
    ],
)
def test_places_take_what_may_come_there(pattern: str, found: int) -> None:
    assert judged(pattern).first == found


NESTED = "(?:" * 2000 + "a" + "b)?" * 2000


def test_a_pattern_that_would_take_long_to_judge_is_given_up() -> None:
    assert not backtracking("(" * 12 + "a" + "b?){1,5}" * 12).is_tame


def test_a_pattern_that_is_nested_deeper_than_the_interpreter_recurses_is_given_up() -> None:
    assert backtracking(NESTED) == Backtracking(is_tame=False, is_bounded=False)


def test_for_want_of_the_stack_that_its_caller_has_used_no_pattern_is_given_up() -> None:
    with pytest.raises(RecursionError):
        with_frames_left(sys.getrecursionlimit() // 4, functools.partial(backtracking, NESTED))


@pytest.mark.parametrize(("used", "expected"), [pytest.param(0.45, False, id="less"), pytest.param(0.55, True, id="more")])
def test_a_caller_is_cramped_who_has_used_half_of_the_stack(used: float, expected: bool) -> None:
    left = int(sys.getrecursionlimit() * (1 - used))
    assert with_frames_left(left, is_cramped) is expected


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
