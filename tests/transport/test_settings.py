"""Http: the checks of its constructor."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from aioflags.errors import ConfigError
from aioflags.transport.settings import Http, origin


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("connect_timeout", "5"),
        ("read_timeout", None),
        ("read_timeout", True),
        ("http_proxy", 5),
        ("http_proxy", "proxy:8080"),
        ("http_proxy", "ftp://proxy"),
        ("http_proxy", "http://proxy:port"),
        ("http_proxy", "http://"),
        ("ca_certs", 5),
        ("ca_certs", ""),
        ("ca_certs", "a\0b"),
        ("cert_file", b"x"),
        ("disable_ssl_verification", 1),
        ("ssl_context", True),
        ("client_factory", httpx.AsyncClient(trust_env=False, transport=httpx.MockTransport(lambda _: httpx.Response(200)))),
        ("redirect_origins", "https://h.test"),
        ("redirect_origins", 5),
        ("redirect_origins", [5]),
        ("redirect_origins", ["h.test"]),
        ("redirect_origins", ["https://h.test/path"]),
        ("redirect_origins", ["https://user@h.test"]),
        ("redirect_origins", ["https://h.test:x"]),
        ("redirect_origins", ["ftp://h.test"]),
        ("max_response_bytes", 1.5),
        ("max_event_bytes", "1"),
    ],
)
def test_the_error_for_an_invalid_option_has_its_name(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{option}:"):
        Http(**{option: value})


def test_valid_options_are_kept() -> None:
    context = ssl.create_default_context()
    settings = Http(connect_timeout=1, read_timeout=2.5, http_proxy="http://u:secret@p:1", ssl_context=context, max_event_bytes=10)
    assert (settings.connect_timeout, settings.read_timeout, settings.max_event_bytes) == (1, 2.5, 10)
    assert settings.ssl_context is context


def test_certificates_may_be_paths() -> None:
    settings = Http(ca_certs=Path("ca.pem"), cert_file=Path("client.pem"))
    assert (settings.ca_certs, settings.cert_file) == ("ca.pem", "client.pem")


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Http(http_proxy="http://user:secret@proxy:8080"))
    with pytest.raises(ConfigError) as caught:
        Http(http_proxy="http://user:secret@proxy:port")
    assert "secret" not in str(caught.value)


def test_origins_are_copied_and_normalized() -> None:
    origins = ["https://H.test", "http://h.test/", "https://h.test:8443"]
    settings = Http(redirect_origins=origins)
    origins.clear()
    assert settings.redirect_origins == ("https://h.test:443", "http://h.test:80", "https://h.test:8443")
    assert origin("https", "H.test", None) == settings.redirect_origins[0]
