"""The TLS context of a client: trusted certificates and the client certificate. It reads files: call it in a thread.

Source: ``client-surface.md`` 10.
"""

from __future__ import annotations

import logging
import os
import ssl
import weakref
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Final

import httpx

from aioflags.errors import ConfigError
from aioflags.runtime.fork import Lock
from aioflags.runtime.logs import logger as package_logger
from aioflags.runtime.regular_files import check_regular
from aioflags.transport.settings import Http

__all__ = ["tls_context"]

_MAX_AGE: Final = 60.0
_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""The environment variables that OpenSSL reads."""


def tls_context(settings: Http, logger: logging.Logger) -> ssl.SSLContext:
    """The TLS context for all connections of a client.

    Raises:
        ConfigError: a certificate cannot be read. The message has the name of the option.
    """
    if settings.ssl_context is not None:
        return settings.ssl_context
    if settings.ca_certs is None and settings.cert_file is None and not settings.disable_ssl_verification:
        return _SYSTEM.context()
    return _made(settings, logger)


def _made(settings: Http, logger: logging.Logger) -> ssl.SSLContext:
    try:
        _check_file(settings.ca_certs)
        context = ssl.create_default_context(cafile=settings.ca_certs)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"ca_certs: {settings.ca_certs} cannot be read: {error}") from error
    if settings.ca_certs is None and not _is_trusting(context):
        context = httpx.create_ssl_context()  # the system has no certificates: use those of certifi
    try:
        if settings.cert_file is not None:
            _check_file(settings.cert_file)
            context.load_cert_chain(settings.cert_file)
    except OSError as error:
        raise ConfigError(f"cert_file: {settings.cert_file} cannot be read as a certificate with its key: {error}") from error
    if settings.disable_ssl_verification:
        logger.warning("disable_ssl_verification: any server can impersonate the flag service")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _check_file(path: str | None) -> None:
    """Raise ``OSError`` if the path is not a regular file. OpenSSL would open a FIFO, and wait for its writer."""
    if path is not None:
        check_regular(Path(path), Path(path).stat())


def _is_trusting(context: ssl.SSLContext) -> bool:
    """Whether the system has certificates. A directory of them is loaded on demand, so check that it is not empty."""
    directory: str | None = ssl.get_default_verify_paths().capath
    return context.cert_store_stats()["x509_ca"] > 0 or bool(directory and any(Path(directory).iterdir()))


class _SystemContext:
    """The context with the certificates of the system. Clients share it: reading them takes some 20 ms each time.

    Two hundred clients that started together had two hundred threads read them, which held the event loop for seconds.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: Callable[[], ssl.SSLContext | None] = lambda: None
        self._key: object = None
        self._made_at = 0.0

    def context(self) -> ssl.SSLContext:
        """A context that was made in the last minute and is in use, otherwise a new one. Certificates may change later."""
        with self._lock:
            key, context = [os.environ.get(name) for name in _VARIABLES], self._kept()
            if context is None or key != self._key or perf_counter() - self._made_at > _MAX_AGE:
                context = _made(Http(), package_logger)
                self._kept, self._key, self._made_at = weakref.ref(context), key, perf_counter()
            return context


_SYSTEM: Final = _SystemContext()
