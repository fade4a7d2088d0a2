"""A regular expression becomes a search that cannot hold an evaluation up.

A pattern that backtracks little runs on ``re``. Any other runs on RE2, which never backtracks, if the extra ``re2`` is
installed; without it, such a pattern never matches, and the log says so.

Source: ``evaluation.md`` 3.7.
"""

from __future__ import annotations

import functools
import importlib
import re
import warnings
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from aioflags.evaluation.backtracking import Backtracking, backtracking, is_cramped
from aioflags.evaluation.compiled import Note
from aioflags.forks import Lock
from aioflags.logs import printable

__all__ = ["LONGEST_SUBJECT", "Search", "compile_pattern", "installed_re2"]

Search: TypeAlias = Callable[[str], bool]
Compile: TypeAlias = Callable[[str], Any]

LONGEST_SUBJECT: Final = 4096
"""In characters. Longer texts are not searched by a pattern that backtracks, however little."""

_MAY_WARN: Final = re.compile(r"\[\[|--|&&|~~|\|\|")
_SILENCE: Final = Lock()
_LEADING_ANY: Final = re.compile(r"\.\*\??(?![?+*{])")
_TRAILING_ANY: Final = re.compile(r"(?<!\\)((?:\\\\)*)\.\*\??\Z")


def compile_pattern(text: str, note: Note, *, compile_re2: Compile | None = None, with_re2: bool = True) -> Search:
    """The search for ``text`` anywhere in a subject. What is no pattern, or cannot be run safely, is nowhere; ``note`` says so.

    ``compile_re2`` stands in for that of the extra; without ``with_re2`` there is none. Raises :class:`RecursionError` for a caller
    who has no stack left, and for no other.
    """
    searched = _without_idle_ends(text)
    try:
        compiled, judgement = _compiled(searched)
    except (re.error, RecursionError, OverflowError) as problem:
        if isinstance(problem, RecursionError) and is_cramped():
            raise
        note(f"has a pattern that is no regular expression: {printable(text)!r}: {problem}")
        return _nowhere
    if judgement.is_tame:
        return _search(compiled, None if judgement.is_bounded else LONGEST_SUBJECT)
    engine = (compile_re2 or installed_re2()) if with_re2 else None
    if engine is None:
        note(f"has a pattern that may take very long, and never matches without the extra aioflags[re2]: {printable(text)!r}")
        return _nowhere
    try:
        return _search(engine(text), None)
    except Exception as problem:  # noqa: BLE001  # RE2's own error has no name where it is not installed
        note(f"has a pattern that may take very long, and that RE2 does not take: {printable(text)!r}: {problem}")
        return _nowhere


@functools.cache
def installed_re2() -> Compile | None:
    """RE2's compiler, if the extra is there."""
    try:
        re2 = importlib.import_module("re2")
    except ImportError:
        return None
    options = re2.Options()
    options.log_errors = False

    def compile_re2(text: str) -> Any:
        return re2.compile(text, options)

    return compile_re2


def _without_idle_ends(text: str) -> str:
    """The pattern without ``.*`` at its ends: whether it is found is all that is asked, and these ask nothing.

    So the habit of writing ``.*x.*`` for "contains x" costs no backtracking.
    """
    leading = _LEADING_ANY.match(text)
    return _TRAILING_ANY.sub(r"\1", text[leading.end() :] if leading else text)


def _search(compiled: Any, longest: int | None) -> Search:
    search = compiled.search

    def found(subject: str) -> bool:
        if longest is not None and len(subject) > longest:
            return False
        try:
            return search(subject) is not None
        except UnicodeEncodeError:  # RE2 works on UTF-8, which has no half surrogate pairs
            return False

    return found


def _compiled(text: str) -> tuple[re.Pattern[str], Backtracking]:
    if not _MAY_WARN.search(text):
        return re.compile(text), backtracking(text)
    # What silences warnings is the process's, and may not be entered by two threads at once.
    with _SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of syntax that a later Python may read otherwise
        return re.compile(text), backtracking(text)


def _nowhere(subject: str) -> bool:
    return False
