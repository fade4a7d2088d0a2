"""From the result of an evaluation to OpenFeature's: the tables of reasons and errors, and what is known of an answer.

Source: ``openfeature.md`` 6.3 and 6.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, Reason

from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail, ReasonKind
from aioflags.model.flag import FlagDefinition, FlagRule, VariationOrRollout
from aioflags.openfeature.contexts import NO_KEY
from aioflags.runtime.logs import printable

__all__ = ["ERRORS", "REASONS", "Answered", "answered", "failed", "refused"]

REASONS: Final[Mapping[str, Reason]] = {
    **{reason: reason for reason in Reason},
    ReasonKind.OFF: Reason.DISABLED,
    ReasonKind.FALLTHROUGH: Reason.DEFAULT,
    ReasonKind.TARGET_MATCH: Reason.TARGETING_MATCH,
    ReasonKind.RULE_MATCH: Reason.TARGETING_MATCH,
    ReasonKind.PREREQUISITE_FAILED: Reason.DEFAULT,
    ReasonKind.OVERRIDE: Reason.STATIC,
}
"""OpenFeature's word for a reason. A word of a server that is not here stays as it is."""

ERRORS: Final[Mapping[str, ErrorCode]] = {
    ErrorKind.CLIENT_NOT_READY: ErrorCode.PROVIDER_NOT_READY,
    ErrorKind.FLAG_NOT_FOUND: ErrorCode.FLAG_NOT_FOUND,
    ErrorKind.WRONG_TYPE: ErrorCode.TYPE_MISMATCH,
    ErrorKind.USER_NOT_SPECIFIED: ErrorCode.TARGETING_KEY_MISSING,
    ErrorKind.MALFORMED_FLAG: ErrorCode.PARSE_ERROR,
    ErrorKind.EXCEPTION: ErrorCode.GENERAL,
    **{code: code for code in ErrorCode},
}
"""OpenFeature's code of an error. An error that is not here is ``GENERAL``."""

_MESSAGES: Final[Mapping[ErrorCode, str]] = {
    ErrorCode.PROVIDER_NOT_READY: "the client has no flag data",
    ErrorCode.PROVIDER_FATAL: "the client has no flag data, and cannot get any",
    ErrorCode.FLAG_NOT_FOUND: "unknown flag",
    ErrorCode.TYPE_MISMATCH: "the flag has a value of another type",
    ErrorCode.TARGETING_KEY_MISSING: "the evaluation context has no targeting key",
    ErrorCode.INVALID_CONTEXT: "the evaluation context cannot be used",
    ErrorCode.PARSE_ERROR: "the flag is malformed",
    ErrorCode.GENERAL: "the evaluation failed",
}


class Answered(NamedTuple):
    """What a result that is not an error has besides its value. Results of the same answer share it."""

    detail: EvaluationDetail[Any]
    reason: str | Reason
    variant: str | None
    metadata: dict[str, bool | int | float | str]


def answered(detail: EvaluationDetail[Any], flag: object, set_id: str | None) -> Answered:
    """The parts of a result that is not an error.

    Args:
        detail: the result of the client.
        flag: the definition of the flag, if the client has it.
        set_id: the id of the flag set, if the client knows it.
    """
    kind = detail.reason.kind
    reason, metadata = REASONS.get(kind, kind), _metadata_of_set(set_id)
    if isinstance(flag, FlagDefinition):
        metadata["version"] = flag.version
        if _is_split(detail, flag):
            reason = Reason.SPLIT
    metadata.update(detail.metadata)
    variant = detail.variant
    if variant is None and detail.variation_index is not None:
        variant = str(detail.variation_index)
    return Answered(detail, reason, variant, metadata)


def failed(
    key: str, detail: EvaluationDetail[Any], default: Any, context: Context, *, is_fatal: bool, set_id: str | None
) -> FlagResolutionDetails[Any]:
    """The result of an evaluation that failed: the caller's default, a code and a message.

    ``is_fatal``: the client has no flag data and cannot get any.
    """
    code, message = ERRORS.get(detail.reason.error_kind or "", ErrorCode.GENERAL), detail.error_message
    if code is ErrorCode.PROVIDER_NOT_READY and is_fatal:
        code = ErrorCode.PROVIDER_FATAL
    elif detail.reason.error_kind is ErrorKind.USER_NOT_SPECIFIED and context is not NO_KEY:
        code, message = ErrorCode.INVALID_CONTEXT, context.error
    return refused(key, default, code, message, {**_metadata_of_set(set_id), **detail.metadata})


def refused(
    key: str,
    default: Any,
    code: ErrorCode,
    message: str | None = None,
    metadata: dict[str, bool | int | float | str] | None = None,
) -> FlagResolutionDetails[Any]:
    """The caller's default with an error. The message names the flag."""
    text = f"flag {printable(str(key))}: {message or _MESSAGES[code]}"
    return FlagResolutionDetails(default, code, text, Reason.ERROR, None, {} if metadata is None else metadata)


def _metadata_of_set(set_id: str | None) -> dict[str, bool | int | float | str]:
    """The metadata that every result has."""
    return {} if set_id is None else {"flagSetId": set_id}


def _is_split(detail: EvaluationDetail[Any], flag: FlagDefinition) -> bool:
    """Whether a rollout decided."""
    reason = detail.reason
    served: VariationOrRollout | FlagRule | None = None
    if reason.kind is ReasonKind.FALLTHROUGH:
        served = flag.fallthrough
    elif reason.kind is ReasonKind.RULE_MATCH and reason.rule_index is not None:
        # The definition may be newer than the result, and have fewer rules.
        served = dict(enumerate(flag.rules or ())).get(reason.rule_index)
    return reason.in_experiment or (served is not None and served.variation is None and served.rollout is not None)
