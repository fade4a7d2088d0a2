"""What flags and segments say about one another: whom they need, and whether that ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from aioflags.evaluation.clauses import SEGMENT_MATCH
from aioflags.model.flag import Clause, FlagDefinition
from aioflags.model.segment import SegmentDefinition
from aioflags.protocol.documents.places import Path
from aioflags.runtime.suggest import did_you_mean
from aioflags.tools.lint.findings import LintRemark, quoted
from aioflags.tools.lint.flags import check_variation

__all__ = ["Edge", "check_cycles", "check_prerequisites", "check_segments_of", "prerequisite_edges", "segment_edges"]

Edge: TypeAlias = tuple[str, Path]
"""A key that is needed, and where that is said."""


def prerequisite_edges(flag: FlagDefinition, path: Path) -> list[Edge]:
    """The flags that a flag needs."""
    return [(needed.key, (*path, "prerequisites", index, "key")) for index, needed in enumerate(flag.prerequisites or ())]


def segment_edges(rules: Iterable[Iterable[Clause] | None], path: Path) -> list[Edge]:
    """The segments that rules look into."""
    return [
        (value, (*path, "rules", number, "clauses", index, "values", place))
        for number, clauses in enumerate(rules)
        for index, clause in enumerate(clauses or ())
        if clause.op == SEGMENT_MATCH
        for place, value in enumerate(clause.values or ())
        if isinstance(value, str)
    ]


def check_prerequisites(flag: FlagDefinition, path: Path, flags: Mapping[str, FlagDefinition]) -> Iterator[LintRemark]:
    """Whether the flags are there that a flag needs, with the variations that it needs."""
    for needed, (key, at) in zip(flag.prerequisites or (), prerequisite_edges(flag, path), strict=True):
        found = flags.get(key)
        if found is None:
            yield LintRemark(
                "missing-prerequisite", at, f"there is no flag {quoted(key)}", did_you_mean(key, flags, quote=quoted) or None
            )
        else:
            yield from check_variation(found, needed.variation, (*at[:-1], "variation"))


def check_segments_of(edges: Iterable[Edge], segments: Mapping[str, SegmentDefinition]) -> Iterator[LintRemark]:
    """Whether the segments are there that somebody looks into."""
    for key, at in edges:
        if key not in segments:
            yield LintRemark(
                "missing-segment", at, f"there is no segment {quoted(key)}", did_you_mean(key, segments, quote=quoted) or None
            )


def check_cycles(graph: Mapping[str, list[Edge]]) -> Iterator[tuple[str, LintRemark]]:
    """Each way on which something comes back to itself, told where the way closes; with the key that this stands in."""
    done: set[str] = set()
    for start in graph:
        # By hand and not by recursion: a chain may be longer than the interpreter recurses.
        way: dict[str, Iterator[Edge]] = {} if start in done else {start: iter(graph[start])}
        while way:
            key, edges = next(reversed(way.items()))
            for needed, at in edges:
                if needed in way:
                    keys = list(way)
                    circle = " → ".join([*keys[keys.index(needed) :], needed])
                    yield key, LintRemark("cycle", at, f"this goes in a circle: {circle}")
                elif needed in graph and needed not in done:
                    way[needed] = iter(graph[needed])
                    break
            else:
                way.popitem()
                done.add(key)
