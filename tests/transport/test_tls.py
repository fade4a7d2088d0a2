"""The TLS context of clients: shared where it has only the certificates of the system."""

from __future__ import annotations

import logging
import ssl

import pytest

from aioflags.transport.settings import Http
from aioflags.transport.tls import tls_context

LOG = logging.getLogger("aioflags.tests")


def test_clients_share_the_certificates_of_the_system() -> None:
    """Reading them takes some 20 ms, and two hundred clients may start together."""
    context = tls_context(Http(), LOG)
    assert tls_context(Http(connect_timeout=3), LOG) is context


def test_other_certificates_are_not_shared(ca_file: str) -> None:
    context = tls_context(Http(), LOG)
    own = ssl.create_default_context()
    for settings in (Http(ca_certs=ca_file), Http(disable_ssl_verification=True), Http(ssl_context=own)):
        assert tls_context(settings, LOG) is not context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_change_of_the_environment_counts_for_the_next_client(monkeypatch: pytest.MonkeyPatch, ca_file: str) -> None:
    before = tls_context(Http(), LOG)
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    assert tls_context(Http(), LOG) is not before
