"""Random flag sets for random contexts, evaluated by aioflags and by ``openfeature-flagd-core``: the same results.

``AIOFLAGS_DIFFERENTIAL`` is the number of evaluations, ``AIOFLAGS_DIFFERENTIAL_SEED`` selects them. Where aioflags differs on
purpose, ``reference.py`` and ``reference_flags.py`` have the reason.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from aioflags.evaluation.flagd.dialect import flagd_dialect
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.context import Context
from tests.evaluation.flagd.data import NOW, loaded
from tests.evaluation.flagd.random_documents import KEYS, random_document
from tests.evaluation.flagd.random_rules import random_data
from tests.evaluation.flagd.reference_flags import ReferenceFlags, Resolved

EVALUATIONS = int(os.environ.get("AIOFLAGS_DIFFERENTIAL", "2000"))
SEED = os.environ.get("AIOFLAGS_DIFFERENTIAL_SEED", "aioflags")
EACH = 20
"""Evaluations of each flag set."""
DEFAULTS: dict[str, tuple[type, Any]] = {
    "boolean": (bool, True),
    "string": (str, "default"),
    "integer": (int, 42),
    "float": (float, 4.25),
    "object": (dict, {"default": True}),
}


REASONS = {
    "STATIC",
    "TARGETING_MATCH",
    "DEFAULT",
    "DISABLED",
    "FLAG_NOT_FOUND",
    "PARSE_ERROR",
    "TYPE_MISMATCH",
    "GENERAL",
}


def kind_of(flag: dict[str, Any]) -> str:
    """What to ask for to get a variant of the flag without an error, in most cases."""
    variants: Any = flag.get("variants")
    value: Any = next(iter(variants.values()), None) if isinstance(variants, dict) else None
    kinds = [kind for kind, (wanted, _) in DEFAULTS.items() if type(value) is wanted]
    return kinds[0] if kinds else "object"


def context_of(data: dict[str, Any]) -> Context:
    attributes = {name: value for name, value in data.items() if name != "targetingKey"}
    key = data["targetingKey"]
    return Context(key, attributes=attributes) if key else Context.keyless(attributes)


def resolved(snapshot: Snapshot, key: str, kind: str, data: dict[str, Any]) -> Resolved:
    wanted, default = DEFAULTS[kind]
    detail = snapshot.evaluate(key, context_of(data), default, wanted=wanted).detail
    return Resolved(detail.value, detail.variant, str(detail.reason.error_kind or detail.reason.kind), dict(detail.metadata))


def is_same(ours: Resolved, theirs: Resolved) -> bool:
    """As Python's values: ``1`` and ``1.0`` differ, as ``1`` and ``True`` do."""
    return ours == theirs and type(ours.value) is type(theirs.value)


@pytest.mark.parametrize("version", [2, 3])
def test_random_flag_sets_have_the_same_results_in_the_reference(
    record_property: Callable[[str, object], None], version: int
) -> None:
    print(f"{EVALUATIONS} evaluations, seed {SEED!r}, fractional {version}")
    record_property("seed", SEED)
    counts = Counter[str]()
    for number in range(EVALUATIONS // EACH):
        dice = random.Random(f"{SEED}:{number}")
        document = random_document(dice)
        snapshot = loaded(document, Snapshot.empty(dialect=flagd_dialect(version, now_ms=lambda: NOW * 1000)))
        reference = ReferenceFlags(document, version)
        for _ in range(EACH):
            key, data = dice.choice(KEYS), random_data(dice)
            kind = dice.choice([dice.choice(list(DEFAULTS)), *[kind_of(document["flags"].get(key, {}))] * 4])
            ours = resolved(snapshot, key, kind, data)
            theirs = reference.resolve(key, kind, DEFAULTS[kind][1], {**data, "targetingKey": data["targetingKey"] or None}, NOW)
            assert is_same(ours, theirs), f"seed {SEED}:{number}, {key} as {kind}, {document}, {data}: {ours} instead of {theirs}"
            counts[ours.reason] += 1
    print(dict(counts))
    assert counts.keys() == REASONS
    assert all(count >= EVALUATIONS // 50 for count in counts.values()), counts
