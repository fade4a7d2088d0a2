"""What all integrations share: one run for a client, and flags for somebody."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from aioflags import Client, ConfigError, Context, LifecycleError, Status, use_context
from aioflags.web.requests import RequestFlags, Service

FLAGS: dict[str, Any] = {
    "flags": {
        "who": {
            "on": True,
            "variations": ["nobody in particular", "anna"],
            "fallthrough": {"variation": 0},
            "targets": [{"variation": 1, "values": ["anna"]}],
        }
    }
}


def a_client() -> Client:
    return Client.local(FLAGS)


@pytest.mark.parametrize("make", [pytest.param(lambda: a_client, id="made for it"), pytest.param(a_client, id="given")])
async def test_a_client_runs_as_long_as_the_application(make: Callable[[], Any]) -> None:
    service: Service[str] = Service(make(), None, remedy="")
    async with service.running() as requests:
        assert requests.client.status.status is Status.READY
    with pytest.raises(LifecycleError):
        await requests.client.start()


async def test_a_function_makes_a_client_for_each_run() -> None:
    service: Service[str] = Service(a_client, None, remedy="")
    async with service.running() as first, service.running() as second:
        assert first.client is not second.client


async def test_a_client_is_closed_when_the_application_fails() -> None:
    client = a_client()
    service: Service[str] = Service(client, None, remedy="")
    with pytest.raises(ZeroDivisionError):
        async with service.running():
            raise ZeroDivisionError
    assert client.status.status is Status.NOT_READY


@pytest.mark.parametrize("overlap", [pytest.param(True, id="while the first goes on"), pytest.param(False, id="after the first")])
async def test_a_second_run_of_one_client_is_refused_and_the_way_out_is_named(*, overlap: bool) -> None:
    client = a_client()
    service: Service[str] = Service(client, None, remedy="begin(lambda: Client(...))")
    message = r"has been given to an application's run before.*, as in begin\(lambda: Client"
    async with service.running() as requests:
        if overlap:
            with pytest.raises(LifecycleError, match=message):
                await service.running().__aenter__()
            assert requests.client.status.status is Status.READY
    if not overlap:
        with pytest.raises(LifecycleError, match=message):
            await service.running().__aenter__()


async def test_a_client_that_runs_already_is_taken_over() -> None:
    client = await a_client()
    service: Service[str] = Service(client, None, remedy="")
    async with service.running() as requests:
        assert requests.client.status.status is Status.READY
    assert client.status.status is Status.NOT_READY


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
        pytest.param(partial(waiting), id="a partial one"),
        pytest.param(Callme(), id="an object that can be called"),
    ],
)
async def test_a_request_is_for_whom_the_function_says(context: Any) -> None:
    requests: RequestFlags[str] = RequestFlags(a_client(), context)
    flags = await requests.pin("anna")
    assert flags.context == Context("anna")
    assert flags.variation("who", "") == "anna"


async def test_without_a_function_the_ambient_context_counts() -> None:
    requests: RequestFlags[str] = RequestFlags(a_client(), None)
    with use_context(Context("anna")):
        assert (await requests.pin("")).variation("who", "") == "anna"


def nobody(_request: str) -> Any:
    return None


@pytest.mark.parametrize("context", [pytest.param(None, id="no function"), pytest.param(nobody, id="a function that makes none")])
async def test_a_request_without_a_context_is_refused_and_the_way_out_is_named(context: Any) -> None:
    requests: RequestFlags[str] = RequestFlags(a_client(), context)
    with pytest.raises(ConfigError, match=r"this request has none.*context=function_of_the_request.*use_context"):
        await requests.pin("")


def unread(request: str) -> Any:
    return {"key": request}


async def test_a_context_that_is_none_is_refused() -> None:
    requests: RequestFlags[str] = RequestFlags(a_client(), unread)
    with pytest.raises(ConfigError, match=r"expected a Context, got dict .*Context\.from_dict"):
        await requests.pin("")


async def test_a_context_that_cannot_be_used_answers_defaults() -> None:
    flags = await RequestFlags(a_client(), plain).pin("")
    assert flags.variation("who", "the default") == "the default"


async def test_what_a_function_raises_is_its_callers_to_see() -> None:
    def no_such_user(request: str) -> Context:
        raise KeyError(request)

    with pytest.raises(KeyError):
        await RequestFlags(a_client(), no_such_user).pin("anna")


@pytest.mark.parametrize(
    ("client", "context", "message"),
    [
        pytest.param("sdk-key", None, "client: expected a Client, or a function that makes one, got str", id="a key for a client"),
        pytest.param(a_client, Context("anna"), "context: expected a function of the request, got Context", id="a mere context"),
    ],
)
def test_a_wrong_argument_is_named_at_once(client: Any, context: Any, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Service(client, context, remedy="")
    assert str(raised.value) == message


def nothing() -> Any:
    return None


async def test_a_function_that_makes_no_client_is_named_when_it_is_called() -> None:
    service: Service[str] = Service(nothing, None, remedy="")
    with pytest.raises(ConfigError, match="client: expected Client, got NoneType"):
        await service.running().__aenter__()
