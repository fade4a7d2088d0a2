"""Searches: the engine of each pattern, and the time of a search."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioflags.evaluation.backtracking import MAX_SUBJECT_LENGTH
from aioflags.evaluation.patterns import MAX_PATTERN_LENGTH, compile_pattern, installed_re2, max_length_without_re2
from tests.evaluation.search_times import LIMIT, slowest
from tests.evaluation.test_backtracking import FLAGS, HOPELESS, LINEAR, PIECES, SUPERLINEAR

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
        pytest.param("(?i)B", "abbbc", True, id="unless the pattern has a flag"),
        pytest.param(".*b.*", "abc", True, id="anything around it"),
        pytest.param(".*?b.*?", "abc", True, id="as little as possible around it"),
        pytest.param(r"b\.*", "ab", True, id="dots at the end"),
        pytest.param(r"b\\.*", "ab\\", True, id="a backslash and anything at the end"),
        pytest.param(r"b\\.*", "ab", False, id="a missing backslash"),
        pytest.param(".*+b", "ab", False, id="a possessive repetition"),
        pytest.param("a$", "a\n", True, id="re's own end of a text"),
        pytest.param(r"(a+)+$", "caa", True, id="nested repetitions"),
        pytest.param(r"^(a+)+$", "aab", False, id="nested repetitions without a match"),
    ],
)
def test_a_search(pattern: str, subject: Any, expected: Any) -> None:
    notes = Notes()
    assert compile_pattern(pattern, notes)(subject) is expected
    assert notes == []


@pytest.mark.parametrize(
    ("pattern", "with_re2", "phrase"),
    [
        pytest.param("***", True, "not a valid regular expression", id="an invalid pattern"),
        pytest.param("(" * 5000 + ")" * 5000, True, "not a valid regular expression", id="a pattern that is nested too deeply"),
        pytest.param("x" * (MAX_PATTERN_LENGTH + 1), True, "too long", id="a pattern that is too long"),
        pytest.param("^(a+)+$", False, "install aioflags[re2]", id="a hopeless pattern without RE2"),
        pytest.param(r"(.)\1", True, "RE2 cannot search", id="a hopeless pattern that RE2 cannot search"),
    ],
)
def test_a_pattern_that_never_matches_is_reported(pattern: str, with_re2: bool, phrase: str) -> None:
    notes = Notes()
    search = compile_pattern(pattern, notes, with_re2=with_re2)
    assert not any(map(search, ["", "a", "aa", pattern]))
    assert len(notes) == 1
    assert phrase in notes[0]
    assert repr(pattern[:20])[:-1] in notes[0]


def test_a_superlinear_pattern_works_without_re2_on_short_subjects() -> None:
    notes, limit = Notes(), max_length_without_re2("foo.*bar")
    assert limit is not None
    search = compile_pattern("foo.*bar", notes, with_re2=False)
    assert search("foo" + "x" * (limit - 6) + "bar")
    assert not search("fo" + "x" * (limit - 5) + "bar")
    assert notes == []
    assert not search("foo" + "x" * (limit - 5) + "bar")
    assert len(notes) == 1
    assert f"more than {limit} characters" in notes[0]
    assert "aioflags[re2]" in notes[0]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param("foo", True, id="text: any length"),
        pytest.param(".*foo.*", True, id="anything around it: any length"),
        pytest.param("o+$", True, id="a repetition at the start: any length"),
        pytest.param("^x+foo$", False, id="a linear repetition: 4096 characters"),
        pytest.param("^(x+)+foo$", True, id="by RE2: any length"),
    ],
)
def test_a_search_of_long_subjects(pattern: str, expected: bool) -> None:
    long, notes = "x" * (MAX_SUBJECT_LENGTH - 2) + "foo", Notes()
    search = compile_pattern(pattern, notes)
    assert search(long[1:])
    assert notes == []
    assert search(long) is expected
    assert [f"{MAX_SUBJECT_LENGTH} characters" in note for note in notes] == [] if expected else [True]


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        pytest.param("^(a+)+$", "\ud800a", False, id="half a surrogate pair"),
        pytest.param("^(\ud800|a+)+$", "\ud800a", True, id="half a surrogate pair that the pattern names"),
        pytest.param(r"^(\w+\s?)*$", "Zoë\u2003Müller", True, id="words beyond ASCII"),
        pytest.param(r"^(\d+)+$", "٣٣\n", True, id="digits beyond ASCII before a last line break"),
        pytest.param(r"(?i)x.*K.*\d", "x\u212a٣", True, id="letter case beyond ASCII"),
    ],
)
def test_re2_answers_as_re_does(pattern: str, subject: str, expected: bool) -> None:
    notes = Notes()
    assert compile_pattern(pattern, notes)(subject) is expected
    assert notes == []


@pytest.mark.parametrize(
    ("pattern", "subject", "expected", "phrases"),
    [
        pytest.param(r"foo.*\bbar", "foo é bar", True, [], id="in time: by re"),
        pytest.param(
            r"foo.*\bbar", "é" * MAX_SUBJECT_LENGTH + "foo bar", False, ["did not search a text"], id="not in time: not at all"
        ),
        pytest.param(r"foo.*\bbar", "e" * MAX_SUBJECT_LENGTH + "foo bar", True, [], id="of ASCII: by RE2"),
    ],
)
def test_subjects_that_re2_would_answer_differently(pattern: str, subject: str, expected: bool, phrases: list[str]) -> None:
    notes = Notes()
    assert compile_pattern(pattern, notes)(subject) is expected
    assert [phrase in note for phrase, note in zip(phrases, notes, strict=True)] == [True] * len(phrases)


def test_a_large_program_of_re2_searches_short_subjects() -> None:
    notes = Notes()
    search = compile_pattern("^(b[ab]{400}|(a*)*x)$", notes)
    assert search("b" + "ab" * 200)
    assert notes == []
    assert not search("b" + "ab" * 2000)
    assert len(notes) == 1


def test_a_warning_of_the_parser_is_not_an_error() -> None:
    assert compile_pattern("[[a]x", Notes())("[x")


def test_re2_is_loaded_once() -> None:
    assert installed_re2() is installed_re2() is not None


@given(pattern=PIECES, flags=FLAGS, ends=st.sampled_from([("", ""), (".*", ".*"), (".*?", ""), ("", ".*?"), ("a+", "$")]))
def test_a_search_has_the_results_of_re(pattern: str, flags: str, ends: tuple[str, str]) -> None:
    notes, whole = Notes(), flags + ends[0] + pattern + ends[1]
    plain, with_re2 = compile_pattern(whole, notes, with_re2=False), compile_pattern(whole, Notes())
    expected = re.compile(whole)
    for subject in ("", "a", "ab1é", "bba\naé", "é" * 41 + "b", "k\n", "\u212a"):
        if not notes:
            assert plain(subject) is (expected.search(subject) is not None)
            assert with_re2(subject) is (expected.search(subject) is not None)


REAL = [
    *(
        r"^[^@]+@example\.com$",
        r"@example\.com$",
        r".*@example\.com",
        r"@(example|acme)\.(com|org)$",
        r"^\d+\.\d+",
        r"^v?\d+\.\d+\.\d+$",
    ),
    *(
        "^(alice|bob|carol)$",
        "alice|bob|carol",
        "^beta-",
        "-internal$",
        "(?i)^admin",
        r"^(?:DE|AT|CH)$",
        r"^10\.\d{1,3}\.\d{1,3}\.\d{1,3}$",
    ),
    *(
        r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        r"^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$",
        r"^\+49\d+$",
        "iPhone|iPad",
    ),
    *(
        r"Chrome/\d+",
        r"Mozilla/5\.0 \(.*Chrome",
        r"^https?://[^/]+/docs/",
        r"\.(png|jpe?g|gif)$",
        r"^/api/v\d+/users/\d+$",
        "^(?!test).*$",
    ),
    *(
        r"^\s*$",
        r"^\w+$",
        r"\bpro\b",
        "^.{8,}$",
        "^[a-z]+(-[a-z]+)*$",
        r"^(1[5-9]|[2-9]\d)\.",
        r"^en(-[A-Z]{2})?$",
        r"(?i)\bbot\b|crawler",
    ),
]
"""Patterns that people write."""
HOSTILE = [
    *(
        r"\w+\d",
        "(a+)b",
        "a+$",
        r"\s+$",
        r"\d+\.\d+",
        r"[a-z]+@[a-z]+\.com",
        "(.*a){12}",
        "x*x*x*x*y",
        r"(?m)^.*x.*y",
        "a[ab]{20}x",
    ),
    *("c(a|b|ab)*c", "a[ab]{100}x", "(a[ab]{1,60}){1,4}y", "([ab]{0,15}a){1,9}y", "^(?:a.{10}|b.{11}|ab.{12}|aa.{13}){1,5}y"),
    *(
        "a(.*a){40}y",
        "(?s).*x.*y.*z",
        r"(?i)[a-zé]+\d+x",
        "[^a]*a[^b]*b[^c]*c",
        "a(?:b+c?)+d",
        "(?:(?:(?:k){2,}){2,})+?\\d",
        "x(?:ab)+c",
    ),
]


@pytest.mark.parametrize("pattern", REAL)
def test_a_realistic_pattern_does_not_need_re2(pattern: str) -> None:
    notes = Notes()
    limit = max_length_without_re2(pattern)
    assert limit is None or limit >= 320  # the longest e-mail address
    compile_pattern(pattern, notes, with_re2=False)
    assert notes == []


ATTACKS = [
    "a",
    "ab",
    "a1",
    "aA.",
    "x",
    "xy",
    "@.",
    "a@",
    "foo",
    "foobar",
    "-_",
    " ",
    "ba.",
    "aaab",
    "é",
    "٣a",
    "k",
    "1",
    "10.",
    "a\n",
    "abc",
]


@pytest.mark.real_time
@pytest.mark.speed
@pytest.mark.holds("RB-R17")
@pytest.mark.parametrize("with_re2", [pytest.param(True, id="EV-E169 with RE2"), pytest.param(False, id="EV-E169 without RE2")])
@pytest.mark.parametrize("pattern", [*REAL, *HOSTILE, *LINEAR, *SUPERLINEAR, *HOPELESS])
def test_a_search_takes_less_than_5_ms(pattern: str, with_re2: bool) -> None:
    """The limit is 5 ms. A subject of the pattern's own limit costs most without RE2."""
    limit = max_length_without_re2(pattern)
    search = compile_pattern(pattern, Notes(), with_re2=with_re2)
    assert slowest(search, ATTACKS, {4096, limit or 4096}, runs=2) < LIMIT


@pytest.mark.real_time
@pytest.mark.speed
@given(pattern=PIECES, flags=FLAGS, ends=st.sampled_from([("", ""), ("", "!"), ("b", r"\d"), ("^", "$")]))
@settings(max_examples=30, deadline=None)
def test_a_search_for_a_generated_pattern_takes_less_than_5_ms(pattern: str, flags: str, ends: tuple[str, str]) -> None:
    whole = f"{flags}{ends[0]}(?:{pattern}){ends[1]}"
    limit = max_length_without_re2(whole)
    for with_re2 in (True, False):
        assert slowest(compile_pattern(whole, Notes(), with_re2=with_re2), ATTACKS, {4096, limit or 4096}, runs=2) < LIMIT
