"""Variables: the operators ``var``, ``missing`` and ``missing_some``.

A path that is a literal is split when the rule is compiled.

Source: ``flagd.md`` 6.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aioflags.evaluation.jsonlogic.coercion import Kind, charge, check_length, kind_of, to_number, to_text
from aioflags.evaluation.jsonlogic.expressions import Data, Expression, Operator, Rule, Site, argument
from aioflags.model.values import is_array, is_object


def member(value: Any, name: str) -> Any:
    """A member of an object, an element of an array, a character of a text, or the ``length`` of both; otherwise null."""
    kind = kind_of(value)
    if kind is Kind.ARRAY or kind is Kind.TEXT:
        if _is_index(name):
            return value[int(name)] if int(name) < len(value) else None
        return len(value) if name == "length" else None
    return value.get(name) if is_object(value) else None


def _is_index(name: str) -> bool:
    """Whether a name is a whole number as JavaScript writes it: without zeros in front."""
    return name.isdigit() and name.isascii() and len(name) < 16 and (name[0] != "0" or len(name) == 1)


def _path_text(path: Any) -> str:
    return "" if path is None else to_text(path)


def _walk(data: Data, names: Iterable[str]) -> Any:
    for name in names:
        data = data.get(name) if data.__class__ is dict else member(data, name)
        if data is None:
            return None
    return data


def _look_up(data: Data, path: Any) -> Any:
    """The value at a path that is not known before."""
    text = path if path.__class__ is str else _path_text(path)
    check_length(len(text))
    return _walk(data, text.split(".")) if text else data


def _build_var(arguments: Sequence[Expression], site: Site) -> Expression:
    path, fallback = argument(arguments, 0), argument(arguments, 1)
    if not path.is_literal:
        _note_reads(None, site)
        find = path.rule
        return Expression(_with_fallback(lambda data: _look_up(data, find(data)), fallback))
    text = _path_text(path.value)
    names = text.split(".") if text else []
    _note_reads(names[0] if names else None, site)
    read = _reader(names)
    if fallback.is_literal and fallback.value is None:
        return Expression(read, name=names[0] if len(names) == 1 else None)
    return Expression(_with_fallback(read, fallback))


def _note_reads(name: str | None, site: Site) -> None:
    """Note which member of the rule's data is read. ``None``: any. Inside a loop the data is an element of an array."""
    if site.in_loop:
        return
    if name is None:
        site.reads_all = True
    else:
        site.reads.add(name)


def _reader(names: Sequence[str]) -> Rule:
    if not names:
        return lambda data: data
    if len(names) > 1:
        return lambda data: _walk(data, names)
    (name,) = names

    def read(data: Data) -> Any:
        return data.get(name) if data.__class__ is dict else member(data, name)

    return read


def _with_fallback(read: Rule, fallback: Expression) -> Rule:
    if fallback.is_literal:
        value = fallback.value

        def read_or_literal(data: Data) -> Any:
            present = read(data)
            return value if present is None else present

        return read_or_literal
    compute = fallback.rule

    def read_or_compute(data: Data) -> Any:
        # All arguments are evaluated, whether they are needed or not: an unknown operator in the fallback is always reached.
        instead, present = compute(data), read(data)
        return instead if present is None else present

    return read_or_compute


def _missing(data: Data, names: Sequence[Any]) -> list[Any]:
    check_length(len(names))
    charge(len(names))
    missing: list[Any] = []
    for name in names:
        value = _look_up(data, name)
        if value is None or value == "":
            missing.append(name)
    return missing


def _build_missing(arguments: Sequence[Expression], site: Site) -> Expression:
    for name in arguments:
        _note_reads(_first_name(name), site)
    rules = [expression.rule for expression in arguments]

    def missing(data: Data) -> list[Any]:
        values = [rule(data) for rule in rules]
        return _missing(data, values[0] if values and is_array(values[0]) else values)

    return Expression(missing)


def _first_name(path: Expression) -> str | None:
    if not path.is_literal or is_array(path.value):
        return None
    return _path_text(path.value).partition(".")[0] or None


def _build_missing_some(arguments: Sequence[Expression], site: Site) -> Expression:
    _note_reads(None, site)
    count, options = argument(arguments, 0).rule, argument(arguments, 1).rule

    def missing_some(data: Data) -> list[Any]:
        needed, names = count(data), options(data)
        if not is_array(names):
            names = [names]
        missing = _missing(data, names)
        return [] if len(names) - len(missing) >= to_number(needed) else missing

    return Expression(missing_some)


VARIABLES: Final[Mapping[str, Operator]] = {
    "var": Operator(_build_var),
    "missing": Operator(_build_missing),
    "missing_some": Operator(_build_missing_some),
}
