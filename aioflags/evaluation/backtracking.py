"""How long ``re`` can take for a regular expression: an upper bound, computed from its syntax tree.

The bound is a polynomial in the length of the text. The tree is walked from its end to its start. At each place where the
engine has a choice (repeat once more or continue, this alternative or that one) the walk compares the characters that can come
next in both cases. If no character suits both, the engine never returns to that choice. If one does, the rest of the pattern can be
tried again from each place, and its bound is summed over all places of the text. A choice that can be taken again inside a
repetition multiplies without limit: the bound of such a pattern is infinite.

Every estimate errs on the high side. Source: ``evaluation.md`` 3.7.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile, zip_longest
from typing import Any, Final, TypeAlias

from aioflags.evaluation.pattern_tree import ANY, END, NEWLINE, NULLABLE, ONE_CHARACTER, Node, Tree, characters

Steps: TypeAlias = tuple[float, ...]
"""The coefficients of a polynomial in the length of the text, the constant first."""

MAX_SUBJECT_LENGTH: Final = 4096
"""The longest text, in characters, that a pattern with unbounded repetition searches with ``re``."""
MAX_STEPS: Final = 250_000
"""The maximal cost of one search with ``re``. A step takes about 10 ns, so this is half of the limit of 5 ms."""
_MAX_COUNTED: Final = 255
"""A repetition of one character up to this count is a constant number of choices. With a higher count it counts as unbounded."""
_MAX_UNROLLED: Final = 5
"""A repetition of several characters up to this count is analysed as if it were written out."""
_MAX_VISITS: Final = 500
"""The maximal number of visited nodes: this number, plus two for each character of the pattern."""
_MAX_DEGREE: Final = 5

# Costs in steps, measured on CPython 3.11 and rounded up.
_LITERAL: Final = 0.25
_TEST: Final = 1.0
_SET_MEMBER: Final = 0.125
_GROUP: Final = 2.0
_ITERATION: Final = 5.0
"""One round of a repetition of several characters."""
_ROUND_END: Final = 2.0
"""The end of a round of several characters, where the engine goes on to the next round or to what follows."""


def max_subject_length(tree: Tree, length: int) -> int | None:
    """The longest text that ``re`` searches for the pattern within :data:`MAX_STEPS`; ``None`` for any length.

    ``length`` is the length of the pattern as it is written. The result 0 means that no useful bound is proven. Without unbounded
    repetition the time is proportional to the text, and texts of any length are searched.

    Raises :class:`RecursionError` if the pattern is nested too deeply for the stack that is left.
    """
    nodes, flags = tuple(tree), int(tree.state.flags)
    attempt = _Analysis(_MAX_VISITS + 2 * length).sequence(nodes, _SUCCESS, flags).steps
    search = _searched(attempt, nodes, flags)
    if len(attempt) == 1 and value(search, MAX_SUBJECT_LENGTH) <= MAX_STEPS:
        return None
    return bisect_left(range(1, MAX_SUBJECT_LENGTH + 1), 1, key=lambda size: int(value(search, size) > MAX_STEPS))


def step_bound(tree: Tree, length: int) -> Steps:
    """At most how many steps ``re`` takes to search a text for the pattern, as a polynomial in the length of the text."""
    nodes, flags = tuple(tree), int(tree.state.flags)
    return _searched(_Analysis(_MAX_VISITS + 2 * length).sequence(nodes, _SUCCESS, flags).steps, nodes, flags)


def _searched(attempt: Steps, nodes: Sequence[Node], flags: int) -> Steps:
    """The bound of a search. ``attempt``: the bound of an attempt to match from one place."""
    if _is_anchored(nodes, flags):
        return attempt
    prefix = _literal_prefix(nodes, flags)
    if not prefix:
        return _summed(_plus(attempt, _TEST))
    # re finds the places of the prefix in one pass. Two of them are at least a period of the prefix apart.
    period = _period(prefix)
    return _sum((_TEST, _TEST), attempt, tuple(coefficient / period for coefficient in _summed(attempt)))


@dataclass(frozen=True, slots=True)
class _Cost:
    """The cost of matching from one place of the pattern to its end.

    ``first``: the characters that can come next. ``steps``: the bound of an attempt, in the length of the remaining text.
    ``is_certain``: the engine never returns to a choice in it. ``looks_far``: it contains an unbounded look-around.
    ``entry``: the steps before the next character is compared, which a repetition takes at each place that it gives back.
    """

    first: int
    steps: Steps = (0.0,)
    is_certain: bool = True
    looks_far: bool = False
    entry: float = 0.0


_SUCCESS: Final = _Cost(0)
_GIVEN_UP: Final = _Cost(ANY, (math.inf,), is_certain=False, looks_far=True)


class _Analysis:
    """One walk over one pattern. It stops after a number of visited nodes, since unrolled repetitions multiply."""

    def __init__(self, visits: int) -> None:
        self._visits = visits

    def sequence(self, nodes: Sequence[Node], tail: _Cost, flags: int) -> _Cost:
        """The cost of these nodes, one after the other, followed by ``tail``."""
        # From the end: whether the engine can return to a node depends on what can follow it.
        for operation, argument in reversed(nodes):
            self._visits -= 1
            if self._visits < 0:
                return _GIVEN_UP
            tail = self._node(str(operation), argument, tail, flags)
        return tail

    def _node(self, operation: str, argument: Any, tail: _Cost, flags: int) -> _Cost:
        match operation:
            case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
                steps = _plus(tail.steps, _price(operation, argument, flags))
                return _Cost(characters(operation, argument, flags), steps, tail.is_certain, tail.looks_far)
            case "AT":
                at_end = {"AT_END": END | NEWLINE, "AT_END_STRING": END}
                return replace(tail, first=at_end.get(str(argument), ANY), steps=_plus(tail.steps, _TEST))
            case "SUBPATTERN":
                _, added, removed, inner = argument
                inside = self.sequence(tuple(inner), tail, (flags | added) & ~removed)
                return replace(inside, steps=_plus(inside.steps, _GROUP), entry=inside.entry + _GROUP)
            case "ATOMIC_GROUP":
                return self.sequence(tuple(argument), tail, flags)
            case "BRANCH":
                return _alternatives([self.sequence(tuple(inner), tail, flags) for inner in argument[1]])
            case "ASSERT" | "ASSERT_NOT":
                inside = self.sequence(tuple(argument[1]), _SUCCESS, flags)
                return _Cost(
                    ANY,
                    _sum((_GROUP,), inside.steps, tail.steps),
                    inside.is_certain and tail.is_certain and not inside.first & tail.first,
                    len(inside.steps) > 1 or inside.looks_far or tail.looks_far,
                )
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, inner = argument
                return self._repeat(int(least), int(most), tuple(inner), tail, flags)
            case _:  # a back-reference, or an operation of a later Python
                return _GIVEN_UP

    def _repeat(self, least: int, most: int, body: Sequence[Node], tail: _Cost, flags: int) -> _Cost:
        if len(body) == 1 and str(body[0][0]) in ONE_CHARACTER:
            operation, argument = str(body[0][0]), body[0][1]
            return _repeat_character(characters(operation, argument, flags), _price(operation, argument, flags), least, most, tail)
        if most <= _MAX_UNROLLED:
            for number in range(most):
                end = replace(tail, steps=_plus(tail.steps, _ROUND_END), entry=tail.entry + _ROUND_END)
                once_more = self.sequence(body, end, flags)
                tail = _alternatives([once_more, tail]) if number < most - least else once_more
            return tail
        first = self.sequence(body, _Cost(NULLABLE), flags).first
        if first & NULLABLE:  # such as (a*)*: a round that takes nothing can be put anywhere, so the choices have no bound
            return _GIVEN_UP
        # A round is followed by the next round or by the tail, so both count as what can come next. Without `first`, `b?`
        # in (bb?)* would look certain, although the next round can take the same b.
        inside = self.sequence(body, _Cost(first | tail.first, entry=_ROUND_END), flags)
        # An open choice inside a repetition multiplies with each round: (a|a)*b takes 2**n steps.
        if not inside.is_certain or inside.looks_far:
            return _GIVEN_UP
        # Repetitions inside one round use up characters that no other round takes.
        return _loop(first, sum(inside.steps) + _ITERATION, least, tail)


def _alternatives(costs: Sequence[_Cost]) -> _Cost:
    """Alternatives, tried one after the other, except those that the next character rules out."""
    by_first: dict[int, Steps] = {}
    for cost in costs:
        others = by_first.get(cost.first)
        by_first[cost.first] = cost.steps if others is None else _sum(others, cost.steps)
    union = 0
    is_open = len(by_first) < len(costs)
    for first in by_first:
        is_open = is_open or bool(union & first)
        union |= first
    bits = (1 << number for number in range(union.bit_length()) if union >> number & 1)
    # The worst next character: all alternatives that take it are tried. There are few distinct sets: most have one character.
    worst = {tuple(first for first in by_first if first & bit) for bit in bits}
    steps = _most([_sum(*(by_first[first] for first in group)) for group in worst] or [_sum(*by_first.values())])
    return _Cost(
        union,
        _plus(steps, _TEST + _LITERAL * len(costs)),
        not is_open and all(cost.is_certain for cost in costs),
        any(cost.looks_far for cost in costs),
        max(cost.entry for cost in costs),
    )


def _repeat_character(first: int, price: float, least: int, most: int, tail: _Cost) -> _Cost:
    if most > _MAX_COUNTED and least != most:
        return _loop(first, price, least, tail)
    if most == 0:
        return tail
    choices = most - least + 1
    # In a{1,9}ab the tail can begin with a, too: after a failure the engine gives characters back, and tries the tail again for
    # each. In a{1,9}b no character suits both, so the tail is tried once.
    is_open = choices > 1 and bool(first & tail.first)
    constant = _TEST + most * price + choices * (_TEST + tail.entry)
    rest = tuple(choices * coefficient for coefficient in tail.steps) if is_open else tail.steps
    return replace(
        tail,
        first=first if least else first | tail.first,
        steps=_plus(rest, constant),
        is_certain=tail.is_certain and not is_open,
        entry=0.0 if least else tail.entry,
    )


def _loop(first: int, price: float, least: int, tail: _Cost) -> _Cost:
    """An unbounded repetition. ``price``: the cost of one round. At each place where it can stop, the tail is tried."""
    is_open = bool(first & tail.first)
    return replace(
        tail,
        first=first if least else first | tail.first,
        steps=_sum((_GROUP, price + _TEST + tail.entry), _summed(tail.steps) if is_open else tail.steps),
        is_certain=tail.is_certain and not is_open,
        entry=0.0 if least else tail.entry,
    )


def _is_anchored(nodes: Sequence[Node], flags: int) -> bool:
    """Whether the pattern can match only at the start of the text."""
    if not nodes:
        return False
    operation, argument = nodes[0]
    match str(operation):
        case "AT":
            return str(argument) == "AT_BEGINNING_STRING" or (str(argument) == "AT_BEGINNING" and not flags & re.MULTILINE)
        case "SUBPATTERN":
            return _is_anchored(tuple(argument[3]), flags | argument[1])
        case "BRANCH":
            return all(_is_anchored(tuple(inner), flags) for inner in argument[1])
        case _:
            return False


def _literal_prefix(nodes: Sequence[Node], flags: int) -> Sequence[int]:
    """The characters that every match begins with."""
    if flags & re.IGNORECASE:
        return ()
    return [argument for _, argument in takewhile(lambda node: str(node[0]) == "LITERAL", nodes)]


def _period(text: Sequence[int]) -> int:
    """The smallest distance between two occurrences of ``text``, overlapping or not."""
    borders = [0]  # for each prefix of the text: the length of its longest proper prefix that is also its suffix
    for end in range(1, len(text)):
        border = borders[-1]
        while border and text[border] != text[end]:
            border = borders[border - 1]
        borders.append(border + (text[border] == text[end]))
    return len(text) - borders[-1]


# -- polynomials


def value(steps: Steps, length: int) -> float:
    """The bound for a text of this length."""
    return sum(coefficient * float(length) ** power for power, coefficient in enumerate(steps))


def _plus(steps: Steps, constant: float) -> Steps:
    return (steps[0] + constant, *steps[1:])


def _sum(*terms: Steps) -> Steps:
    return tuple(map(sum, zip_longest(*terms, fillvalue=0.0)))


def _most(terms: Sequence[Steps]) -> Steps:
    return tuple(map(max, zip_longest(*terms, fillvalue=0.0)))


def _summed(steps: Steps) -> Steps:
    """An upper bound of the sum over all lengths from 0: the cost of an attempt from each place of a text."""
    if len(steps) > _MAX_DEGREE:  # beyond MAX_STEPS for texts of any useful length; it also keeps the tuples short
        return (math.inf,)
    return _sum(steps, (0.0, *(coefficient / power for power, coefficient in enumerate(steps, 1))))


def _price(operation: str, argument: Any, flags: int) -> float:
    """The cost of comparing one character."""
    if operation == "IN":
        return _TEST + len(argument) * _SET_MEMBER
    return _TEST if flags & re.IGNORECASE else _LITERAL
