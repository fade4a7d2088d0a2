"""Compiles a regular expression to a search that takes a bounded time.

``re`` searches a text if the bound on its steps allows it. Other texts are searched by RE2, which never backtracks, if the extra
``re2`` is installed and RE2 gives the same answers for the pattern. A text that neither may search does not match, and the log
reports it.

Source: ``evaluation.md`` 3.7.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from aioflags.evaluation.backtracking import MAX_SUBJECT_LENGTH, max_subject_length
from aioflags.evaluation.compiled import ReportProblem
from aioflags.evaluation.pattern_tree import Tree, compile_tree, is_cramped, parse, shortened
from aioflags.evaluation.re2_syntax import re2_pattern
from aioflags.runtime.logs import printable

__all__ = [
    "MAX_PATTERN_LENGTH",
    "MAX_SUBJECT_LENGTH",
    "MIN_SUBJECT_LENGTH",
    "Search",
    "compile_pattern",
    "installed_re2",
    "max_length_without_re2",
]

Search: TypeAlias = Callable[[str], bool]
Compile: TypeAlias = Callable[[str], Any]

MAX_PATTERN_LENGTH: Final = 200_000
"""In characters. A longer pattern is not compiled, because that would take more than half a second."""
MIN_SUBJECT_LENGTH: Final = 64
"""In characters. A pattern that cannot search texts of this length never matches."""
_MAX_RE2_STEPS: Final = 300_000
"""The maximal cost of a search with RE2: instructions of the program times characters of the text, each about 10 ns."""
_MAX_RE2_MEMORY: Final = 1 << 18
"""In bytes, for each pattern. With more memory, RE2 builds states that cost more time than they save on texts of this length."""


def compile_pattern(text: str, note: ReportProblem, *, compile_re2: Compile | None = None, with_re2: bool = True) -> Search:
    """The function that searches a subject for the pattern ``text``.

    Args:
        text: the pattern.
        note: receives the reason if the pattern never matches or a subject is not searched.
        compile_re2: replaces the compiler of the extra ``re2``.
        with_re2: False uses ``re`` only.

    Raises:
        RecursionError: the caller has almost no stack left.
    """
    if len(text) > MAX_PATTERN_LENGTH:
        note(f"has a pattern of {len(text)} characters, which is too long, so it never matches: {printable(text)!r}")
        return _never
    try:
        compiled, tree, limit = _compiled(text)
    except (re.error, RecursionError, OverflowError) as problem:
        if isinstance(problem, RecursionError) and is_cramped():
            raise
        note(f"has a pattern that is not a valid regular expression: {printable(text)!r}: {problem}")
        return _never
    if limit is None:
        return _unlimited(compiled.search)
    shown = repr(printable(text))
    if limit == MAX_SUBJECT_LENGTH:
        return _limited(compiled, limit, note, f"has a pattern that does not search texts of more than {limit} characters: {shown}")
    engine = (compile_re2 or installed_re2()) if with_re2 else None
    refusal = "install aioflags[re2]"
    if engine is not None:
        try:
            in_time = _limited(compiled, limit, note, f"has a pattern that can take too long, so it did not search a text: {shown}")
            return _by_re2(engine, tree, in_time)
        except Exception as problem:  # noqa: BLE001  # RE2's error class cannot be imported where RE2 is not installed
            refusal = f"RE2 cannot search for it: {problem}"
    if limit >= MIN_SUBJECT_LENGTH:
        too_long = f"has a pattern that can take too long, so it does not search texts of more than {limit} characters"
        return _limited(compiled, limit, note, f"{too_long}: {shown}; {refusal}")
    note(f"has a pattern that can take too long, so it never matches: {shown}; {refusal}")
    return _never


def max_length_without_re2(text: str) -> int | None:
    """The maximal length of subjects that a valid pattern searches without RE2; ``None`` for any length, 0 if it never matches."""
    if len(text) > MAX_PATTERN_LENGTH:
        return 0
    _, _, limit = _compiled(text)
    return limit if limit is None or limit >= MIN_SUBJECT_LENGTH else 0


@functools.cache
def installed_re2() -> Compile | None:
    """RE2's compiler; ``None`` if the extra is not installed."""
    try:
        re2 = importlib.import_module("re2")
    except ImportError:
        return None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_RE2_MEMORY

    def compile_re2(text: str) -> Any:
        return re2.compile(text, options)

    return compile_re2


def _compiled(text: str) -> tuple[re.Pattern[str], Tree, int | None]:
    """The pattern for ``re``, its tree, and the maximal length of subjects that ``re`` may search."""
    tree = parse(text)
    if tree is None:
        return re.compile(text), None, 0
    tree = shortened(tree)
    compiled = compile_tree(tree)
    try:
        return compiled, tree, max_subject_length(tree, len(text))
    except RecursionError:
        if is_cramped():
            raise
        return compiled, tree, 0


def _unlimited(search: Callable[[str], object]) -> Search:
    return lambda subject: search(subject) is not None


def _limited(compiled: re.Pattern[str], limit: int, note: ReportProblem, too_long: str) -> Search:
    """The search by ``re``. ``too_long`` is noted for a subject that is longer than ``limit``, which does not match."""
    search = compiled.search

    def occurs(subject: str) -> bool:
        if len(subject) > limit:
            note(too_long)
            return False
        return search(subject) is not None

    return occurs


def _by_re2(compile_re2: Compile, tree: Tree, otherwise: Search) -> Search:
    """The search by RE2. ``otherwise`` searches the subjects that RE2 does not search quickly or as ``re`` does."""
    pattern = re2_pattern(tree)
    compiled, alphabet = compile_re2(pattern.text), pattern.alphabet
    search, limit = compiled.search, _MAX_RE2_STEPS // compiled.programsize
    # The time of a small program is proportional to the text, so it searches texts of any length.
    max_length = sys.maxsize if limit >= MAX_SUBJECT_LENGTH else limit

    def occurs(subject: str) -> bool:
        if len(subject) > max_length:
            return otherwise(subject)
        if not subject.isascii():
            if alphabet is None:
                return otherwise(subject)
            subject = subject.translate(alphabet)
        return search(subject) is not None

    return occurs


def _never(subject: str) -> bool:
    return False
