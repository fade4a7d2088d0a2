"""The decision table: an ``if`` with several branches whose conditions test variables for membership in lists of texts.

One lookup for each variable gives the branches that its value allows, as bits. So the time does not depend on the number of
branches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from aioflags.evaluation.jsonlogic.expressions import Choices, Data, Rule

_FEWEST: Final = 3
"""With fewer branches it is quicker to test one after the other."""
_MOST: Final = 64
_MOST_TEXTS: Final = 4096
"""The texts of a table need memory a second time."""
_Column: TypeAlias = tuple[str, Mapping[str | None, int], int]
"""A variable, the branches that each of its texts allows, and the branches that all other values allow."""


def intersection(conditions: Sequence[Choices | None]) -> Choices | None:
    """The condition that all of these hold; ``None`` if one of them is not known."""
    joint: dict[str, frozenset[str]] = {}
    for choices in conditions:
        if choices is None:
            return None
        for name, texts in choices.items():
            joint[name] = joint[name] & texts if name in joint else texts
    return joint


def decision_table(conditions: Sequence[Choices | None], outcomes: Sequence[Rule], one_by_one: Rule) -> Rule | None:
    """The rule that chooses an outcome; ``None`` if there cannot be a table.

    Args:
        conditions: of the branches.
        outcomes: of the branches, and the one if no condition holds.
        one_by_one: the same rule, which tests the conditions one after the other.
    """
    branches = [condition for condition in conditions if condition is not None]
    texts = sum(len(allowed) for branch in branches for allowed in branch.values())
    if len(branches) < len(conditions) or not _FEWEST <= len(branches) <= _MOST or texts > _MOST_TEXTS:
        return None
    columns = [_column(name, branches) for name in dict.fromkeys(name for branch in branches for name in branch)]
    everything = (1 << len(branches)) - 1
    # By the lowest bit that is left. Its length is 0 if there is none.
    by_length = (outcomes[-1], *outcomes[:-1])

    def choose(data: Data) -> Any:
        left = everything
        for name, allowed, others in columns:
            try:
                value = data.get(name)
            except AttributeError:  # not an object
                return one_by_one(data)
            if value.__class__ is not str and value is not None:
                return one_by_one(data)
            left &= allowed.get(value, others)
            if not left:
                break
        return by_length[(left & -left).bit_length()](data)

    return choose


def _column(name: str, branches: Sequence[Choices]) -> _Column:
    others = 0
    allowed: dict[str | None, int] = {}
    for number, branch in enumerate(branches):
        if name not in branch:
            others |= 1 << number
        else:
            for text in branch[name]:
                allowed[text] = allowed.get(text, 0) | 1 << number
    return name, {text: bits | others for text, bits in allowed.items()}, others
