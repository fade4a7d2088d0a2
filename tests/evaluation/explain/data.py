"""Flags, segments and contexts for the tests of explanations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aioflags.evaluation.explain.flags import explain
from aioflags.model.context import Context
from aioflags.model.explanation import Explanation, ExplanationStep
from tests.evaluation.data import context, snapshot_of

__all__ = ["INVALID", "IN_S", "SHARES", "USER", "clause", "explanation_of", "rule", "walk"]

SHARES = [{"variation": 0, "weight": 20000}, {"variation": 1, "weight": 30000}, {"variation": 2, "weight": 50000}]
INVALID = "a double or trailing slash leaves a part of the path empty"
USER = context(email="ann@acme.com", age=41, home={"town": "Ulm"})


def clause(op: str = "in", *values: Any, attribute: str | None = "email", **more: Any) -> dict[str, Any]:
    return {"op": op, "attribute": attribute, "contextKind": "user", "values": list(values), **more}


def rule(*clauses: Any, **more: Any) -> dict[str, Any]:
    return {"id": "r", "variation": 2, "clauses": list(clauses), **more}


def explanation_of(*flags: Any, subject: Context | None = USER, segments: Any = (), key: str = "flag", **more: Any) -> Explanation:
    """Explains a flag. Asserts that the result is the same as that of the evaluation."""
    snapshot = snapshot_of(*flags, segments=segments)
    explanation = explain(snapshot, key, subject, **more)
    assert explanation.detail == snapshot.evaluate(key, subject, None, wanted=object, **more).detail
    return explanation


def walk(steps: tuple[ExplanationStep, ...]) -> Iterator[ExplanationStep]:
    for step in steps:
        yield step
        yield from walk(step.steps)


IN_S = clause("segmentMatch", "s")
