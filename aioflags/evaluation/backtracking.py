"""How badly a regular expression can backtrack: an upper bound, read off its syntax tree.

The tree is walked from its end to its start. At each place where the engine has a choice (once more or go on, this
alternative or that) it is asked which characters could come next on either way. If no character suits both, the engine
never returns to that choice; if one does, everything behind it may be tried again for each position: the degree grows.
Choices that can be revisited inside a repetition would multiply without end; such a pattern is given up as hopeless.

Characters are the bits of an integer: ASCII one by one, one bit for all others, one for the end of the text. All
judgements err towards trouble. Source: ``evaluation.md`` 3.7.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

__all__ = ["Backtracking", "backtracking", "is_cramped"]

try:
    # The parser of re has no public name; it is the only one that reads exactly what re runs.
    _parser: Any = importlib.import_module("re._parser")
except ImportError:  # an interpreter that names it otherwise: then no pattern is known to be tame
    _parser = None

_Node: TypeAlias = tuple[Any, Any]

_ASCII: Final = (1 << 128) - 1
_BEYOND: Final = 1 << 128
_END: Final = 1 << 129
_NULLABLE: Final = 1 << 130
_ANY: Final = _ASCII | _BEYOND | _END
_NEWLINE: Final = 1 << 10

_FEW: Final = 20
"""A repetition of one character that is bounded by this counts as choices, a longer one as endless."""
_UNROLLED: Final = 5
"""A repetition of several characters that is bounded by this is judged as if it were written out."""
_STEPS: Final = 20_000
_HOPELESS: Final = 99


@dataclass(frozen=True, slots=True)
class Backtracking:
    """``is_tame``: it runs in reasonable time on texts of a few thousand characters. ``is_bounded``: on texts of any length."""

    is_tame: bool
    is_bounded: bool


def backtracking(pattern: str) -> Backtracking:
    """The judgement on a pattern that compiles.

    Raises :class:`RecursionError` for want of stack, if that is the caller's doing.
    """
    if _parser is None:
        return Backtracking(is_tame=False, is_bounded=False)
    try:
        tree = _parser.parse(pattern)
        judge = _Judge()
        cost = judge.sequence(tuple(tree), _SUCCESS, tree.state.flags)
        degree = cost.degree + (0 if cost.degree == 0 or _is_anchored(tuple(tree), tree.state.flags) else 1)
    except RecursionError:
        if is_cramped():
            raise
        return Backtracking(is_tame=False, is_bounded=False)
    is_tame = (degree <= 1 and cost.choices <= 64) or (degree == 2 and cost.is_simple and cost.choices <= 2)
    return Backtracking(is_tame=is_tame, is_bounded=degree == 0)


def is_cramped() -> bool:
    """Whether half of the interpreter's stack is in use: what does not fit into the rest is not at fault for it."""
    try:
        sys._getframe(sys.getrecursionlimit() // 2)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # says it without counting
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Cost:
    """What it takes to match from some place of the pattern to its end.

    ``first``: what can come next there. ``degree``: of the polynomial in the length of the text. ``choices``: its factor.
    ``is_simple``: only single characters are repeated. ``is_certain``: no choice in it is ever taken back.
    """

    first: int
    degree: int = 0
    choices: int = 1
    is_simple: bool = True
    is_certain: bool = True


_SUCCESS: Final = _Cost(0)
_GIVEN_UP: Final = _Cost(_ANY, _HOPELESS, is_simple=False, is_certain=False)


def _either(one: _Cost, other: _Cost) -> _Cost:
    """Two ways to go on: tried one after the other, if the next character does not decide."""
    is_open = bool(one.first & other.first)
    return _Cost(
        one.first | other.first,
        max(one.degree, other.degree),
        one.choices + other.choices if is_open else max(one.choices, other.choices),
        one.is_simple and other.is_simple,
        one.is_certain and other.is_certain and not is_open,
    )


class _Judge:
    """One walk over one pattern; gives up after so many steps."""

    def __init__(self) -> None:
        self._steps = 0

    def sequence(self, nodes: Sequence[_Node], tail: _Cost, flags: int) -> _Cost:
        """The cost of these nodes, one after the other, and then ``tail``."""
        for operation, argument in reversed(nodes):
            self._steps += 1
            if self._steps > _STEPS:
                return _GIVEN_UP
            tail = self._node(str(operation), argument, tail, flags)
        return tail

    def _node(self, operation: str, argument: Any, tail: _Cost, flags: int) -> _Cost:
        match operation:
            case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
                return replace(tail, first=_characters(operation, argument, flags))
            case "AT":
                at_end = {"AT_END": _END | _NEWLINE, "AT_END_STRING": _END}
                return replace(tail, first=at_end.get(str(argument), _ANY))
            case "SUBPATTERN":
                _, added, removed, inner = argument
                return self.sequence(tuple(inner), tail, (flags | added) & ~removed)
            case "ATOMIC_GROUP":
                return self.sequence(tuple(argument), tail, flags)
            case "BRANCH":
                ways = [self.sequence(tuple(way), tail, flags) for way in argument[1]]
                cost = ways[0]
                for way in ways[1:]:
                    cost = _either(cost, way)
                return cost
            case "ASSERT" | "ASSERT_NOT":
                inside = self.sequence(tuple(argument[1]), _SUCCESS, flags)
                return replace(_either(inside, tail), first=_ANY)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, inner = argument
                return self._repeat(int(least), int(most), tuple(inner), tail, flags)
            case _:  # a back-reference, or what a later version of re may bring
                return _GIVEN_UP

    def _repeat(self, least: int, most: int, body: Sequence[_Node], tail: _Cost, flags: int) -> _Cost:
        operation, argument = body[0] if len(body) == 1 else (None, None)
        if str(operation) in {"LITERAL", "NOT_LITERAL", "ANY", "IN"}:
            return _repeat_character(_characters(str(operation), argument, flags), least, most, tail)
        if most <= _UNROLLED:
            for number in range(most):
                once_more = self.sequence(body, tail, flags)
                tail = _either(once_more, tail) if number < most - least else once_more
            return tail
        first = self.sequence(body, _Cost(_NULLABLE), flags).first
        if first & _NULLABLE:
            return _GIVEN_UP
        inside = self.sequence(body, _Cost(first | tail.first), flags)
        if not inside.is_certain:
            return _GIVEN_UP
        return replace(_loop(first, least, tail), is_simple=False)


def _repeat_character(first: int, least: int, most: int, tail: _Cost) -> _Cost:
    if least == most:
        return replace(tail, first=first) if most else tail
    if most > _FEW:
        return _loop(first, least, tail)
    is_open = bool(first & tail.first)
    return replace(
        tail,
        first=first if least else first | tail.first,
        choices=tail.choices * (most - least + 1) if is_open else tail.choices,
        is_certain=tail.is_certain and not is_open,
    )


def _loop(first: int, least: int, tail: _Cost) -> _Cost:
    """An endless repetition. In front of nothing it succeeds wherever it ends."""
    is_open = bool(first & tail.first)
    degree = 0 if tail == _SUCCESS else tail.degree + 1 if is_open else max(1, tail.degree)
    return replace(tail, first=first if least else first | tail.first, degree=degree, is_certain=tail.is_certain and not is_open)


def _is_anchored(nodes: Sequence[_Node], flags: int) -> bool:
    """Whether it can match at the start of the text alone."""
    if not nodes:
        return False
    operation, argument = nodes[0]
    match str(operation):
        case "AT":
            return str(argument) == "AT_BEGINNING_STRING" or (str(argument) == "AT_BEGINNING" and not flags & re.MULTILINE)
        case "SUBPATTERN":
            return _is_anchored(tuple(argument[3]), flags | argument[1])
        case "BRANCH":
            return all(_is_anchored(tuple(way), flags) for way in argument[1])
        case _:
            return False


# -- characters


def _characters(operation: str, argument: Any, flags: int) -> int:
    """Which characters a node of one character takes; rather more than less."""
    match operation:
        case "ANY":
            return _ASCII | _BEYOND if flags & re.DOTALL else (_ASCII | _BEYOND) & ~_NEWLINE
        case "NOT_LITERAL":
            return (_ASCII & ~_bit(argument)) | _BEYOND
        case "LITERAL":
            found, is_negated = _bit(argument), False
        case _:
            is_negated = str(argument[0][0]) == "NEGATE"
            found = 0
            for kind, what in argument[is_negated:]:
                found |= _set_member(str(kind), what)
    if is_negated:
        return (_ASCII & ~found) | _BEYOND
    return _either_case(found) if flags & re.IGNORECASE else found


def _set_member(kind: str, what: Any) -> int:
    match kind:
        case "LITERAL":
            return _bit(what)
        case "RANGE":
            low, high = what
            return sum(1 << code for code in range(low, min(high, 127) + 1)) | (_BEYOND if high > 127 else 0)
        case _:
            return _CATEGORIES[str(what)]


def _bit(code: int) -> int:
    return 1 << code if code < 128 else _BEYOND


def _either_case(characters: int) -> int:
    """The same with upper and lower case; some letters of ASCII have a case beyond it."""
    found = characters | _BEYOND
    for code in range(128):
        if characters >> code & 1:
            found |= _bit(ord(chr(code).swapcase()))
    return found


_DIGIT: Final = sum(1 << code for code in range(128) if chr(code).isdigit())
_SPACE: Final = sum(1 << code for code in range(128) if chr(code).isspace())
_WORD: Final = sum(1 << code for code in range(128) if chr(code).isalnum() or chr(code) == "_")
_CATEGORIES: Final = {
    f"CATEGORY_{negation}{name}": (_ASCII & ~found if negation else found) | _BEYOND
    for name, found in (("DIGIT", _DIGIT), ("SPACE", _SPACE), ("WORD", _WORD))
    for negation in ("", "NOT_")
}
