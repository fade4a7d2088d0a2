"""Clients for flagd: contexts without kinds, OpenFeature's words, and evaluations that a server makes."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from aioflags import FlagdClient
from aioflags.openfeature import AioFlagsProvider
from tests.openfeature.remote_clients import FlagdLikeClient, RemoteClient

ANNA = EvaluationContext("anna", {"kind": "x", "name": 5})


DOCUMENT = {
    "flags": {
        "static": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "on",
            "metadata": {"team": "shop"},
        },
        "disabled": {"state": "DISABLED", "variants": {"on": True}, "defaultVariant": "on"},
        "by-kind": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "off",
            "targeting": {"if": [{"==": [{"var": "kind"}, "x"]}, "on", None]},
        },
    },
    "metadata": {"flagSetId": "the set"},
}


@pytest.mark.holds("OF-16")
@pytest.mark.parametrize(
    ("key", "value", "variant", "reason", "code", "metadata"),
    [
        pytest.param("static", True, "on", Reason.STATIC, None, {"team": "shop"}, id="no rule"),
        pytest.param("by-kind", True, "on", Reason.TARGETING_MATCH, None, {}, id="a rule on an attribute named kind"),
        pytest.param("disabled", False, None, Reason.DISABLED, None, {}, id="disabled: the default"),
        pytest.param("unknown", False, None, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND, {}, id="an unknown flag"),
    ],
)
async def test_flags_of_flagd(
    key: str, value: bool, variant: str | None, reason: Reason, code: ErrorCode | None, metadata: dict[str, str]
) -> None:
    async with FlagdClient.local(DOCUMENT) as client:
        api.set_provider_and_wait(AioFlagsProvider(client))
        assert api.get_provider_metadata().name == "flagd"
        for context in (ANNA, EvaluationContext(None, {"kind": "x"})):
            found = api.get_client().get_boolean_details(key, False, context)
            assert found == await api.get_client().get_boolean_details_async(key, False, context)
            assert (found.value, found.variant, found.reason, found.error_code) == (value, variant, reason, code)
            assert found.flag_metadata == {"flagSetId": "the set", **metadata}


@pytest.fixture
async def flagd() -> AsyncIterator[AioFlagsProvider]:
    async with FlagdLikeClient() as client:
        client.send({})
        await client.wait_ready()
        provider = AioFlagsProvider(client)
        api.set_provider_and_wait(provider)
        yield provider


@pytest.fixture
async def remote() -> AsyncIterator[RemoteClient]:
    async with RemoteClient() as client:
        client.send({})
        await client.wait_ready()
        api.set_provider_and_wait(AioFlagsProvider(client))
        yield client


@pytest.mark.parametrize(
    ("context", "data"),
    [
        pytest.param(ANNA, {"kind": "x", "name": 5, "targetingKey": "anna"}, id="every name is an attribute"),
        pytest.param(EvaluationContext(None, {"a": 1}), {"a": 1, "targetingKey": None}, id="no targeting key"),
        pytest.param(EvaluationContext("", {"a": [1]}), {"a": [1], "targetingKey": None}, id="an empty targeting key"),
        pytest.param(
            EvaluationContext("anna", {"t": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}),
            {"t": "2026-01-01T00:00:00Z", "targetingKey": "anna"},
            id="a datetime as text",
        ),
    ],
)
@pytest.mark.usefixtures("flagd")
async def test_the_client_gets_the_context_as_it_is(context: EvaluationContext, data: dict[str, Any]) -> None:
    found = api.get_client().get_object_details("data", {}, context)
    assert found.value == data
    assert (found.variant, found.reason, found.flag_metadata) == ("on", Reason.TARGETING_MATCH, {"team": "shop"})


@pytest.mark.usefixtures("flagd")
async def test_a_word_of_the_server_stays() -> None:
    found = await api.get_client().get_boolean_details_async("word", False, ANNA)
    assert (found.value, found.reason, found.variant) == (True, "PINNED", None)


@pytest.mark.usefixtures("flagd")
async def test_a_default_is_not_an_error() -> None:
    found = api.get_client().get_object_details("default", {"a": 1}, ANNA)
    assert (found.value, found.reason, found.error_code) == ({"a": 1}, Reason.DEFAULT, None)


@pytest.mark.usefixtures("flagd")
@pytest.mark.parametrize("code", list(ErrorCode))
async def test_an_error_of_openfeature_passes_unchanged(code: ErrorCode) -> None:
    found = api.get_client().get_boolean_details(code.value, True, EvaluationContext())
    assert (found.value, found.reason, found.error_code) == (True, Reason.ERROR, code)
    assert found.error_message == f"flag {code.value}: what went wrong"
    assert found.flag_metadata == {"team": "shop"}


@pytest.mark.holds("OF-22")
async def test_a_plain_call_on_the_clients_loop_does_not_wait_for_the_server(remote: RemoteClient) -> None:
    found = api.get_client().get_boolean_details("f", False, ANNA)
    assert (found.value, found.error_code) == (False, ErrorCode.GENERAL)
    assert found.error_message == "flag f: use the asynchronous methods"
    assert remote.loops == []


@pytest.mark.real_time
async def test_a_plain_call_in_another_thread_waits_for_the_server(remote: RemoteClient) -> None:
    assert await asyncio.to_thread(api.get_client().get_boolean_value, "f", False, ANNA) is True
    assert remote.loops == [asyncio.get_running_loop()]


async def test_an_awaited_call_waits_for_the_server(remote: RemoteClient) -> None:
    remote.seconds = 2
    found = await api.get_client().get_boolean_details_async("f", False, ANNA)
    assert (found.value, found.reason, found.variant) == (True, Reason.CACHED, "on")


@pytest.mark.real_time
async def test_an_awaited_call_on_another_loop_waits_on_the_clients(remote: RemoteClient) -> None:
    async def elsewhere() -> bool:
        return await api.get_client().get_boolean_value_async("f", False, ANNA)

    assert await asyncio.to_thread(asyncio.run, elsewhere()) is True
    assert remote.loops == [asyncio.get_running_loop()]


@pytest.mark.holds("OF-R25")
async def test_a_provider_cancels_a_call_that_is_cancelled(remote: RemoteClient) -> None:
    remote.seconds = 60
    provider = AioFlagsProvider(remote)
    provider.initialize(ANNA)
    task = asyncio.ensure_future(provider.resolve_boolean_details_async("f", False, ANNA))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
