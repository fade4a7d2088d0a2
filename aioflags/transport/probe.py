"""Probe a server without a request: is its name known, does it accept connections, how long is its certificate valid.

Source: ``client-surface.md`` 10.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from typing import Any, Final, Literal

import httpcore

from aioflags.runtime.clock import now
from aioflags.runtime.daemon_threads import SerialThread, ThreadStartError
from aioflags.runtime.logs import logger as package_logger
from aioflags.transport.peers import cause_of
from aioflags.transport.resolver import DaemonResolver
from aioflags.transport.settings import Http
from aioflags.transport.tls import TlsContext

__all__ = ["ProbeFailed", "Reached", "probe"]

Stage = Literal["name", "connection", "tls", "plain"]

_NOT_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL"}
)
"""OpenSSL's reasons for bytes that are not TLS. They differ between versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """The server answers. ``days_left``: how long its certificate is valid; ``None`` without TLS or verification."""

    days_left: float | None


class ProbeFailed(Exception):  # noqa: N818 - a result, not a mistake of the program
    """The server could not be reached. ``stage`` says what failed; ``plain``: it answered the TLS handshake with plain bytes."""

    def __init__(self, stage: Stage, message: str) -> None:
        super().__init__(message)
        self.stage = stage


async def probe(scheme: str, host: str, port: int, settings: Http, logger: logging.Logger = package_logger) -> Reached:
    """Connect as a client with these settings does without a proxy, and close the connection.

    Raises:
        ProbeFailed: the server could not be reached.
        ConfigError: a certificate of the settings cannot be read.
    """
    tls = TlsContext(settings, logger, SerialThread("aioflags-tls"))
    try:
        context = await tls.get(settings.connect_timeout) if scheme == "https" else None
    except (ThreadStartError, TimeoutError) as error:
        raise ProbeFailed("tls", str(error)) from error
    try:
        stream = await DaemonResolver().connect_tcp(host, port, settings.connect_timeout)
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        raise ProbeFailed(
            "name" if str(error).startswith("no address of") else "connection", cause_of(error) or "no answer"
        ) from error
    try:
        if context is None:
            return Reached(days_left=None)
        stream = await stream.start_tls(context, host, settings.connect_timeout)
        return Reached(days_left=_days_left(stream.get_extra_info("ssl_object")))
    except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.NetworkError, httpcore.TimeoutException) as error:
        raise ProbeFailed("plain" if _is_not_tls(error) else "tls", cause_of(error) or "no answer") from error
    finally:
        await stream.aclose()


def _is_not_tls(error: BaseException) -> bool:
    """Whether the server sent bytes that are not TLS, as a server for plain HTTP does."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _days_left(tls: Any) -> float | None:
    """Days until the server's certificate expires; ``None`` if it was not verified."""
    certificate: dict[str, Any] = (tls.getpeercert() if isinstance(tls, (ssl.SSLObject, ssl.SSLSocket)) else None) or {}
    until = certificate.get("notAfter")
    return None if until is None else (ssl.cert_time_to_seconds(until) - now()) / 86400
