"""The contract service through its HTTP interface, with real clients: what LaunchDarkly's harness relies on."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from aioflags.devserver import Endpoint, Fault, FaultKind
from tests.contract.harness import running_client, running_harness
from tests.contract.service.client_side import CLIENT_CAPABILITIES
from tests.contract.service.server_side import SERVER_CAPABILITIES, server_side

pytestmark = pytest.mark.real_time

ROOT = Path(__file__).parent.parent.parent
USER = {"kind": "user", "key": "u"}


async def test_the_service_lists_its_capabilities() -> None:
    async with running_harness() as harness:
        status = (await harness.service.get("/")).json()
    assert status["name"] == "aioflags"
    assert status["capabilities"] == list(SERVER_CAPABILITIES)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        pytest.param({"flagKey": "greeting", "defaultValue": ""}, {"value": "hello"}, id="a value"),
        pytest.param({"flagKey": "missing", "defaultValue": {"a": 1}}, {"value": {"a": 1}}, id="the default"),
        pytest.param(
            {"flagKey": "greeting", "detail": True},
            {"value": "hello", "variationIndex": 0, "reason": {"kind": "FALLTHROUGH"}},
            id="a value with its reason",
        ),
        pytest.param(
            {"flagKey": "greeting", "defaultValue": 3, "valueType": "int", "detail": True},
            {"value": 3, "variationIndex": None, "reason": {"kind": "ERROR", "errorKind": "WRONG_TYPE"}},
            id="a value of another type than the value type",
        ),
        pytest.param(
            {"flagKey": "number", "defaultValue": 0, "valueType": "double"}, {"value": 2.5}, id="a number with a fraction"
        ),
        pytest.param({"flagKey": "number", "defaultValue": 0.0, "valueType": "int"}, {"value": 2}, id="a whole number"),
        pytest.param({"flagKey": "greeting", "defaultValue": 3, "valueType": "any"}, {"value": "hello"}, id="any value"),
        pytest.param({"flagKey": "greeting", "context": None, "user": {"key": "u"}}, {"value": "hello"}, id="for a legacy user"),
        pytest.param({"flagKey": "greeting", "context": {}, "defaultValue": 0}, {"value": 0}, id="for an invalid context"),
    ],
)
async def test_a_flag_is_evaluated(asked: dict[str, Any], answered: dict[str, Any]) -> None:
    async with running_client({"flagValues": {"greeting": "hello", "number": 2.5}}) as (harness, client):
        assert await harness.ask(client, "evaluate", **{"context": USER, **asked}) == answered


@pytest.mark.parametrize(("transport", "path"), [("streaming", "/all"), ("polling", "/sdk/latest-all")])
async def test_a_client_for_fdv1_uses_only_fdv1(transport: str, path: str) -> None:
    async with running_harness(side=server_side("fdv1")) as harness:
        client = await harness.create(**{"dataSystem": None, transport: {"baseUri": harness.flags_url, "filter": None}})
        assert await harness.value(client, "greeting") == "hello"
        assert set(harness.flags.requests) == {path}


async def test_all_flags_are_evaluated_in_the_format_of_front_ends() -> None:
    async with running_client({"flags": {"f": {"version": 7, "on": False, "offVariation": 0, "variations": [True]}}}) as (
        harness,
        client,
    ):
        state = await harness.ask(client, "evaluateAll", context=USER, withReasons=True, clientSideOnly=None)
        hidden = await harness.ask(client, "evaluateAll", context=USER, clientSideOnly=True)
    assert state["state"] == {
        "f": True,
        "$flagsState": {"f": {"variation": 0, "version": 7, "reason": {"kind": "OFF"}}},
        "$valid": True,
    }
    assert hidden["state"] == {"$flagsState": {}, "$valid": True}


async def test_a_secure_mode_hash_is_returned() -> None:
    async with running_client(credential="secret") as (harness, client):
        answer = await harness.ask(client, "secureModeHash", context={"kind": "user", "key": "Message"})
    assert answer == {"result": "aa747c502a898200f9e4fa21bac68136f886a0e27aec70ba06daf2e2a5cb5597"}


@pytest.mark.parametrize(
    ("command", "params", "answered"),
    [
        pytest.param(
            "contextBuild",
            {"single": {"key": "a", "private": ["b"], "custom": {"b": 1, "c": None}}},
            {"output": '{"kind":"user","key":"a","b":1,"_meta":{"privateAttributes":["b"]}}'},
            id="one kind is built",
        ),
        pytest.param(
            "contextBuild",
            {"multi": [{"kind": "org", "key": "o", "name": "O"}]},
            {"output": '{"kind":"org","key":"o","name":"O"}'},
            id="a multi-context with one kind is built",
        ),
        pytest.param(
            "contextBuild",
            {"single": {"key": ""}},
            {"error": "key: expected a string that is not empty"},
            id="an invalid context is not built",
        ),
        pytest.param("contextConvert", {"input": '{"key":""}'}, {"output": '{"kind":"user","key":""}'}, id="a user is converted"),
        pytest.param(
            "contextConvert", {"input": "{"}, {"error": "Input data was truncated"}, id="text that is not JSON is not converted"
        ),
        pytest.param(
            "contextComparison",
            {
                "context1": {"single": {"kind": "user", "key": "a", "privateAttributes": [{"value": "/b", "literal": True}]}},
                "context2": {"single": {"kind": "user", "key": "a", "privateAttributes": [{"value": "/~1b", "literal": False}]}},
            },
            {"equals": True},
            id="a literal name is compared with a path",
        ),
        pytest.param(
            "contextComparison",
            {
                "context1": {"multi": [{"kind": "org", "key": "o"}, {"kind": "user", "key": "u"}]},
                "context2": {"single": {"kind": "user", "key": "u", "attributes": [{"name": "a", "value": 1}]}},
            },
            {"equals": False},
            id="different contexts are compared",
        ),
    ],
)
async def test_contexts_are_built_converted_and_compared(command: str, params: dict[str, Any], answered: dict[str, Any]) -> None:
    async with running_client() as (harness, client):
        assert await harness.ask(client, command, **params) == answered


async def test_listeners_post_changes_until_they_are_unregistered() -> None:
    async with running_client({"flagValues": {"f": 1, "other": 1}}) as (harness, client):
        await harness.ask(client, "registerFlagChangeListener", listenerId="l", callbackUri=f"{harness.callbacks_url}/old")
        await harness.ask(client, "registerFlagChangeListener", listenerId="l", callbackUri=f"{harness.callbacks_url}/flags")
        about = {"flagKey": "f", "context": USER, "defaultValue": None, "callbackUri": f"{harness.callbacks_url}/value"}
        await harness.ask(client, "registerFlagValueChangeListener", listenerId="v", **about)
        harness.flags.put("f", {"on": False, "offVariation": 0, "variations": [2]})
        assert sorted(await harness.until_callbacks(2), key=str) == [
            ("/flags", {"listenerId": "l", "flagKey": "f"}),
            ("/value", {"listenerId": "v", "flagKey": "f", "oldValue": 1, "newValue": 2}),
        ]
        await harness.ask(client, "unregisterListener", listenerId="v")
        harness.flags.put("f", {"on": False, "offVariation": 0, "variations": [3]})
        assert (await harness.until_callbacks(3))[2:] == [("/flags", {"listenerId": "l", "flagKey": "f"})]
        again = await harness.service.post(
            client, json={"command": "unregisterListener", "unregisterListener": {"listenerId": "v"}}
        )
        assert again.status_code == 400


async def test_hooks_post_their_stages_pass_data_on_and_fail_as_configured() -> None:
    async with running_harness() as harness:
        posting = {"name": "a", "callbackUri": f"{harness.callbacks_url}/a", "data": {"beforeEvaluation": {"x": 1}}}
        failing = {"name": "b", "callbackUri": f"{harness.callbacks_url}/b", "errors": {"beforeEvaluation": "on purpose"}}
        client = await harness.create(hooks={"hooks": [posting, failing]})
        assert await harness.value(client, "greeting", "default", detail=True) == "hello"
    asked = {"flagKey": "greeting", "context": USER, "defaultValue": "default", "method": "variation_detail"}
    asked["environmentId"] = harness.flags.environment_id
    detail = {"value": "hello", "variationIndex": 0, "reason": {"kind": "FALLTHROUGH"}}
    after = {"stage": "afterEvaluation", "evaluationSeriesContext": asked, "evaluationDetail": detail}
    assert harness.callbacks == [
        ("/a", {"stage": "beforeEvaluation", "evaluationSeriesContext": asked, "evaluationSeriesData": {}}),
        ("/b", {**after, "evaluationSeriesData": {}}),
        ("/a", {**after, "evaluationSeriesData": {"x": 1}}),
    ]


BIG: dict[str, object] = {
    "flags": {
        "f": {
            "on": True,
            "variations": ["out", "in"],
            "fallthrough": {"variation": 0},
            "rules": [
                {"variation": 1, "clauses": [{"op": "segmentMatch", "values": ["s"], "attribute": "", "contextKind": "user"}]}
            ],
        }
    },
    "segments": {"s": {"unbounded": True, "generation": 2}},
}


@pytest.mark.parametrize(
    ("answers", "value", "status"),
    [
        pytest.param({"values": {"s.g2": True}}, "in", {"available": True, "stale": False}, id="a member"),
        pytest.param({"values": None}, "out", {"available": True, "stale": False}, id="not a member"),
        pytest.param(None, "out", {"available": False, "stale": False}, id="a store that fails"),
    ],
)
async def test_big_segments_are_requested_from_the_harness(answers: Any, value: str, status: dict[str, bool]) -> None:
    async with running_harness(BIG) as harness:
        now = JSONResponse({"lastUpToDate": int(time.time() * 1000)})
        harness.answers |= {
            "/getMembership": Response("no", 500) if answers is None else JSONResponse(answers),
            "/getMetadata": Response("no", 500) if answers is None else now,
        }
        options = {"userCacheSize": None, "userCacheTimeMs": 10, "statusPollIntervalMs": 60_000, "staleAfterMs": None}
        client = await harness.create(bigSegments={"callbackUri": harness.callbacks_url, **options})
        assert await harness.value(client, "f") == value
        assert await harness.ask(client, "getBigSegmentStoreStatus") == status
    asked = {"contextHash": "C/6TXnDDIcfKOvx1zg0MovmLVCLgCLsxwAxtfx8cCtY="}
    assert [body for path, body in harness.callbacks if path == "/getMembership"] == [asked]


async def test_events_are_sent_when_they_are_flushed() -> None:
    async with running_harness() as harness:
        client = await harness.create(events={"baseUri": harness.flags_url, "enableDiagnostics": False, "enableGzip": True})
        await harness.ask(client, "identifyEvent", context=USER, user=None)
        await harness.ask(client, "customEvent", eventKey="bought", context=USER, data=None, omitNullData=False, metricValue=0)
        await harness.value(client, "greeting")
        await harness.ask(client, "flushEvents")
        seen = harness.flags.events
        async with asyncio.timeout(60):
            await harness.flags.until(lambda: seen.count >= 3)
    assert sorted(event.kind for event in seen.newest) == ["custom", "identify", "summary"]
    assert [event.problems for event in seen.newest] == [()] * 3


async def test_no_events_are_sent_unless_they_are_configured() -> None:
    async with running_client() as (harness, client):
        await harness.ask(client, "customEvent", eventKey="bought", context=USER, data=1)
        await harness.ask(client, "flushEvents")
        await harness.service.delete(client)
        assert harness.flags.requests[Endpoint.EVENTS] == 0


async def test_hooks_post_tracked_events() -> None:
    async with running_harness() as harness:
        detail = {"callbackUri": harness.callbacks_url, "name": "a"}
        client = await harness.create(hooks={"hooks": [detail, {**detail, "name": "b", "errors": {"afterTrack": "on purpose"}}]})
        await harness.ask(client, "customEvent", eventKey="bought", context=USER, data={"x": 1}, metricValue=None)
        ((_, callbacks),) = await harness.until_callbacks(1)
    environment = harness.flags.environment_id
    tracked = {"key": "bought", "context": USER, "environmentId": environment, "data": {"x": 1}}
    assert callbacks == {"stage": "afterTrack", "trackSeriesContext": tracked}


@pytest.mark.parametrize(
    ("operation", "new", "result", "asked"),
    [
        pytest.param("read", Response("from new"), "from new", {"/old", "/new"}, id="a read"),
        pytest.param("write", Response("written"), "written", {"/old", "/new"}, id="a write"),
        pytest.param("write", Response("no", 409), "409 Conflict", {"/new"}, id="a write that fails"),
    ],
)
async def test_the_harness_is_both_systems_of_a_migration(operation: str, new: Response, result: str, asked: set[str]) -> None:
    async with running_harness({"flagValues": {"move": "live"}}) as harness:
        harness.answers |= {"/old": Response("from old"), "/new": new}
        client = await harness.create()
        about = {"key": "move", "context": USER, "defaultStage": "off"}
        assert await harness.ask(client, "migrationVariation", **about) == {"result": "live"}
        ends = {"oldEndpoint": f"{harness.callbacks_url}/old", "newEndpoint": f"{harness.callbacks_url}/new"}
        options = {"readExecutionOrder": "concurrent", "trackLatency": True, "trackErrors": True, "trackConsistency": True}
        answer = await harness.ask(client, "migrationOperation", operation=operation, payload='"p"', **about, **ends, **options)
    assert result in answer["result"]
    assert {path for path, _ in harness.callbacks} == asked
    assert {body for _, body in harness.callbacks} == {"p"}


async def test_a_client_works_if_the_harness_does_not_answer_callbacks() -> None:
    async with running_client() as (harness, client):
        await harness.ask(client, "registerFlagChangeListener", listenerId="deaf", callbackUri="http://127.0.0.1:9/")
        await harness.ask(client, "registerFlagChangeListener", listenerId="l", callbackUri=harness.callbacks_url)
        for value in (1, 2):
            harness.flags.put("f", {"on": False, "offVariation": 0, "variations": [value]})
            await harness.until_callbacks(value)
        assert await harness.value(client, "f") == 2


async def test_a_deleted_client_is_unknown_and_its_stream_is_closed() -> None:
    async with running_client() as (harness, client):
        assert (await harness.service.delete(client)).status_code == 204
        async with asyncio.timeout(60):
            await harness.flags.until(lambda: not any(harness.flags.open_streams.values()))
        assert (await harness.service.delete(client)).status_code == 404
        assert (await harness.service.post(client, json={"command": "evaluate"})).status_code == 404


async def test_a_client_without_data_is_an_error_unless_the_harness_allows_it() -> None:
    async with running_harness() as harness:
        nowhere = {"synchronizers": [{"polling": {"baseUri": f"{harness.flags_url}/nowhere"}}]}
        refused = await harness.post({"credential": "k", "dataSystem": nowhere})
        assert (refused.status_code, "404" in refused.text) == (500, True)
        answer = await harness.post({"credential": "k", "dataSystem": nowhere, "initCanFail": True})
        assert answer.status_code == 201
        assert await harness.value(answer.headers["Location"], "greeting", "default") == "default"


@pytest.mark.parametrize(("kind", "may_fail"), [("streaming", None), ("polling", None), ("polling", True)])
async def test_a_start_waits_for_the_next_attempt_if_the_harness_makes_that_soon(kind: str, may_fail: bool | None) -> None:
    async with running_harness() as harness:
        harness.flags.inject(Fault(kind=FaultKind.STATUS, status=401, times=1))
        source = {kind: {"baseUri": harness.flags_url, "extendedInitialDelayMs": 1}}
        answer = await harness.post({"credential": "k", "dataSystem": {"synchronizers": [source]}, "initCanFail": may_fail})
        assert answer.status_code == 201, answer.text
        assert await harness.value(answer.headers["Location"], "greeting", "default") != "default"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("{", id="not JSON"),
        pytest.param("{}", id="no command"),
        pytest.param('{"command": 7}', id="a command that is a number"),
        pytest.param('{"command": "dance"}', id="an unknown command"),
        pytest.param('{"command": "evaluate", "evaluate": null}', id="a command without its parameters"),
        pytest.param('{"command": "evaluate", "evaluate": {"flagKey": 7}}', id="a parameter of the wrong type"),
    ],
)
async def test_an_invalid_command_is_a_bad_request(body: str) -> None:
    async with running_client() as (harness, client):
        answer = await harness.service.post(client, content=body)
    assert answer.status_code == 400
    assert answer.text


@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param({}, id="without a credential"),
        pytest.param({"credential": "k", "startWaitTimeMs": "5"}, id="with a wrong type"),
        pytest.param({"credential": "k", "serviceEndpoints": {"polling": "ftp://x"}}, id="with an address that the SDK refuses"),
    ],
)
async def test_an_invalid_client_is_a_bad_request(configuration: dict[str, Any]) -> None:
    async with running_harness() as harness:
        answer = await harness.post(configuration)
    assert answer.status_code == 400
    assert answer.text


@pytest.mark.parametrize(
    ("side", "capabilities"),
    [("server", SERVER_CAPABILITIES), ("client", CLIENT_CAPABILITIES)],
)
async def test_the_program_serves_until_the_harness_stops_it(side: str, capabilities: tuple[str, ...]) -> None:
    options = ("--side", side, "--port", "0", "--without", "tags", "--without", "wrapper")
    command = (sys.executable, "-m", "tests.contract.service", *options)
    program = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    assert program.stdout is not None
    url = (await program.stdout.readline()).decode().removeprefix(f"{side} side: ").strip()
    async with httpx.AsyncClient(base_url=url) as service:
        declared = set((await service.get("/")).json()["capabilities"])
        assert (await service.delete("/")).is_success
    assert declared == set(capabilities) - {"tags", "wrapper"}
    assert await program.wait() == 0
