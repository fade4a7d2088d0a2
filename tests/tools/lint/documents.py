"""Flag documents to find fault with, and what is found in them."""

from __future__ import annotations

import json
from typing import Any

from aioflags.tools.lint import LintFinding, lint

__all__ = ["GOOD", "ROLLOUT", "Found", "asking", "clause", "findings", "flag", "rule", "said", "segment"]

Found = tuple[str, str, str]
"""Rule, path, and what it says: message and suggestion."""

GOOD: dict[str, Any] = {"on": True, "variations": [True, False], "offVariation": 1, "fallthrough": {"variation": 0}}
ROLLOUT = {"variations": [{"variation": 0, "weight": 50000}, {"variation": 1, "weight": 50000}]}


def flag(**properties: Any) -> dict[str, Any]:
    """A document with a flag ``a`` that is as it should be but for the properties."""
    return {"flags": {"a": {**GOOD, **properties}}}


def rule(*clauses: Any, **properties: Any) -> dict[str, Any]:
    return {"clauses": list(clauses), "variation": 0, **properties}


def clause(**properties: Any) -> dict[str, Any]:
    return {"attribute": "country", "op": "in", "values": ["de"], **properties}


def asking(**properties: Any) -> dict[str, Any]:
    return flag(rules=[rule(clause(**properties))])


def segment(**properties: Any) -> dict[str, Any]:
    return {"segments": {"s": properties}}


def findings(*documents: Any) -> list[LintFinding]:
    return lint((f"{number}.json", json.dumps(document).encode()) for number, document in enumerate(documents))


def said(finding: LintFinding) -> Found:
    return finding.rule, finding.path, f"{finding.message}; {finding.suggestion}" if finding.suggestion else finding.message
