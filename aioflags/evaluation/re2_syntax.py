r"""Translates a pattern of ``re`` to the syntax of RE2, so that both give the same answers.

The two differ in the meaning of ``\d``, ``\w``, ``\s``, ``\b`` and ``$``, in letter case beyond ASCII, and in their version of
Unicode. So the translation uses none of these. RE2 searches texts over a small alphabet: ASCII, the characters that the pattern
names, and one character each for all other digits, word characters, spaces and the rest, which ``re`` treats alike. A part of the
pattern that matches one character becomes the set of those characters of the alphabet that ``re`` itself matches with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, TypeAlias

from aioflags.evaluation.pattern_tree import ONE_CHARACTER, Node, Tree, members

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
    """Maps the characters of a text to those of the small alphabet, for :meth:`str.translate`."""

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
        """Collects the characters beyond ASCII that the node names, except those of ranges."""
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
