"""Versions: the operator ``sem_ver``.

Source: ``flagd.md`` 6.5.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aioflags.evaluation.jsonlogic.coercion import Kind, kind_of, to_text
from aioflags.evaluation.jsonlogic.expressions import Data, Expression, Operator, Site, function
from aioflags.evaluation.jsonlogic.work import UNIT, charge
from aioflags.evaluation.parsing import Version, parse_version


def _same_major(left: Version, right: Version) -> bool:
    return left[0] == right[0]


def _same_minor(left: Version, right: Version) -> bool:
    return left[:2] == right[:2]


COMPARISONS: Final[Mapping[str, Callable[[Version, Version], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "^": _same_major,
    "~": _same_minor,
}


def read_version(value: Any) -> Version | None:
    """A version from a text or number: one ``v`` in front is ignored, and minor and patch may be missing."""
    kind = kind_of(value)
    if kind is not Kind.TEXT and kind is not Kind.NUMBER:
        return None
    text = to_text(value)
    if len(text) > UNIT:
        charge(len(text) // UNIT)
    return parse_version(text[1:] if text[:1] in ("v", "V") else text)


def _comparison(name: Any) -> Callable[[Version, Version], bool] | None:
    return COMPARISONS.get(name) if isinstance(name, str) else None


def _compare(*values: Any) -> bool | None:
    if len(values) != 3:
        return None
    left, right, compare = read_version(values[0]), read_version(values[2]), _comparison(values[1])
    return compare(left, right) if left is not None and right is not None and compare is not None else None


_GENERAL: Final = function(_compare)


def _build(arguments: Sequence[Expression], site: Site) -> Expression:
    """``sem_ver``; the usual test against a literal version reads the literal here."""
    if len(arguments) != 3 or arguments[0].is_literal or not (arguments[1].is_literal and arguments[2].is_literal):
        return _GENERAL.build(arguments, site)
    read, compare, right = arguments[0].rule, _comparison(arguments[1].value), read_version(arguments[2].value)

    def compare_with_literal(data: Data) -> bool | None:
        left = read_version(read(data))
        return compare(left, right) if left is not None and right is not None and compare is not None else None

    return Expression(compare_with_literal)


SEM_VER: Final[Mapping[str, Operator]] = {"sem_ver": Operator(_build)}
