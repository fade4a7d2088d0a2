"""OFREP: the results, errors and conditional requests of the development server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from aioflags.devserver import Fault, FaultKind, ServerState, create_app
from aioflags.devserver.endpoints import LAUNCHDARKLY_ENDPOINTS, Endpoint
from tests.devserver.endpoint_requests import request_to

ENABLED = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
FLAGD = {
    "metadata": {"flagSetId": "web"},
    "flags": {
        "on": ENABLED,
        "off": {"state": "DISABLED", "variants": {"on": True}, "defaultVariant": "on"},
        "plan": {
            "state": "ENABLED",
            "variants": {"pro": "P", "free": ["F"]},
            "defaultVariant": "free",
            "targeting": {"if": [{"==": [{"var": "plan"}, "pro"]}, "pro", None]},
            "metadata": {"owner": "web"},
        },
        "me": {"state": "ENABLED", "variants": {"u1": 1}, "targeting": {"var": "targetingKey"}},
        "broken": {"state": "ENABLED", "variants": {"on": True}, "targeting": {"unknown": []}},
        "no-state": {"variants": {"on": True}},
        "a/b": {"state": "ENABLED", "variants": {"1": 1.0}, "targeting": {"+": [0, 1]}},
        "list": {"state": "ENABLED", "variants": {"on": True}, "targeting": {"merge": [1]}},
        "null": {"state": "ENABLED", "variants": {"on": None}, "defaultVariant": "on"},
        "mixed": {"state": "ENABLED", "variants": {"a": "A", "b": True}, "defaultVariant": "b", "targeting": {"if": [True, "a"]}},
        "lists": {"state": "ENABLED", "variants": {"a": "A", "b": [1]}, "defaultVariant": "b", "targeting": {"if": [True, "a"]}},
    },
}
LAUNCHDARKLY = {
    "flags": {
        "off": {"on": False, "variations": ["a", "b"], "offVariation": 1},
        "none": {"on": False, "variations": ["a"]},
        "targeted": {
            "on": True,
            "variations": [1, 2],
            "fallthrough": {"variation": 0},
            "targets": [{"values": ["u1"], "variation": 1}],
        },
        "device": {
            "on": True,
            "variations": [1, 2],
            "fallthrough": {"variation": 0},
            "rules": [{"variation": 1, "clauses": [{"contextKind": "device", "attribute": "os", "op": "in", "values": ["x"]}]}],
        },
        "rollout": {
            "on": True,
            "variations": [1, 2],
            "fallthrough": {"rollout": {"variations": [{"variation": 1, "weight": 100000}]}},
        },
        "broken": {"on": True, "variations": [], "fallthrough": {"variation": 5}},
    }
}
SPLIT = {"value": 2, "variant": "1", "reason": "SPLIT"}
DEVICE = {"value": 2, "variant": "1", "reason": "TARGETING_MATCH"}
SET: dict[str, Any] = {"flagSetId": "web"}
ODD_KEYS = ["a\nb", "a/b", "/", "a//b/", "50%", "%2F", "a?b#c", "ключ ☃", " ", "a.b", "..a", "...", "\t\r\x7f", "\u2028"]
ROOT = "/ofrep/v1/evaluate/flags"


@pytest.fixture(params=[FLAGD])
async def client(request: pytest.FixtureRequest) -> AsyncGenerator[httpx.AsyncClient, None]:
    transport = httpx.ASGITransport(create_app(ServerState.of(request.param)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def evaluate(client: httpx.AsyncClient, key: str, /, **context: object) -> tuple[int, Any]:
    answer = await client.post(f"{ROOT}/{key}", json={"context": context})
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("key", "context", "result"),
    [
        pytest.param("on", {}, {"value": True, "variant": "on", "reason": "STATIC", "metadata": SET}, id="no targeting"),
        pytest.param("off", {}, {"reason": "DISABLED", "metadata": SET}, id="a disabled flag has no value"),
        pytest.param(
            "plan",
            {"plan": "pro"},
            {"value": "P", "variant": "pro", "reason": "TARGETING_MATCH", "metadata": {**SET, "owner": "web"}},
            id="a rule that matches",
        ),
        pytest.param(
            "plan",
            {},
            {"value": ["F"], "variant": "free", "reason": "DEFAULT", "metadata": {**SET, "owner": "web"}},
            id="a rule that gives null",
        ),
        pytest.param(
            "me",
            {"targetingKey": "u1"},
            {"value": 1, "variant": "u1", "reason": "TARGETING_MATCH", "metadata": SET},
            id="the targeting key",
        ),
        pytest.param("me", {}, {"reason": "DEFAULT", "metadata": SET}, id="no default variant"),
        pytest.param(
            "mixed",
            {},
            {"value": "A", "variant": "a", "reason": "TARGETING_MATCH", "metadata": SET},
            id="a variant of another type than the default variant",
        ),
        pytest.param(
            "a%2Fb", {}, {"value": 1, "variant": "1", "reason": "TARGETING_MATCH", "metadata": SET}, id="a key with a slash"
        ),
    ],
)
async def test_a_flag_of_flagd_is_evaluated(client: httpx.AsyncClient, key: str, context: Any, result: Any) -> None:
    assert await evaluate(client, key, **context) == (200, {"key": key.replace("%2F", "/"), **result})


@pytest.mark.parametrize(
    "client",
    [{"flags": dict.fromkeys(ODD_KEYS, ENABLED)}, {"flagValues": dict.fromkeys(ODD_KEYS, True)}],
    indirect=True,
)
async def test_a_flag_with_an_odd_key_is_evaluated(client: httpx.AsyncClient) -> None:
    for key in ODD_KEYS:
        status, result = await evaluate(client, quote(key, safe=""), targetingKey="u1")
        assert (status, result["key"], result["value"]) == (200, key, True)
        assert (await evaluate(client, quote(f"{key}\n", safe=""), targetingKey="u1"))[0] == 404


async def test_an_empty_key_is_an_unknown_flag(client: httpx.AsyncClient) -> None:
    assert (await evaluate(client, ""))[0] == 404


@pytest.mark.parametrize("client", [LAUNCHDARKLY], indirect=True)
@pytest.mark.parametrize(
    ("key", "context", "result"),
    [
        pytest.param("off", {}, {"value": "b", "variant": "1", "reason": "DISABLED"}, id="a flag that is off"),
        pytest.param("none", {}, {"reason": "DISABLED"}, id="a flag that is off without a variation"),
        pytest.param("targeted", {}, {"value": 2, "variant": "1", "reason": "TARGETING_MATCH"}, id="a target"),
        pytest.param("targeted", {"targetingKey": "x"}, {"value": 1, "variant": "0", "reason": "DEFAULT"}, id="the fallthrough"),
        pytest.param(
            "device",
            {"kind": "device", "os": "x"},
            DEVICE,
            id="a rule for another kind of context",
        ),
        pytest.param("device", {"kind": "multi", "user": {"key": "a"}, "device": {"key": "b", "os": "x"}}, DEVICE, id="kinds"),
        pytest.param("rollout", {}, SPLIT, id="a rollout"),
        pytest.param("rollout", {"targetingKey": "", "key": "a"}, SPLIT, id="the key in the attribute key"),
    ],
)
async def test_a_flag_of_launchdarkly_is_evaluated(client: httpx.AsyncClient, key: str, context: Any, result: Any) -> None:
    assert await evaluate(client, key, **{"targetingKey": "u1", **context}) == (200, {"key": key, **result})


@pytest.mark.parametrize(
    ("client", "key", "status", "code"),
    [
        pytest.param(FLAGD, "x", 404, "FLAG_NOT_FOUND", id="an unknown flag"),
        pytest.param(FLAGD, "broken", 400, "PARSE_ERROR", id="an unknown operator"),
        pytest.param(FLAGD, "no-state", 400, "PARSE_ERROR", id="a flag without state"),
        pytest.param(FLAGD, "me", 400, "GENERAL", id="a rule that names no variant"),
        pytest.param(FLAGD, "list", 400, "GENERAL", id="a rule that gives a list"),
        pytest.param(FLAGD, "null", 400, "GENERAL", id="the variant null"),
        pytest.param(LAUNCHDARKLY, "x", 404, "FLAG_NOT_FOUND", id="an unknown flag of LaunchDarkly"),
        pytest.param(LAUNCHDARKLY, "broken", 400, "PARSE_ERROR", id="a broken flag of LaunchDarkly"),
    ],
    indirect=["client"],
)
async def test_an_evaluation_fails(client: httpx.AsyncClient, key: str, status: int, code: str) -> None:
    found, answer = await evaluate(client, key, targetingKey="u2")
    assert (found, answer["key"], answer["errorCode"]) == (status, key, code)
    assert answer["errorDetails"]


@pytest.mark.parametrize("client", [LAUNCHDARKLY], indirect=True)
async def test_rules_of_launchdarkly_need_a_targeting_key(client: httpx.AsyncClient) -> None:
    status, answer = await evaluate(client, "targeted")
    assert (status, answer["errorCode"]) == (400, "TARGETING_KEY_MISSING")


@pytest.mark.parametrize("client", [LAUNCHDARKLY], indirect=True)
@pytest.mark.parametrize(
    ("context", "message"),
    [
        pytest.param({"targetingKey": [5]}, "key: expected a string, got list", id="a key that has no text"),
        pytest.param({"targetingKey": "a", "kind": 5}, "kind: expected a string, got int", id="a kind that is not text"),
        pytest.param({"targetingKey": "a", "privateAttributes": 5}, "private: expected a list of strings, got int", id="private"),
        pytest.param({"kind": "multi", "user": {}}, "no targeting key", id="one of several kinds without a key"),
    ],
)
async def test_rules_of_launchdarkly_need_a_valid_context(client: httpx.AsyncClient, context: Any, message: str) -> None:
    status, answer = await evaluate(client, "targeted", **context)
    assert (status, answer["errorCode"], answer["errorDetails"]) == (400, "INVALID_CONTEXT", message)


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        pytest.param(b"{", {}, "PARSE_ERROR", id="incomplete JSON"),
        pytest.param(b"[]", {}, "INVALID_CONTEXT", id="not an object"),
        pytest.param(b'{"context": 1}', {}, "INVALID_CONTEXT", id="a context that is not an object"),
        pytest.param(b"{}", {"Flagd-Selector": "x=y"}, "GENERAL", id="an invalid selector"),
    ],
)
@pytest.mark.parametrize("path", [ROOT, f"{ROOT}/on"])
async def test_a_bad_request_is_refused(client: httpx.AsyncClient, path: str, body: bytes, headers: Any, code: str) -> None:
    answer = await client.post(path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)


async def test_all_flags_are_evaluated_in_one_request(client: httpx.AsyncClient) -> None:
    answer = (await client.post(ROOT, json={"context": {"plan": "pro", "targetingKey": "u1"}})).json()
    results = {result["key"]: result.get("errorCode", result.get("value")) for result in answer["flags"]}
    assert results == {
        "on": True,
        "off": None,
        "plan": "P",
        "me": 1,
        "broken": "PARSE_ERROR",
        "no-state": "PARSE_ERROR",
        "a/b": 1,
        "list": "GENERAL",
        "null": "GENERAL",
        "mixed": "GENERAL",  # flagd: all flags at once have the type of their default variant
        "lists": "A",
    }
    assert answer["metadata"] == {}


async def test_a_selector_limits_the_flags(client: httpx.AsyncClient) -> None:
    answer = await client.post(ROOT, json={}, headers={"Flagd-Selector": "flagSetId=mobile"})
    assert answer.json() == {"flags": [], "metadata": {"flagSetId": "mobile"}}


async def test_results_that_the_client_has_are_not_sent_again(client: httpx.AsyncClient) -> None:
    tag = (await client.post(ROOT, json={})).headers["ETag"]
    same = await client.post(ROOT, json={}, headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    other = await client.post(ROOT, json={"context": {"plan": "pro"}}, headers={"If-None-Match": tag})
    assert other.status_code == 200


@pytest.mark.parametrize("endpoint", sorted(LAUNCHDARKLY_ENDPOINTS))
async def test_launchdarklys_endpoints_refuse_flags_of_flagd(client: httpx.AsyncClient, endpoint: Endpoint) -> None:
    method, path = request_to(endpoint)
    answer = await client.request(method, path)
    assert (answer.status_code, "flags in flagd's format" in answer.json()["error"]) == (404, True)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        pytest.param(Fault(kind=FaultKind.STATUS, status=429), 429, id="a status"),
        pytest.param(Fault(kind=FaultKind.MALFORMED), 200, id="malformed JSON"),
    ],
)
async def test_a_fault_affects_ofrep(fault: Fault, status: int) -> None:
    state = ServerState.of(FLAGD)
    state.inject(fault)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(state)), base_url="http://localhost") as client:
        answer = await client.post(ROOT, json={})
    assert answer.status_code == status
    with pytest.raises(ValueError, match="Expecting"):
        answer.json()
