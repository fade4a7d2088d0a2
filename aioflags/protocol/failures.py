"""Failures of sources: which HTTP statuses are temporary, and the functions that make an ``ErrorInfo``.

Source: ``data-system.md`` 2.3 and 5.7; ``client-surface.md`` 15.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from aioflags.model.status import ErrorCode, ErrorInfo, FailureKind
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
    return failure(FailureKind.ERROR_RESPONSE, status_text(status, _HINTS), status)


def status_text(status: int, hints: Mapping[int, str]) -> str:
    """The status of a response in words. ``hints``: what to check, for some statuses."""
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    return f"the service answered {status}{phrase}{f': {hints[status]}' if status in hints else ''}"


def invalid_data(message: str) -> ErrorInfo:
    """The service answered with invalid data."""
    return failure(FailureKind.INVALID_DATA, message)


def network_failure(message: str) -> ErrorInfo:
    """There was no response, or it broke off."""
    return failure(FailureKind.NETWORK_ERROR, message)


def server_failure(reason: str) -> ErrorInfo:
    """The service sent an ``error`` or a ``goodbye`` instead of data."""
    return failure(FailureKind.UNKNOWN, reason or "the service gave no reason")


def asked_to_wait(seconds: float) -> ErrorInfo:
    """No request was sent, because the service asked for that in an earlier answer. ``seconds``: the rest of the time."""
    waiting = failure(FailureKind.UNKNOWN, f"no request for another {seconds:.0f} s: the service asked to wait")
    return replace(waiting, is_minor=True)


def unexpected(error: BaseException) -> ErrorInfo:
    """An unexpected exception."""
    return failure(FailureKind.UNKNOWN, describe_error(error))


def located(error: ErrorInfo, url: str) -> ErrorInfo:
    """The failure with the address of its request: origin and path of ``url``, without user, password and query.

    If ``url`` is empty, the failure is returned unchanged.
    """
    if not url:
        return error
    parts = urlsplit(url)
    return replace(error, address=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def failure(kind: FailureKind, message: str, status_code: int = 0, code: ErrorCode | None = None) -> ErrorInfo:
    """A failure that happens now."""
    return ErrorInfo(kind=kind, message=printable(message), time=now(), status_code=status_code, code=code)
