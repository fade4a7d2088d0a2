"""R18: random graphs of prerequisites, segments and rules of flagd, with cycles and of any depth, are evaluated in 10 ms.

The tests in ``tests/evaluation/test_graphs.py`` with the same mark have the shapes that cost most.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from time import thread_time
from typing import Any, TypeAlias

import pytest

from aioflags.evaluation.flagd.dialect import flagd_dialect
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind
from aioflags.protocol.flagd import FlagSetError, read_flag_set
from aioflags.runtime.cooperative import run_at_once
from tests.evaluation.data import flag, segment, snapshot_of
from tests.reliability.plugin import Figures
from tests.reliability.scoreboard import batches, replayable

Graph: TypeAlias = Mapping[str, Sequence[str]]
"""Each node and the nodes that it uses. The first one is the top."""

BAR = 0.01
MAX_DEPTH = 100
"""The most uses in a row of a flag or a segment."""
K = Context("k")

pytestmark = [pytest.mark.real_time, pytest.mark.speed, pytest.mark.holds("RB-R18"), pytest.mark.usefixtures("quiet")]


def random_graph(chance: random.Random) -> Graph:
    """Layers whose nodes use later ones, some chains, and in every second graph a few uses of earlier nodes."""
    size = chance.choice([1, 5, 30, 99, 100, 101, 150, 300])
    keys = ["flag", *(f"n{number}" for number in range(size))]
    reach, most = chance.choice([1, 1, 2, 5, size]), chance.choice([1, 2, 4])
    graph = {key: chance.choices(keys[at + 1 : at + 1 + reach], k=chance.randint(1, most)) for at, key in enumerate(keys[:-1])}
    graph[keys[-1]] = []
    if chance.random() < 0.7:  # all of them in a row
        for key, below in pairwise(keys):
            graph[key].append(below)
    if chance.random() < 0.5:
        for _ in range(chance.randint(1, 4)):
            graph[chance.choice(keys)].append(chance.choice(keys))
    return graph


def depth(graph: Graph) -> float:
    """The most uses in a row below the top; infinite if there is a cycle."""
    depths: dict[str, float] = {}
    path: list[str] = []
    todo: list[tuple[str, bool]] = [("flag", False)]
    while todo:
        key, is_left = todo.pop()
        if is_left:
            path.remove(key)
            depths[key] = max((1 + depths[below] for below in graph[key]), default=0)
        elif key in path:
            return float("inf")
        elif key not in depths:
            path.append(key)
            todo += [(key, True), *((below, False) for below in graph[key])]
    return depths["flag"]


def asks(keys: Iterable[str]) -> list[dict[str, Any]]:
    """One rule for each segment."""
    return [{"clauses": [{"op": "segmentMatch", "attribute": "", "values": [key]}], "variation": 2} for key in keys]


def of_prerequisites(graph: Graph) -> Snapshot:
    needs = {key: [{"key": each, "variation": 1} for each in below] for key, below in graph.items()}
    return snapshot_of(*(flag(key, prerequisites=below) for key, below in needs.items()))


def of_segments(graph: Graph) -> Snapshot:
    segments = [segment(key, rules=asks(below)) for key, below in graph.items()]
    return snapshot_of(flag(rules=asks(["flag"])), segments=segments)


def of_both(graph: Graph) -> Snapshot:
    """Each flag needs those below and names their segments, which name those below."""
    flags = [
        flag(key, prerequisites=[{"key": each, "variation": 1} for each in below], rules=asks(below))
        for key, below in graph.items()
    ]
    return snapshot_of(*flags, segments=[segment(key, rules=asks(below)) for key, below in graph.items()])


def slowest(snapshot: Snapshot, context: Context) -> tuple[float, set[ErrorKind | None]]:
    """Seconds of an evaluation of ``flag``, the best of four, and the errors."""
    times, errors = list[float](), set[ErrorKind | None]()
    for _ in range(4):
        began = thread_time()
        evaluation = snapshot.evaluate("flag", context, None)
        times.append(thread_time() - began)
        errors.add(evaluation.detail.reason.error_kind)
    return min(times), errors


@pytest.mark.parametrize("numbers", batches("R18"))
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(of_prerequisites, id="prerequisites"),
        pytest.param(of_segments, id="segments"),
        pytest.param(of_both, id="prerequisites and segments"),
    ],
)
def test_a_random_graph_is_evaluated_in_10_ms_and_malformed_if_it_is_deep_or_has_a_cycle(
    build: Callable[[Graph], Snapshot], numbers: range, figures: Figures
) -> None:
    for number in numbers:
        with replayable(number) as chance:
            graph = random_graph(chance)
            seconds, errors = slowest(build(graph), K)
            assert errors == {ErrorKind.MALFORMED_FLAG if depth(graph) > MAX_DEPTH else None}
            assert seconds <= BAR
        figures.worst("slowest graph", seconds * 1e3, "ms")
    figures.total("graphs", len(numbers))


# -- rules of flagd

OPERATORS = ["if", "and", "or", "!", "==", "in", "cat", "+", "merge", "fractional", "sem_ver", "starts_with", "nobody_knows"]
LOOPS = ["map", "filter", "all", "some", "none"]


def random_rule(chance: random.Random, levels: int, names: Sequence[str]) -> Any:
    """A rule that nests ``levels`` deep along one path, with short branches beside it."""
    rule: Any = chance.choice([True, "on", 1, None, {"var": "a"}, [1, 2], {"$ref": chance.choice(names)}])
    for _ in range(levels):
        beside = chance.choice([True, {"var": "list"}, {"$ref": chance.choice(names)}, "x", [1, {"var": "b"}]])
        name = chance.choice([*OPERATORS, *LOOPS])
        arguments = [{"var": "list"}, rule] if name in LOOPS else chance.choice([[rule], [beside, rule], [rule, beside, rule]])
        rule = {name: arguments if levels < 12 else arguments[:2]}
    return rule


@pytest.mark.parametrize("numbers", batches("R18"))
def test_a_random_rule_with_shared_rules_is_evaluated_or_refused_in_bounded_time(numbers: range, figures: Figures) -> None:
    """A rule may spend an allowance of work, which takes some hundredths of a second."""
    context = Context("k", attributes={"a": "x", "list": list(range(100))})
    for number in numbers:
        with replayable(number) as chance:
            names = [f"e{each}" for each in range(chance.choice([1, 3, 30]))]
            deepest = chance.choice([3, 8, 60, 130, 200])
            evaluators = {name: random_rule(chance, chance.randint(1, deepest), names) for name in names}
            rule = random_rule(chance, chance.randint(1, deepest), names)
            one = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on", "targeting": rule}
            try:
                change_set = run_at_once(read_flag_set({"flags": {"flag": one}, "$evaluators": evaluators}))
            except FlagSetError:
                continue
            seconds, errors = slowest(Snapshot.empty(dialect=flagd_dialect()).apply(change_set), context)
            assert ErrorKind.EXCEPTION not in errors
            assert seconds <= 0.05
        figures.worst("slowest rule of flagd", seconds * 1e3, "ms")
    figures.total("rules of flagd", len(numbers))
