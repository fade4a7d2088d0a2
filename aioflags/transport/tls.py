"""The TLS context of a client: trusted certificates and the client certificate. It reads files: call it in a thread.

Source: ``client-surface.md`` 10.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import httpx

from aioflags.errors import ConfigError
from aioflags.runtime.regular_files import check_regular
from aioflags.transport.settings import Http

__all__ = ["tls_context"]


def tls_context(settings: Http, logger: logging.Logger) -> ssl.SSLContext:
    """The TLS context for all connections of a client.

    Raises:
        ConfigError: a certificate cannot be read. The message has the name of the option.
    """
    if settings.ssl_context is not None:
        return settings.ssl_context
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
