"""The contract service with mobile clients, through its HTTP interface: what LaunchDarkly's harness relies on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aioflags.devserver import Endpoint
from tests.contract.harness import Harness, running_harness
from tests.contract.service.client_side import CLIENT_CAPABILITIES, client_side
from tests.support.canaries import KEY

pytestmark = pytest.mark.real_time

ANN, BEN = {"kind": "user", "key": "ann"}, {"kind": "user", "key": "ben"}
IS_ANN = {"attribute": "key", "op": "in", "values": ["ann"]}
DOCUMENT: dict[str, object] = {
    "flags": {
        "greeting": {
            "on": True,
            "version": 7,
            "variations": ["hello", "hello ann"],
            "fallthrough": {"variation": 0},
            "rules": [{"id": "r", "variation": 1, "clauses": [IS_ANN]}],
        }
    },
    "flagValues": {"number": 2.5},
}


class MobileHarness:
    """A harness, and what is different for mobile clients."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness

    def configuration(self, **more: Any) -> dict[str, Any]:
        """A client that polls first and streams then, with nulls as LaunchDarkly's harness writes them."""
        poll, stream = {"baseUri": self.harness.flags_url, "pollIntervalMs": None}, {"baseUri": self.harness.flags_url}
        mode = {"initializers": [{"polling": poll}], "synchronizers": [{"streaming": stream, "polling": None}]}
        modes = {"initialConnectionMode": "streaming", "customConnectionModes": {"streaming": mode}}
        system = {"initializers": None, "synchronizers": None, "storeMode": 0, "connectionModeConfig": modes}
        client_side = {"initialContext": ANN, "initialUser": None, **more.pop("clientSide", {})}
        return {"credential": KEY, "startWaitTimeMs": None, "dataSystem": system, "clientSide": client_side, **more}

    async def create(self, **more: Any) -> str:
        """Create a client, and return the address of its commands."""
        answer = await self.harness.post(self.configuration(**more))
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]


@asynccontextmanager
async def running_mobile_harness() -> AsyncGenerator[MobileHarness, None]:
    async with running_harness(DOCUMENT, side=client_side()) as harness:
        yield MobileHarness(harness)


@asynccontextmanager
async def running_mobile_client(**more: Any) -> AsyncGenerator[tuple[Harness, str], None]:
    """A harness, and the address of the commands of a client."""
    async with running_mobile_harness() as mobile:
        yield mobile.harness, await mobile.create(**more)


async def test_the_service_lists_the_capabilities_of_mobile_clients() -> None:
    async with running_mobile_harness() as mobile:
        status = (await mobile.harness.service.get("/")).json()
    assert status["capabilities"] == list(CLIENT_CAPABILITIES)


@pytest.mark.parametrize(
    ("options", "asked", "answered"),
    [
        pytest.param({}, {"flagKey": "greeting", "defaultValue": ""}, {"value": "hello ann"}, id="a value"),
        pytest.param(
            {"evaluationReasons": True},
            {"flagKey": "greeting", "detail": True},
            {"value": "hello ann", "variationIndex": 1, "reason": {"kind": "RULE_MATCH", "ruleIndex": 0, "ruleId": "r"}},
            id="a value with its reason",
        ),
        pytest.param(
            {},
            {"flagKey": "greeting", "detail": True},
            {"value": "hello ann", "variationIndex": 1, "reason": None},
            id="a value whose reason the service did not send",
        ),
        pytest.param(
            {},
            {"flagKey": "greeting", "defaultValue": 3, "valueType": "int", "detail": True},
            {"value": 3, "variationIndex": None, "reason": {"kind": "ERROR", "errorKind": "WRONG_TYPE"}},
            id="a value of another type than the value type",
        ),
        pytest.param({}, {"flagKey": "missing", "defaultValue": {"a": 1}}, {"value": {"a": 1}}, id="the default"),
        pytest.param({}, {"flagKey": "greeting", "context": BEN}, {"value": "hello ann"}, id="a context of the command is ignored"),
        pytest.param({"initialUser": {"key": "ann"}}, {"flagKey": "greeting"}, {"value": "hello ann"}, id="for a legacy user"),
    ],
)
async def test_a_flag_is_evaluated(options: dict[str, Any], asked: dict[str, Any], answered: dict[str, Any]) -> None:
    async with running_mobile_client(clientSide=options) as (harness, client):
        assert await harness.ask(client, "evaluate", **asked) == answered


async def test_all_flags_are_evaluated() -> None:
    async with running_mobile_client() as (harness, client):
        answer = await harness.ask(client, "evaluateAll", context=BEN, withReasons=False)
    assert answer == {"state": {"greeting": "hello ann", "number": 2.5}}


async def test_the_flags_of_a_new_context_are_there_when_the_command_answers() -> None:
    async with running_mobile_client() as (harness, client):
        await harness.ask(client, "identifyEvent", context=BEN, user=None)
        assert await harness.value(client, "greeting") == "hello"
        await harness.ask(client, "identifyEvent", context=None, user={"key": "ann"})
        assert await harness.value(client, "greeting") == "hello ann"


async def test_a_context_that_cannot_be_used_is_a_failure() -> None:
    async with running_mobile_client() as (harness, client):
        answer = await harness.service.post(client, json={"command": "identifyEvent", "identifyEvent": {"context": {}}})
        assert (answer.status_code, answer.text.partition(":")[0]) == (500, "error")
        assert await harness.value(client, "greeting") == "hello ann"


async def test_hooks_post_their_stages_in_order_and_pass_data_on() -> None:
    async with running_mobile_harness() as mobile:
        harness = mobile.harness
        posting = {"name": "a", "callbackUri": f"{harness.callbacks_url}/a", "data": {"beforeEvaluation": {"x": 1}}}
        failing = {"name": "b", "callbackUri": f"{harness.callbacks_url}/b", "errors": {"beforeEvaluation": "on purpose"}}
        client = await mobile.create(hooks={"hooks": [posting, failing]})
        assert await harness.value(client, "greeting", "default", detail=True) == "hello ann"
        await harness.ask(client, "customEvent", eventKey="bought", context=None, data={"x": 1}, metricValue=None)
        callbacks = await harness.until_callbacks(5)
    environment = harness.flags.environment_id
    asked = {"flagKey": "greeting", "context": ANN, "defaultValue": "default", "method": "variation_detail"}
    asked["environmentId"] = environment
    detail = {"value": "hello ann", "variationIndex": 1, "reason": None}
    after = {"stage": "afterEvaluation", "evaluationSeriesContext": asked, "evaluationDetail": detail}
    tracked = {"key": "bought", "context": ANN, "environmentId": environment, "data": {"x": 1}}
    assert callbacks == [
        ("/a", {"stage": "beforeEvaluation", "evaluationSeriesContext": asked, "evaluationSeriesData": {}}),
        ("/b", {**after, "evaluationSeriesData": {}}),
        ("/a", {**after, "evaluationSeriesData": {"x": 1}}),
        ("/a", {"stage": "afterTrack", "trackSeriesContext": tracked}),
        ("/b", {"stage": "afterTrack", "trackSeriesContext": tracked}),
    ]


async def test_events_are_sent_when_they_are_flushed() -> None:
    async with running_mobile_harness() as mobile:
        seen = mobile.harness.flags.events
        client = await mobile.create(events={"baseUri": mobile.harness.flags_url, "enableDiagnostics": False, "enableGzip": True})
        await mobile.harness.ask(client, "customEvent", eventKey="bought", context=None, data=None, metricValue=0)
        await mobile.harness.value(client, "greeting")
        await mobile.harness.ask(client, "flushEvents")
        async with asyncio.timeout(60):
            await mobile.harness.flags.until(lambda: seen.count >= 3)
    assert sorted(event.kind for event in seen.newest) == ["custom", "identify", "summary"]
    assert [event.problems for event in seen.newest] == [()] * 3


async def test_no_events_are_sent_unless_they_are_configured() -> None:
    async with running_mobile_client() as (harness, client):
        await harness.value(client, "greeting")
        await harness.ask(client, "flushEvents")
        await harness.service.delete(client)
        assert harness.flags.requests[Endpoint.MOBILE_EVENTS] == 0


async def test_a_client_without_flags_is_an_error_unless_the_harness_allows_it() -> None:
    async with running_mobile_harness() as mobile:
        nowhere = {"synchronizers": [{"polling": {"baseUri": f"{mobile.harness.flags_url}/nowhere"}}]}
        refused = await mobile.harness.post(mobile.configuration(dataSystem=nowhere))
        assert (refused.status_code, "404" in refused.text) == (500, True)
        answer = await mobile.harness.post(mobile.configuration(dataSystem=nowhere, initCanFail=True))
        assert answer.status_code == 201
        assert await mobile.harness.value(answer.headers["Location"], "greeting", "default") == "default"


async def test_a_deleted_client_has_no_stream() -> None:
    async with running_mobile_client() as (harness, client):
        async with asyncio.timeout(60):
            await harness.flags.until(lambda: harness.flags.open_streams[Endpoint.CLIENT_STREAM] == 1)
            assert (await harness.service.delete(client)).status_code == 204
            await harness.flags.until(lambda: not any(harness.flags.open_streams.values()))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        pytest.param("secureModeHash", {"context": ANN}, id="a command of server-side clients"),
        pytest.param("evaluate", {"flagKey": 7}, id="a parameter of the wrong type"),
    ],
)
async def test_an_invalid_command_is_a_bad_request(name: str, body: dict[str, Any]) -> None:
    async with running_mobile_client() as (harness, client):
        answer = await harness.service.post(client, json={"command": name, name: body})
    assert answer.status_code == 400
    assert answer.text
