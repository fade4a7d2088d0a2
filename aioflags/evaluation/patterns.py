"""Regular expressions: compiled to a search that takes a bounded time, by RE2 or by our own search.

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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, TypeAlias

from aioflags.evaluation.backtracking import MAX_SUBJECT_LENGTH, max_subject_length
from aioflags.evaluation.items import ReportProblem
from aioflags.evaluation.pattern_tree import ONE_CHARACTER, Node, Tree, compile_tree, is_cramped, members, parse, shortened
from aioflags.runtime.logs import printable

# -- Translates a pattern of ``re`` to the syntax of RE2, so that both give the same answers.
#
# The two differ in the meaning of ``\d``, ``\w``, ``\s``, ``\b`` and ``$``, in letter case beyond ASCII, and in their version
# of Unicode. So the translation uses none of these. RE2 searches texts over a small alphabet: ASCII, the characters that the
# pattern names, and one character each for all other digits, word characters, spaces and the rest, which ``re`` treats alike.
# A part of the pattern that matches one character becomes the set of those characters of the alphabet that ``re`` itself
# matches with it.


_KINDS: Final = ("٠١٢٣٤٥٦٧٨٩", "中文字大小人日本語山", "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009", "←↑→↓↔↕↖↗↘↙")
"""Digits, other word characters, spaces and others beyond ASCII: examples of each kind, in the order of :func:`_kind`."""
_FOLDED: Final = "\u0130\u0131\u017f\u212a"
"""The characters beyond ASCII that match an ASCII letter if letter case is ignored."""
_LAST_ASCII: Final = 127
_TYPES: Final = re.ASCII | re.LOCALE | re.UNICODE
_NOTHING: Final = r"[^\x{0}-\x{10ffff}]"

_Part: TypeAlias = str | tuple[Node, int]
"""A part of the translation: text, or a one-character node with the flags that apply to it."""


class UntranslatableError(Exception):
    """RE2 cannot give the same answers for this pattern."""


class Alphabet(dict[int, int]):
    """Maps the characters of a text to the small alphabet, for :meth:`str.translate`."""

    def __init__(self, named: Iterable[str]) -> None:
        super().__init__({code: code for code in range(_LAST_ASCII + 1)})
        examples = [next((example for example in kind if example not in named), "") for kind in _KINDS]
        self.characters: Final = [*map(chr, range(_LAST_ASCII + 1)), *examples, *named]
        self.update((ord(name), code) for code, name in enumerate(named, _LAST_ASCII + 1 + len(_KINDS)))

    def __missing__(self, code: int) -> int:
        return _LAST_ASCII + 1 + _kind(chr(code))


def _kind(character: str) -> int:
    if character.isalnum():
        return 0 if character.isdecimal() else 1
    return 2 if character.isspace() else 3


@dataclass(frozen=True, slots=True)
class Re2Pattern:
    """``text``: the pattern for RE2. ``alphabet`` maps subjects beyond ASCII; without it, RE2 searches only ASCII subjects."""

    text: str
    alphabet: Alphabet | None


def re2_pattern(tree: Tree) -> Re2Pattern:
    """The pattern for RE2. Raises :class:`UntranslatableError`."""
    writer = _Writer()
    writer.sequence(tree, int(tree.state.flags), is_last=True)
    alphabet = Alphabet("".join(sorted(writer.named)) + _FOLDED)
    sets: dict[str, str] = {}
    for part in writer.parts:
        if not isinstance(part, str) and str(part) not in sets:
            sets[str(part)] = _set(part, alphabet.characters)
    text = "".join(part if isinstance(part, str) else sets[str(part)] for part in writer.parts)
    is_whole = writer.is_alike_beyond_ascii and "" not in alphabet.characters
    return Re2Pattern(text, alphabet if is_whole else None)


class _Writer:
    """Collects the parts of the translation, and the characters beyond ASCII that the pattern names."""

    def __init__(self) -> None:
        self.parts: Final[list[_Part]] = []
        self.named: Final[set[str]] = set()
        self.is_alike_beyond_ascii: bool = True

    def sequence(self, nodes: Sequence[Node], flags: int, *, is_last: bool) -> None:
        """Writes the nodes. ``is_last``: they are the end of the pattern."""
        for number, (operation, argument) in enumerate(nodes, 1):
            self._node(str(operation), argument, flags, (operation, argument), is_last=is_last and number == len(nodes))

    def _node(self, operation: str, argument: Any, flags: int, node: Node, *, is_last: bool) -> None:
        write = self.parts.append
        match operation:
            case _ if operation in ONE_CHARACTER:
                self._note_names(operation, argument, flags)
                write((node, flags))
            case "AT":
                write(self._place(str(argument), flags, is_last=is_last))
            case "SUBPATTERN":
                _, added, removed, inner = argument
                kept = flags & ~_TYPES if added & _TYPES else flags
                write("(?:")
                self.sequence(inner, (kept | added) & ~removed, is_last=is_last)
                write(")")
            case "BRANCH":
                write("(?:")
                for number, inner in enumerate(argument[1]):
                    write("|" if number else "")
                    self.sequence(inner, flags, is_last=is_last)
                write(")")
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = argument
                write("(?:")
                self.sequence(inner, flags, is_last=False)
                write(f"){{{int(least)},{'' if str(most) == 'MAXREPEAT' else int(most)}}}")
            case _:
                raise UntranslatableError(f"RE2 has no {operation.lower().replace('_', ' ')}")

    def _place(self, place: str, flags: int, *, is_last: bool) -> str:
        match place:
            case "AT_BEGINNING" if flags & re.MULTILINE:
                return "(?m:^)"
            case "AT_BEGINNING" | "AT_BEGINNING_STRING":
                return r"\A"
            case "AT_END" if flags & re.MULTILINE:
                return "(?m:$)"
            case "AT_END" if is_last:
                return r"\n?\z"
            case "AT_END_STRING":
                return r"\z"
            case "AT_BOUNDARY":
                self.is_alike_beyond_ascii = self.is_alike_beyond_ascii and bool(flags & re.ASCII)
                return r"\b"
            case _:
                raise UntranslatableError(f"RE2 has no {place.lower().replace('_', ' ')} as re has it")

    def _note_names(self, operation: str, argument: Any, flags: int) -> None:
        """Collects the characters beyond ASCII that the node names, except in ranges."""
        members_of = argument if operation == "IN" else [(operation, argument)]
        for kind, member in members_of:
            if str(kind) in {"LITERAL", "NOT_LITERAL"} and member > _LAST_ASCII:
                self.named.add(chr(member))
                # The other cases of this letter are unknown here.
                self.is_alike_beyond_ascii = self.is_alike_beyond_ascii and not flags & re.IGNORECASE
            elif str(kind) == "RANGE" and member[1] > _LAST_ASCII:
                self.is_alike_beyond_ascii = False


def _set(part: tuple[Node, int], characters: Sequence[str]) -> str:
    """The set of the codes of the characters that the node matches."""
    (operation, argument), flags = part
    if str(operation) == "LITERAL" and not flags & re.IGNORECASE:
        taken = {chr(argument)}
    else:
        taken = set(members((operation, argument), flags, "".join(characters)))
    codes = [code for code, character in enumerate(characters) if character in taken]
    runs = [[code for _, code in run] for _, run in groupby(enumerate(codes), lambda pair: pair[1] - pair[0])]
    return "".join(["[", *(f"\\x{{{run[0]:x}}}-\\x{{{run[-1]:x}}}" for run in runs), "]"]) if runs else _NOTHING


Search: TypeAlias = Callable[[str], bool]
Compile: TypeAlias = Callable[[str], Any]

MAX_PATTERN_LENGTH: Final = 200_000
"""Longest pattern, in characters. A longer one is not compiled, because that would take more than half a second."""
MIN_SUBJECT_LENGTH: Final = 64
"""A pattern that cannot search texts of this length, in characters, never matches."""
_MAX_RE2_STEPS: Final = 300_000
"""The maximal cost of a search with RE2: instructions of the program times characters of the text, each about 10 ns."""
_MAX_RE2_MEMORY: Final = 1 << 18
"""Memory of RE2 for one pattern, in bytes. With more, it builds states that cost more time than they save on such texts."""


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
