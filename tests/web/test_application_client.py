"""Code that all integrations share: one run for each client, and the flags of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from aioflags import Client, ConfigError, Context, FlagdClient, LifecycleError, Status, use_context
from aioflags.client_core.application_client import ApplicationClient, RequestFlags
from tests.web.flagd_document import DOCUMENT

FLAGS: dict[str, Any] = {
    "flags": {
        "who": {
            "on": True,
            "variations": ["no name", "anna"],
            "fallthrough": {"variation": 0},
            "targets": [{"variation": 1, "values": ["anna"]}],
        }
    }
}


def a_client() -> Client:
    return Client.local(FLAGS)


@pytest.mark.parametrize("make", [pytest.param(lambda: a_client, id="a function"), pytest.param(a_client, id="a client")])
async def test_a_client_runs_as_long_as_the_application(make: Callable[[], Any]) -> None:
    service: ApplicationClient[str] = ApplicationClient(make(), None, remedy="")
    async with service.running() as requests:
        assert requests.client.status is Status.READY
    with pytest.raises(LifecycleError):
        await requests.client.start()


async def test_a_function_makes_a_client_for_each_run() -> None:
    service: ApplicationClient[str] = ApplicationClient(a_client, None, remedy="")
    async with service.running() as first, service.running() as second:
        assert first.client is not second.client


async def test_a_client_is_closed_when_the_application_fails() -> None:
    client = a_client()
    service: ApplicationClient[str] = ApplicationClient(client, None, remedy="")
    with pytest.raises(ZeroDivisionError):
        async with service.running():
            raise ZeroDivisionError
    assert client.status is Status.NOT_READY


@pytest.mark.parametrize("overlap", [pytest.param(True, id="during the first"), pytest.param(False, id="after the first")])
async def test_a_second_run_of_one_client_is_refused_with_a_remedy(*, overlap: bool) -> None:
    client = a_client()
    service: ApplicationClient[str] = ApplicationClient(client, None, remedy="begin(lambda: Client(...))")
    message = r"belongs to an earlier run.*: begin\(lambda: Client"
    async with service.running() as requests:
        if overlap:
            with pytest.raises(LifecycleError, match=message):
                await service.running().__aenter__()
            assert requests.client.status is Status.READY
    if not overlap:
        with pytest.raises(LifecycleError, match=message):
            await service.running().__aenter__()


async def test_a_client_that_runs_already_is_used_and_closed() -> None:
    client = await a_client()
    service: ApplicationClient[str] = ApplicationClient(client, None, remedy="")
    async with service.running() as requests:
        assert requests.client.status is Status.READY
    assert client.status is Status.NOT_READY


def plain(request: str) -> Context:
    return Context(request)


async def waiting(request: str) -> Context:
    return Context(request)


class Callme:
    async def __call__(self, request: str) -> Context:
        return Context(request)


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(plain, id="a plain function"),
        pytest.param(waiting, id="a coroutine function"),
        pytest.param(partial(waiting), id="a partial function"),
        pytest.param(Callme(), id="an object that can be called"),
    ],
)
async def test_the_function_returns_the_context_of_a_request(context: Any) -> None:
    requests: RequestFlags[str] = RequestFlags(a_client(), context)
    flags = await requests.pin("anna")
    assert flags.context == Context("anna")
    assert flags.variation("who", "") == "anna"


async def test_without_a_function_the_ambient_context_is_used() -> None:
    requests: RequestFlags[str] = RequestFlags(a_client(), None)
    with use_context(Context("anna")):
        assert (await requests.pin("")).variation("who", "") == "anna"


class SlowContext:
    """A context function that waits for a second, and counts its calls. Those with the numbers in ``failing`` raise."""

    def __init__(self, *failing: int) -> None:
        self.calls = 0
        self._failing = failing

    async def __call__(self, request: str) -> Context:
        self.calls += 1
        number = self.calls
        await asyncio.sleep(1)
        if number in self._failing:
            raise ConnectionError(number)
        return Context(request)


async def test_tasks_of_one_request_share_the_flags_that_one_of_them_pins() -> None:
    context, kept = SlowContext(), dict[str, Any]()
    requests: RequestFlags[str] = RequestFlags(a_client(), context)
    flags = await asyncio.gather(*(requests.pin_once("anna", kept, "flags") for _ in range(3)))
    assert all(each is kept["flags"] for each in flags)
    assert context.calls == 1


async def test_requests_at_the_same_time_have_flags_of_their_own() -> None:
    requests: RequestFlags[str] = RequestFlags(a_client(), SlowContext())
    flags = await asyncio.gather(*(requests.pin_once(name, {}, "flags") for name in ("anna", "bert")))
    assert [each.context for each in flags] == [Context("anna"), Context("bert")]


async def test_a_task_that_is_cancelled_does_not_cancel_the_flags_of_the_others() -> None:
    context, kept = SlowContext(), dict[str, Any]()
    requests: RequestFlags[str] = RequestFlags(a_client(), context)
    first, *others = (asyncio.create_task(requests.pin_once("anna", kept, "flags")) for _ in range(3))
    await asyncio.sleep(0.5)
    first.cancel()
    assert await asyncio.gather(*others) == [kept["flags"]] * 2
    assert first.cancelled()
    assert context.calls == 2


async def test_tasks_that_wait_are_cancelled_alone() -> None:
    kept = dict[str, Any]()
    requests: RequestFlags[str] = RequestFlags(a_client(), SlowContext())
    first, second = (asyncio.create_task(requests.pin_once("anna", kept, "flags")) for _ in range(2))
    await asyncio.sleep(0.5)
    second.cancel()
    assert await first is kept["flags"]
    assert second.cancelled()


async def test_an_exception_goes_to_all_tasks_and_a_later_call_tries_again() -> None:
    context, kept = SlowContext(1), dict[str, Any]()
    requests: RequestFlags[str] = RequestFlags(a_client(), context)
    results = await asyncio.gather(*(requests.pin_once("anna", kept, "flags") for _ in range(2)), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 2
    assert context.calls == 1
    assert (await requests.pin_once("anna", kept, "flags")).context == Context("anna")


async def test_flags_that_plain_code_pinned_in_the_meantime_count() -> None:
    requests: RequestFlags[str] = RequestFlags(a_client(), SlowContext())
    pinned, kept = await requests.pin("bert"), dict[str, Any]()
    first = asyncio.create_task(requests.pin_once("anna", kept, "flags"))
    await asyncio.sleep(0.5)
    kept["flags"] = pinned
    assert await first is pinned


async def test_a_function_that_asks_for_the_flags_of_its_own_request_fails() -> None:
    kept = dict[str, Any]()

    async def context(request: str) -> Context:
        return (await requests.pin_once(request, kept, "flags")).context or Context(request)

    requests: RequestFlags[str] = RequestFlags(a_client(), context)
    with pytest.raises(RecursionError, match="waits for its own result"):
        await requests.pin_once("anna", kept, "flags")


def no_context(_request: str) -> Any:
    return None


@pytest.mark.parametrize("context", [pytest.param(None, id="no function"), pytest.param(no_context, id="returns none")])
async def test_a_request_without_a_context_is_refused_with_a_remedy(context: Any) -> None:
    requests: RequestFlags[str] = RequestFlags(a_client(), context)
    with pytest.raises(ConfigError, match=r"this request has none.*context=function_of_the_request.*use_context"):
        await requests.pin("")


def unread(request: str) -> Any:
    return {"key": request}


async def test_a_context_of_another_type_is_refused() -> None:
    requests: RequestFlags[str] = RequestFlags(a_client(), unread)
    with pytest.raises(ConfigError, match=r"expected a Context, got dict .*Context\.from_dict"):
        await requests.pin("")


async def test_an_invalid_context_gets_defaults() -> None:
    flags = await RequestFlags(a_client(), plain).pin("")
    assert flags.variation("who", "the default") == "the default"


async def test_an_exception_of_the_function_reaches_the_caller() -> None:
    def no_such_user(request: str) -> Context:
        raise KeyError(request)

    with pytest.raises(KeyError):
        await RequestFlags(a_client(), no_such_user).pin("anna")


@pytest.mark.parametrize(
    ("client", "context", "message"),
    [
        pytest.param(
            "sdk-key", None, "client: expected a Client, or a function that makes one, got str", id="a key instead of a client"
        ),
        pytest.param(
            a_client,
            Context("anna"),
            "context: expected a function of the request, got aioflags.Context",
            id="a context instead of a function",
        ),
    ],
)
def test_a_wrong_argument_is_refused_at_once(client: Any, context: Any, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ApplicationClient(client, context, remedy="")
    assert str(raised.value) == message


def nothing() -> Any:
    return None


async def test_a_function_that_returns_no_client_is_refused_when_it_is_called() -> None:
    service: ApplicationClient[str] = ApplicationClient(nothing, None, remedy="")
    with pytest.raises(ConfigError, match="client: expected Client, got NoneType"):
        await service.running().__aenter__()


def a_client_for_flagd() -> FlagdClient:
    return FlagdClient.local(DOCUMENT)


@pytest.mark.parametrize(
    "make", [pytest.param(lambda: a_client_for_flagd, id="a function"), pytest.param(a_client_for_flagd, id="a client")]
)
async def test_a_client_for_flagd_serves_an_application(make: Callable[[], Any]) -> None:
    service: ApplicationClient[str] = ApplicationClient(make(), plain, remedy="")
    statuses: list[Status] = []
    async with service.running() as requests:
        statuses.append(requests.client.status)
        assert [(await requests.pin(name)).variation("colour", "") for name in ("anna", "bert")] == ["red", "blue"]
    assert [*statuses, requests.client.status] == [Status.READY, Status.NOT_READY]
