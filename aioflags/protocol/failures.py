"""Failures of sources: which HTTP statuses are temporary, and the functions that make an ``ErrorInfo``.

Source: ``data-system.md`` 2.3 and 5.7; ``client-surface.md`` 15.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from aioflags.model.status import ErrorInfo, FailureKind
from aioflags.runtime.clock import now
from aioflags.runtime.logs import describe_error, printable

_RECOVERABLE: Final = frozenset({400, 408, 429})
"""The statuses from 400 to 499 for which a retry may succeed."""

_HINTS: Final = {
    401: "the key is probably invalid",
    403: "the key is probably invalid, or not meant for this service",
    404: "is the address right?",
    407: "the proxy wants a user name and a password",
}


def is_recoverable(status: int) -> bool:
    """Whether a retry may succeed soon. Statuses from 400 to 499, except 400, 408 and 429, are refusals: the source ends.

    The supervisor may try again after minutes: ``verdict.is_refusal``.
    """
    return status in _RECOVERABLE or not 400 <= status < 500


def http_failure(status: int) -> ErrorInfo:
    """The service answered with an error status."""
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    hint = f": {_HINTS[status]}" if status in _HINTS else ""
    return _failure(FailureKind.ERROR_RESPONSE, f"the service answered {status}{phrase}{hint}", status)


def invalid_data(message: str) -> ErrorInfo:
    """The service answered with invalid data."""
    return _failure(FailureKind.INVALID_DATA, message)


def network_failure(message: str) -> ErrorInfo:
    """There was no response, or it broke off."""
    return _failure(FailureKind.NETWORK_ERROR, message)


def server_failure(reason: str) -> ErrorInfo:
    """The service sent an ``error`` or a ``goodbye`` instead of data."""
    return _failure(FailureKind.UNKNOWN, reason or "the service gave no reason")


def asked_to_wait(seconds: float) -> ErrorInfo:
    """No request was sent, because the service asked for that in an earlier answer. ``seconds``: the rest of the time."""
    failure = _failure(FailureKind.UNKNOWN, f"no request for another {seconds:.0f} s: the service asked to wait")
    return replace(failure, is_minor=True)


def unexpected(error: BaseException) -> ErrorInfo:
    """An unexpected exception."""
    return _failure(FailureKind.UNKNOWN, describe_error(error))


def located(error: ErrorInfo, url: str) -> ErrorInfo:
    """The failure with the address of its request: origin and path of ``url``, without user, password and query.

    If ``url`` is empty, the failure is returned unchanged.
    """
    if not url:
        return error
    parts = urlsplit(url)
    return replace(error, address=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def _failure(kind: FailureKind, message: str, status_code: int = 0) -> ErrorInfo:
    return ErrorInfo(kind=kind, message=printable(message), time=now(), status_code=status_code)
