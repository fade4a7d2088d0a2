"""Work: the limits on what one evaluation of a rule may cost.

Without loops the work of an evaluation is at most proportional to the size of the rule times the size of its data. The loops
(``map``, ``filter``, ``reduce``, ``all``, ``some``, ``none``) can be nested, and ``reduce`` can double its result with each
element. So a rule with loops, or with many operations, has an allowance. Each element costs as many units as the rule of the loop
has operations. Operators that read or write long arrays and texts cost one unit for each 64 elements or characters. An evaluation
that exceeds the allowance ends with a :class:`RuleError`.

Source: ``reliability.md``; ``flagd.md`` 6.1 sets no limits.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, Final

MAX_WORK: Final = 200_000
"""The allowance of one evaluation: operations on elements of arrays. They take some hundredths of a second."""
MAX_TEXT: Final = 1 << 20
"""The most characters, or elements of an array, that an operator may put together."""
UNIT: Final = 64
"""How many characters or elements cost as much as one operation."""
UNMETERED_SIZE: Final = 32
"""Rules with more operations than this have an allowance even without loops. It costs them a tenth of a microsecond."""
_STACK: Final = "the rule is nested too deeply for the stack of the interpreter"


class RuleError(Exception):
    """A rule has no result: it nests too deeply, an unknown operator was reached, or it is too much work.

    The message is written for the author of the rule.
    """


class _Meter(threading.local):
    """What is left of the allowance of the evaluation that runs in this thread. An evaluation without loops has no limit."""

    left: float = math.inf


_METER: Final = _Meter()


def charge(units: int) -> None:
    """Take ``units`` from the allowance of the running evaluation.

    Raises:
        RuleError: The allowance is used up.
    """
    left = _METER.left - units
    if left < 0:
        raise RuleError(f"the rule is too much work: more than {MAX_WORK} operations on elements of arrays")
    _METER.left = left


def check_length(length: int, *, charged: int | None = None) -> None:
    """Charge for a text or array of this length, and refuse one that is longer than ``MAX_TEXT``.

    ``charged``: how much of the length is new, if parts of it were charged before. It costs at least one unit.

    Raises:
        RuleError: It is too long, or the allowance is used up.
    """
    if length > MAX_TEXT:
        raise RuleError(f"the rule is too much work: a text or array of more than {MAX_TEXT} characters or elements")
    if charged is not None:
        charge(1 + charged // UNIT)
    elif length > UNIT:
        charge(length // UNIT)


def metered(rule: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same rule with an allowance for each evaluation."""

    def evaluate(data: Any) -> Any:
        outer = _METER.left
        _METER.left = MAX_WORK
        try:
            return rule(data)
        except RecursionError:
            raise RuleError(_STACK) from None
        finally:
            _METER.left = outer

    return evaluate


def guarded(rule: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same rule without an allowance. It only reports a stack that is nearly full."""

    def evaluate(data: Any) -> Any:
        try:
            return rule(data)
        except RecursionError:
            raise RuleError(_STACK) from None

    return evaluate
