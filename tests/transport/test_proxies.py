"""Proxies from environment variables."""

from __future__ import annotations

import pytest

from aioflags.transport.proxies import environment_proxy

HTTP = {"http_proxy": "http://p:1"}
BOTH = {"http_proxy": "http://p:1", "https_proxy": "http://p:2"}


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        pytest.param("http h 80", {}, None, id="no proxy is set"),
        pytest.param("http h 80", BOTH, "http://p:1", id="http targets"),
        pytest.param("https h 443", BOTH, "http://p:2", id="https targets"),
        pytest.param("https h 443", HTTP, None, id="a proxy for the other scheme"),
        pytest.param("https h 443", {"HTTPS_PROXY": "http://p:3"}, "http://p:3", id="upper case"),
        pytest.param("https h 443", {"HTTPS_PROXY": "http://p:3", **BOTH}, "http://p:2", id="lower case wins"),
        pytest.param("https h 443", {"HTTPS_PROXY": "http://p:3", "https_proxy": ""}, None, id="lower case wins even if empty"),
        pytest.param("http h 80", {"HTTP_PROXY": "http://p:3"}, "http://p:3", id="upper case for http"),
        pytest.param(
            "http h 80", {"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}, None, id="upper case is ignored under CGI"
        ),
        pytest.param("http h 80", {**HTTP, "REQUEST_METHOD": "GET"}, "http://p:1", id="lower case under CGI"),
        pytest.param("https h 443", {"HTTPS_PROXY": "http://p:3", "REQUEST_METHOD": "GET"}, "http://p:3", id="https under CGI"),
        pytest.param("http h 80", {"http_proxy": "p:1"}, "http://p:1", id="without a scheme"),
        pytest.param("http h 80", {"http_proxy": "http://u:pw@p:1"}, "http://u:pw@p:1", id="with a password"),
    ],
)
def test_the_proxy_of_a_target(url: str, environment: dict[str, str], proxy: str | None) -> None:
    scheme, host, port = url.split()
    assert environment_proxy(scheme, host, int(port), environment) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "exempt"),
    [
        ("*", "h.test", 80, True),
        ("a.test, * ", "h.test", 80, True),
        ("h.test", "h.test", 80, True),
        ("H.Test", "h.TEST", 80, True),
        ("h.test", "sub.h.test", 80, True),
        ("h.test", "oh.test", 80, False),
        (".h.test", "h.test", 80, True),
        pytest.param(".h.test", "sub.h.test", 80, True, id="CS-C18 a subdomain goes directly"),
        ("h.test:8080", "h.test", 8080, True),
        ("h.test:8080", "h.test", 80, False),
        ("h.test:443", "h.test", 443, True),
        ("h.test:nonsense", "h.test", 80, False),
        ("", "h.test", 80, False),
        (",,", "h.test", 80, False),
        ("127.0.0.1", "127.0.0.1", 80, True),
        ("::1", "::1", 80, True),
        ("[::1]:81", "::1", 80, False),
        ("[::1]:81", "::1", 81, True),
        ("[::1", "::1", 80, False),
    ],
)
def test_hosts_in_no_proxy_are_reached_directly(no_proxy: str, host: str, port: int, exempt: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        proxy = environment_proxy("http", host, port, {**HTTP, name: no_proxy})
        assert proxy == (None if exempt else "http://p:1")
