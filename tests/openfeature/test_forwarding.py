"""The client's events on their way to OpenFeature's status and handlers."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, ClassVar

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.provider import AbstractProvider, ProviderStatus

from aioflags import Status
from aioflags.openfeature import AioFlagsProvider
from aioflags.openfeature.contexts import LIFECYCLE_MARKER, has_lifecycle_marker
from tests.openfeature.handler_logs import HandlerLog
from tests.openfeature.scripted_clients import ScriptedClient
from tests.openfeature.test_life_cycle import ANNA, FLAGS, ready_client, status, until


@pytest.mark.holds("OF-7")
async def test_a_client_with_older_data_is_stale_within_a_tenth_of_a_second() -> None:
    async with await ready_client() as client:
        client.interrupt()
        await client.wait_until(Status.STALE)
        api.set_provider_and_wait(AioFlagsProvider(client))
        assert status() is ProviderStatus.READY  # the SDK's own
        await asyncio.sleep(0.1)
        assert status() is ProviderStatus.STALE


class TurnsStale(AioFlagsProvider):
    """Its client loses the connection while ``initialize`` returns."""

    def initialize(self, evaluation_context: EvaluationContext, domain: str | None = None) -> None:
        client: Any = self._client
        super().initialize(evaluation_context, domain)
        client.interrupt()


@pytest.mark.holds("OF-8")
async def test_a_client_that_turns_stale_while_initialize_returns_is_stale() -> None:
    async with await ready_client() as client:
        api.set_provider_and_wait(TurnsStale(client))
        await asyncio.sleep(1)
        assert status() is ProviderStatus.STALE


class KnowsTheSdk(AioFlagsProvider):
    """Keeps the function that the SDK gives it for events."""

    tell_sdk: Any

    def attach(self, on_emit: Any) -> None:
        self.tell_sdk = on_emit
        super().attach(on_emit)


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_status_that_a_slow_thread_overwrites_is_repeated_after_a_second() -> None:
    async with await ready_client() as client:
        provider = KnowsTheSdk(client)
        api.set_provider_and_wait(provider)
        client.interrupt()
        await until(lambda: status() is ProviderStatus.STALE)
        # The thread that ran initialize continues only now.
        provider.tell_sdk(provider, ProviderEvent.PROVIDER_READY, ProviderEventDetails())
        assert status() is ProviderStatus.READY
        await asyncio.wait_for(until(lambda: status() is ProviderStatus.STALE), 2)


@pytest.mark.real_time
@pytest.mark.holds("OF-9", "OF-10", "OF-11", "OF-12")
async def test_handlers_get_what_happens_to_the_client() -> None:
    async with await ready_client() as client:
        api.set_provider_and_wait(AioFlagsProvider(client))
        log = HandlerLog(api.get_client())
        assert await log.names(1) == ["READY"]  # the SDK's replay
        await asyncio.sleep(0.1)
        client.interrupt()
        event, details = await log.next()
        assert (event, details.provider_name) == (ProviderEvent.PROVIDER_STALE, "aioflags")
        assert details.message == "the network is down"
        client.send({"f": False, "g": 1})
        assert sorted(await log.names(2)) == ["CONFIGURATION_CHANGED", "READY"]
        client.send({"f": False, "g": 2})
        event, details = await log.next()
        assert (event, details.flags_changed) == (ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, ["g"])
        assert api.get_client().get_integer_value("g", 0, ANNA) == 2
        client.refuse()
        event, details = await log.next()
        assert (event, details.error_code) == (ProviderEvent.PROVIDER_ERROR, ErrorCode.GENERAL)
        assert "the key was refused" in str(details.message)
        assert status() is ProviderStatus.ERROR
        assert log.is_empty()


class InitializesLate(AioFlagsProvider):
    """The SDK's thread comes to ``initialize`` only when the gate opens."""

    gate: threading.Event

    def initialize(self, evaluation_context: EvaluationContext, domain: str | None = None) -> None:
        assert self.gate.wait(30)
        super().initialize(evaluation_context, domain)


@pytest.mark.slow
@pytest.mark.holds("OF-12")
@pytest.mark.parametrize("is_late", [pytest.param(False, id="in time"), pytest.param(True, id="the SDK's thread is late")])
@pytest.mark.real_time
async def test_a_ready_handler_runs_once_for_one_initialization(is_late: bool, gate: threading.Event) -> None:
    async with ScriptedClient() as client:
        log = HandlerLog(api.get_client())
        assert await log.names(1) == ["READY"]  # that of the no-op provider
        provider = InitializesLate(client, init_timeout=5)
        provider.gate = gate
        if not is_late:
            gate.set()
        api.set_provider(provider)
        client.send(FLAGS)
        await client.wait_ready()
        await asyncio.sleep(0.1)
        gate.set()
        assert await log.names(1) == ["READY"]
        await asyncio.sleep(1.2)
        assert log.is_empty()


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_handler_of_an_outage_that_lasts_runs_once() -> None:
    async with await ready_client() as client:
        client.interrupt()
        await client.wait_until(Status.STALE)
        log = HandlerLog(api.get_client())
        assert await log.names(1) == ["READY"]  # that of the no-op provider
        api.set_provider_and_wait(AioFlagsProvider(client))
        assert await log.names(2) == ["READY", "STALE"]  # the SDK's own, then that of the client
        await asyncio.sleep(1.2)
        assert log.is_empty()


@pytest.mark.holds("OF-36", "OF-R36")
async def test_the_events_of_one_client_do_not_reach_the_domain_of_another() -> None:
    async with await ready_client() as one, await ready_client() as other:
        api.set_provider_and_wait(AioFlagsProvider(one), "one")
        api.set_provider_and_wait(AioFlagsProvider(other), "other")
        await asyncio.sleep(1)
        one.interrupt()
        await until(lambda: api.get_client("one").get_provider_status() is ProviderStatus.STALE)
        assert api.get_client("other").get_provider_status() is ProviderStatus.READY


async def test_closing_the_client_emits_nothing() -> None:
    client = await ready_client()
    api.set_provider_and_wait(AioFlagsProvider(client))
    await asyncio.sleep(1)
    await client.aclose()
    await asyncio.sleep(1)
    assert status() is ProviderStatus.READY


@pytest.mark.real_time
async def test_after_shutdown_nothing_is_emitted() -> None:
    async with await ready_client() as client:
        provider = AioFlagsProvider(client)
        seen: list[ProviderEvent] = []
        provider.attach(lambda _provider, event, _details: seen.append(event))
        provider.initialize(ANNA)
        provider.shutdown()
        client.interrupt()
        await client.wait_until(Status.STALE)
        await asyncio.sleep(0.1)
        assert seen == []


# -- an SDK that reads life-cycle events


class MarkedBase(AbstractProvider):
    """OpenFeature's base class, in an SDK that has the marker."""

    emits_lifecycle_events: bool = False


class MarkedProvider(AioFlagsProvider):
    sdk_provider: ClassVar[type] = MarkedBase


class MarkedRegistry:
    """An SDK that derives the status from the provider's events alone."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, ErrorCode | None]] = []

    def set_provider(self, provider: AioFlagsProvider) -> None:
        assert getattr(provider, LIFECYCLE_MARKER) is True
        provider.attach(lambda _provider, event, details: self.dispatch(event, details))
        provider.initialize(EvaluationContext())

    def dispatch(self, event: ProviderEvent, details: ProviderEventDetails) -> None:
        self.seen.append((event.value.removeprefix("PROVIDER_"), details.error_code))


def test_the_sdk_of_today_has_no_marker() -> None:
    assert not has_lifecycle_marker(AbstractProvider)
    assert has_lifecycle_marker(MarkedBase)


@pytest.mark.slow
@pytest.mark.holds("OF-38")
@pytest.mark.parametrize("in_thread", [pytest.param(False, id="on the loop"), pytest.param(True, id="in a thread")])
@pytest.mark.real_time
async def test_an_sdk_with_the_marker_gets_each_transition_once(in_thread: bool) -> None:
    registry = MarkedRegistry()
    async with await ready_client() as client:
        provider = MarkedProvider(client)
        if in_thread:
            await asyncio.to_thread(registry.set_provider, provider)
        else:
            registry.set_provider(provider)
        assert registry.seen == [("READY", None)]
        client.interrupt()
        await until(lambda: len(registry.seen) == 2)
        client.send({"f": False})
        await until(lambda: len(registry.seen) == 4)
        client.refuse()
        await until(lambda: len(registry.seen) == 5)
        await asyncio.sleep(1.1)
        provider.shutdown()
    names = [name for name, _ in registry.seen]
    assert names == ["READY", "STALE", "READY", "CONFIGURATION_CHANGED", "ERROR"]


@pytest.mark.holds("OF-38")
async def test_an_sdk_with_the_marker_gets_the_error_before_initialize_ends() -> None:
    registry = MarkedRegistry()
    async with ScriptedClient() as client:
        provider = MarkedProvider(client)
        with pytest.raises(ProviderNotReadyError):
            registry.set_provider(provider)
        assert registry.seen == [("ERROR", ErrorCode.PROVIDER_NOT_READY)]
        client.send(FLAGS)
        await until(lambda: len(registry.seen) >= 2)
        assert registry.seen[1] == ("READY", None)
        provider.shutdown()


@pytest.mark.holds("OF-38")
@pytest.mark.real_time
async def test_a_client_that_gets_ready_during_initialize_reports_it_once() -> None:
    registry = MarkedRegistry()
    async with ScriptedClient() as client:
        provider = MarkedProvider(client, init_timeout=5)
        setting = asyncio.create_task(asyncio.to_thread(registry.set_provider, provider))
        await until(lambda: provider._wait._pending is not None)
        client.send(FLAGS)
        await setting
        assert registry.seen[0] == ("READY", None)
        await asyncio.sleep(0.2)
        assert [name for name, _ in registry.seen].count("READY") == 1
        provider.shutdown()


class MarkedAndLate(InitializesLate):
    sdk_provider: ClassVar[type] = MarkedBase


@pytest.mark.holds("OF-38")
@pytest.mark.real_time
async def test_an_sdk_with_the_marker_gets_each_transition_during_initialize(gate: threading.Event) -> None:
    registry = MarkedRegistry()
    async with ScriptedClient() as client:
        provider = MarkedAndLate(client)
        provider.gate = gate
        setting = asyncio.create_task(asyncio.to_thread(registry.set_provider, provider))
        await until(lambda: provider._forwarder is not None)
        client.send(FLAGS)
        await until(lambda: len(registry.seen) == 1)
        client.interrupt()
        await until(lambda: len(registry.seen) == 2)
        client.send(FLAGS)
        await until(lambda: len(registry.seen) >= 3)
        gate.set()
        await setting
        await asyncio.sleep(0.1)
        assert [name for name, _ in registry.seen if name != "CONFIGURATION_CHANGED"] == ["READY", "STALE", "READY"]
        provider.shutdown()
