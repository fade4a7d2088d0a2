"""Checks references between flags and segments: missing prerequisites, missing segments, cycles."""

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

Edge: TypeAlias = tuple[str, Path]
"""A key that a flag or segment refers to, and the path of the reference."""


def prerequisite_edges(flag: FlagDefinition, path: Path) -> list[Edge]:
    """The prerequisites of a flag."""
    return [
        (prerequisite.key, (*path, "prerequisites", index, "key")) for index, prerequisite in enumerate(flag.prerequisites or ())
    ]


def segment_edges(rules: Iterable[Iterable[Clause] | None], path: Path) -> list[Edge]:
    """The segments in the clauses of rules."""
    return [
        (value, (*path, "rules", number, "clauses", index, "values", position))
        for number, clauses in enumerate(rules)
        for index, clause in enumerate(clauses or ())
        if clause.op == SEGMENT_MATCH
        for position, value in enumerate(clause.values or ())
        if isinstance(value, str)
    ]


def check_prerequisites(flag: FlagDefinition, path: Path, flags: Mapping[str, FlagDefinition]) -> Iterator[LintRemark]:
    """Check that the prerequisites of a flag exist, with their variations."""
    for prerequisite, (key, at) in zip(flag.prerequisites or (), prerequisite_edges(flag, path), strict=True):
        needed = flags.get(key)
        if needed is None:
            yield LintRemark(
                "missing-prerequisite", at, f"unknown flag {quoted(key)}", did_you_mean(key, flags, quote=quoted) or None
            )
        else:
            yield from check_variation(needed, prerequisite.variation, (*at[:-1], "variation"))


def check_segments_of(edges: Iterable[Edge], segments: Mapping[str, SegmentDefinition]) -> Iterator[LintRemark]:
    """Check that the segments of these references exist."""
    for key, at in edges:
        if key not in segments:
            yield LintRemark(
                "missing-segment", at, f"unknown segment {quoted(key)}", did_you_mean(key, segments, quote=quoted) or None
            )


def check_cycles(graph: Mapping[str, list[Edge]]) -> Iterator[tuple[str, LintRemark]]:
    """Each cycle of references: the key with the reference that closes it, and a remark at that reference."""
    done: set[str] = set()
    for start in graph:
        # Not recursive: a chain may be longer than the recursion limit.
        stack: dict[str, Iterator[Edge]] = {} if start in done else {start: iter(graph[start])}
        while stack:
            key, edges = next(reversed(stack.items()))
            for needed, at in edges:
                if needed in stack:
                    keys = list(stack)
                    cycle = " → ".join([*keys[keys.index(needed) :], needed])
                    yield key, LintRemark("cycle", at, f"this is a cycle: {cycle}")
                elif needed in graph and needed not in done:
                    stack[needed] = iter(graph[needed])
                    break
            else:
                stack.popitem()
                done.add(key)
