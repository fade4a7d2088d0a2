"""The rules of ``openfeature-flagd-core``, with the operators replaced that aioflags defines otherwise.

Each replacement names the rows of ``flagd.md`` 10, or the rule of its section 6, that it follows. The rest is the reference's: the
order of evaluation, the control operators, the loops, the paths of ``var``, ``sem_ver``, ``fractional`` with its CBOR and its hash.
The package has version 3 of ``fractional`` only: of version 2 the hash is the package's, and what is hashed follows 6.4.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

__all__ = ["FLAG_KEY", "UNKNOWN_OPERATOR", "reference", "text"]

json_logic: Any = pytest.importorskip("json_logic")
mmh3: Any = pytest.importorskip("mmh3")
base: Any = pytest.importorskip("json_logic.builtins")
OPERATORS: Any = pytest.importorskip("openfeature.contrib.tools.flagd.core.targeting.targeting").OPERATORS
parse_bucket: Any = pytest.importorskip("openfeature.contrib.tools.flagd.core.targeting.custom_ops")._parse_fraction

UNKNOWN_OPERATOR = object()
FLAG_KEY = "the-flag"
MAX_WEIGHT_SUM = 2_147_483_647


def number(value: Any) -> Any:
    """6.2: a boolean is 1 or 0; no number is written as ``inf`` or ``nan``, or with underscores."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        return number(value[0]) if len(value) == 1 else math.nan if value else 0
    if isinstance(value, str) and not value.strip():
        return 0
    if isinstance(value, str) and ("_" in value or value.strip().lower().lstrip("+-") in {"inf", "infinity", "nan"}):
        return math.nan
    return base.to_number(value)


def text(value: Any, null: str = "null") -> str:
    """Row 103 and 6.2: booleans and nulls as in JavaScript, numbers in the shortest form."""
    if value is None:
        return null
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) or (isinstance(value, int) and abs(value) >= 1e21):
        value = float(value)
        if (value.is_integer() and abs(value) < 1e21) or 1e-6 <= abs(value) < 1:
            return f"{Decimal(repr(value)):f}".removesuffix(".0")
        return repr(value).replace("e-0", "e-")
    if isinstance(value, list):
        return ",".join(text(element, "") for element in value)
    return str(base.to_string(value))


def result(value: Any) -> Any:
    """6.2: what is not finite is null; row 106: whole numbers are integers."""
    if not math.isfinite(value):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def divide(data: Any, left: Any = None, right: Any = None, *_: Any) -> Any:
    """Row 105."""
    return result(number(left) / number(right)) if number(right) else None


def remainder(data: Any, left: Any = None, right: Any = None, *_: Any) -> Any:
    """Rows 104 and 105."""
    return result(math.fmod(number(left), number(right))) if number(right) else None


def extreme(select: Callable[..., Any]) -> Callable[..., Any]:
    """Row 107, and 6.3: any NaN makes the result null."""

    def compute(data: Any, *values: Any) -> Any:
        numbers = [number(value) for value in values]
        return result(select(numbers)) if numbers and not any(map(math.isnan, numbers)) else None

    return compute


def product(data: Any, *values: Any) -> Any:
    return result(math.prod(map(number, values)))


def total(data: Any, *values: Any) -> Any:
    """6.1: as in JavaScript, floats are added one after the other."""
    numbers = [number(value) for value in values]
    floats = any(isinstance(value, float) for value in numbers)
    return result(functools.reduce(operator.add, map(float, numbers)) if floats else sum(numbers))


def difference(data: Any, *values: Any) -> Any:
    """6.3: two arguments are a difference, also if the second is null."""
    first, *rest = map(number, values or (None,))
    return result(first - rest[0] if rest else -first)


def cat(data: Any, *values: Any) -> str:
    """Rows 102 and 103."""
    return "".join(text(value, "") for value in values)


def loosely_equal(left: Any, right: Any) -> bool:
    """Row 101: null equals only null. 6.3: arrays are never equal, and an array compares with a number by its text."""
    if left is None or right is None:
        return left is right
    if isinstance(left, (list, dict)) and isinstance(right, (list, dict)):
        return False
    if isinstance(left, (list, dict)):
        return loosely_equal(text(left), right)
    if isinstance(right, (list, dict)):
        return loosely_equal(left, text(right))
    if isinstance(left, str) and isinstance(right, str):
        return bool(left == right)
    return bool(number(left) == number(right))


def strictly_equal(left: Any, right: Any) -> bool:
    """6.3: booleans are not numbers, and arrays and objects are equal to nothing."""
    if isinstance(left, (list, dict)) or isinstance(right, (list, dict)) or isinstance(left, bool) is not isinstance(right, bool):
        return False
    return bool(left == right)


def equality(equal: Callable[[Any, Any], bool], *, wanted: bool) -> Callable[..., bool]:
    def compute(data: Any, left: Any = None, right: Any = None, *_: Any) -> bool:
        return equal(left, right) is wanted

    return compute


def log(data: Any, value: Any = None, *_: Any) -> Any:
    """6.3: writes nothing."""
    return value


def ordering(holds: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    """6.3: texts by code point, all else by number. An absent argument is not a number; a third may be null."""

    def compare(left: Any, right: Any) -> bool:
        return holds(left, right) if isinstance(left, str) and isinstance(right, str) else holds(number(left), number(right))

    def compute(data: Any, left: Any = math.nan, right: Any = math.nan, *more: Any) -> bool:
        return compare(left, right) and (not more or compare(right, more[0]))

    return compute


def contains(data: Any, needle: Any = None, haystack: Any = None, *_: Any) -> bool:
    """6.3: members are compared strictly."""
    if isinstance(haystack, list):
        return any(strictly_equal(needle, element) for element in haystack)
    return isinstance(haystack, str) and text(needle) in haystack


def substr(data: Any, source: Any = None, start: Any = None, *more: Any) -> Any:
    """6.2: texts and numbers. As in JavaScript a length that is null is 0, and a start between -1 and 0 is 0."""
    length = (number(more[0]),) if more else ()
    first = number(start)
    return base.op_substr(data, text(source), 0 if -1 < first < 0 else first, *length)


def var(data: Any, path: Any = None, fallback: Any = None, *_: Any) -> Any:
    """6.3: a path is text or a number, so ``true`` is no index."""
    return base.op_var(data, None if path is None else text(path), fallback)


def missing(data: Any, *names: Any) -> list[Any]:
    listed = names[0] if names and isinstance(names[0], list) else names
    return [name for name in listed if var(data, name) in (None, "")]


def missing_some(data: Any, count: Any = None, names: Any = None, *_: Any) -> list[Any]:
    absent = missing(data, names) if isinstance(names, list) else []
    return [] if not absent or len(names) - len(absent) >= number(count) else absent


def sem_ver(data: Any, *values: Any) -> Any:
    """Rows 65 and 66, and 6.5: versions are texts and numbers; a whole number has no decimals."""
    if len(values) != 3 or any(value is None or isinstance(value, (bool, list, dict)) for value in (values[0], values[2])):
        return None
    if not isinstance(values[1], str):
        return None
    return OPERATORS["sem_ver"](data, text(values[0]), values[1], text(values[2]))


def fractional(flag_key: str, version: int) -> Callable[..., Any]:
    """Row 46: whole floats are weights. 6.4: a variant is a scalar, and a loop does not hide the key of the flag."""

    def compute(data: Any, *values: Any) -> Any:
        buckets = list(values if values and isinstance(values[0], list) else values[1:])
        if (
            not values
            or not buckets
            or any(isinstance(bucket, list) and bucket and isinstance(bucket[0], (list, dict)) for bucket in buckets)
        ):
            return None
        whole = [_with_whole_weight(value) for value in values]
        key = data.get("targetingKey") if isinstance(data, dict) else None
        if version == 2:
            return _fractional_2(flag_key, key, whole)
        return OPERATORS["fractional"]({"targetingKey": key, "$flagd": {"flagKey": flag_key}}, *whole)

    return compute


def _fractional_2(flag_key: str, targeting_key: Any, values: list[Any]) -> Any:
    """The text of the seed is hashed, without a seed the key of the flag and the targeting key behind it."""
    is_seeded = not isinstance(values[0], list)
    key = flag_key + targeting_key if isinstance(targeting_key, str) and targeting_key else None
    seed = values[0] if is_seeded else key
    try:
        buckets = [parse_bucket(value) for value in values[is_seeded:]]
    except ValueError:
        return None
    ends = list(itertools.accumulate(bucket.weight for bucket in buckets))
    if not isinstance(seed, str) or not 0 < ends[-1] <= MAX_WEIGHT_SUM:
        return None
    place = mmh3.hash(seed, signed=False) * ends[-1] >> 32
    return next(bucket.variant for bucket, end in zip(buckets, ends, strict=True) if place < end)


def _with_whole_weight(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], float) and value[1].is_integer():
        return [value[0], int(value[1])]
    return value


ADAPTED = {
    **OPERATORS,
    "/": divide,
    "%": remainder,
    "*": product,
    "+": total,
    "-": difference,
    "min": extreme(min),
    "max": extreme(max),
    "cat": cat,
    "substr": substr,
    "==": equality(loosely_equal, wanted=True),
    "!=": equality(loosely_equal, wanted=False),
    "===": equality(strictly_equal, wanted=True),
    "!==": equality(strictly_equal, wanted=False),
    "<": ordering(operator.lt),
    "<=": ordering(operator.le),
    ">": ordering(operator.gt),
    ">=": ordering(operator.ge),
    "in": contains,
    "var": var,
    "missing": missing,
    "missing_some": missing_some,
    "sem_ver": sem_ver,
    "log": log,
}


def reference(rule: Any, data: dict[str, Any], timestamp: int, flag_key: str = FLAG_KEY, version: int = 3) -> Any:
    """The result of the reference, or :data:`UNKNOWN_OPERATOR`."""
    seen = {**data, "$flagd": {"flagKey": flag_key, "timestamp": timestamp}}
    try:
        return json_logic.jsonLogic(rule, seen, {**ADAPTED, "fractional": fractional(flag_key, version)})
    except ReferenceError:
        return UNKNOWN_OPERATOR
