"""What initialize and shutdown do, and the status that OpenFeature shows afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent
from openfeature.exception import ErrorCode, ProviderFatalError, ProviderNotReadyError
from openfeature.provider import ProviderStatus
from openfeature.provider.no_op_provider import NoOpProvider

from aioflags import Client, ConfigError, Status
from aioflags.openfeature import AioFlagsProvider
from aioflags.testing import MemoryClient
from tests.openfeature.handler_logs import HandlerLog
from tests.openfeature.scripted_clients import ScriptedClient

ANNA = EvaluationContext("anna")
FLAGS = {"f": True}


async def ready_client() -> ScriptedClient:
    client = await ScriptedClient()
    client.send(FLAGS)
    await client.wait_ready()
    return client


def status() -> ProviderStatus:
    return api.get_client().get_provider_status()


def value() -> bool:
    return api.get_client().get_boolean_value("f", False, ANNA)


async def until(condition: Callable[[], bool]) -> None:
    """Lets other tasks and threads run until the condition holds."""
    while not condition():
        await asyncio.sleep(0.005)


@pytest.mark.holds("OF-1")
async def test_a_client_that_is_ready_is_set_at_once() -> None:
    async with Client.local({"flagValues": FLAGS}) as client:
        began = asyncio.get_running_loop().time()
        api.set_provider_and_wait(AioFlagsProvider(client))
        assert (status(), value()) == (ProviderStatus.READY, True)
        assert asyncio.get_running_loop().time() == began


def test_the_client_of_a_test_needs_no_start(flags: MemoryClient) -> None:
    flags.set("f", True)
    api.set_provider_and_wait(AioFlagsProvider(flags))
    assert (status(), value()) == (ProviderStatus.READY, True)


@pytest.mark.holds("OF-2", "OF-3", "OF-R28")
async def test_on_its_own_event_loop_a_client_that_is_not_ready_is_not_waited_for() -> None:
    async with ScriptedClient() as client:
        with pytest.raises(ProviderNotReadyError, match="event loop nothing can wait for it"):
            api.set_provider_and_wait(AioFlagsProvider(client))
        assert (status(), value()) == (ProviderStatus.ERROR, False)
        client.send(FLAGS)
        await until(lambda: status() is ProviderStatus.READY)
        assert value() is True


@pytest.mark.real_time
@pytest.mark.holds("OF-4")
async def test_a_client_that_gets_ready_makes_its_provider_ready() -> None:
    async with ScriptedClient() as client:
        api.set_provider(AioFlagsProvider(client, init_timeout=5))
        assert status() is ProviderStatus.NOT_READY
        client.send(FLAGS)
        await until(lambda: status() is ProviderStatus.READY)
        assert value() is True


@pytest.mark.real_time
@pytest.mark.holds("OF-5")
async def test_a_client_that_never_gets_ready_is_an_error_after_the_timeout() -> None:
    async with ScriptedClient() as client:
        log = HandlerLog(api.get_client())
        assert await log.names(1) == ["READY"]  # that of the no-op provider
        began = asyncio.get_running_loop().time()
        api.set_provider(AioFlagsProvider(client, init_timeout=0.3))
        assert status() is ProviderStatus.NOT_READY
        event, details = await log.next()
        assert asyncio.get_running_loop().time() - began >= 0.3
        assert (event, details.error_code) == (ProviderEvent.PROVIDER_ERROR, ErrorCode.PROVIDER_NOT_READY)
        assert "NOT_READY, source INITIALIZING" in str(details.message)
        assert status() is ProviderStatus.ERROR
        found = api.get_client().get_boolean_details("f", True, ANNA)
        assert (found.value, found.error_code) == (True, ErrorCode.PROVIDER_NOT_READY)


@pytest.mark.real_time
@pytest.mark.speed
async def test_the_timeout_is_by_default_that_of_the_clients_start() -> None:
    async with ScriptedClient(start_wait=0.2) as client:
        began = time.monotonic()
        with pytest.raises(ProviderNotReadyError):
            await asyncio.to_thread(AioFlagsProvider(client).initialize, ANNA)
        assert 0.15 < time.monotonic() - began < 2


@pytest.mark.holds("OF-6")
async def test_a_client_that_cannot_get_data_is_fatal() -> None:
    async with ScriptedClient() as client:
        client.refuse()
        await client.wait_until(Status.FATAL)
        provider = AioFlagsProvider(client)
        with pytest.raises(ProviderFatalError, match=r"^the key was refused .*the client is FATAL, source OFF"):
            api.set_provider_and_wait(provider)
        assert status() is ProviderStatus.FATAL
        found = provider.resolve_boolean_details("f", default_value=True, evaluation_context=ANNA)
        assert (found.value, found.error_code) == (True, ErrorCode.PROVIDER_FATAL)


async def test_a_client_that_is_not_started_is_an_error_that_names_the_remedy() -> None:
    client = ScriptedClient()
    with pytest.raises(ProviderNotReadyError, match="the client is not started: use async with"):
        api.set_provider_and_wait(AioFlagsProvider(client))
    assert status() is ProviderStatus.ERROR
    async with client:
        client.send(FLAGS)
        await until(lambda: status() is ProviderStatus.READY)
        assert value() is True


@pytest.mark.real_time
async def test_initialize_ends_when_the_provider_is_shut_down() -> None:
    async with ScriptedClient() as client:
        provider = AioFlagsProvider(client, init_timeout=60)
        waiting = asyncio.create_task(asyncio.to_thread(provider.initialize, ANNA))
        await until(lambda: provider._wait._pending is not None)
        provider.shutdown()
        with pytest.raises(ProviderNotReadyError):
            await asyncio.wait_for(waiting, 5)


@pytest.mark.holds("OF-13")
async def test_the_client_outlives_its_provider() -> None:
    async with Client.local({"flagValues": FLAGS}) as client:
        provider = AioFlagsProvider(client)
        api.set_provider_and_wait(provider)
        api.shutdown()
        provider.shutdown()
        found = provider.resolve_boolean_details(flag_key="f", default_value=False, evaluation_context=ANNA)
        assert (found.value, found.error_code) == (False, ErrorCode.PROVIDER_NOT_READY)
        assert client.status is Status.READY
        assert (await client.variation_detail("f", None, False)).reason is not None


@pytest.mark.holds("OF-14")
async def test_a_client_that_the_provider_owns_is_closed_with_it() -> None:
    client = await ScriptedClient()
    client.send(FLAGS)
    await client.wait_ready()
    api.set_provider_and_wait(AioFlagsProvider(client, owns_client=True))
    api.shutdown()
    assert client.status is Status.READY
    await until(lambda: client.status is Status.NOT_READY)
    await client.aclose()


@pytest.mark.real_time
async def test_another_thread_waits_until_the_client_is_closed() -> None:
    client = await ScriptedClient()
    provider = AioFlagsProvider(client, owns_client=True)
    await asyncio.to_thread(provider.shutdown)
    assert client.status is Status.NOT_READY
    provider.shutdown()
    await client.aclose()


@pytest.mark.real_time
def test_a_client_whose_event_loop_has_ended_is_left_alone() -> None:
    client = asyncio.run(ready_client())
    with pytest.raises(ProviderNotReadyError, match="cancelled by other code"):
        api.set_provider_and_wait(AioFlagsProvider(client, owns_client=True))
    api.shutdown()
    asyncio.run(client.aclose())


@pytest.mark.real_time
@pytest.mark.holds("OF-15")
async def test_a_provider_that_was_shut_down_can_be_set_again() -> None:
    async with Client.local({"flagValues": FLAGS}) as client:
        provider = AioFlagsProvider(client)
        api.set_provider_and_wait(provider)
        api.set_provider_and_wait(NoOpProvider())
        await until(lambda: not provider._is_initialized)
        api.set_provider_and_wait(provider)
        assert (status(), value()) == (ProviderStatus.READY, True)


@pytest.mark.parametrize("client", [pytest.param("sdk-key", id="a key"), pytest.param(Client, id="a class"), None])
def test_what_is_not_a_client_is_refused(client: object) -> None:
    with pytest.raises(ConfigError, match="client: expected a Client, a FlagdClient or a MobileClient"):
        AioFlagsProvider(client)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"init_timeout": "5"}, "init_timeout", id="a timeout that is not a number"),
        pytest.param({"owns_client": "yes"}, "owns_client", id="a word for a boolean"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AioFlagsProvider(Client.local({}), **options)  # type: ignore[arg-type]


def test_the_metadata_names_the_kind_of_client() -> None:
    class FlagdLike(ScriptedClient):
        provider_name = "flagd"

    assert AioFlagsProvider(ScriptedClient()).get_metadata().name == "aioflags"
    assert AioFlagsProvider(FlagdLike()).get_metadata().name == "flagd"
    assert AioFlagsProvider(ScriptedClient()).get_provider_hooks() == []


def test_initialize_takes_the_domain_of_coming_versions() -> None:
    client = Client.local({})
    with pytest.raises(ProviderNotReadyError):
        AioFlagsProvider(client).initialize(ANNA, domain="shop")
