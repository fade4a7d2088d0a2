"""R17: generated patterns that cost a backtracking engine much, searched in texts of 4 kB with and without RE2.

The patterns that are known to be bad have the same mark in ``tests/evaluation/test_patterns.py``.
"""

from __future__ import annotations

import itertools
import random
import re
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress

import pytest

from aioflags.evaluation.patterns import compile_pattern, max_length_without_re2
from tests.evaluation.search_times import LIMIT, slowest
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import batches, replayable

pytest.importorskip("re2", reason="half of the searches need the extra re2")

ATOMS = ["a", "[ab]", ".", r"\w", r"\d", r"\s", "[^b]", "ab", "é", "a|b", "a|ab", "a?", r"\b", "(?=a)", "k", r"\.", "@"]
FLAGS = ["", "", "", "(?i)", "(?m)", "(?s)"]
REPEATS = ["*", "+", "{2,}", "*?", "+?", "{0,40}", "{1,9}", "?", "{3}", "*+"]
SHAPES = [
    *("{0}{1}", "({0}{1}){1}", "({0}{1}|{2}{3}){1}x", "^({0}{1}){3}$", "{0}{1}{2}{3}y", "({0}{1}{2}){3}!", "{0}{1}{0}{1}{0}{1}x"),
    *("(({0}{1}){3}){1}b", "^{0}{1}{2}{3}{4}{5}$", "({0}|{2})({0}|{4}){1}z", "({0}{1})?({2}{3})?({4}{5})?x", "(?!{0}{1}x){2}{3}y"),
    *("({0}{1}@)+{2}{3}\\.", r"\b{0}{1}\b{2}{3}\b", "x({0}{1}y){3}", "(?:{0}(?:{2}(?:{4}){5}){3}){1}!", "(.){1}{0}\\1"),
]
ATTACKS = ["a", "ab", "aab", "a@", "a.", "aA1", "x", "é", "k", " a", "y!", "b\n", "1", "ba"]
SHORT = ["", *("".join(text) for size in (1, 2, 3) for text in itertools.product("ab@é\n1", repeat=size)), "abab!", "xaby", "aaaab"]


def random_pattern(chance: random.Random) -> str:
    """A shape with random parts. A shape inside another one makes the depth."""
    parts: list[str] = []
    for at in range(6):
        nests = at % 2 == 0 and chance.random() < 0.15
        atom = random_pattern(chance) if nests else chance.choice(ATOMS)
        parts.append(chance.choice(REPEATS) if at % 2 else f"(?:{atom})" if len(atom) > 1 else atom)
    return chance.choice(SHAPES).format(*parts)


def accepted_pattern(chance: random.Random) -> str:
    """The first random pattern that ``re`` accepts."""
    while True:
        with suppress(re.error):
            return re.compile(chance.choice(FLAGS) + random_pattern(chance)).pattern


@pytest.mark.real_time
@pytest.mark.speed
@pytest.mark.holds("RB-R17")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("numbers", batches("R17"))
@pytest.mark.parametrize("with_re2", [pytest.param(True, id="with RE2"), pytest.param(False, id="without RE2")])
def test_a_generated_pattern_is_searched_in_5_ms(with_re2: bool, numbers: range, figures: Figures) -> None:
    for number in numbers:
        with replayable(number) as chance:
            pattern = accepted_pattern(chance)
            search = compile_pattern(pattern, lambda problem: None, with_re2=with_re2)
            seconds = slowest(search, ATTACKS, {4096, max_length_without_re2(pattern) or 4096}, runs=3)
            figures.worst("slowest search", seconds * 1e3, "ms")
            assert seconds <= LIMIT, pattern
    figures.total("patterns", len(numbers))


class _TooLongError(BaseException):
    """``re`` did not end in time."""


def _end(*_: object) -> None:
    raise _TooLongError


@contextmanager
def ended_after(seconds: float) -> Generator[None]:
    """Ends the block after this much time of the processor: ``re`` can take years for a text of two characters."""
    before = signal.signal(signal.SIGVTALRM, _end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        with suppress(_TooLongError):
            yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.holds("RB-R17")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("numbers", batches("R17"))
@pytest.mark.parametrize("with_re2", [pytest.param(True, id="with RE2"), pytest.param(False, id="without RE2")])
def test_a_generated_pattern_has_the_results_of_re(with_re2: bool, numbers: range) -> None:
    """A search that is not done has a note; all others have the result of ``re``, where that has one within a second."""
    for number in numbers:
        with replayable(number) as chance:
            pattern, notes = accepted_pattern(chance), list[str]()
            search, expected = compile_pattern(pattern, notes.append, with_re2=with_re2), re.compile(pattern)
            results = {subject: search(subject) for subject in SHORT}
            if notes:
                continue
            with ended_after(1.0):
                for subject, result in results.items():
                    assert result is (expected.search(subject) is not None), f"{pattern!r} in {subject!r}"
