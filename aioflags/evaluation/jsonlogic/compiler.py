"""The compiler: a rule in JSON becomes a function of data.

An object with one member is an operation: its name is the operator, its value the arguments. Arrays are evaluated element by
element; every other value stands for itself. Nothing is parsed when the rule is evaluated, and parts that need no data are
evaluated here.

Source: ``flagd.md`` 6.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aioflags.evaluation.jsonlogic.arithmetic import ARITHMETIC
from aioflags.evaluation.jsonlogic.arrays import ARRAYS
from aioflags.evaluation.jsonlogic.coercion import is_array, is_object
from aioflags.evaluation.jsonlogic.comparison import COMPARISON
from aioflags.evaluation.jsonlogic.expressions import Data, Expression, Operator, Rule, Site, literal
from aioflags.evaluation.jsonlogic.logic import LOGIC
from aioflags.evaluation.jsonlogic.membership import MEMBERSHIP
from aioflags.evaluation.jsonlogic.text import TEXT
from aioflags.evaluation.jsonlogic.variables import VARIABLES
from aioflags.evaluation.jsonlogic.work import UNMETERED_SIZE, RuleError, guarded, metered
from aioflags.model.nesting import MAX_DEPTH, SCALARS, is_too_deep

__all__ = ["STANDARD_OPERATORS", "CompiledRule", "compile_rule", "unknown_operator"]

STANDARD_OPERATORS: Final[Mapping[str, Operator]] = {
    **VARIABLES,
    **LOGIC,
    **COMPARISON,
    **ARITHMETIC,
    **MEMBERSHIP,
    **TEXT,
    **ARRAYS,
}
"""The operators of JSONLogic. A dialect passes a table of these and its own to :func:`compile_rule`."""
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule that is ready to be evaluated."""

    rule: Rule
    """The result for some data. It raises :class:`RuleError` and nothing else."""
    reads: frozenset[str]
    """The members of the data that the rule may read."""
    reads_all: bool
    """The rule may read members that ``reads`` does not name."""

    def may_read(self, name: str) -> bool:
        """Whether the rule may read this member of its data."""
        return self.reads_all or name in self.reads


def compile_rule(rule: Any, operators: Mapping[str, Operator] = STANDARD_OPERATORS) -> CompiledRule:
    """Compile a rule.

    Args:
        rule: A JSON value. It must not change afterwards.
        operators: The operators that the rule may use. Others fail when an evaluation reaches them.

    Raises:
        RuleError: The rule nests more than 128 levels deep.
    """
    if is_too_deep(rule):
        raise RuleError(f"the rule is nested too deeply: more than {MAX_DEPTH} levels of arrays and objects")
    site = Site()
    try:
        expression = _compile(rule, operators, site)
    except RecursionError:  # The program calls from a stack that is nearly full.
        raise RuleError("the rule is nested too deeply for the stack of the interpreter") from None
    run = metered if site.has_loop or site.size > UNMETERED_SIZE else guarded
    return CompiledRule(run(expression.rule), frozenset(site.reads), site.reads_all)


def _compile(rule: Any, operators: Mapping[str, Operator], site: Site) -> Expression:
    if is_object(rule) and len(rule) == 1:
        ((name, arguments),) = rule.items()
        return _compile_operation(name, arguments if is_array(arguments) else [arguments], operators, site)
    if not is_array(rule) or SCALARS.issuperset(map(type, rule)):
        return literal(rule)
    return _array([_compile(element, operators, site) for element in rule])


def _array(elements: Sequence[Expression]) -> Expression:
    if all(element.is_literal for element in elements):
        return literal([element.value for element in elements])
    rules = [element.rule for element in elements]
    return Expression(lambda data: [rule(data) for rule in rules])


def _compile_operation(name: str, arguments: Sequence[Any], operators: Mapping[str, Operator], site: Site) -> Expression:
    site.size += 1
    operator = operators.get(name)
    if operator is None:
        return unknown_operator(f"the operator {_shown(name)} is unknown")
    expressions: list[Expression] = []
    loop_size = 0
    for position, part in enumerate(arguments):
        if position != operator.loop_argument:
            expressions.append(_compile(part, operators, site))
            continue
        in_loop, before, site.in_loop = site.in_loop, site.size, True
        expressions.append(_compile(part, operators, site))
        site.in_loop, loop_size = in_loop, site.size - before
    site.loop_size = loop_size
    return operator.build(expressions, site)


def unknown_operator(problem: str) -> Expression:
    """An operation without meaning. It does no harm until an evaluation reaches it."""

    def fail(data: Data) -> Any:
        raise RuleError(problem)

    return Expression(fail)


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "...")
