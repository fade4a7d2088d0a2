"""Which requests are allowed, as a table; refused requests have no effect."""

from __future__ import annotations

import httpx
import pytest

from aioflags.devserver import LOOPBACK_HOSTS, ServerState, create_app
from aioflags.devserver.access import check_access, host_name, is_this_machine

TOKEN = "the-token"
LOCAL = {"host": "127.0.0.1:8765"}
KEY = {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("path", "headers", "is_local", "status"),
    [
        pytest.param("/sdk/poll", LOCAL, True, None, id="SDK endpoints need no token"),
        pytest.param("/sdk/poll", LOCAL, False, None, id="SDK endpoints are open to other machines"),
        pytest.param("/control/state", LOCAL | KEY, True, None, id="the control API accepts the token"),
        pytest.param(
            "/control/state", LOCAL | {"authorization": f"bearer  {TOKEN} "}, True, None, id="the scheme may be in lower case"
        ),
        pytest.param("/control/state", LOCAL, True, 401, id="the control API needs a token"),
        pytest.param("/control", LOCAL, True, 401, id="the root of the control API needs a token"),
        pytest.param("/control/state", LOCAL | {"authorization": "Bearer other"}, True, 401, id="a wrong token"),
        pytest.param("/control/state", LOCAL | {"authorization": "Bearer \xff"}, True, 401, id="a token that is not ASCII"),
        pytest.param("/control/state", LOCAL | {"authorization": f"Basic {TOKEN}"}, True, 401, id="the Basic scheme"),
        pytest.param("/control/state", LOCAL | KEY, False, 403, id="the control API from another machine"),
        pytest.param("/", LOCAL, True, None, id="the page needs no token"),
        pytest.param("/page.js", LOCAL, False, 403, id="the page from another machine"),
        pytest.param("/", LOCAL | {"sec-fetch-site": "cross-site"}, True, None, id="other sites may link to the page"),
        pytest.param("/sdk/poll", LOCAL | {"sec-fetch-site": "cross-site"}, True, 403, id="a request from another site"),
        pytest.param("/sdk/poll", LOCAL | {"sec-fetch-site": "same-site"}, True, 403, id="a request from another port"),
        pytest.param("/control/state", LOCAL | KEY | {"sec-fetch-site": "same-origin"}, True, None, id="a request from the page"),
        pytest.param(
            "/control/state",
            LOCAL | KEY | {"origin": "http://127.0.0.1:8765"},
            True,
            None,
            id="a request with the origin of the page",
        ),
        pytest.param("/control/state", LOCAL | KEY | {"origin": "http://127.0.0.1:1"}, True, 403, id="an origin on another port"),
        pytest.param("/bulk", LOCAL | {"origin": "https://attacker.example"}, True, 403, id="a foreign origin"),
        pytest.param("/bulk", LOCAL | {"origin": "null"}, True, 403, id="a null origin"),
        pytest.param("/control/state", KEY | {"host": "attacker.example"}, True, 400, id="a foreign host name"),
        pytest.param(
            "/control/state",
            KEY | {"host": "attacker.example", "origin": "http://attacker.example"},
            True,
            400,
            id="a foreign host name with the same origin",
        ),
        pytest.param("/sdk/poll", {"host": "[::1]:8765"}, True, None, id="an IPv6 loopback address"),
        pytest.param("/sdk/poll", {"host": "[::1"}, True, 400, id="an IPv6 address without the closing bracket"),
        pytest.param("/sdk/poll", {}, True, 400, id="no Host header"),
    ],
)
def test_requests_are_allowed_or_refused(path: str, headers: dict[str, str], is_local: bool, status: int | None) -> None:
    refusal = check_access(path, headers, is_local=is_local, hosts=LOOPBACK_HOSTS, token=TOKEN)
    assert (refusal and refusal.status) == status


@pytest.mark.parametrize(
    ("host", "name"),
    [
        pytest.param("localhost", "localhost", id="a name"),
        pytest.param("localhost:8765", "localhost", id="a name with a port"),
        pytest.param("flags-1.dev_box.example:80", "flags-1.dev_box.example", id="a name with dots, dashes and underscores"),
        pytest.param("127.0.0.1:65535", "127.0.0.1", id="an address with the last port"),
        pytest.param("[::1]", "[::1]", id="an IPv6 address"),
        pytest.param("[::1]:8765", "[::1]", id="an IPv6 address with a port"),
        pytest.param("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]", id="a mapped address"),
        pytest.param("[::1]evil", None, id="text after the bracket"),
        pytest.param("[::1].evil.example", None, id="a domain after the bracket"),
        pytest.param("[::1]:8765.evil.example", None, id="a domain after the port"),
        pytest.param("[::1]:80@evil.example", None, id="a host after the port"),
        pytest.param("[::1]]", None, id="two closing brackets"),
        pytest.param("[::1", None, id="no closing bracket"),
        pytest.param("[::1%25eth0]", None, id="a zone"),
        pytest.param("[localhost]", None, id="a name in brackets"),
        pytest.param("[]", None, id="empty brackets"),
        pytest.param("::1", None, id="an IPv6 address without brackets"),
        pytest.param("localhost:", None, id="a colon without a port"),
        pytest.param("localhost:evil", None, id="a port of letters"),
        pytest.param("localhost:65536", None, id="a port above the last one"),
        pytest.param("localhost:80:80", None, id="two ports"),
        pytest.param("localhost:-1", None, id="a negative port"),
        pytest.param("localhost:٨٠", None, id="a port in other digits"),
        pytest.param("localhost:80@evil.example", None, id="a user and a password"),
        pytest.param("evil.example@localhost", None, id="a user"),
        pytest.param("localhost/evil", None, id="a path"),
        pytest.param("localhost\\evil", None, id="a backslash"),
        pytest.param("localhost?evil", None, id="a query"),
        pytest.param("localhost#evil", None, id="a fragment"),
        pytest.param("localhost,evil.example", None, id="two hosts"),
        pytest.param("localhost evil.example", None, id="a space"),
        pytest.param(" localhost", None, id="a leading space"),
        pytest.param("localhost\n", None, id="a line break"),
        pytest.param("localhost\x00", None, id="a null"),
        pytest.param("http://localhost", None, id="a URL"),
        pytest.param("lócalhost", None, id="a letter outside ASCII"),
        pytest.param("", None, id="an empty header"),
    ],
)
def test_a_host_header_is_parsed_strictly(host: str, name: str | None) -> None:
    assert host_name(host) == name
    refusal = check_access("/sdk/poll", {"host": host}, is_local=True, hosts=[*LOOPBACK_HOSTS, name or "localhost"], token=TOKEN)
    assert (refusal is None) is (name is not None)


def test_a_server_without_a_token_refuses_all_control_calls() -> None:
    refusal = check_access(
        "/control/state", LOCAL | {"authorization": "Bearer None"}, is_local=True, hosts=LOOPBACK_HOSTS, token=None
    )
    assert refusal is not None
    assert refusal.status == 401


@pytest.mark.parametrize(
    ("peer", "server", "is_local"),
    [
        ("127.0.0.1", "0.0.0.0", True),
        ("127.8.9.1", None, True),
        ("::1", None, True),
        ("::ffff:127.0.0.1", None, True),
        ("192.168.1.7", "192.168.1.7", True),
        ("192.168.1.8", "192.168.1.7", False),
        ("::ffff:192.168.1.8", None, False),
        ("testclient", "testclient", False),
        (None, None, False),
    ],
)
def test_requests_of_this_machine_are_recognized_by_address(peer: str | None, server: str | None, is_local: bool) -> None:
    assert is_this_machine(peer, server) is is_local


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_a_server_without_a_token_has_no_page(token: str | None) -> None:
    transport = httpx.ASGITransport(app=create_app(ServerState(), token=token))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.get("/")).status_code == (404 if token is None else 200)
        assert (await client.get("/control/state", headers=KEY)).status_code == (401 if token is None else 200)


@pytest.mark.parametrize(
    ("headers", "peer", "status"),
    [
        pytest.param({"Host": "attacker.example"}, "127.0.0.1", 400, id="a foreign name"),
        pytest.param({"Origin": "http://attacker.example"}, "127.0.0.1", 403, id="a foreign origin"),
        pytest.param({"Authorization": ""}, "127.0.0.1", 401, id="no token"),
        pytest.param({}, "192.0.2.1", 403, id="another machine"),
    ],
)
async def test_refused_requests_have_no_effect(headers: dict[str, str], peer: str, status: int) -> None:
    state = ServerState.of({"flagValues": {"a": 1}})
    transport = httpx.ASGITransport(app=create_app(state, token=TOKEN), client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=KEY) as client:
        for method, path in (
            ("POST", "/control/flip"),
            ("PUT", "/control/document"),
            ("DELETE", "/control/flags/a"),
            ("GET", "/control/state"),
        ):
            answer = await client.request(method, path, headers=headers, content=b'{"flag": "a"}')
            assert answer.status_code == status
            assert list(answer.json()) == ["error"]
    assert state.version == 1
    assert state.clients.all == ()
