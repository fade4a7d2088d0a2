"""Explains the results of flagd's operators: where a seed falls in a rollout, and why a result is null.

Source: ``flagd.md`` 6.4 to 6.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aioflags.evaluation.flagd.fractional import MAX_WEIGHT, read_buckets, read_weight, seed_hash, subject_hash
from aioflags.evaluation.flagd.sem_ver import COMPARISONS, read_version
from aioflags.evaluation.jsonlogic.coercion import Kind, is_array, kind_of
from aioflags.evaluation.openfeature.context_data import TARGETING_KEY
from aioflags.model.explanation import shown

_COUNTS: Final = {"sem_ver": 3, "starts_with": 2, "ends_with": 2}
"""Operators that give null for another number of arguments."""


def rollout_text(flag_key: str, version: int, data: Mapping[str, Any], values: Sequence[Any]) -> str:
    """Where the seed of ``fractional`` falls, or why it has no result. ``values``: the evaluated arguments."""
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
        return next(filter(None, map(bucket_problem, written)), None) or sum_problem()
    return f"the {name} {shown(seed)} is at {buckets.position(hash_)} of {buckets.total}, by version {version} of fractional"


def bucket_problem(bucket: Any) -> str | None:
    """Why no rollout with this bucket has a result; ``None`` if it has one. ``bucket``: evaluated."""
    if not is_array(bucket) or not 1 <= len(bucket) <= 2 or kind_of(bucket[0]) >= Kind.ARRAY:
        return f"the bucket {shown(bucket)} is not an array with a variant and a weight"
    if len(bucket) == 2 and read_weight(bucket[1]) is None:
        return f"the weight {shown(bucket[1])} is not a whole number up to {MAX_WEIGHT}"
    return None


def sum_problem() -> str:
    """Why a rollout has no result although each bucket is correct."""
    return f"the sum of the weights is 0, or above {MAX_WEIGHT}"


def null_problem(name: str, values: Sequence[Any]) -> str | None:
    """Why this operator gives null for these arguments; ``None`` for other operators."""
    if name not in _COUNTS:
        return None
    in_order = (1, 0, 2) if name == "sem_ver" else (0, 1)
    return count_problem(name, len(values)) or next(
        filter(None, (argument_problem(name, index, values[index]) for index in in_order)), None
    )


def count_problem(name: str, count: int) -> str | None:
    """Why this operator gives null for that many arguments."""
    expected = _COUNTS.get(name, count)
    return None if count == expected else f"{name} needs {expected} arguments, and has {count}"


def argument_problem(name: str, index: int, value: Any) -> str | None:
    """Why this operator gives null if the argument at the index has this value; ``None`` for other operators."""
    match name:
        case "sem_ver" if index == 1:
            is_usable, expected = isinstance(value, str) and value in COMPARISONS, f"one of {', '.join(COMPARISONS)}"
        case "sem_ver":
            is_usable, expected = read_version(value) is not None, "a version"
        case "starts_with" | "ends_with":
            is_usable, expected = isinstance(value, str), "a text"
        case _:
            return None
    return None if is_usable else f"{shown(value)} is not {expected}"
