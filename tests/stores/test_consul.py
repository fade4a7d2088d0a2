"""ConsulStore: its options and requests, and data that other programs wrote."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import quote

import pytest

from aioflags import ConfigError, Http, StoreError
from aioflags.model.change import ObjectKind
from aioflags.stores import ConsulStore, Store, StoreContext, StoredItem
from tests.stores.conftest import Build
from tests.stores.test_items import STORED_TEXTS
from tests.support.consul_server import SECRETS, ConsulServer, kept_in, put_into
from tests.support.played_consul import PlayedConsul
from tests.support.raw_server import raw_server, saying
from tests.support.scripted_http import Answer, Service

CONTEXT = StoreContext(environment="an environment")
FLAG, SEGMENT = ObjectKind.FLAG, ObjectKind.SEGMENT
TOKEN = "c0ffee00-token-of-a-test"


def item(key: str, version: int = 1, kind: ObjectKind = FLAG) -> StoredItem:
    return StoredItem(kind, key, version, b'{"key":"%b","version":%d}' % (key.encode(), version))


# -- options


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param({"url": 1}, "url: expected str, got int", id="an address that is not text"),
        pytest.param({"url": "localhost:8500"}, "url: expected an address that starts with http:// or https://", id="no scheme"),
        pytest.param({"url": "http://user:secret@h"}, "url: remove the user name and password", id="a password in the address"),
        pytest.param({"prefix": None}, "prefix: expected str, got NoneType", id="no prefix"),
        pytest.param({"prefix": "a/"}, "prefix: expected names with single slashes", id="a prefix that ends with a slash"),
        pytest.param({"prefix": "a/../b"}, "prefix: expected names with single slashes", id="a prefix that leads elsewhere"),
        pytest.param({"token": b"secret"}, "token: expected str or NoneType, got bytes", id="a token that is not text"),
        pytest.param({"token": "secret\n"}, "token: only printable ASCII", id="a token that cannot be sent"),
        pytest.param({"datacenter": 1}, "datacenter: expected str", id="a datacenter that is not text"),
        pytest.param({"namespace": "ü"}, "namespace: only printable ASCII", id="a namespace that Consul cannot have"),
        pytest.param({"http": 2.0}, "http: expected Http, got float", id="a timeout in place of Http"),
    ],
)
def test_an_invalid_option_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ConsulStore(**options)
    assert problem in str(raised.value).replace("or None,", "or NoneType,")
    assert "secret" not in str(raised.value)


def test_empty_options_are_the_defaults() -> None:
    assert ConsulStore("", prefix="", token="", datacenter="", namespace="") == ConsulStore()


async def test_the_token_is_in_no_repr() -> None:
    store = ConsulStore(token=TOKEN)
    built: Any = store.build(CONTEXT)
    assert repr(store).startswith("ConsulStore(url='http://localhost:8500', prefix='launchdarkly', datacenter=None")
    for each in (store, built, built._connection, built._connection._server):
        assert TOKEN not in repr(each)
    await built.aclose()


# -- requests


async def test_every_request_has_the_token_the_datacenter_and_the_namespace() -> None:
    marker = b'[{"Key":"t/f/$inited","ModifyIndex":1,"Value":null}]'
    absent = [Answer(404, {"X-Consul-Index": "1"}) for _ in range(2)]
    played = Service(*absent, Answer(200, {"X-Consul-Index": "1"}, [marker]), Answer(200, {}, [b'{"Results":[]}']))
    store = ConsulStore(
        "https://consul.test/proxy/", prefix="t/f", token=TOKEN, datacenter="eu west", namespace="team", http=played.http()
    )
    built = store.build(CONTEXT)
    assert not await built.initialized()
    await built.upsert([item("a b/ü?#%")])
    await built.aclose()
    query = "dc=eu+west&ns=team"
    assert [str(request.url) for request in played.requests] == [
        f"https://consul.test/proxy/v1/kv/t/f/$inited?{query}".replace("$", "%24"),
        f"https://consul.test/proxy/v1/kv/t/f/features/{quote('a b/ü?#%')}?{query}",
        f"https://consul.test/proxy/v1/kv/t/f/%24inited?{query}",
        f"https://consul.test/proxy/v1/txn?{query}",
    ]
    assert {request.headers["x-consul-token"] for request in played.requests} == {TOKEN}
    assert b'"Namespace":"team"' in played.requests[-1].content
    assert played.all_closed


async def test_without_a_token_no_header_for_it_is_sent() -> None:
    played = Service(Answer(404, {"X-Consul-Index": "1"}))
    built = ConsulStore(http=played.http()).build(CONTEXT)
    await built.initialized()
    await built.aclose()
    assert "x-consul-token" not in played.requests[0].headers
    assert "?" not in str(played.requests[0].url)


@pytest.mark.real_time
@pytest.mark.parametrize("times", [1, 3])
async def test_a_caller_that_is_cancelled_more_than_once_leaves_no_connection(times: int) -> None:
    async with raw_server(saying()) as server:
        store = ConsulStore(f"http://127.0.0.1:{server.port}").build(CONTEXT)
        caller = asyncio.create_task(store.get(FLAG, "a"))
        await server.asked.wait()
        for _ in range(times):
            caller.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await caller
        async with asyncio.timeout(5):
            await server.ended.wait()
        await store.aclose()


@pytest.mark.parametrize("key", ["..", "../../secret", "a//b", ".", "a/", "\ud800", ""])
async def test_a_key_that_a_url_cannot_have_reads_no_other_key(build: Build, key: str) -> None:
    """A program may evaluate a flag whose key came from outside."""
    played = PlayedConsul()
    played.answer("PUT", "/v1/kv/secret", {}, b'{"version":1}')
    store = build(ConsulStore(http=Http(client_factory=played.client)))
    await store.replace({})
    assert await store.get(FLAG, key) is None
    if key not in ("\ud800", ""):
        await store.upsert([item(key)])
        assert await store.get(FLAG, key) == item(key)
        assert (await store.load())[FLAG] == {key: item(key)}


# -- data of other programs


@pytest.mark.real_time
@pytest.mark.holds("DS-133")
async def test_a_prefix_keeps_data_apart(build: Build, consul_url: str) -> None:
    ours, theirs = (build(ConsulStore(consul_url, prefix=prefix)) for prefix in ("our", "our/own"))
    await ours.replace({FLAG: {"a": item("a")}})
    await theirs.replace({FLAG: {"b": item("b")}})
    await ours.replace({FLAG: {"a": item("a", 2)}})
    assert kept_in(consul_url).keys() == {"our/$inited", "our/features/a", "our/own/$inited", "our/own/features/b"}
    assert await ours.get(FLAG, "b") is None
    assert (await ours.load())[FLAG].keys() == {"a"}


@pytest.mark.real_time
@pytest.mark.parametrize(("text", "version"), STORED_TEXTS)
async def test_an_unreadable_value_is_left_out_and_the_others_are_read(
    build: Build, consul_url: str, text: bytes, version: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    put_into(consul_url, "launchdarkly/features/odd", text)
    put_into(consul_url, "launchdarkly/features/good", b'{"key":"good","version":1}')
    # Consul's web page makes such an entry for a folder.
    put_into(consul_url, "launchdarkly/features/", b"")
    put_into(consul_url, "launchdarkly/other/thing", b"not ours")
    store = build(ConsulStore(consul_url))
    flags = (await store.load())[FLAG]
    assert flags["good"].version == 1
    assert flags.keys() <= {"good", "odd"}
    assert (flags["odd"].version if "odd" in flags else None) == version
    assert await store.get(FLAG, "odd") == flags.get("odd")
    assert caplog.text.count("flag odd cannot be read") == (version is None)
    assert caplog.text.count("cannot be read") == (version is None)
    await store.upsert([item("odd", 8)])
    assert (await store.load())[FLAG]["odd"].version == 8
    await store.replace({})
    assert kept_in(consul_url).keys() == {"launchdarkly/$inited", "launchdarkly/features/", "launchdarkly/other/thing"}


# -- tokens


CALLS = ("initialized", "is_available", "load", "get", "upsert", "replace")


async def _attempt(store: Store, call: str) -> str:
    """The error of a call; ``done`` if it succeeds."""
    try:
        match call:
            case "initialized":
                await store.initialized()
            case "is_available":
                await store.is_available()
            case "load":
                await store.load()
            case "get":
                await store.get(FLAG, "a")
            case "upsert":
                await store.upsert([item("a", 2)])
            case _:
                await store.replace({FLAG: {"a": item("a", 2)}})
    except StoreError as error:
        return str(error)
    return "done"


DENIED, UNKNOWN, REFUSED = "Consul answered 403: Permission denied", "Consul answered 403: ACL not found", "Permission denied"


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("name", "results"),
    [
        pytest.param("writer", {}, id="one that may write"),
        pytest.param(
            "reader",
            dict.fromkeys(("upsert", "replace"), "Consul refused a transaction: Permission denied"),
            id="one that may read",
        ),
        pytest.param(
            "partly",
            {**dict.fromkeys(("initialized", "load", "replace"), DENIED), "upsert": REFUSED},
            id="one that may not read segments",
        ),
        pytest.param(
            "stranger",
            dict.fromkeys(CALLS, DENIED),
            id="one that may do nothing here",
        ),
        pytest.param("?", dict.fromkeys(CALLS, UNKNOWN), id="an unknown one"),
    ],
)
async def test_what_a_token_does_not_allow_is_an_error_and_never_an_empty_store(
    build: Build, consul_tokens: ConsulServer, name: str, results: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    writer = build(ConsulStore(consul_tokens.url, token=SECRETS["writer"]))
    await writer.replace({SEGMENT: {"s": item("s", kind=SEGMENT)}, FLAG: {"a": item("a")}})
    token = SECRETS.get(name, TOKEN)
    store = build(ConsulStore(consul_tokens.url, token=token))
    for call in CALLS:
        result = await _attempt(store, call)
        assert results.get(call, "done") in result
        assert token not in result
    assert token not in caplog.text
    assert await writer.get(FLAG, "a") == item("a", 2 if name == "writer" else 1)


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param({"datacenter": "mars"}, "Consul answered 500: No path to datacenter", id="an unknown datacenter"),
        pytest.param({"namespace": "team"}, "Namespaces are a Consul Enterprise feature", id="a namespace without Enterprise"),
    ],
)
async def test_an_option_that_the_server_refuses_is_an_error_with_its_reason(
    build: Build, consul_url: str, options: dict[str, Any], problem: str
) -> None:
    store = build(ConsulStore(consul_url, **options))
    for call in ("initialized", "load", "get", "upsert", "replace"):
        assert problem in await _attempt(store, call)


async def test_a_server_that_repeats_the_token_does_not_make_us_show_it(build: Build) -> None:
    played = Service(Answer(500, {}, [f"bad token {TOKEN}\r\n{'x' * 1000}".encode()]))
    store = build(ConsulStore(token=TOKEN, http=played.http()))
    result = await _attempt(store, "load")
    assert result.startswith("Consul answered 500: bad token ***")
    assert TOKEN not in result


# -- answers that are not Consul's


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        pytest.param(
            Answer(404, {}, [b"<h1>Not Found</h1>"]), "Consul answered 404: <h1>Not Found</h1>", id="another server's 404"
        ),
        pytest.param(Answer(301, {"Location": "/elsewhere"}), "Consul answered 301", id="a redirect"),
        pytest.param(Answer(204), "Consul answered 204", id="a success without a body"),
        pytest.param(
            Answer(429, {}, [b"Your IP is issuing too many concurrent connections"]), "429: Your IP is issuing", id="too many"
        ),
        pytest.param(Answer(500, {}, [b"No cluster leader"]), "Consul answered 500: No cluster leader", id="no leader"),
        pytest.param(Answer(200, {}, [b"<html>log in</html>"]), "invalid answer|not a list of entries", id="a page of a proxy"),
        pytest.param(Answer(200, {}, [b"[", 30.0, b"]"]), "no bytes for 15 s", id="a body that stalls"),
        pytest.param(Answer(200, {}, [b"[" + b" " * 2_000_000 + b"]"]), "1000000|too large|more than", id="a body over the limit"),
        pytest.param(Answer(200, {"Content-Encoding": "br"}, [b"x"]), "coding", id="a coding that was not requested"),
    ],
)
async def test_an_answer_that_consul_does_not_give_is_an_error(build: Build, answer: Answer, problem: str) -> None:
    store = build(ConsulStore(http=Service(answer).http(max_response_bytes=1_000_000)))
    for call in CALLS:
        with pytest.raises(StoreError, match=problem):
            raise StoreError(await _attempt(store, call))


@pytest.mark.real_time
async def test_a_refused_connection_is_noticed_at_once(build: Build) -> None:
    store = build(ConsulStore("http://127.0.0.1:9", token=TOKEN))
    with pytest.raises(StoreError, match=r"Consul: ConnectError.*127\.0\.0\.1:9"):
        await store.is_available()


@pytest.mark.parametrize("used", [True, False])
async def test_a_closed_store_sends_nothing_more(used: bool) -> None:
    played = PlayedConsul()
    store = ConsulStore(http=Http(client_factory=played.client)).build(CONTEXT)
    if used:
        await store.initialized()
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreError, match="closed"):
        await store.initialized()
    assert len(played.requests) == used
