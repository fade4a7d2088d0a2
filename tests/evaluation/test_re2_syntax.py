"""RE2 gives the answers of ``re``, or does not search."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioflags.evaluation.pattern_tree import compile_tree, parse, shortened
from aioflags.evaluation.patterns import Re2Pattern, UntranslatableError, installed_re2, re2_pattern
from tests.evaluation.test_backtracking import FLAGS, PIECES

pytest.importorskip("re2", reason="the extra re2 is what this is about")

CHARACTERS = (
    "ab1kKsSiI_ \n\r.@-\x0b\x1c\x1f" + "éÉèßẞ٣²½中αΑςσ\u0130\u0131\u017f\u212a\xa0\x85\u2028\u3000€\ud800\udfff\U0001f600\U0001d7d8"
)
SUBJECTS = [
    *("", "a", "ab", "a\n", "\na", "a\n\n", "\n", "a\nb\n", "\r\n", "1a", "a1\n", "k\n", "é", "é\n", "aéa", "٣", "x٣\n", "\u2028a"),
    *CHARACTERS,
    *(a + b for a in "a1 é٣\u2028€" for b in "k\nÉ€\xa0_"),
]


def translated(pattern: str) -> Re2Pattern | None:
    try:
        return re2_pattern(shortened(parse(pattern)))
    except UntranslatableError:
        return None


def differences(pattern: str, subjects: list[str]) -> list[str]:
    """The subjects that RE2 may search and about which it disagrees with ``re``."""
    written, compile_re2 = translated(pattern), installed_re2()
    assert compile_re2 is not None
    if written is None:
        return []
    ours, theirs = compile_tree(parse(pattern)), compile_re2(written.text)
    wrong: list[str] = []
    for subject in subjects:
        if not subject.isascii() and written.alphabet is None:
            continue
        given_to_re2 = subject if written.alphabet is None else subject.translate(written.alphabet)
        if (theirs.search(given_to_re2) is None) is not (ours.search(subject) is None):
            wrong.append(subject)
    return wrong


NOTATIONS = [
    *(
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
        ".",
        "(?s).",
        r"[\w.]",
        r"[^\w.]",
        r"[^\d\s]",
        "[a-k]",
        "[^a-k]",
        "é",
        "[^é]",
        "[éa]",
    ),
    *(
        r"a\b",
        r"\ba",
        "(?a)\\w",
        "(?a)a\\b",
        "^a",
        "a$",
        "^$",
        r"\Aa",
        r"a\Z",
        "(?m)^a",
        "(?m)a$",
        "(?m)^$",
        "a(?:b|$)",
        "(?m:^a)|b$",
    ),
    *(
        "(?i)k",
        "(?i)S",
        "(?i)i",
        "(?i)[a-k]",
        "(?i)[^k]",
        "(?i)[^a-z]",
        "(?i:a)b",
        "(?i)(?-i:a)",
        "(?ia)k",
        "(?i)\u017f",
        "(?i)\u0130",
    ),
    *(
        "(?x) a  b # c",
        "a{,2}b",
        "[[:alpha:]]",
        r"a\x41?",
        r"\101",
        "[]a]",
        "a{b",
        r"\.",
        r"[\]\\^-]",
        "(?P<n>a)b",
        "(?:)",
        "(|a)b",
    ),
]


@pytest.mark.parametrize("pattern", [pytest.param(pattern, id=f"EV-E170 {pattern}") for pattern in NOTATIONS])
def test_a_notation_has_the_same_meaning_in_re2(pattern: str) -> None:
    assert translated(pattern) is not None
    assert differences(pattern, SUBJECTS) == []
    flags = re.match(r"(?:\(\?[aimsx]+\))?", pattern)
    assert flags is not None
    assert differences(f"{flags[0]}^(?:{pattern.removeprefix(flags[0])}\n)+.?$", SUBJECTS) == []


@given(pattern=PIECES, flags=FLAGS, subjects=st.lists(st.text(CHARACTERS, max_size=12), max_size=8))
@example(pattern="a$|b", flags="", subjects=["a\n", "a\nb"])
def test_a_generated_pattern_has_the_same_meaning_in_re2(pattern: str, flags: str, subjects: list[str]) -> None:
    assert differences(flags + pattern, subjects) == []


def test_a_character_is_mapped_to_one_that_re_treats_alike() -> None:
    """So no character beyond ASCII is a letter of ASCII in another case, except those that the alphabet lists."""
    written = translated("(?i)k")
    assert written is not None
    assert written.alphabet is not None
    everything = "".join(map(chr, range(0x20000)))
    characters = written.alphabet.characters
    codes = everything.translate(written.alphabet)
    for pattern in (r"\w", r"\d", r"\s", r"(?i)[\x00-\x7f]", "(?i)[^a-z]"):
        taken = {chr(code) for code, character in enumerate(characters) if re.match(pattern, character)}
        assert [code in taken for code in codes] == [re.match(pattern, character) is not None for character in everything]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        pytest.param(r"(.)\1", "groupref", id="a back-reference"),
        pytest.param("^a(?=b)", "assert", id="a look-ahead"),
        pytest.param("(?<!a)b", "assert not", id="a look-behind"),
        pytest.param("^a++b", "possessive", id="a possessive repetition"),
        pytest.param("(?>a|ab)c", "atomic", id="an atomic group"),
        pytest.param(r"a\Bb", "non boundary", id="no end of a word"),
        pytest.param("a$b?c", "at end", id="an end of the text with something behind it"),
        pytest.param("(?:a$)*b", "at end", id="an end of the text in a repetition"),
    ],
)
def test_a_pattern_that_cannot_be_translated(pattern: str, reason: str) -> None:
    with pytest.raises(UntranslatableError, match=reason):
        re2_pattern(parse(pattern))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param(r"^\w+x", True, id="classes"),
        pytest.param("^é+x", True, id="a letter beyond ASCII"),
        pytest.param("^[à-ü]+x", False, id="a range beyond ASCII"),
        pytest.param("(?i)^é+x", False, id="a letter beyond ASCII in either case"),
        pytest.param(r"^a\b", False, id="the end of a word"),
        pytest.param(r"(?a)^a\b", True, id="the end of a word of ASCII"),
        pytest.param("[" + "".join(map(chr, range(0x660, 0x66A))) + "]", False, id="all digits that stand for others"),
    ],
)
def test_whether_re2_searches_texts_beyond_ascii(pattern: str, expected: bool) -> None:
    written = translated(pattern)
    assert written is not None
    assert (written.alphabet is not None) is expected


def test_re2_refuses_a_repetition_that_is_too_large() -> None:
    written, compile_re2 = translated("^x{2000}y"), installed_re2()
    assert written is not None
    assert compile_re2 is not None
    with pytest.raises(Exception, match="repetition size"):
        compile_re2(written.text)
