"""Targeting: the rule of a flag becomes a function of the context, with flagd's own operators.

The result is the JSON value that the rule gives. Which variant that selects is not decided here.

Source: ``flagd.md`` 5.1 and 6.1.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from aioflags.evaluation.flagd.fractional import LATEST_VERSION, fractional
from aioflags.evaluation.jsonlogic.coercion import UNIT, Kind, charge, kind_of, to_text
from aioflags.evaluation.jsonlogic.compiler import NOTHING_SHARED, STANDARD_OPERATORS, SharedRules, compile_rule, unknown_operator
from aioflags.evaluation.jsonlogic.expressions import Data, Expression, Operator, Site, function, literal
from aioflags.evaluation.operators import Version, parse_version
from aioflags.runtime.clock import now_ms

# -- Affixes: the operators ``starts_with`` and ``ends_with``.
# Source: ``flagd.md`` 6.6.


def _affix(test: Callable[[str, str], bool]) -> Operator:
    """An operator on exactly two texts. Anything else gives null, not ``false``."""

    def compare(*values: Any) -> bool | None:
        if len(values) != 2:
            return None
        text, affix = values
        return test(text, affix) if isinstance(text, str) and isinstance(affix, str) else None

    return function(compare)


# -- Versions: the operator ``sem_ver``.
# Source: ``flagd.md`` 6.5.


COMPARISONS: Final[Mapping[str, Callable[[Version, Version], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "^": lambda left, right: left[0] == right[0],
    "~": lambda left, right: left[:2] == right[:2],
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


Targeting: TypeAlias = Callable[[Mapping[str, Any]], Any]
"""The result of a flag's rule for the data of a context. It raises :class:`RuleError` with the problem, or ``RecursionError``."""

_FLAGD: Final = "$flagd"
_FLAG_KEY_PATH: Final = "$flagd.flagKey"

FLAGD_PATHS: Final = (_FLAG_KEY_PATH, "$flagd.timestamp")
"""What rules can read in addition to the context."""


def compile_targeting(
    rule: Any,
    flag_key: str,
    fractional_version: int = LATEST_VERSION,
    shared: SharedRules = NOTHING_SHARED,
    *,
    now_ms: Callable[[], int] = now_ms,
    on_fractional: Callable[[], object] = lambda: None,
) -> Targeting:
    """Compile the rule of a flag.

    The function takes the data of ``context_data.context_data``: the attributes and ``targetingKey``. It adds ``$flagd``.

    Args:
        rule: The rule, with its shared evaluators put in. A ``$ref`` that is left fails when an evaluation reaches it.
        flag_key: The key of the flag, which the rule can read, and which rollouts without seed hash.
        fractional_version: How ``fractional`` hashes, 2 or 3.
        shared: The shared evaluators, if the same objects are in the rules of several flags. They are compiled once.
        now_ms: Returns the Unix time in milliseconds. It is called once for each evaluation if the rule may read the time.
        on_fractional: Called now if the rule uses ``fractional``.

    Raises:
        RuleError: The rule nests more than 128 levels deep.
    """
    operators = {
        **_OPERATORS,
        "var": Operator(_var(flag_key)),
        "fractional": fractional(flag_key, fractional_version, on_fractional),
    }
    compiled = compile_rule(rule, operators, shared)
    evaluate = compiled.rule
    if not compiled.reads_all and _FLAGD not in compiled.reads:
        return evaluate
    return lambda data: evaluate({**data, _FLAGD: {"flagKey": flag_key, "timestamp": now_ms() // 1000}})


def _var(flag_key: str) -> Callable[[Sequence[Expression], Site], Expression]:
    """``var``, which knows the key of the flag when the rule is compiled."""
    build_var = STANDARD_OPERATORS["var"].build

    def build(arguments: Sequence[Expression], site: Site) -> Expression:
        if not site.in_loop and len(arguments) == 1 and arguments[0].is_literal and arguments[0].value == _FLAG_KEY_PATH:
            site.is_bound = True
            return literal(flag_key)
        return build_var(arguments, site)

    return build


def _build_reference(arguments: Sequence[Expression], site: Site) -> Expression:
    """A reference to a shared evaluator that loading did not replace: its name is unknown, or it is inside another evaluator."""
    name = arguments[0].value if len(arguments) == 1 and arguments[0].is_literal else None
    return unknown_operator(f"the shared evaluator {name!r:.100} does not exist, or another shared evaluator refers to it")


_OPERATORS: Final[Mapping[str, Operator]] = {
    **STANDARD_OPERATORS,
    "starts_with": _affix(str.startswith),
    "ends_with": _affix(str.endswith),
    "sem_ver": Operator(_build),
    "$ref": Operator(_build_reference),
}

OPERATOR_NAMES: Final = frozenset({*_OPERATORS, "fractional"} - {"$ref"})
"""The operators that rules may use."""
