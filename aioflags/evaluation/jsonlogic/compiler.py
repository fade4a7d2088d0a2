"""The compiler: a rule in JSON becomes a function of data.

An object with one member is an operation: its name is the operator, its value the arguments. Arrays are evaluated element by
element; every other value stands for itself. Nothing is parsed when the rule is evaluated, and parts that need no data are
evaluated here.

Source: ``flagd.md`` 6.1.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aioflags.evaluation.jsonlogic.coercion import UNMETERED_SIZE, RuleError, metered
from aioflags.evaluation.jsonlogic.expressions import COMPARISON, VARIABLES, Data, Expression, Operator, Rule, Site, literal
from aioflags.evaluation.jsonlogic.logic import LOGIC
from aioflags.evaluation.jsonlogic.operators import ARITHMETIC, ARRAYS, MEMBERSHIP, TEXT
from aioflags.model.values import MAX_DEPTH, SCALARS, is_array, is_object, is_too_deep

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
MAX_OPERATIONS: Final = 1 << 20
"""The most operations of a rule. A part that occurs several times counts each time. Their evaluation takes about a second."""
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule that is ready to be evaluated."""

    rule: Rule
    """The result for some data. It raises :class:`RuleError`, or :class:`RecursionError` where the stack is nearly full."""
    reads: frozenset[str]
    """The members of the data that the rule may read."""
    reads_all: bool
    """The rule may read members that ``reads`` does not name."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A compiled part of a rule. ``levels``: its levels of arrays and objects. ``size``: its operations."""

    expression: Expression
    levels: int
    size: int
    site: Site


class SharedRules:
    """Parts that many rules have in common, and their compiled forms. A part is recognized by its identity.

    Pass it to each compilation of a rule that contains the parts. They must not change.
    """

    __slots__ = ("_compiled", "_parts", "ids")

    def __init__(self, parts: Iterable[Any]) -> None:
        """``parts``: the objects in the rules, not copies."""
        self._parts: tuple[Any, ...] = tuple(parts)  # An identity is unique as long as the object lives.
        self.ids: frozenset[int] = frozenset(map(id, self._parts))
        """The identities of the parts."""
        self._compiled: dict[tuple[int, bool], _Part] = {}

    def get(self, part: object, *, in_loop: bool) -> _Part | None:
        """The compiled form of a part, if there is one."""
        return self._compiled.get((id(part), in_loop))

    def add(self, part: object, compiled: _Part) -> None:
        """Keep the compiled form of a part, unless it holds for one flag only."""
        if not compiled.site.is_bound:
            self._compiled[id(part), compiled.site.in_loop] = compiled


NOTHING_SHARED: Final = SharedRules(())


@dataclass(slots=True)
class _Frame:
    """An operation or an array whose items are being compiled."""

    source: Any
    name: str | None
    """The name of the operator; ``None`` for an array."""
    operator: Operator | None
    items: Iterator[Any]
    """The items that are left."""
    own_levels: int
    """1 for an array. 1 for an operation, or 2 if its arguments are an array."""
    depth: int
    """The levels around the items."""
    in_loop: bool
    site: Site
    loop_argument: int | None = None
    """Which item is a rule for each element of an array."""
    done: list[Expression] = field(default_factory=list[Expression])
    levels: int = 0
    """The most levels that an item has."""
    size: int = 0
    loop_size: int = 0


def compile_rule(
    rule: Any, operators: Mapping[str, Operator] = STANDARD_OPERATORS, shared: SharedRules = NOTHING_SHARED
) -> CompiledRule:
    """Compile a rule.

    The compiler is not recursive, so it works at any depth of the caller's stack. Its time is proportional to the size of the rule
    without the shared parts that were compiled before.

    Args:
        rule: A JSON value. It must not change afterwards.
        operators: The operators that the rule may use. Others fail when an evaluation reaches them.
        shared: Parts of the rule that other rules contain, too. They are compiled once. The tables of operators may differ only in
            operators that set :attr:`Site.is_bound`.

    Raises:
        RuleError: The rule nests more than 128 levels deep, or has more than a million operations.
    """
    part = _Compilation(operators, shared).run(rule)
    run = part.expression.rule
    if part.site.has_loop or part.size > UNMETERED_SIZE:
        run = metered(run)
    return CompiledRule(run, frozenset(part.site.reads), part.site.reads_all)


class _Compilation:
    """One run of the compiler."""

    __slots__ = ("_bound", "_operators", "_shared", "_stack")

    def __init__(self, operators: Mapping[str, Operator], shared: SharedRules) -> None:
        self._operators = operators
        self._shared = shared
        # The shared parts that hold for one flag only. They may occur often in its rule, so they are compiled once, too.
        self._bound: dict[tuple[int, bool], _Part] = {}
        self._stack: list[_Frame] = []

    def run(self, rule: Any) -> _Part:
        # The root is an array of one item, which does not count as a level.
        root = _Frame(None, None, None, iter((rule,)), 0, 0, in_loop=False, site=Site())
        stack = self._stack = [root]
        while True:
            frame = stack[-1]
            done = frame.done
            for item in frame.items:
                if item.__class__ in SCALARS:
                    done.append(literal(item))
                elif self._start(frame, item):
                    break
            else:
                if frame is root:
                    return _Part(root.done[0], root.levels, root.size, root.site)
                self._finish(stack.pop(), stack[-1])

    def _start(self, frame: _Frame, item: Any) -> bool:
        """Compile the next item of the frame. ``True`` if it has items itself, so that they come first."""
        in_loop = frame.in_loop or frame.loop_argument == len(frame.done)
        site, depth = frame.site, frame.depth
        if id(item) in self._shared.ids:
            compiled = self._shared.get(item, in_loop=in_loop) or self._bound.get((id(item), in_loop))
            if compiled is not None:
                self._take(frame, compiled)
                return False
            site = Site(in_loop=in_loop)
        if is_object(item) and len(item) == 1:
            ((name, value),) = item.items()
            items, own_levels = (value, 2) if is_array(value) else ((value,), 1)
            operator = self._operators.get(name)
            loop_argument = None if operator is None else operator.loop_argument
            opened = _Frame(item, name, operator, iter(items), own_levels, depth + own_levels, in_loop, site, loop_argument)
        elif is_array(item) and not SCALARS.issuperset(map(type, item)):
            opened = _Frame(item, None, None, iter(item), 1, depth + 1, in_loop, site)
        else:
            self._take(frame, _Part(literal(item), _levels(item), 0, frame.site))
            return False
        if opened.depth > MAX_DEPTH:
            raise _too_deep()
        self._stack.append(opened)
        return True

    def _finish(self, frame: _Frame, outer: _Frame) -> None:
        """Make the expression of a frame, and give it to the frame around it."""
        site = frame.site
        site.in_loop, site.loop_size = frame.in_loop, frame.loop_size
        if frame.name is None:
            expression, size = _array(frame.done), frame.size
        elif frame.operator is None:
            expression, size = unknown_operator(f"the operator {_shown(frame.name)} is unknown"), 1
        else:
            expression, size = frame.operator.build(frame.done, site), frame.size + 1
        part = _Part(expression, frame.levels + frame.own_levels, size, site)
        if site is not outer.site:
            self._shared.add(frame.source, part)
            self._bound[id(frame.source), frame.in_loop] = part
        self._take(outer, part)

    def _take(self, frame: _Frame, part: _Part) -> None:
        """Add a compiled item to its frame."""
        if frame.depth + part.levels > MAX_DEPTH:
            raise _too_deep()
        if frame.loop_argument == len(frame.done):
            frame.loop_size = part.size
        frame.done.append(part.expression)
        frame.levels = max(frame.levels, part.levels)
        frame.size += part.size
        if frame.size > MAX_OPERATIONS:
            raise RuleError(f"the rule is too much work: more than {MAX_OPERATIONS} operations")
        site, inner = frame.site, part.site
        if inner is not site:
            site.has_loop |= inner.has_loop
            site.reads_all |= inner.reads_all
            site.is_bound |= inner.is_bound
            site.reads |= inner.reads


def _too_deep() -> RuleError:
    return RuleError(f"the rule is nested too deeply: more than {MAX_DEPTH} levels of arrays and objects")


def _levels(value: Any) -> int:
    """The levels of arrays and objects in data; some number above ``MAX_DEPTH`` if they are more."""
    if is_array(value) and SCALARS.issuperset(map(type, value)):
        return 1  # the usual case
    return bisect.bisect_left(range(MAX_DEPTH + 1), True, key=lambda levels: not is_too_deep(value, levels))  # noqa: FBT003 - sought


def _array(elements: Sequence[Expression]) -> Expression:
    if all(element.is_literal for element in elements):
        return literal([element.value for element in elements])
    rules = [element.rule for element in elements]
    return Expression(lambda data: [rule(data) for rule in rules])


def unknown_operator(problem: str) -> Expression:
    """An operation without meaning. It does no harm until an evaluation reaches it."""

    def fail(data: Data) -> Any:
        raise RuleError(problem)

    return Expression(fail)


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "...")
