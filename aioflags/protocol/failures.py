"""What failures of a source are called, and which of them may pass: one table of HTTP statuses, and the makers of ``ErrorInfo``.

Source: ``data-system.md`` 2.3 and 5.7; ``client-surface.md`` 15.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from aioflags.model.result import ErrorInfo, FailureKind
from aioflags.runtime.clock import now
from aioflags.runtime.logs import describe_error, printable

__all__ = ["http_failure", "invalid_data", "is_recoverable", "located", "network_failure", "server_failure", "unexpected"]

_PASSING: Final = frozenset({400, 408, 429})
"""The only statuses from 400 to 499 that the same request may not get again."""

_HINTS: Final = {
    401: "the SDK key is probably invalid",
    403: "the SDK key is probably invalid, or not meant for this service",
    404: "is the address right?",
}


def is_recoverable(status: int) -> bool:
    """Whether asking again may help: for every status but those that blame the request itself."""
    return status in _PASSING or not 400 <= status < 500


def http_failure(status: int) -> ErrorInfo:
    """The service answered, but not with what was asked for."""
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    hint = f": {_HINTS[status]}" if status in _HINTS else ""
    return _failure(FailureKind.ERROR_RESPONSE, f"the service answered {status}{phrase}{hint}", status)


def invalid_data(message: str) -> ErrorInfo:
    """The service answered with data that cannot be used."""
    return _failure(FailureKind.INVALID_DATA, message)


def network_failure(message: str) -> ErrorInfo:
    """There was no answer, or it broke off."""
    return _failure(FailureKind.NETWORK_ERROR, message)


def server_failure(reason: str) -> ErrorInfo:
    """The service said itself that it cannot deliver: an ``error`` or a ``goodbye`` where data were due."""
    return _failure(FailureKind.UNKNOWN, reason or "the service gave no reason")


def unexpected(error: BaseException) -> ErrorInfo:
    """An exception that nobody foresaw."""
    return _failure(FailureKind.UNKNOWN, describe_error(error))


def located(error: ErrorInfo, url: str) -> ErrorInfo:
    """The failure of a request to ``url``, with the address: origin and path, without what may be secret.

    A failure that came before there was a URL stays as it is.
    """
    if not url:
        return error
    parts = urlsplit(url)
    return replace(error, address=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def _failure(kind: FailureKind, message: str, status_code: int = 0) -> ErrorInfo:
    return ErrorInfo(kind=kind, message=printable(message), time=now(), status_code=status_code)
