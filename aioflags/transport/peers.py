"""Why a connection failed, for people: who was contacted, through which proxy, and the cause as the system calls it."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from typing import Final, cast

_CALL_FAILED: Final = re.compile(r"Connect call failed \('([^']+)', (\d+)")
"""asyncio's text, which has the address in place of the system's message."""
_VAGUE: Final = "All connection attempts failed"
"""The text of an exception whose cause says more."""
_LONGEST: Final = 20
"""Exceptions of a chain that are looked at."""
_FIRST_HOP: Final = frozenset({"ConnectError", "ConnectTimeout", "ProxyError"})
"""Exceptions of the HTTP libraries that are about the proxy, if there is one."""


def peer_of(target: str, proxy: str, error: BaseException | None = None) -> str:
    """Who was contacted for a request to ``target`` through ``proxy``. Both are hosts with ports."""
    # With a proxy the TLS handshake is usually with the target.
    is_first = error is None or (type(error).__name__ in _FIRST_HOP and not isinstance(root_cause(error), ssl.SSLError))
    return f"the proxy {proxy} for {target}" if is_first else f"{target} through the proxy {proxy}"


def cause_of(error: BaseException) -> str:
    """Why a connection failed; empty if neither the exception nor one of its causes says it."""
    return _text(root_cause(error))


def root_cause(error: BaseException) -> BaseException:
    """The error of TLS among the causes of an exception; or the first of them that says more than that something failed."""
    chain = [error]
    while len(chain) < _LONGEST and (cause := _cause(chain[-1])) is not None:
        chain.append(cause)
    telling = [each for each in chain if _text(each)]
    return next((each for each in telling if isinstance(each, ssl.SSLError)), telling[0] if telling else error)


def _cause(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions[-1]
    return error.__cause__ or error.__context__


def _text(error: BaseException) -> str:
    """What an exception says; empty if that is only that something failed."""
    if isinstance(error, (ssl.SSLWantReadError, ssl.SSLWantWriteError)):  # a stream waited for bytes when it failed
        return ""
    if isinstance(error, asyncio.CancelledError):  # how a time limit ended; the message is the address of a cancel scope
        return ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return f"the server ended the TLS handshake, so it may be older than TLS 1.2: {error}"
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError) or error.errno is None:
        text = str(error)
        return "" if isinstance(error, BaseExceptionGroup) or text == _VAGUE or _CALL_FAILED.search(text) else text
    called = _CALL_FAILED.search(error.strerror or "")
    return str(error.strerror) if called is None else f"{called[1]}:{called[2]}: {os.strerror(error.errno)}"
