"""The endpoints for client-side SDKs: requests and responses, without a socket."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from aioflags.devserver import Endpoint, ServerState, create_app
from aioflags.devserver.data.client_flags import MAX_CONTEXT_BYTES, MAX_ENCODED_LENGTH
from aioflags.model.change import Selector
from aioflags.model.context import Context
from aioflags.protocol.client_side import ClientSide
from aioflags.protocol.side import DataRequest
from aioflags.runtime.logs import logger
from tests.devserver.endpoint_requests import ANN, encoded

BOTH = {"usingMobileKey": True, "usingEnvironmentId": True}
IS_PRO = {"contextKind": "org", "attribute": "plan", "op": "in", "values": ["pro"]}
DOCUMENT = {
    "flags": {
        "plan": {
            "on": True,
            "variations": ["free", "pro"],
            "fallthrough": {"variation": 0},
            "rules": [{"id": "r", "variation": 1, "clauses": [IS_PRO]}],
            "clientSideAvailability": BOTH,
        }
    },
    "flagValues": {"for-mobile": 1},
}
PRO = Context("ü", "org", attributes={"plan": "pro"})
WHY = {"kind": "RULE_MATCH", "ruleIndex": 0, "ruleId": "r"}


@pytest.fixture
def state() -> ServerState:
    return ServerState.of(DOCUMENT)


@pytest.fixture
async def client(state: ServerState) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app(state))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


async def send(client: httpx.AsyncClient, request: DataRequest, **headers: str) -> httpx.Response:
    return await client.request(
        "GET" if request.body is None else "REPORT",
        request.url,
        content=request.body,
        headers={"Authorization": "mob-x", **headers},
    )


def puts(response: httpx.Response) -> dict[str, Any]:
    """The evaluated flags in an FDv2 poll."""
    assert response.status_code == 200
    data = [event["data"] for event in response.json()["events"] if event["event"] == "put-object"]
    assert {put["kind"] for put in data} == {"flag-eval"}
    assert all(put["version"] == put["object"]["version"] for put in data)
    return {put["key"]: put["object"] for put in data}


@pytest.mark.parametrize("use_report", [False, True])
@pytest.mark.parametrize("with_reasons", [False, True])
async def test_polls_have_the_flags_of_their_context(client: httpx.AsyncClient, *, use_report: bool, with_reasons: bool) -> None:
    side = ClientSide(context=PRO, use_report=use_report, with_reasons=with_reasons, secure_mode_hash="any")
    flags = puts(await send(client, side.poll("", Selector.none())))
    assert {key: flag["value"] for key, flag in flags.items()} == {"plan": "pro", "for-mobile": 1}
    assert flags["plan"].get("reason") == (WHY if with_reasons else None)
    assert (await send(client, side.fdv1_poll("", logger))).json() == flags


@pytest.mark.parametrize(
    ("method", "path", "keys"),
    [
        pytest.param("POST", "/sdk/poll/eval", {"plan", "for-mobile"}, id="FDv2 by POST"),
        pytest.param("POST", "/sdk/poll/eval?auth=id", {"plan"}, id="FDv2 with a client-side id"),
        pytest.param("REPORT", "/msdk/evalx/user", {"plan", "for-mobile"}, id="a legacy path of mobile SDKs"),
        pytest.param("GET", "/msdk/evalx/users/{context}", {"plan", "for-mobile"}, id="a legacy path with the context"),
        pytest.param("GET", "/sdk/evalx/id/contexts/{context}", {"plan"}, id="JavaScript"),
        pytest.param("REPORT", "/sdk/evalx/id/context", {"plan"}, id="JavaScript by REPORT"),
        pytest.param("GET", "/sdk/evalx/id/users/{context}", {"plan"}, id="JavaScript on a legacy path"),
        pytest.param("REPORT", "/sdk/evalx/id/user", {"plan"}, id="JavaScript on a legacy path by REPORT"),
    ],
)
async def test_other_requests_have_the_flags_that_their_kind_may_see(
    client: httpx.AsyncClient, method: str, path: str, keys: set[str]
) -> None:
    content = None if method == "GET" else b'{"kind": "user", "key": "ann"}'
    response = await client.request(method, path.format(context=encoded(ANN)), content=content)
    flags = puts(response) if "/poll/" in path else response.json()
    assert set(flags) == keys


async def test_a_current_basis_gets_no_data_and_an_older_one_the_changes(client: httpx.AsyncClient, state: ServerState) -> None:
    side, basis = ClientSide(context=ANN), Selector(state.transfer().selector, 1)
    current = (await send(client, side.poll("", basis))).json()["events"]
    assert [event["data"]["payloads"][0]["intentCode"] for event in current] == ["none"]
    state.flip("plan")
    assert list(puts(await send(client, side.poll("", basis)))) == ["plan"]


@pytest.mark.parametrize("path", ["/sdk/poll/eval/{context}", "/msdk/evalx/contexts/{context}", "/sdk/evalx/id/contexts/{context}"])
async def test_an_unchanged_poll_is_304_until_an_edit(client: httpx.AsyncClient, state: ServerState, path: str) -> None:
    path = path.format(context=encoded(ANN))
    tag = (await client.get(path)).headers["ETag"]
    unchanged = await client.get(path, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    state.flip("plan")
    assert (await client.get(path, headers={"If-None-Match": tag})).status_code == 200


async def test_a_report_is_never_304(client: httpx.AsyncClient) -> None:
    request = ClientSide(context=ANN, use_report=True).poll("", Selector.none())
    tag = (await send(client, request)).headers["ETag"]
    assert (await send(client, request, **{"If-None-Match": tag})).status_code == 200


UNREAD = pytest.mark.leaves("generators", reason="httpx does not close a body that the server refuses")


def in_path(below: str) -> str:
    """The path that has the context in it, for the path of a REPORT."""
    return below.replace("/context", "/contexts")


@pytest.mark.parametrize(
    ("method", "body", "message"),
    [
        pytest.param("REPORT", b'{"kind": "user"}', "the context cannot be used: ", id="no key"),
        pytest.param("GET", b'{"kind": "user"}', "the context cannot be used: ", id="no key, in the path"),
        pytest.param("REPORT", b"{", "the context: ", id="text that is not JSON"),
        pytest.param("GET", b"{", "the context: ", id="text that is not JSON, in the path"),
        pytest.param("REPORT", b"x" * (MAX_CONTEXT_BYTES + 1), f"{MAX_CONTEXT_BYTES} are accepted", marks=UNREAD, id="a long body"),
        pytest.param("GET", b"x" * (MAX_ENCODED_LENGTH * 3 // 4 + 1), f"{MAX_ENCODED_LENGTH} are accepted", id="a long path"),
    ],
)
@pytest.mark.parametrize("path", ["/sdk/poll/eval", "/sdk/stream/eval", "/msdk/evalx/context", "/meval", "/eval/id"])
async def test_a_context_that_cannot_be_used_is_refused(
    client: httpx.AsyncClient, state: ServerState, path: str, method: str, body: bytes, message: str
) -> None:
    if method == "GET":
        refused = await client.get(f"{in_path(path)}/{base64.urlsafe_b64encode(body).decode()}")
    else:
        refused = await client.request(method, path, content=body)
    assert refused.status_code == 400
    assert message in refused.json()["error"]
    assert "\n" not in refused.json()["error"]
    assert state.open_streams.total() == 0


@pytest.mark.parametrize("path", ["/sdk/poll/eval/!", "/msdk/evalx/contexts/a", "/sdk/evalx/id/contexts/", "/meval/%C3%A9"])
async def test_a_path_that_is_not_base64_is_refused(client: httpx.AsyncClient, path: str) -> None:
    refused = await client.get(path)
    assert (refused.status_code, "the context" in refused.json()["error"]) == (400, True)


EVENTS = ["/mobile", "/mobile/events", "/mobile/events/bulk", "/events/bulk/id"]


@pytest.mark.parametrize("path", [*EVENTS, "/mobile/events/diagnostic", "/events/diagnostic/id"])
async def test_events_are_accepted(client: httpx.AsyncClient, state: ServerState, path: str) -> None:
    sent = {"kind": "diagnostic-init", "creationDate": 1, "id": {}} if "diagnostic" in path else [{"kind": "x"}]
    assert (await client.post(path, json=sent)).status_code == 202
    assert state.events.count == 1
    is_diagnostic = state.requests[Endpoint.MOBILE_DIAGNOSTIC] + state.requests[Endpoint.JS_DIAGNOSTIC]
    assert bool(is_diagnostic) is ("diagnostic" in path)


async def test_web_pages_have_no_goals(client: httpx.AsyncClient) -> None:
    assert (await client.get("/sdk/goals/id")).json() == []


@pytest.mark.parametrize(
    ("path", "context", "expected"),
    [
        pytest.param("/sdk/poll/eval", ANN, ("mobile", "ann"), id="a mobile key"),
        pytest.param("/sdk/poll/eval?auth=id", ANN, ("JavaScript", "ann"), id="a client-side id in the query"),
        pytest.param("/sdk/evalx/id/context", PRO, ("JavaScript", "org:ü"), id="a client-side id in the path"),
        pytest.param("/msdk/evalx/context", Context("x" * 41), ("mobile", "x" * 40 + "…"), id="a long key"),
        pytest.param("/msdk/evalx/context", Context("a\x1b[1m"), ("mobile", "a\\x1b[1m"), id="a key that is not printable"),
    ],
)
async def test_a_client_is_listed_with_its_kind_and_context(
    client: httpx.AsyncClient, state: ServerState, path: str, context: Context, expected: tuple[str, str]
) -> None:
    await client.request("REPORT", path, content=ClientSide(context=context, use_report=True).poll("", Selector.none()).body)
    (record,) = state.clients.all
    assert (record.audience, record.context) == expected


async def test_a_javascript_sdk_names_itself_in_a_header_of_its_own(client: httpx.AsyncClient, state: ServerState) -> None:
    await client.get("/sdk/goals/id", headers={"X-LaunchDarkly-User-Agent": "JSClient/1", "User-Agent": "Mozilla/5.0"})
    assert state.clients.all[0].agent == "JSClient/1"


# -- web pages

JAVASCRIPT_PATHS = [
    ("GET", f"/sdk/evalx/id/contexts/{encoded(ANN)}"),
    ("REPORT", "/sdk/evalx/id/context"),
    ("POST", "/events/bulk/id"),
    ("POST", "/events/diagnostic/id"),
    ("GET", "/sdk/goals/id"),
    ("GET", f"/sdk/poll/eval/{encoded(ANN)}?auth=id"),
    ("POST", "/sdk/poll/eval"),
]


@pytest.mark.parametrize(("method", "path"), JAVASCRIPT_PATHS)
@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5173"])
async def test_pages_of_this_machine_may_use_the_endpoints(client: httpx.AsyncClient, method: str, path: str, origin: str) -> None:
    page = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    ask = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "content-type, x-launchdarkly-user-agent"}
    preflight = await client.request("OPTIONS", path, headers=page | ask)
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert method in preflight.headers["Access-Control-Allow-Methods"]
    assert "x-launchdarkly-user-agent" in preflight.headers["Access-Control-Allow-Headers"]
    content = b'{"kind": "user", "key": "ann"}' if method != "GET" else None
    response = await client.request(method, path, headers=page, content=content)
    assert response.status_code in {200, 202}
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "ETag" in response.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(("method", "path"), JAVASCRIPT_PATHS)
@pytest.mark.parametrize("origin", ["https://attacker.example", "null", "http://localhost.attacker.example", "ftp://localhost", ""])
async def test_other_pages_may_not_use_them(client: httpx.AsyncClient, method: str, path: str, origin: str) -> None:
    for headers in ({}, {"Access-Control-Request-Method": method}):
        refused = await client.request("OPTIONS" if headers else method, path, headers={"Origin": origin, **headers})
        assert refused.status_code == 403
        assert "Access-Control-Allow-Origin" not in refused.headers


@pytest.mark.parametrize("path", ["/sdk/poll", "/msdk/evalx/context", "/mobile/events/bulk", "/evaluate"])
async def test_pages_may_not_use_other_endpoints(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.request("REPORT", path, headers={"Origin": "http://localhost:3000"})).status_code == 403


async def test_a_fault_reaches_a_page(client: httpx.AsyncClient, state: ServerState) -> None:
    state.send_directive()
    answer = await client.get(f"/sdk/poll/eval/{encoded(ANN)}", headers={"Origin": "http://localhost:3000"})
    assert answer.headers["X-LD-FD-Fallback"] == "true"
    assert "x-ld-fd-fallback" in answer.headers["Access-Control-Expose-Headers"].lower()
