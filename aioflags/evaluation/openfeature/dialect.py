"""What the dialects for OpenFeature's servers have in common: error kinds, types, and contexts that may lack a key."""

from __future__ import annotations

from typing import Any, Final

from aioflags.evaluation.answers import Answer
from aioflags.evaluation.decoding import Decoder
from aioflags.evaluation.dialect import Dialect, ErrorKinds
from aioflags.evaluation.openfeature.answers import error_answer
from aioflags.evaluation.openfeature.value_types import fit, mismatch
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind

_NO_CONTEXT: Final = Context.keyless()


class OpenFeatureDialect(Dialect):
    """The error kinds of OpenFeature, and flagd's rules for types and contexts."""

    provider_name = "flagd"
    has_versions = False
    errors: ErrorKinds = ErrorKinds(
        not_ready=ErrorKind.PROVIDER_NOT_READY,
        not_found=ErrorKind.FLAG_NOT_FOUND,
        unusable_context=ErrorKind.INVALID_CONTEXT,
        wrong_type=ErrorKind.TYPE_MISMATCH,
        bug=ErrorKind.GENERAL,
    )

    def malformed(self, problem: str) -> Answer:
        return error_answer(ErrorKind.PARSE_ERROR, f"the flag {problem}", problem=problem)

    def fit(self, value: Any, expected: type | Decoder) -> Any:
        return fit(value, expected)

    def mismatch(self, value: object, expected: type | Decoder) -> str:
        return mismatch(value, expected)

    def subject(self, context: object) -> Context | None:
        """Any context, also an invalid one: flags without a rule do not read it. ``None`` is a context without anything in it."""
        if context is None:
            return _NO_CONTEXT
        return context if isinstance(context, Context) else None
