"""Lints the literal arguments of flagd's operators: those with which a rule always gives null.

The messages are those of explanations.

Source: ``flagd.md`` 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from aioflags.evaluation.explain.operators import argument_problem, bucket_problem, count_problem, sum_problem
from aioflags.evaluation.flagd.fractional import read_buckets
from aioflags.evaluation.flagd.targeting import FLAGD_PATHS
from aioflags.model.values import is_array, is_object
from aioflags.protocol.documents.places import Path
from aioflags.runtime.suggest import did_you_mean
from aioflags.tools.lint.findings import LintRemark, quoted

_FLAGD: Final = "$flagd."


def check_arguments(name: str, arguments: object, path: Path) -> Iterator[LintRemark]:
    """Check the literals among the arguments of operator ``name``. ``arguments``: as written; ``path``: theirs."""
    values: Sequence[object] = arguments if is_array(arguments) else [arguments]
    paths = [(*path, index) for index in range(len(values))] if is_array(arguments) else [path]
    match name:
        case "var":
            yield from _check_variable(values, paths)
        case "fractional":
            yield from _check_rollout(values, paths, path)
        case _:
            if problem := count_problem(name, len(values)):
                yield LintRemark("never-matches", path, problem)
                return
            for index, value in enumerate(values):
                if not is_object(value) and (problem := argument_problem(name, index, value)):
                    is_comparison = name == "sem_ver" and index == 1
                    yield LintRemark("unknown-operator" if is_comparison else "useless-value", paths[index], problem)


def _check_variable(values: Sequence[object], paths: Sequence[Path]) -> Iterator[LintRemark]:
    name = values[0] if values else None
    if isinstance(name, str) and name.startswith(_FLAGD) and name not in FLAGD_PATHS:
        suggestion = did_you_mean(name, FLAGD_PATHS, quote=quoted)
        yield LintRemark("unknown-property", paths[0], f"{quoted(name)} is always null", suggestion or None)


def _check_rollout(values: Sequence[object], paths: Sequence[Path], path: Path) -> Iterator[LintRemark]:
    first = 0 if values and is_array(values[0]) else 1  # otherwise the first argument is the seed
    buckets = values[first:]
    is_certain = bool(buckets)
    for bucket, place in zip(buckets, paths[first:], strict=True):
        if _is_computed(bucket):
            is_certain = False
        elif problem := bucket_problem(bucket):
            is_certain = False
            yield LintRemark("wrong-type", place, problem)
        elif is_array(bucket) and len(bucket) == 2 and bucket[1] < 0:
            yield LintRemark("weights", (*place, 1), f"the weight {bucket[1]} is negative, so it counts as 0")
    if is_certain and read_buckets(buckets) is None:
        yield LintRemark("weights", path, sum_problem())


def _is_computed(bucket: object) -> bool:
    """Whether a bucket, or a part of it, is an operation."""
    return is_object(bucket) or (is_array(bucket) and any(is_object(part) for part in bucket))
