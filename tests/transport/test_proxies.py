"""Proxies from environment variables."""

from __future__ import annotations

import logging
import os

import grpc
import grpc.aio
import pytest

from aioflags.protocol.requests import in_address
from aioflags.transport.proxies import _is_new, grpc_proxy, proxy_for, unread_exemptions
from aioflags.transport.settings import Http

HTTP = {"http_proxy": "http://p:1"}
BOTH = {"http_proxy": "http://p:1", "https_proxy": "http://p:2"}
WHOLE_LABELS = pytest.mark.skipif(
    tuple(map(int, grpc.__version__.split(".")[:2])) < (1, 84), reason="before 1.84 gRPC compares the ends of names"
)


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        pytest.param("http://h", {}, None, id="no proxy is set"),
        pytest.param("http://h", BOTH, "http://p:1", id="http targets"),
        pytest.param("https://h", BOTH, "http://p:2", id="https targets"),
        pytest.param("https://h", HTTP, None, id="a proxy for the other scheme"),
        pytest.param("https://h", {"HTTPS_PROXY": "http://p:3"}, "http://p:3", id="upper case"),
        pytest.param("https://h", {"HTTPS_PROXY": "http://p:3", **BOTH}, "http://p:2", id="lower case wins"),
        pytest.param("https://h", {"HTTPS_PROXY": "http://p:3", "https_proxy": ""}, None, id="lower case wins even if empty"),
        pytest.param("http://h", {"HTTP_PROXY": "http://p:3"}, "http://p:3", id="upper case for http"),
        pytest.param(
            "http://h", {"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}, None, id="upper case is ignored under CGI"
        ),
        pytest.param("http://h", {**HTTP, "REQUEST_METHOD": "GET"}, "http://p:1", id="lower case under CGI"),
        pytest.param("https://h", {"HTTPS_PROXY": "http://p:3", "REQUEST_METHOD": "GET"}, "http://p:3", id="https under CGI"),
        pytest.param("http://h", {"http_proxy": "p:1"}, "http://p:1", id="without a scheme"),
        pytest.param("http://h", {"http_proxy": "http://u:pw@p:1"}, "http://u:pw@p:1", id="with a password"),
    ],
)
def test_the_proxy_of_a_target(url: str, environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(Http(), url, environment) == proxy


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
        pytest.param("a.test h.test", "h.test", 80, True, id="entries separated by spaces"),
        pytest.param("a.test\th.test\nb.test", "h.test", 80, True, id="by other white space"),
        pytest.param("a.test ,, h.test ", "h.test", 80, True, id="by both"),
        pytest.param("*.h.test", "sub.h.test", 80, True, id="a star and a name: a subdomain"),
        pytest.param("*.h.test", "h.test", 80, True, id="a star and a name: the name"),
        pytest.param("*.h.test:81", "sub.h.test", 81, True, id="a star, a name and a port"),
        pytest.param("*h.test", "oh.test", 80, False, id="a star within a name"),
        pytest.param("h.*", "h.test", 80, False, id="a star at the end"),
        pytest.param("h.test.", "h.test", 80, True, id="a dot at the end of the entry"),
        pytest.param("h.test", "h.test.", 80, True, id="a dot at the end of the host"),
        pytest.param("bücher.test", "xn--bcher-kva.test", 80, True, id="a name in Unicode"),
        pytest.param("xn--bcher-kva.test", "www.Bücher.test", 80, True, id="a host in Unicode"),
        pytest.param("10.0.0.0/8", "10.1.2.3", 80, True, id="a network"),
        pytest.param("10.1.2.3/8", "10.200.0.1", 80, True, id="a network by one of its addresses"),
        pytest.param("10.0.0.0/8", "11.1.2.3", 80, False, id="an address outside"),
        pytest.param("10.0.0.0/255.0.0.0", "10.1.2.3", 80, True, id="a network with a mask"),
        pytest.param("0.0.0.0/0", "h.test", 80, False, id="names are not resolved"),
        pytest.param("10.0.0.0/33", "10.1.2.3", 80, False, id="a network that is none"),
        pytest.param("2001:db8::/32", "2001:db8::5", 80, True, id="a network of IPv6"),
        pytest.param("[2001:db8::]/32", "2001:db8::5", 80, True, id="the same in brackets"),
        pytest.param("::/0", "10.1.2.3", 80, False, id="a network of the other version"),
        pytest.param("0:0:0:0:0:0:0:1", "::1", 80, True, id="another spelling of an address"),
        pytest.param("[::1]", "::1", 80, True, id="an address in brackets"),
        pytest.param("fe80::/10", "fe80::1%eth0", 80, True, id="an address with a zone"),
        pytest.param("0.0.1", "127.0.0.1", 80, False, id="the end of an address"),
        pytest.param("127.0.0.1:81", "127.0.0.1", 81, True, id="an address at a port"),
        pytest.param("127.0.0.1:81", "127.0.0.1", 80, False, id="an address at another port"),
        pytest.param("my_host", "my_host", 80, True, id="an underscore"),
    ],
)
def test_hosts_in_no_proxy_are_reached_directly(no_proxy: str, host: str, port: int, exempt: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        proxy = proxy_for(Http(), f"http://{in_address(host)}:{port}", {**HTTP, name: no_proxy})
        assert proxy == (None if exempt else "http://p:1")


@pytest.mark.parametrize(
    "entry",
    [
        "http://h.test",
        "h.test:nonsense",
        "h.test:99999",
        "10.0.0.0/33",
        "10.*",
        "10.0.0.1-9",
        "a*.test",
        "a;b",
        "<local>",
        "[::1",
        "h/24",
    ],
)
def test_an_entry_that_exempts_nothing_is_logged_once(caplog: pytest.LogCaptureFixture, entry: str) -> None:
    _is_new.forget(entry)  # other tests of this process may have logged it
    environment = {**HTTP, "NO_PROXY": f"h.test, {entry} .i.test,*.j.test,10.0.0.0/8 *"}
    assert unread_exemptions(environment) == [entry]
    for _ in range(2):
        assert proxy_for(Http(), "http://h.test", environment) is None
    assert [record.levelno for record in caplog.records if repr(entry) in record.getMessage()] == [logging.WARNING]


# -- gRPC

GRPC = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy")


@pytest.fixture
def grpc_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment, without proxies of this machine."""
    for name in GRPC:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("target", "variables", "proxy"),
    [
        pytest.param("localhost:1", {}, None, id="no proxy"),
        pytest.param("localhost:1", {"http_proxy": "http://127.0.0.1:9"}, "127.0.0.1:9", id="http_proxy"),
        pytest.param("localhost:1", {"https_proxy": "http://127.0.0.1:9"}, "127.0.0.1:9", id="https_proxy, without TLS too"),
        pytest.param("localhost:1", {"grpc_proxy": "http://127.0.0.1:9"}, "127.0.0.1:9", id="grpc_proxy"),
        pytest.param(
            "localhost:1",
            {"http_proxy": "http://127.0.0.1:7", "https_proxy": "http://127.0.0.1:8", "grpc_proxy": "http://127.0.0.1:9"},
            "127.0.0.1:9",
            id="the order of the variables",
        ),
        pytest.param("localhost:1", {"grpc_proxy": "", "http_proxy": "http://127.0.0.1:9"}, None, id="an empty variable counts"),
        pytest.param("localhost:1", {"HTTP_PROXY": "http://127.0.0.1:9"}, None, id="capitals are not read"),
        pytest.param("localhost:1", {"http_proxy": "https://127.0.0.1:9"}, None, id="a proxy with TLS is not used"),
        pytest.param("localhost:1", {"http_proxy": "127.0.0.1:9"}, None, id="a proxy without a scheme is not used"),
        pytest.param("localhost:1", {"http_proxy": "http://u:pw@127.0.0.1:9"}, "127.0.0.1:9", id="a proxy with a password"),
        pytest.param("localhost:1", {"http_proxy": "http://127.0.0.1"}, "127.0.0.1:443", id="a proxy without a port"),
        pytest.param("dns:///localhost:1", {"http_proxy": "http://127.0.0.1:9"}, "127.0.0.1:9", id="a target with a scheme"),
        pytest.param("unix:///nowhere/x", {"http_proxy": "http://127.0.0.1:9"}, None, id="a Unix socket"),
        pytest.param("localhost:1", {"http_proxy": "http://127.0.0.1:9", "no_proxy": "x, LocalHost"}, None, id="an exempt name"),
        pytest.param(
            "localhost:1", {"http_proxy": "http://127.0.0.1:9", "no_proxy": ".localhost"}, None, id="a suffix", marks=WHOLE_LABELS
        ),
        pytest.param("a.localhost:1", {"http_proxy": "http://127.0.0.1:9", "no_proxy": "localhost"}, None, id="a subdomain"),
        pytest.param(
            "localhost:1",
            {"http_proxy": "http://127.0.0.1:9", "no_proxy": "host"},
            "127.0.0.1:9",
            id="the end of a name",
            marks=WHOLE_LABELS,
        ),
        pytest.param("localhost:1", {"http_proxy": "http://127.0.0.1:9", "no_proxy": "*"}, "127.0.0.1:9", id="a star is not read"),
        pytest.param("localhost:1", {"http_proxy": "http://127.0.0.1:9", "no_proxy": "x localhost y"}, "127.0.0.1:9", id="spaces"),
        pytest.param("127.0.0.1:1", {"http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.0/8"}, None, id="a network"),
        pytest.param("ipv4:127.0.0.1:1", {"http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}, None, id="an address"),
        pytest.param("[::1]:1", {"http_proxy": "http://127.0.0.1:9"}, "127.0.0.1:9", id="IPv6"),
        pytest.param("[::1]:1", {"http_proxy": "http://127.0.0.1:9", "no_proxy": "::1"}, None, id="an exempt address of IPv6"),
        pytest.param(
            "localhost:1",
            {"http_proxy": "http://127.0.0.1:9", "no_grpc_proxy": "localhost", "no_proxy": "x"},
            None,
            id="its own list",
        ),
    ],
)
async def test_the_proxy_of_a_grpc_target_is_the_one_that_grpc_contacts(
    grpc_environment: pytest.MonkeyPatch, target: str, variables: dict[str, str], proxy: str | None
) -> None:
    for name, value in variables.items():
        grpc_environment.setenv(name, value)
    assert grpc_proxy(target, os.environ) == proxy
    channel = grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/x/y")(b"", timeout=10)  # type: ignore[arg-type, unused-ignore] # its stubs
    await channel.close()
    # Nothing listens at any of these addresses. The failure has the one that was tried.
    assert (f"{proxy or ':1'}: " in f"{caught.value.details()}") is not target.startswith("unix:"), caught.value.details()
