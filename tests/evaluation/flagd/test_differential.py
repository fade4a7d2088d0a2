"""Random rules for random contexts, evaluated by aioflags and by ``openfeature-flagd-core``: the same results.

``AIOFLAGS_DIFFERENTIAL`` is the number of evaluations, ``AIOFLAGS_DIFFERENTIAL_SEED`` selects them. Where aioflags differs on
purpose, ``reference.py`` replaces the operator and names the reason.
"""

from __future__ import annotations

import math
import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from aioflags.evaluation.flagd.targeting import compile_targeting
from aioflags.evaluation.jsonlogic.coercion import RuleError
from tests.evaluation.flagd.random_rules import random_data, random_rule
from tests.evaluation.flagd.reference import FLAG_KEY, UNKNOWN_OPERATOR, reference

EVALUATIONS = int(os.environ.get("AIOFLAGS_DIFFERENTIAL", "2000"))
SEED = os.environ.get("AIOFLAGS_DIFFERENTIAL_SEED", "aioflags")
NOW = 1_700_000_000


def evaluated(rule: Any, data: dict[str, Any], version: int) -> Any:
    try:
        return compile_targeting(rule, FLAG_KEY, version, now_ms=lambda: NOW * 1000)(data)
    except RuleError as error:
        return UNKNOWN_OPERATOR if str(error).endswith("is unknown") else str(error)


def is_same(ours: Any, theirs: Any) -> bool:
    """As JSON. The reference adds integers and floats in another order, and keeps NaN."""
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if isinstance(theirs, float) and not math.isfinite(theirs):
        return ours is None
    if isinstance(ours, (int, float)) and isinstance(theirs, (int, float)):
        return math.isclose(ours, theirs, rel_tol=1e-12)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(is_same, ours, theirs))
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(is_same(ours[name], theirs[name]) for name in ours)
    return type(ours) is type(theirs) and ours == theirs


@pytest.mark.parametrize("version", [2, 3])
def test_random_rules_have_the_same_results_in_the_reference(record_property: Callable[[str, object], None], version: int) -> None:
    print(f"{EVALUATIONS} evaluations, seed {SEED!r}, fractional {version}")
    record_property("seed", SEED)
    counts = Counter[str]()
    for number in range(EVALUATIONS):
        dice = random.Random(f"{SEED}:{number}")
        rule, data = random_rule(dice), random_data(dice)
        ours, theirs = evaluated(rule, data, version), reference(rule, data, NOW, version=version)
        assert is_same(ours, theirs), f"seed {SEED}:{number}, rule {rule}, data {data}: {ours!r} instead of {theirs!r}"
        counts[type(ours).__name__] += 1
    print(dict(counts))
    kinds = {"bool", "NoneType", "str", "list", "int", "float", "dict", "object"}
    assert all(counts[name] >= EVALUATIONS // 200 for name in kinds), counts
