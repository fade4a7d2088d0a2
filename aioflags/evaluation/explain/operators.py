"""Explains the results of flagd's operators: where a seed falls in a rollout, and why a result is null.

Source: ``flagd.md`` 6.4 to 6.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aioflags.evaluation.flagd.fractional import read_buckets, seed_hash, subject_hash
from aioflags.evaluation.flagd.sem_ver import COMPARISONS, read_version
from aioflags.evaluation.jsonlogic.coercion import is_array
from aioflags.evaluation.openfeature.context_data import TARGETING_KEY
from aioflags.model.explanation import shown

__all__ = ["null_problem", "rollout_text"]


def rollout_text(flag_key: str, version: int, data: Mapping[str, Any], values: Sequence[Any]) -> str:
    """Where the seed of ``fractional`` falls, or why there is no result. ``values``: the evaluated arguments."""
    if values and not is_array(values[0]):
        name, seed, written = "seed", values[0], values[1:]
        hash_ = seed_hash(version)(seed)
    else:
        name, seed, written = "targeting key", data.get(TARGETING_KEY), values
        hash_ = subject_hash(flag_key, version)(seed)
    buckets = read_buckets(written)
    if seed is None:
        return f"there is no {name}"
    if hash_ is None:
        return f"the {name} cannot be hashed: {shown(seed)}"
    if buckets is None:
        return "a bucket is not a variant with a whole number, or the sum of the numbers is 0 or too large"
    return f"the {name} {shown(seed)} is at {buckets.position(hash_)} of {buckets.total}, by version {version} of fractional"


def null_problem(name: str, values: Sequence[Any]) -> str | None:
    """Why this operator gives null for these arguments; ``None`` for other operators."""
    match name:
        case "sem_ver":
            return _version_problem(values)
        case "starts_with" | "ends_with":
            wrong = [value for value in values if not isinstance(value, str)]
            return _count_problem(name, values, 2) or (f"{shown(wrong[0])} is not a text" if wrong else None)
        case _:
            return None


def _version_problem(values: Sequence[Any]) -> str | None:
    if problem := _count_problem("sem_ver", values, 3):
        return problem
    left, comparison, right = values
    if not isinstance(comparison, str) or comparison not in COMPARISONS:
        return f"{shown(comparison)} is not one of {', '.join(COMPARISONS)}"
    return next((f"{shown(value)} is not a version" for value in (left, right) if read_version(value) is None), None)


def _count_problem(name: str, values: Sequence[Any], expected: int) -> str | None:
    return None if len(values) == expected else f"{name} needs {expected} arguments, and has {len(values)}"
