"""Coercion: JSON values as conditions, numbers and texts, by the rules of JavaScript.

Numbers are exact while they are whole. What is greater than the largest double counts as infinite, so that no result has more than
309 digits.

Source: ``flagd.md`` 6.1 and 6.2.
"""

from __future__ import annotations

import math
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final

from aioflags.model.values import MAX_DEPTH, is_array

# -- Work: the limits on what one evaluation of a rule may cost.
#
# Without loops the work of an evaluation is at most proportional to the size of the rule times the size of its data. The
# loops (``map``, ``filter``, ``reduce``, ``all``, ``some``, ``none``) can be nested, and ``reduce`` can double its result
# with each element. So a rule with loops, or with many operations, has an allowance. Each element costs as many units as the
# rule of the loop has operations. Operators that read or write long arrays and texts cost one unit for each 64 elements or
# characters. An evaluation that exceeds the allowance ends with a :class:`RuleError`.
#
# Source: ``reliability.md``; ``flagd.md`` 6.1 sets no limits.


MAX_WORK: Final = 200_000
"""The allowance of one evaluation: operations on elements of arrays. They take some hundredths of a second."""
MAX_TEXT: Final = 1 << 20
"""The most characters, or elements of an array, that an operator may put together."""
UNIT: Final = 64
"""How many characters or elements cost as much as one operation."""
UNMETERED_SIZE: Final = 32
"""Rules with more operations than this have an allowance even without loops. It costs them a tenth of a microsecond."""


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
        finally:
            _METER.left = outer

    return evaluate


_LARGEST: Final = int(sys.float_info.max)
_FIRST_WITH_EXPONENT: Final = 1e21
"""JavaScript writes numbers from here on with an exponent, also whole ones."""
_SPACES: Final = (
    " \t\n\v\f\r\xa0\ufeff\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,308}")
_OBJECT: Final = "[object Object]"


class Kind(IntEnum):
    """The types of JSON values."""

    NULL = 1
    BOOLEAN = 2
    NUMBER = 3
    TEXT = 4
    ARRAY = 5
    OBJECT = 6


_KINDS: Final[Mapping[Any, Kind]] = {
    type(None): Kind.NULL,
    bool: Kind.BOOLEAN,
    int: Kind.NUMBER,
    float: Kind.NUMBER,
    str: Kind.TEXT,
    list: Kind.ARRAY,
    tuple: Kind.ARRAY,
    dict: Kind.OBJECT,
}


def kind_of(value: object) -> Kind:
    """The JSON type of a value."""
    kind = _KINDS.get(value.__class__)
    if kind is not None:
        return kind
    # Programs may pass members of enumerations, for example. Whatever is nothing else is an object.
    return next((kind for kinds, kind in _KINDS.items() if isinstance(value, kinds)), Kind.OBJECT)


def truthy(value: Any) -> bool:
    """Whether a value is true as a condition: not null, ``false``, 0, NaN, the empty text or an empty array."""
    if value.__class__ is bool:
        return bool(value)
    if value:
        return value.__class__ is not float or not math.isnan(value)
    return kind_of(value) is Kind.OBJECT


def to_number(value: Any) -> int | float:
    """A value as a number; NaN if it is not one."""
    if value.__class__ is int:
        if -_LARGEST <= value <= _LARGEST:
            return value
        return math.inf if value > 0 else -math.inf
    if value.__class__ is float:
        return float(value)
    kind = kind_of(value)
    if kind is Kind.TEXT:
        return _number_of_text(value)
    if kind is Kind.NULL:
        return 0
    if kind is Kind.ARRAY:
        return _number_of_array(value)
    if kind is Kind.OBJECT:
        return math.nan
    return to_number(float(value) if isinstance(value, float) else int(value))


def _number_of_array(value: Sequence[Any]) -> int | float:
    inner: Any = value
    for _ in range(MAX_DEPTH + 1):
        if not is_array(inner):
            return to_number(inner)
        if len(inner) != 1:
            return math.nan if inner else 0
        inner = inner[0]
    return math.nan


def _number_of_text(text: str) -> int | float:
    text = text.strip(_SPACES)
    if not text:
        return 0
    # The first test is for speed: long texts are rarely numbers.
    if text[0] not in "+-.0123456789":
        return math.nan
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else math.nan


def finite(number: float) -> int | float | None:
    """A number as the result of an operation: whole numbers are integers; NaN and infinities are null."""
    if number.__class__ is int:
        return number if -_LARGEST <= number <= _LARGEST else None
    if not math.isfinite(number):
        return None
    return int(number) if number == math.floor(number) else number


def to_index(value: Any) -> int:
    """A value as a position in a text: its number without the fraction, 0 for NaN."""
    number = to_number(value)
    if number.__class__ is int:
        return int(number)
    if math.isnan(number):
        return 0
    return int(number) if math.isfinite(number) else int(math.copysign(_LARGEST, number))


def to_text(value: Any) -> str:
    """A value as text; null is ``null``.

    Raises:
        RuleError: The text of an array is too long, or nested too deeply.
    """
    if value.__class__ is str:
        return str(value)
    kind = kind_of(value)
    if kind is Kind.NUMBER:
        return _text_of_number(value)
    if kind is Kind.TEXT:
        return str.__str__(value)
    if kind is Kind.NULL:
        return "null"
    if kind is Kind.BOOLEAN:
        return "true" if value else "false"
    return _OBJECT if kind is Kind.OBJECT else _text_of_array(value, 1)


def _text_of_number(value: float) -> str:
    if not isinstance(value, float):
        number = to_number(int(value))
        if isinstance(number, int) and abs(number) < _FIRST_WITH_EXPONENT:
            return str(number)
        value = number
    value = float(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = repr(value)
    if abs(value) >= _FIRST_WITH_EXPONENT:
        return text
    if value == math.floor(value):
        return str(int(value))
    if "e" not in text:
        return text
    # Only numbers near 0 have an exponent here. JavaScript writes it from 1e-7 on, and without leading zeros.
    digits, _, exponent = text.partition("e")
    if int(exponent) >= -6:
        return f"{value:.{len(digits.replace('.', '').lstrip('-')) - 1 - int(exponent)}f}"
    return f"{digits}e{int(exponent)}"


def _text_of_array(values: Sequence[Any], depth: int) -> str:
    """The texts of the elements, joined by commas. JavaScript leaves nulls in arrays out."""
    if depth > MAX_DEPTH:
        raise RuleError("the rule makes a text of an array that is nested too deeply")
    check_length(len(values))
    charge(len(values))
    parts: list[str] = []
    length = 0
    for value in values:
        part = "" if value is None else _text_of_array(value, depth + 1) if is_array(value) else to_text(value)
        length += len(part) + 1
        if length > MAX_TEXT:
            check_length(length)
        parts.append(part)
    check_length(length)
    return ",".join(parts)
