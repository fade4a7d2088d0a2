"""From the result of an evaluation to that of OpenFeature's SDK.

Source: ``openfeature.md`` 6.3 and 6.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, Reason

from aioflags.evaluation.openfeature.launchdarkly import error_of, reason_of
from aioflags.model.context import Context
from aioflags.model.detail import ErrorKind, EvaluationDetail
from aioflags.model.flag import FlagDefinition
from aioflags.model.flag_evaluation import FlagEvaluation
from aioflags.runtime.logs import printable

__all__ = ["Answered", "answered", "error_result", "failed"]

_REASONS: Final[Mapping[str, Reason]] = {reason.value: reason for reason in Reason}

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
    definition = flag if isinstance(flag, FlagDefinition) else None
    reason, metadata = reason_of(detail, definition), _metadata_of_set(set_id)
    if definition is not None:
        metadata["version"] = definition.version
    elif isinstance(flag, FlagEvaluation):
        metadata["version"] = flag.version if flag.flag_version is None else flag.flag_version
    metadata.update(detail.metadata)
    variant = detail.variant
    if variant is None and detail.variation_index is not None and not detail.is_null:
        variant = str(detail.variation_index)
    return Answered(detail, _REASONS.get(reason, reason), variant, metadata)


def failed(
    key: str, detail: EvaluationDetail[Any], default: Any, context: Context, *, is_fatal: bool, set_id: str | None
) -> FlagResolutionDetails[Any]:
    """The result of an evaluation that failed: the caller's default, a code and a message.

    ``is_fatal``: the client has no flag data and cannot get any.
    """
    kind, message = detail.reason.error_kind, detail.error_message
    code = ErrorCode(error_of(kind, context).value)
    if code is ErrorCode.PROVIDER_NOT_READY and is_fatal:
        code = ErrorCode.PROVIDER_FATAL
    elif kind is ErrorKind.USER_NOT_SPECIFIED and code is ErrorCode.INVALID_CONTEXT:
        message = context.error
    return error_result(key, default, code, message, {**_metadata_of_set(set_id), **detail.metadata})


def error_result(
    key: str,
    default: Any,
    code: ErrorCode,
    message: str | None = None,
    metadata: dict[str, bool | int | float | str] | None = None,
) -> FlagResolutionDetails[Any]:
    """The caller's default with an error. The message names the flag."""
    text = f"flag {printable(key)}: {message or _MESSAGES[code]}"
    return FlagResolutionDetails(default, code, text, Reason.ERROR, None, {} if metadata is None else metadata)


def _metadata_of_set(set_id: str | None) -> dict[str, bool | int | float | str]:
    """The metadata that every result has."""
    return {} if set_id is None else {"flagSetId": set_id}
