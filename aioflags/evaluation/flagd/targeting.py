"""Targeting: the rule of a flag becomes a function of the context.

The result is the JSON value that the rule gives. Which variant that selects is not decided here.

Source: ``flagd.md`` 5.1 and 6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from aioflags.evaluation.flagd.affixes import AFFIXES
from aioflags.evaluation.flagd.fractional import LATEST_VERSION, VERSIONS, fractional
from aioflags.evaluation.flagd.sem_ver import SEM_VER
from aioflags.evaluation.jsonlogic.compiler import (
    NOTHING_SHARED,
    STANDARD_OPERATORS,
    SharedRules,
    compile_rule,
    unknown_operator,
)
from aioflags.evaluation.jsonlogic.expressions import Expression, Operator, Site, literal
from aioflags.evaluation.jsonlogic.work import RuleError
from aioflags.runtime.clock import now_ms

__all__ = ["FLAGD_PATHS", "OPERATOR_NAMES", "RuleError", "Targeting", "compile_targeting"]

Targeting: TypeAlias = Callable[[Mapping[str, Any]], Any]
"""The result of a flag's rule for the data of a context. It raises :class:`RuleError` alone, with the problem."""

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
        ValueError: ``fractional_version`` is another number.
    """
    if fractional_version not in VERSIONS:
        raise ValueError(f"expected 2 or 3 as version of fractional, got {fractional_version!r}")
    operators = {
        **_OPERATORS,
        "var": Operator(_var(flag_key)),
        "fractional": fractional(flag_key, fractional_version, on_fractional),
    }
    compiled = compile_rule(rule, operators, shared)
    evaluate = compiled.rule
    if not compiled.may_read(_FLAGD):
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
    **AFFIXES,
    **SEM_VER,
    "$ref": Operator(_build_reference),
}

OPERATOR_NAMES: Final = frozenset({*_OPERATORS, "fractional"} - {"$ref"})
"""The operators that rules may use."""
