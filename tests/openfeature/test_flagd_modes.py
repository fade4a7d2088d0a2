"""The provider with clients of a running flagd, in each mode."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import Reason
from openfeature.provider import ProviderStatus

from aioflags import Context, FlagdClient
from aioflags.flagd.config import FlagdConfig
from aioflags.openfeature import AioFlagsProvider
from aioflags.testing import FakeFlagd
from tests.openfeature.handler_logs import HandlerLog
from tests.openfeature.test_life_cycle import status, until

pytestmark = pytest.mark.real_time

ANNA = EvaluationContext("anna", {"plan": "pro"})


PATIENCE = 30.0
"""Seconds, in place of the half second that a start and a call have by default: other tests may keep the machine busy."""


def _in_process(flagd: FakeFlagd) -> FlagdConfig:
    return FlagdConfig(
        resolver="in-process",
        host=flagd.host,
        port=flagd.sync_port,
        deadline=PATIENCE,
        retry_grace_period=0.3,
        environment={},
    )


def _rpc(flagd: FakeFlagd) -> FlagdConfig:
    return FlagdConfig(resolver="rpc", host=flagd.host, port=flagd.port, deadline=PATIENCE, retry_grace_period=0.3, environment={})


def _ofrep(flagd: FakeFlagd) -> FlagdConfig:
    return FlagdConfig(resolver="ofrep", ofrep_base_url=flagd.ofrep_url, ofrep_timeout=PATIENCE, environment={})


@pytest.fixture(params=[pytest.param(_in_process, id="in-process"), pytest.param(_rpc, id="rpc"), pytest.param(_ofrep, id="ofrep")])
async def client(request: pytest.FixtureRequest, fake_flagd: FakeFlagd) -> AsyncIterator[FlagdClient]:
    fake_flagd.set("f", True)
    configure: Callable[[FakeFlagd], FlagdConfig] = request.param
    async with FlagdClient(configure(fake_flagd)) as client:
        api.set_provider_and_wait(AioFlagsProvider(client))
        yield client


async def test_an_awaited_evaluation_has_the_value_of_the_server(client: FlagdClient) -> None:
    found = await api.get_client().get_boolean_details_async("f", False, ANNA)
    assert (found.value, found.reason, found.error_code) == (True, Reason.STATIC, None)
    missing = await api.get_client().get_boolean_details_async("unknown", True, ANNA)
    assert (missing.value, missing.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)


async def test_an_unknown_flag_is_logged_alike_in_each_mode(client: FlagdClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    for _ in range(2):
        assert await client.variation("unknown", Context("anna"), True) is True
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if record.getMessage().startswith("unknown")]
    assert lines == [("INFO", "unknown: unknown flag; serving the default")]


@pytest.mark.parametrize(("key", "group"), [(42, "is 42"), (7, "pro"), (0, "pro"), (True, "pro"), ("42", "pro")])
async def test_rules_read_a_targeting_key_that_is_not_text(
    client: FlagdClient, fake_flagd: FakeFlagd, key: Any, group: str
) -> None:
    is_42, is_pro = {"===": [{"var": "targetingKey"}, 42]}, {"==": [{"var": "plan"}, "pro"]}
    variants = {name: name for name in ("is 42", "pro", "other")}
    targeting = {"if": [is_42, "is 42", is_pro, "pro", "other"]}
    fake_flagd.put("group", {"state": "ENABLED", "variants": variants, "defaultVariant": "other", "targeting": targeting})
    if not client.is_remote:
        async with client.changes() as changes:
            await anext(changes)
    found = await api.get_client().get_string_details_async("group", "", EvaluationContext(key, {"plan": "pro"}))
    assert (found.value, found.error_code) == (group, None)


async def test_a_plain_evaluation_in_another_thread_has_the_value_of_the_server(client: FlagdClient) -> None:
    found = await asyncio.to_thread(api.get_client().get_boolean_details, "f", False, ANNA)
    assert (found.value, found.error_code) == (True, None)


@pytest.mark.holds("OF-22")
async def test_a_plain_evaluation_on_the_clients_loop_does_not_wait(client: FlagdClient) -> None:
    found = api.get_client().get_boolean_details("f", False, ANNA)
    assert (found.value, found.error_code) == ((False, ErrorCode.GENERAL) if client.is_remote else (True, None))


@pytest.mark.slow
@pytest.mark.parametrize("client", [pytest.param(_in_process, id="in-process"), pytest.param(_rpc, id="rpc")], indirect=True)
@pytest.mark.holds("OF-9", "OF-10", "OF-11")
async def test_handlers_get_changes_and_outages(client: FlagdClient, fake_flagd: FakeFlagd) -> None:
    log = HandlerLog(api.get_client())
    assert await log.names(1) == ["READY"]  # the SDK's replay
    await asyncio.sleep(0.1)
    fake_flagd.set("f", False)
    event, details = await log.next()
    assert (event, details.flags_changed, details.provider_name) == (
        ProviderEvent.PROVIDER_CONFIGURATION_CHANGED,
        ["f"],
        "flagd",
    )
    assert await api.get_client().get_boolean_value_async("f", True, ANNA) is False
    await fake_flagd.stop()
    assert await log.names(1) == ["STALE"]
    event, details = await log.next()
    assert event is ProviderEvent.PROVIDER_ERROR
    assert details.error_code is not None
    assert details.message
    assert status() is ProviderStatus.ERROR
    await fake_flagd.start()
    await until(lambda: status() is ProviderStatus.READY)


@pytest.mark.parametrize("client", [pytest.param(_in_process, id="in-process"), pytest.param(_rpc, id="rpc")], indirect=True)
async def test_a_provider_follows_its_client_through_a_restart(client: FlagdClient, fake_flagd: FakeFlagd) -> None:
    log = HandlerLog(api.get_client())
    assert await log.names(1) == ["READY"]  # the SDK's replay
    await asyncio.sleep(0.1)
    await client.aclose()
    await asyncio.sleep(0.1)
    assert log.is_empty()
    await client.start()
    assert await log.names(1) == ["READY"]
    fake_flagd.set("f", False)
    event, details = await log.next()
    assert (event, details.flags_changed) == (ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, ["f"])
    assert await api.get_client().get_boolean_value_async("f", True, ANNA) is False


async def test_a_provider_that_is_set_while_its_client_is_closed_follows_the_next_start(fake_flagd: FakeFlagd) -> None:
    fake_flagd.set("f", True)
    client = FlagdClient(_in_process(fake_flagd))
    await client.start()
    await client.aclose()
    with pytest.raises(ProviderNotReadyError):
        api.set_provider_and_wait(AioFlagsProvider(client))
    await asyncio.sleep(0.1)
    assert status() is ProviderStatus.ERROR
    async with client:
        await until(lambda: status() is ProviderStatus.READY)
        assert api.get_client().get_boolean_value("f", False, ANNA) is True
