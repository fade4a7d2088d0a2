"""What a failed call of DynamoDB means: whether to repeat it, and an error message that says what to do.

Errors of botocore are recognized by their names and codes, so that botocore is imported only where it is used.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, cast

from aioflags.runtime.logs import describe_error

__all__ = ["CONDITION_FAILED", "CallFailure", "error_code", "explain", "judge_failure"]


class CallFailure(Enum):
    """What to do after a failed call."""

    FINAL = "raise the error"
    BUSY = "pause and repeat"
    DISCONNECTED = "repeat once, at once"


CONDITION_FAILED: Final = "ConditionalCheckFailedException"
"""The code for a conditional write whose condition does not hold."""

_BUSY: Final = {
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
}
_DISCONNECTED: Final = {"ConnectionClosedError", "EndpointConnectionError"}
"""Also the error for a connection that the server closed while it was idle."""
_TIMEOUTS: Final = {"ConnectTimeoutError", "ReadTimeoutError"}
_REFUSED: Final = {
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


def error_code(error: BaseException) -> str | None:
    """The code in an answer of DynamoDB, such as ``ThrottlingException``; ``None`` if the error is not an answer."""
    code: str | None = _answer(error).get("Error", {}).get("Code")
    return code


def judge_failure(error: BaseException) -> CallFailure:
    """Whether the call that raised ``error`` is worth another try. A timeout is not: the next call would hang as well."""
    if error_code(error) in _BUSY or _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return CallFailure.BUSY
    return CallFailure.DISCONNECTED if type(error).__name__ in _DISCONNECTED else CallFailure.FINAL


def explain(error: BaseException, *, table: str, server: str, timeout: float | None) -> str:
    """A message for a failed call, on one line.

    ``server`` is DynamoDB with its address, and ``timeout`` that of the client, if they are known.
    """
    code, kind = error_code(error), type(error).__name__
    if code == "ResourceNotFoundException":
        return f"{server} has no table {table}: create it with the partition key namespace and the sort key key, both strings"
    if code == "ValidationException" and "schema" in str(error):
        return f"the table {table} of {server} needs the partition key namespace and the sort key key, both strings"
    if code in _REFUSED:
        # Without the message: that about a wrong signature repeats the request, which may have a session token.
        return f"{server} refused the credentials ({code})"
    if judge_failure(error) is CallFailure.BUSY:
        return f"{server} is busy ({code}): the capacity of the table {table} may be used up"
    if kind in _TIMEOUTS:
        return f"{server} did not answer{f' within {timeout:g} s' if timeout else ' in time'}"
    if kind == "NoRegionError":
        return "no AWS region: set AWS_DEFAULT_REGION, or the option region"
    return describe_error(error)


def _answer(error: BaseException) -> dict[str, Any]:
    """The answer that a ``ClientError`` of botocore has."""
    answer: Any = getattr(error, "response", None)
    return cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
