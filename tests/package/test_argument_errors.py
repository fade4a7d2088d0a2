"""Calls with a wrong argument: one error each, which names the argument and what is expected."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from aioflags import Client, Config, ConfigError, Context, DataSystem, Flag, FlagChange, LifecycleError, MobileClient, use_context
from aioflags.errors import ConfigTypeError
from aioflags.sources import Fdv1FallbackOptions, MemorySource
from aioflags.testing import MemoryClient

WRONG: dict[str, Any] = {"text": "x", "number": 5, "boolean": True, "mapping": {"a": True}, "class": MemorySource, "absent": None}
"""As ``Any``, since a type checker refuses each of these calls."""
USER = Context("anna")


def enter(context: Context) -> None:
    with use_context(context):
        pass


TYPES: dict[str, tuple[Callable[[MemoryClient], object], str]] = {
    "a name of an event": (lambda client: client.track(WRONG["number"], USER), "name: expected str, got int"),
    "a metric value": (
        lambda client: client.track("sold", USER, metric_value=WRONG["text"]),
        "metric_value: expected int or float or None, got str",
    ),
    "a boolean as metric value": (
        lambda client: client.track("sold", USER, metric_value=WRONG["boolean"]),
        "metric_value: expected int or float or None, got bool",
    ),
    "the context of an event": (lambda client: client.track("sold", WRONG["text"]), "context: expected a Context, got str"),
    "the context of an evaluation": (
        lambda client: client.variation_nowait("f", WRONG["mapping"], False),
        "context: expected a Context, got dict",
    ),
    "a default in the place of the context": (
        lambda client: client.variation_nowait("f", WRONG["boolean"]),
        "context: expected a Context, got bool .the context is missing: it comes before the default",
    ),
    "a text in the place of the context": (
        lambda client: client.variation_nowait("f", WRONG["text"]),
        r"context: expected a Context, got str .*the context is missing before it",
    ),
    "a context in the place of the key": (
        lambda client: client.variation_nowait(USER, WRONG["text"], False),  # type: ignore[call-overload]
        r"key: expected a string, got aioflags\.\S*Context; the order is key, context, default",
    ),
    "the key of an evaluation": (
        lambda client: client.variation_nowait(WRONG["number"], USER, False),
        "key: expected a string, got int",
    ),
    "the ambient context": (lambda _: enter(WRONG["text"]), "context: expected Context, got str"),
    "no ambient context": (lambda _: enter(WRONG["absent"]), "context: expected Context, got NoneType"),
    "a key that a test sets": (lambda client: client.set(WRONG["number"], 1), "key: expected a string, got int"),
    "a key that a test removes": (lambda client: client.remove(WRONG["number"]), "key: expected a string, got int"),
    "a key that a test builds on": (lambda client: client.flag(WRONG["number"]), "key: expected a string, got int"),
    "a mapping for a builder": (lambda client: client.update(WRONG["mapping"]), r"flag: expected a FlagBuilder.*set\(key, value\)"),
    "a key of a source in memory": (lambda _: MemorySource().set(WRONG["number"], 1), "key: expected str, got int"),
    "a mapping for a builder of a source": (
        lambda _: MemorySource().update(WRONG["mapping"]),
        r"flag: expected a FlagBuilder.*set\(key, value\)",
    ),
    "the key of a declared flag": (lambda _: Flag(WRONG["number"], default=True), "key: expected str, got int"),
    "a second default that is not named": (
        lambda _: Flag[bool]("f", WRONG["boolean"], default=True),
        r"default: name it, as in Flag\(key, default=…\)",
    ),
    "a context as default of pinned flags": (
        lambda client: client.flags_nowait(USER).variation("f", USER),
        r"default: expected a JSON value, got Context.*variation\(key, default\)",
    ),
    "a context for a client that has one": (
        lambda _: MobileClient("mob-key", USER).variation("f", USER),
        r"default: expected .*MobileClient have their own context: variation\(key, default\)",
    ),
    "a key to follow": (lambda client: client.changes(WRONG["number"], USER), "key: expected a string, got int"),
    "a hook": (lambda client: client.add_hook(WRONG["number"]), "hook: expected Hook, got int"),
    "an option": (lambda _: Config(start_wait=WRONG["text"]), "start_wait: expected int or float, got str"),
    "a class for a source": (
        lambda _: DataSystem(synchronizers=[WRONG["class"]]),
        r"MemorySource is a class; .*MemorySource\(…\)",
    ),
}


@pytest.mark.parametrize(("call", "message"), TYPES.values(), ids=TYPES)
def test_a_wrong_type_is_a_type_error_that_names_the_argument(call: Callable[[MemoryClient], object], message: str) -> None:
    with pytest.raises(TypeError, match=message) as raised:
        call(MemoryClient())
    assert isinstance(raised.value, ConfigTypeError)
    assert isinstance(raised.value, ConfigError)  # which is what options of every kind raise


VALUES: dict[str, tuple[Callable[[MemoryClient], object], str]] = {
    "a context without a key to follow": (
        lambda client: client.changes(WRONG["absent"], USER),
        r"changes: .*changes\(key, context\)",
    ),
    "a context that cannot be used": (lambda client: client.changes("f", Context("")), "changes: the context cannot be used"),
    "a negative time to wait": (lambda _: Config(start_wait=-1), "start_wait: expected a duration from 0"),
    "nothing that flags could come from": (lambda _: DataSystem.custom(), "custom: expected at least one of initializers"),
    "an FDv1 fallback alone": (lambda _: DataSystem.custom(fdv1_fallback=Fdv1FallbackOptions()), "custom: expected at least one"),
    "the empty key of a declared flag": (lambda _: Flag("", default=True), "cannot be empty"),
}


@pytest.mark.parametrize(("call", "message"), VALUES.values(), ids=VALUES)
def test_a_wrong_value_is_a_config_error_with_the_way_out(call: Callable[[MemoryClient], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        call(MemoryClient())
    assert not isinstance(raised.value, TypeError)


def test_a_declared_flag_without_a_named_default_is_a_type_error() -> None:
    flag: Any = Flag[bool]
    with pytest.raises(TypeError, match="'default'"):
        flag("f", True)


TIMES: dict[str, Callable[[Client, Any], Awaitable[object]]] = {
    "start": lambda client, seconds: client.start(start_wait=seconds),
    "wait_ready": lambda client, seconds: client.wait_ready(seconds),
    "refresh": lambda client, seconds: client.refresh(seconds),
    "flush_and_wait": lambda client, seconds: client.flush_and_wait(seconds),
    "aclose": lambda client, seconds: client.aclose(seconds),
}


@pytest.mark.parametrize("call", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize(
    ("seconds", "error", "message"),
    [
        pytest.param("x", ConfigTypeError, "expected int or float or None, got str", id="text"),
        pytest.param(True, ConfigTypeError, "got bool", id="a boolean"),
        pytest.param(float("nan"), ConfigError, "got nan", id="not a number"),
    ],
)
async def test_a_time_to_wait_is_a_number_of_seconds(
    call: Callable[[Client, Any], Awaitable[object]], seconds: Any, error: type[Exception], message: str
) -> None:
    async with MemoryClient() as client:
        with pytest.raises(error, match=message):
            await call(client, seconds)
        assert client.status == "READY"  # the call has changed nothing


async def test_a_timeout_of_0_is_accepted() -> None:
    async with MemoryClient() as client:
        assert await client.flush_and_wait(-1) is True
        await client.aclose(-1)


# -- following on an event loop


FOLLOW: dict[str, Callable[[Client], AsyncIterator[object]]] = {
    "changes of flags": lambda client: client.changes(),
    "changes of a value": lambda client: client.changes("f", USER),
    "reports": lambda client: client.reports(),
}


@pytest.mark.parametrize("follow", FOLLOW.values(), ids=FOLLOW)
async def test_an_iterator_that_waits_on_another_event_loop_raises(follow: Callable[[Client], AsyncIterator[object]]) -> None:
    async def wait() -> None:
        async for _ in follow(client):
            pass

    failures: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(wait())
        except LifecycleError as error:
            failures.append(error)

    async with MemoryClient() as client:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.01)
    assert len(failures) == 1


async def test_what_a_closed_client_left_can_be_read_on_another_event_loop() -> None:
    async with MemoryClient() as client:
        changes = client.changes()
        client.set("f", 1)

    async def read() -> list[FlagChange]:
        return [change async for change in changes]

    assert await asyncio.to_thread(asyncio.run, read()) == [FlagChange("f")]


async def test_changes_are_an_asynchronous_context_manager_too() -> None:
    async with MemoryClient() as client, client.changes() as changes:
        client.set("f", 1)
        assert await anext(changes) == FlagChange("f")
        async with client.changes() as others:
            pass
        assert [change async for change in others] == []
