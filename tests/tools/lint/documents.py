"""Flag documents for the tests of lint, and their findings."""

from __future__ import annotations

import json
from typing import Any

from aioflags.tools.lint import LintFinding, lint

__all__ = ["GOOD", "ROLLOUT", "Found", "clause", "findings", "flag", "rule", "rule_path_text", "segment", "with_clause"]

Found = tuple[str, str, str]
"""Rule, path, and the message with its suggestion."""

GOOD: dict[str, Any] = {"on": True, "variations": [True, False], "offVariation": 1, "fallthrough": {"variation": 0}}
ROLLOUT = {"variations": [{"variation": 0, "weight": 50000}, {"variation": 1, "weight": 50000}]}


def flag(**properties: Any) -> dict[str, Any]:
    """A document with a valid flag ``a``, changed by the properties."""
    return {"flags": {"a": {**GOOD, **properties}}}


def rule(*clauses: Any, **properties: Any) -> dict[str, Any]:
    return {"clauses": list(clauses), "variation": 0, **properties}


def clause(**properties: Any) -> dict[str, Any]:
    return {"attribute": "country", "op": "in", "values": ["de"], **properties}


def with_clause(**properties: Any) -> dict[str, Any]:
    return flag(rules=[rule(clause(**properties))])


def segment(**properties: Any) -> dict[str, Any]:
    return {"segments": {"s": properties}}


def findings(*documents: Any) -> list[LintFinding]:
    return lint((f"{number}.json", json.dumps(document).encode()) for number, document in enumerate(documents))


def rule_path_text(finding: LintFinding) -> Found:
    return finding.rule, finding.path, f"{finding.message}; {finding.suggestion}" if finding.suggestion else finding.message
