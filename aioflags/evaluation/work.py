"""Work: at most how many steps a clause takes to test a value, and how many steps one evaluation may take.

The work of a clause grows with the number of its values times the size of the attribute: 10,000 texts searched in 10,000 elements
took seconds. So a clause that takes many steps charges them to the scope of its evaluation before it takes them.

Source: ``reliability.md``; LaunchDarkly's SDKs have no limit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from aioflags.model.nesting import SCALARS

MAX_WORK: Final = 2_000_000
"""In steps of about 25 ns, for one evaluation: about 50 ms."""
_FREE_STEPS: Final = 400_000
"""What the clauses of a flag together may take without being charged: the evaluation needs no scope of its own then."""
_STEPS: Final = {"before": 40, "after": 40, "semVerEqual": 40, "semVerLessThan": 40, "semVerGreaterThan": 40}
_ANY_STEPS: Final = 8
_OBJECT_STEPS: Final = 30
_SEARCHED: Final = 32
"""How many characters ``in`` searches in one step."""
_MAX_SQUARED: Final = 4096
"""The longest text whose search by a pattern may take longer than a time proportional to its length."""


def free_steps(clauses: int) -> int:
    """How many steps each of the clauses of one flag may take without charging them."""
    return _FREE_STEPS // max(clauses, 1)


def cost_of(op: str, values: Sequence[Any]) -> Cost:
    """What the operator costs with these values. Equal costs are mostly the same object."""
    if op == "contains":
        return _cost_of_contains(len(values))
    if op == "matches":
        return _cost_of_matches(len(values))
    others = sum(value.__class__ not in SCALARS for value in values) if op == "in" else 0
    return _cost_of_comparing(_STEPS.get(op, _ANY_STEPS), others)


@lru_cache(maxsize=256)
def _cost_of_contains(count: int) -> Cost:
    return Cost(lambda length: count * (1 + length // _SEARCHED))


@lru_cache(maxsize=256)
def _cost_of_matches(count: int) -> Cost:
    return Cost(lambda length: count * (4 + length // 4 + min(length, _MAX_SQUARED) ** 2 // 1000))


@lru_cache(maxsize=256)
def _cost_of_comparing(steps: int, others: int) -> Cost:
    if others:
        return Cost(lambda length: steps, other=others * _OBJECT_STEPS)
    return Cost(lambda length: steps, other=steps, each=steps)


@dataclass(frozen=True, slots=True)
class Cost:
    """At most how many steps the test of one value takes; for patterns it is an estimate.

    ``text``: of a text, by its length. ``other``: of an object or array. ``each``: of any value, if all cost the same.
    """

    text: Callable[[int], int]
    other: int = _ANY_STEPS
    each: int | None = None

    def of(self, value: Any) -> int:
        """The steps for this value."""
        if isinstance(value, str):
            return self.text(len(value))
        return _ANY_STEPS if value.__class__ in SCALARS else self.other

    def of_all(self, values: Collection[Any]) -> int:
        """The steps for these values."""
        return sum(map(self.of, values)) if self.each is None else len(values) * self.each

    def max_length(self, steps: int) -> int:
        """A length up to which the test of a text takes at most ``steps`` steps."""
        length = sys.maxsize
        while length and self.text(length) > steps:
            length >>= 1
        return length
