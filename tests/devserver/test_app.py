"""The SDK endpoints: requests and responses, without a socket."""

from __future__ import annotations

import base64
import gzip
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioflags.devserver import Endpoint, ServerState, create_app
from aioflags.devserver.data.history import fill_defaults
from aioflags.model.change import ObjectKind

DOCUMENT = {"flags": {"a": {"on": True}}, "flagValues": {"long": "x" * 1000}, "segments": {"s": {}}}
A = fill_defaults(ObjectKind.FLAG, {"key": "a", "version": 1, "on": True})


@pytest.fixture
def state() -> ServerState:
    return ServerState.of(DOCUMENT)


@pytest.fixture
async def client(state: ServerState) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app(state))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


POLLS = pytest.mark.parametrize("path", [Endpoint.POLL, Endpoint.FDV1_POLL])


async def test_a_poll_brings_everything_with_its_selector(client: httpx.AsyncClient, state: ServerState) -> None:
    answer = await client.get("/sdk/poll")
    events = answer.json()["events"]
    assert [event["event"] for event in events] == ["server-intent", *["put-object"] * 3, "payload-transferred"]
    assert events[1]["data"] == {"version": 1, "kind": "flag", "key": "a", "object": A}
    assert events[-1]["data"] == {"state": state.transfer().selector, "version": 1}


async def test_a_poll_with_a_basis_brings_the_difference(client: httpx.AsyncClient, state: ServerState) -> None:
    basis = state.transfer().selector
    assert [event["event"] for event in (await client.get("/sdk/poll", params={"basis": basis})).json()["events"]] == [
        "server-intent"
    ]
    state.flip("a")
    events = (await client.get("/sdk/poll", params={"basis": basis})).json()["events"]
    assert [event["event"] for event in events] == ["server-intent", "put-object", "payload-transferred"]


async def test_latest_all_returns_all_flags_and_segments(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/sdk/latest-all")).json()
    assert answer["flags"]["a"] == A
    assert set(answer["flags"]) == {"a", "long"}
    assert answer["segments"] == {"s": fill_defaults(ObjectKind.SEGMENT, {"key": "s", "version": 1})}


@POLLS
async def test_an_unchanged_response_is_304_until_an_edit(client: httpx.AsyncClient, state: ServerState, path: str) -> None:
    tag = (await client.get(path)).headers["ETag"]
    for known in (tag, f'"other", W/{tag}'):
        unchanged = await client.get(path, headers={"If-None-Match": known})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert unchanged.headers["X-LD-EnvID"] == state.environment_id
    state.flip("a")
    changed = await client.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


@POLLS
async def test_a_response_is_compressed_on_request_only(client: httpx.AsyncClient, path: str) -> None:
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    async with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as squeezed:
        assert squeezed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(b"".join([raw async for raw in squeezed.aiter_raw()])) == plain.content


@pytest.mark.parametrize(
    ("path", "headers", "carried"),
    [
        pytest.param("/sdk/poll", {}, True, id="a poll"),
        pytest.param("/sdk/poll", {"If-None-Match": "{tag}"}, True, id="a 304"),
        pytest.param("/sdk/latest-all", {}, False, id="not with FDv1"),
    ],
)
@pytest.mark.parametrize("ttl", [None, 60])
async def test_the_directive_is_sent_with_fdv2_responses(
    client: httpx.AsyncClient, state: ServerState, path: str, headers: dict[str, str], carried: bool, ttl: float | None
) -> None:
    tag = (await client.get(path)).headers["ETag"]
    state.send_directive(ttl=ttl)
    answer = await client.get(path, headers={name: value.format(tag=tag) for name, value in headers.items()})
    assert answer.headers.get("X-LD-FD-Fallback") == ("true" if carried else None)
    assert answer.headers.get("X-LD-FD-Fallback-TTL") == ("60" if carried and ttl else None)
    state.stop_directive()
    assert "X-LD-FD-Fallback" not in (await client.get(path)).headers


async def test_events_about_gates_of_lifted_overrides_have_no_problem(client: httpx.AsyncClient, state: ServerState) -> None:
    served = ["a", "a.override-gate", "a.override-conditions"]
    counters = {"contextKinds": ["user"], "counters": [{"count": 1, "variation": 0, "version": 1}]}
    event = {"kind": "summary", "startDate": 1, "endDate": 2, "features": dict.fromkeys([*served, "b"], counters)}
    headers = {"X-LaunchDarkly-Payload-ID": "p", "X-LaunchDarkly-Event-Schema": "4"}
    await client.post("/bulk", json=[event], headers=headers)
    assert state.events.newest[0].problems == ("unknown flag 'b'",)


@pytest.mark.parametrize("path", ["/bulk", "/diagnostic", "/diagnostic/more/of/it"])
async def test_events_are_accepted_with_any_content(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.post(path, content=b"not even JSON")).status_code == 202


async def test_events_that_are_too_large_are_refused_while_they_arrive(client: httpx.AsyncClient, state: ServerState) -> None:
    sent = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 1024 * 1024

    async with aclosing(endless()) as body:
        assert (await client.post("/bulk", content=body)).status_code == 413
    assert sent < 30
    (refused,) = state.events.newest
    assert refused.problems == ("the payload: the body has too many bytes; 16777216 are accepted",)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/", 404, id="the root without a token"),
        pytest.param("GET", "/sdk/../../etc/passwd", 404, id="a path with dots"),
        pytest.param("GET", "/sdk/poll/", 404, id="a slash at the end is not redirected"),
        pytest.param("POST", "/sdk/poll", 405, id="POST on a poll"),
        pytest.param("GET", "/bulk", 405, id="GET on the events endpoint"),
        pytest.param("HEAD", "/sdk/stream", 405, id="HEAD on a stream"),
    ],
)
async def test_unknown_paths_and_methods_are_refused(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    assert (await client.request(method, path)).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8765", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8765", 200),
        ("attacker.example", 400),
        ("127.0.0.1.attacker.example", 400),
        ("", 400),
    ],
)
async def test_a_foreign_host_name_is_refused(client: httpx.AsyncClient, host: str, status: int) -> None:
    assert (await client.get("/sdk/poll", headers={"Host": host})).status_code == status


async def test_requests_are_counted_by_endpoint(client: httpx.AsyncClient, state: ServerState) -> None:
    for path in ("/sdk/poll", "/sdk/poll", "/sdk/latest-all"):
        await client.get(path)
    for path in ("/bulk", "/diagnostic", "/diagnostic/x"):
        await client.post(path)
    assert state.requests == {Endpoint.POLL: 2, Endpoint.FDV1_POLL: 1, Endpoint.EVENTS: 1, Endpoint.DIAGNOSTIC: 2}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "REPORT", "NONSENSE"]),
    path=st.sampled_from(["/sdk/poll", "/sdk/latest-all", "/bulk", "/diagnostic/", "/sdk/poll/eval", "/msdk/evalx/context"])
    | st.binary().map(lambda raw: "/" + raw.hex())
    | st.binary().map(lambda raw: "/sdk/poll/eval/" + base64.urlsafe_b64encode(raw).decode()),
    query=st.dictionaries(st.sampled_from(["basis", "filter", "x"]), st.text(st.characters(codec="utf-8"))),
    headers=st.dictionaries(
        st.sampled_from(["If-None-Match", "Accept-Encoding", "Content-Type"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    ),
    body=st.binary(),
)
async def test_garbage_never_causes_a_5xx(
    client: httpx.AsyncClient, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes
) -> None:
    answer = await client.request(method, path, params=query, headers=headers, content=body)
    assert answer.status_code < 500
