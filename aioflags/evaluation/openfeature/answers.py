"""Answers in OpenFeature's terms: variants with names, metadata, and errors with messages."""

from __future__ import annotations

from typing import Any, Final

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.openfeature.value_types import fit
from aioflags.model.detail import ErrorKind, EvaluationDetail, Reason, ReasonKind
from aioflags.model.metadata import NO_METADATA, FlagMetadata

_REASONS: Final = {str(kind): Reason(kind=kind) for kind in ReasonKind}
_ERRORS: Final = {kind: Reason(kind=ReasonKind.ERROR, error_kind=kind) for kind in ErrorKind}


def reason_of(kind: str) -> Reason:
    """The reason of this kind. Reasons of well-known kinds are shared."""
    return _REASONS.get(kind) or Reason(kind=kind)


def variant_answer(value: Any, variant: str | None, reason: Reason, metadata: FlagMetadata) -> Answer:
    """The answer with a value. ``variant``: its name, ``None`` if a server did not name it."""
    detail = EvaluationDetail(value, None, reason, variant, metadata, is_unnamed=variant is None)
    return Answer(value, None, reason, detail=detail, convert=fit)


def default_answer(reason: Reason, metadata: FlagMetadata) -> Answer:
    """The answer that gives callers their own default, without an error."""
    return Answer(None, None, reason, detail=EvaluationDetail(None, None, reason, None, metadata))


def error_answer(
    kind: ErrorKind, message: str | None, metadata: FlagMetadata = NO_METADATA, *, problem: str | None = None
) -> Answer:
    """The answer of an error. ``problem``: the same for the log, with the flag as its subject; ``None``: it is not logged."""
    reason = _ERRORS[kind]
    detail = EvaluationDetail(None, None, reason, None, metadata, message)
    return Answer(None, None, reason, detail=detail, problem=problem)
