"""Membership: the operator ``in``.

Source: ``flagd.md`` 6.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aioflags.evaluation.jsonlogic.coercion import Kind, is_array, kind_of, to_text
from aioflags.evaluation.jsonlogic.comparison import strictly_equal
from aioflags.evaluation.jsonlogic.expressions import Expression, Operator, Rule, Site, function
from aioflags.evaluation.jsonlogic.work import UNIT, charge


def _contains(needle: Any = None, haystack: Any = None, *_ignored: Any) -> bool:
    """Whether ``haystack`` is a text with ``needle`` in it, or an array that has it as an element."""
    if kind_of(haystack) is Kind.TEXT:
        if len(haystack) > UNIT:
            charge(len(haystack) // UNIT)
        return to_text(needle) in haystack
    if not is_array(haystack):
        return False
    charge(1 + len(haystack) // UNIT * 8)
    return any(strictly_equal(needle, element) for element in haystack)


_GENERAL: Final = function(_contains, is_boolean=True)


def _build(arguments: Sequence[Expression], site: Site) -> Expression:
    """``in``, with a lookup instead of a search if the array is a literal."""
    if len(arguments) < 2 or not all(argument.is_literal for argument in arguments[1:]) or not is_array(arguments[1].value):
        return _GENERAL.build(arguments, site)
    return _is_one_of(arguments[0], arguments[1].value)


def _is_one_of(needle: Expression, elements: Iterable[Any]) -> Expression:
    """Whether a value is one of the elements. Arrays and objects are not equal to anything, so only scalars count."""
    scalars = frozenset(_distinct(element) for element in elements if kind_of(element) < Kind.ARRAY)
    texts = frozenset(element for element in scalars if kind_of(element) is Kind.TEXT)
    if len(texts) < len(scalars):
        return Expression(_is_one_of_mixed(needle.rule, scalars), is_boolean=True)
    if needle.name is None:
        return Expression(_is_one_of_texts(needle.rule, texts), is_boolean=True)
    return Expression(_variable_is_one_of(needle.name, needle.rule, texts), is_boolean=True, choices={needle.name: texts})


def _is_one_of_texts(read: Rule, texts: frozenset[str]) -> Rule:
    def is_one_of(data: Any) -> bool:
        value = read(data)
        return kind_of(value) is Kind.TEXT and value in texts

    return is_one_of


def _variable_is_one_of(name: str, read: Rule, texts: frozenset[str]) -> Rule:
    def is_one_of(data: Any) -> bool:
        try:
            return data.get(name) in texts
        except (AttributeError, TypeError):  # The data are not an object, or the value is an array or an object.
            value = read(data)
            return kind_of(value) is Kind.TEXT and value in texts

    return is_one_of


def _is_one_of_mixed(read: Rule, scalars: frozenset[Any]) -> Rule:
    def is_one_of(data: Any) -> bool:
        value = read(data)
        return kind_of(value) < Kind.ARRAY and _distinct(value) in scalars

    return is_one_of


def _distinct(value: Any) -> Any:
    """A key of a scalar that is equal for equal JSON values only: not for ``true`` and 1."""
    return (value,) if value.__class__ is bool else value


MEMBERSHIP: Final[Mapping[str, Operator]] = {"in": Operator(_build)}
