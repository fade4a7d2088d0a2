"""What openfeature-sdk does wrong, by its numbers in ``openfeature.md`` 7; and that a program with our provider does not suffer.

A test of a defect fails when a newer SDK mends it. The message says so: then the test can go, and what works around the defect.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.hook import Hook, HookContext, HookHints
from openfeature.provider import ProviderStatus
from openfeature.provider._registry import provider_registry
from openfeature.provider.no_op_provider import NoOpProvider

from aioflags import Client
from aioflags.openfeature import AioFlagsProvider
from tests.openfeature.scripted_clients import ScriptedClient
from tests.openfeature.sdk_defects import FAILED, FATAL, NOTHING, ScriptedProvider, Seen, failing, status, still, waiting_for

pytestmark = pytest.mark.real_time

ANNA = EvaluationContext("anna")


# -- life cycle


def test_e1_an_event_before_the_registration_is_lost() -> None:
    provider = ScriptedProvider()
    provider.emit(ProviderEvent.PROVIDER_ERROR, FATAL)
    api.set_provider_and_wait(provider)
    still("E1", status() is ProviderStatus.READY)


def _nothing(provider: ScriptedProvider) -> None:
    """It is not ready, and says nothing."""


def _fatal(provider: ScriptedProvider) -> None:
    provider.emit(ProviderEvent.PROVIDER_ERROR, FATAL)


def _ready_then_error(provider: ScriptedProvider) -> None:
    provider.emit(ProviderEvent.PROVIDER_READY, NOTHING)
    provider.emit(ProviderEvent.PROVIDER_ERROR, FAILED)


def _stale_from_a_thread(provider: ScriptedProvider) -> None:
    thread = threading.Thread(target=provider.emit, args=(ProviderEvent.PROVIDER_STALE, NOTHING))
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("number", "initialize"),
    [
        pytest.param("E2", _ready_then_error, id="E2: ready, then an error"),
        pytest.param("E2b", _fatal, id="E2b: a fatal error"),
        pytest.param("E26", _stale_from_a_thread, id="E26: stale, from a thread"),
        pytest.param("E25", _nothing, id="E25: nothing, it is not ready"),
    ],
)
def test_what_initialize_emits_is_overwritten_with_ready(number: str, initialize: Callable[[ScriptedProvider], object]) -> None:
    api.set_provider_and_wait(ScriptedProvider(initialize))
    still(number, status() is ProviderStatus.READY)


def test_e3_a_ready_event_of_initialize_is_doubled() -> None:
    seen = Seen()
    api.set_provider_and_wait(ScriptedProvider(lambda _: None), "other")
    api.get_client("domain").add_handler(ProviderEvent.PROVIDER_READY, seen.handler("READY"))
    assert seen.wait(1) == ["READY"]  # that of the no-op provider
    api.set_provider_and_wait(ScriptedProvider(lambda provider: provider.emit(ProviderEvent.PROVIDER_READY, NOTHING)), "domain")
    still("E3", len(seen.wait(3, 1)) == 3)


def test_e8_a_provider_that_was_replaced_during_the_call_is_asked() -> None:
    class Replaced(ScriptedProvider):
        def get_provider_hooks(self) -> list[Hook]:
            api.set_provider_and_wait(NoOpProvider())
            return []

        def resolve_boolean_details(self, *args: Any, **options: Any) -> FlagResolutionDetails[bool]:
            return FlagResolutionDetails(value=True, variant="of the old one")

    started = threading.Event()
    api.set_provider(Replaced(lambda _: started.wait(5)))
    found = api.get_client().get_boolean_details("f", False, ANNA)
    started.set()
    still("E8", found.variant == "of the old one")


def test_e9_a_failed_shutdown_makes_a_provider_fatal() -> None:
    provider = ScriptedProvider(shutdown=failing)
    api.set_provider_and_wait(provider)
    client = api.get_client()
    api.set_provider_and_wait(provider, "domain")
    seen = Seen()
    client.add_handler(ProviderEvent.PROVIDER_ERROR, seen.handler("ERROR"))
    provider_registry.shutdown()
    assert seen.wait(1) == ["ERROR"]
    still("E9", status() is ProviderStatus.FATAL)


def test_e10_an_event_after_the_shutdown_brings_the_status_back() -> None:
    provider = ScriptedProvider()
    api.set_provider_and_wait(provider)
    provider_registry.shutdown()
    assert status() is ProviderStatus.NOT_READY
    provider.emit_late(ProviderEvent.PROVIDER_READY)
    still("E10", status() is ProviderStatus.READY)


def test_e13_a_fatal_provider_becomes_ready() -> None:
    provider = ScriptedProvider()
    api.set_provider_and_wait(provider)
    provider.emit(ProviderEvent.PROVIDER_ERROR, FATAL)
    assert status() is ProviderStatus.FATAL
    provider.emit(ProviderEvent.PROVIDER_READY, NOTHING)
    still("E13", status() is ProviderStatus.READY)


async def test_e20_set_and_wait_blocks_the_event_loop() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    before = turns
    api.set_provider_and_wait(ScriptedProvider(lambda _: time.sleep(0.05)))
    counting.cancel()
    still("E20", turns == before)


# -- evaluations


class Answering(ScriptedProvider):
    """Answers with details that the test gives."""

    def __init__(self, details: FlagResolutionDetails[Any]) -> None:
        super().__init__()
        self._details = details

    def resolve_boolean_details(self, *args: Any, **options: Any) -> FlagResolutionDetails[bool]:
        return self._details


@pytest.mark.parametrize(
    "details",
    [
        pytest.param(FlagResolutionDetails("text"), id="a value of another type"),
        pytest.param(FlagResolutionDetails("text", ErrorCode.PARSE_ERROR, "?", Reason.ERROR), id="an error with another value"),
    ],
)
async def test_e15_an_awaited_evaluation_with_an_error_gives_the_providers_value(details: FlagResolutionDetails[Any]) -> None:
    api.set_provider_and_wait(Answering(details))
    client = api.get_client()
    assert client.get_boolean_value("f", True, ANNA) is True
    value: object = await client.get_boolean_value_async("f", True, ANNA)
    still("E15", value == "text")


def test_e16_a_before_hook_does_not_see_the_context_of_the_hook_before_it() -> None:
    class First(Hook):
        def before(self, hook_context: HookContext, hints: HookHints) -> EvaluationContext | None:
            return EvaluationContext("of the first hook")

    class Second(Hook):
        def before(self, hook_context: HookContext, hints: HookHints) -> EvaluationContext | None:
            keys.append(hook_context.evaluation_context.targeting_key)
            return None

    keys: list[str | None] = []
    api.add_hooks([First(), Second()])
    api.get_client().get_boolean_value("f", False, ANNA)
    still("E16", keys == ["anna"])


class Pending(ScriptedProvider):
    """Its evaluations wait."""

    async def resolve_boolean_details_async(self, *args: Any, **options: Any) -> FlagResolutionDetails[bool]:
        await asyncio.sleep(60)
        return FlagResolutionDetails(value=True)


async def test_e18_a_cancelled_evaluation_raises_an_unbound_local_error() -> None:
    api.set_provider_and_wait(Pending())
    task = asyncio.create_task(api.get_client().get_boolean_value_async("f", False, ANNA))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises((UnboundLocalError, asyncio.CancelledError)) as raised:
        await task
    still("E18", raised.type is UnboundLocalError)


def test_e27_hooks_of_a_provider_that_is_not_ready_have_no_before_stage() -> None:
    class Noting(Hook):
        def before(self, hook_context: HookContext, hints: HookHints) -> EvaluationContext | None:
            stages.append("before")
            return None

        def error(self, hook_context: HookContext, exception: Exception, hints: HookHints) -> None:
            stages.append("error")

        def finally_after(self, hook_context: HookContext, details: Any, hints: HookHints) -> None:
            stages.append("finally")

    stages: list[str] = []
    started = threading.Event()
    api.set_provider(ScriptedProvider(lambda _: started.wait(5)))
    client = api.get_client()
    client.add_hooks([Noting()])
    client.get_boolean_value("f", False, ANNA)
    started.set()
    still("E27", stages == ["error", "finally"])


# -- our provider in the same situations; the others are in test_life_cycle.py and test_forwarding.py


@pytest.mark.holds("OF-R26")
async def test_with_our_provider_an_awaited_evaluation_with_an_error_gives_the_default() -> None:
    async with Client.local({"flagValues": {"text": "text"}}) as client:
        api.set_provider_and_wait(AioFlagsProvider(client))
        for key in ("text", "unknown"):
            assert await api.get_client().get_boolean_value_async(key, True, ANNA) is True
            assert await api.get_client().get_boolean_value_async(key, False, ANNA) is False


@pytest.mark.speed
async def test_with_our_provider_set_and_wait_does_not_block_the_event_loop() -> None:
    async with ScriptedClient() as client:
        began = time.monotonic()
        with pytest.raises(ProviderNotReadyError):
            api.set_provider_and_wait(AioFlagsProvider(client, init_timeout=30))
        assert time.monotonic() - began < 1


async def test_with_our_provider_a_client_that_cannot_close_is_not_fatal(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(ScriptedClient):
        async def aclose(self, timeout: float | None = None) -> None:
            await super().aclose(timeout)
            failing()

    client = await Failing()
    provider, seen = AioFlagsProvider(client, owns_client=True), list[ProviderEvent]()
    provider.attach(lambda _provider, event, _details: seen.append(event))
    await asyncio.to_thread(provider.shutdown)
    assert seen == []
    assert "the client could not be closed" in caplog.text


@pytest.mark.holds("OF-R22")
async def test_with_our_provider_handlers_survive_its_replacement() -> None:
    async with ScriptedClient() as one, ScriptedClient() as other:
        for client in (one, other):
            client.send({"f": True})
            await client.wait_ready()
        api.set_provider_and_wait(AioFlagsProvider(one))
        seen = Seen()
        api.get_client().add_handler(ProviderEvent.PROVIDER_READY, seen.handler("READY"))
        assert seen.wait(1) == ["READY"]
        api.set_provider_and_wait(AioFlagsProvider(other))
        assert await asyncio.to_thread(seen.wait, 2) == ["READY", "READY"]


@pytest.mark.holds("OF-R27")
async def test_with_our_provider_set_and_wait_does_not_wait_for_handlers(gate: threading.Event) -> None:
    entered, ended, wait = threading.Event(), threading.Event(), waiting_for(gate)

    def handler(details: EventDetails) -> None:
        entered.set()
        wait(details)
        ended.set()

    api.get_client().add_handler(ProviderEvent.PROVIDER_READY, handler)
    async with Client.local({"flagValues": {"f": True}}) as client:
        api.set_provider_and_wait(AioFlagsProvider(client))
        assert (status(), ended.is_set()) == (ProviderStatus.READY, False)
        assert await asyncio.to_thread(entered.wait, 2)


async def test_with_our_provider_nothing_is_emitted_after_the_shutdown() -> None:
    async with ScriptedClient() as client:
        client.send({"f": True})
        await client.wait_ready()
        api.set_provider_and_wait(AioFlagsProvider(client))
        provider_registry.shutdown()
        client.interrupt()
        client.send({"f": False})
        await client.wait_until(lambda report: report.seq >= 3)
        await asyncio.sleep(0.1)
        assert status() is ProviderStatus.NOT_READY
