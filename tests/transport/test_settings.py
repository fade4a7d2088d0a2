"""Http: the checks of its constructor."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
import pytest

from aioflags.errors import ConfigError
from aioflags.model.defaults import MAX_RESPONSE_BYTES
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


@pytest.mark.parametrize("option", ["connect_timeout", "read_timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_an_invalid_duration_becomes_the_default(option: str, value: float, caplog: pytest.LogCaptureFixture) -> None:
    settings = Http(**{option: value})  # type: ignore[arg-type]  # a duration
    assert getattr(settings, option) == getattr(Http(), option)
    assert option in caplog.text


def test_an_invalid_size_becomes_the_default() -> None:
    assert Http(max_response_bytes=0, max_event_bytes=-1) == Http()
    assert Http().max_response_bytes == MAX_RESPONSE_BYTES


def test_valid_options_are_kept() -> None:
    context = ssl.create_default_context()
    settings = Http(connect_timeout=1, read_timeout=2.5, http_proxy="http://u:secret@p:1", ssl_context=context, max_event_bytes=10)
    assert (settings.connect_timeout, settings.read_timeout, settings.max_event_bytes) == (1, 2.5, 10)
    assert settings.ssl_context is context


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
