"""Evaluations for objects that raise or lie when they are read. Every client returns a value, or refuses a wrong argument."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openfeature.evaluation_context import EvaluationContext

from aioflags import Client, ConfigError, Context, FlagdClient, FlagdConfig
from aioflags.openfeature import AioFlagsProvider
from aioflags.testing import MemoryMobileClient
from tests.support.events import client_with_events
from tests.support.hostile import OBJECTS, TREES, grown
from tests.support.scripted_flagd import READY, ScriptedFlagd, flag, flags, value
from tests.support.scripted_http import Answer, Service

Evaluate: TypeAlias = "Callable[[Any, Any, Any], Awaitable[object]]"
"""Makes all calls of a client with this key, context and default."""

RULE = {"if": [{"==": [{"var": "a"}, "pro"]}, "on", {"fractional": [{"var": "a"}, ["on", 1], ["off", 1]]}]}
LAUNCHDARKLY = {
    "flags": {
        "tracked": {"key": "tracked", "variations": [True, False], "offVariation": 0, "trackEvents": True, "version": 1},
        "f": {
            "key": "f",
            "on": True,
            "variations": [True, False],
            "fallthrough": {
                "rollout": {"bucketBy": "a", "variations": [{"variation": 0, "weight": 50_000}, {"variation": 1, "weight": 50_000}]}
            },
            "offVariation": 1,
            "salt": "s",
            "rules": [
                {"id": op, "variation": 0, "clauses": [{"attribute": "a", "op": op, "values": values, "negate": negate}]}
                for op, values, negate in [
                    ("in", ["pro", 5, True], False),
                    ("startsWith", ["p"], True),
                    ("matches", ["^p"], False),
                    ("greaterThan", [3], False),
                    ("after", ["2026-01-01T00:00:00Z"], False),
                    ("semVerEqual", ["1.0.0"], True),
                ]
            ],
        },
    }
}


async def calls(client: Client | FlagdClient, key: Any, context: Any, default: Any) -> None:
    await client.variation(key, context, default)
    await client.variation_detail(key, context, default)
    client.variation_nowait(key, context, default)
    client.variation_detail_nowait(key, context, default)
    flags = await client.flags(context)
    flags.variation(key, default)
    flags.all()
    if isinstance(client, Client):
        client.flags_nowait(context).variation_detail(key, default)
    str(await client.explain(key, context))


@asynccontextmanager
async def launchdarkly() -> AsyncGenerator[Evaluate]:
    async with client_with_events(LAUNCHDARKLY) as made:

        async def evaluate(key: Any, context: Any, default: Any) -> None:
            await calls(made.client, key, context, default)
            made.client.identify(context)
            made.client.track("bought", context, default)
            await made.client.all_flags_state(context)

        yield evaluate
        await made.client.flush_and_wait()


@asynccontextmanager
async def mobile() -> AsyncGenerator[Evaluate]:
    async with MemoryMobileClient(LAUNCHDARKLY) as client:

        async def evaluate(key: Any, context: Any, default: Any) -> None:
            if type(context) is Context:
                await client.identify(context)
            client.variation(key, default)
            client.variation_detail(key, default)
            client.track("bought", default)

        yield evaluate


@asynccontextmanager
async def in_process() -> AsyncGenerator[Evaluate]:
    async with ScriptedFlagd([[flags(f=flag(targeting=RULE))]]).client() as client:
        yield lambda key, context, default: calls(client, key, context, default)


@asynccontextmanager
async def rpc() -> AsyncGenerator[Evaluate]:
    flagd = ScriptedFlagd([[READY]], answers={"f": value(True, "TARGETING_MATCH")})
    async with flagd.client("rpc") as client:
        yield lambda key, context, default: calls(client, key, context, default)


@asynccontextmanager
async def ofrep() -> AsyncGenerator[Evaluate]:
    service = Service()
    service.takes = [Answer(200, {}, [b'{"key": "f", "value": true, "reason": "STATIC", "flags": []}'])]
    config = FlagdConfig(resolver="ofrep", ofrep_base_url="https://ofrep.test", http=service.http(), environment={})
    async with FlagdClient(config) as client:
        yield lambda key, context, default: calls(client, key, context, default)


@asynccontextmanager
async def openfeature(client: AbstractAsyncContextManager[Any]) -> AsyncGenerator[Evaluate]:
    async with client as started:
        provider = AioFlagsProvider(started)

        async def evaluate(key: Any, context: Any, default: Any) -> None:
            attributes: dict[str, Any] = dict(context.attributes) if type(context) is Context else {"a": context, "kind": context}
            for given in (
                EvaluationContext("k", {"a": default}),
                EvaluationContext(default, {**attributes, "privateAttributes": default}),
            ):
                provider.resolve_boolean_details(key, False, given)
                await provider.resolve_object_details_async(key, default, given)
                provider.track("bought", given, None)

        yield evaluate


CLIENTS: dict[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
    "Client": launchdarkly,
    "MobileClient": mobile,
    "flagd in-process": in_process,
    "flagd rpc": rpc,
    "flagd OFREP": ofrep,
    "OpenFeature on Client": lambda: openfeature(Client.local(LAUNCHDARKLY)),
    "OpenFeature on FlagdClient": lambda: openfeature(ScriptedFlagd([[flags(f=flag(targeting=RULE))]]).client()),
}


def contexts(thing: Any) -> list[Any]:
    """The object as a context, and contexts with the object in them."""
    made = [thing, Context("k", attributes={"a": thing, "b": [thing, {"c": thing}]}), Context("k", name=thing, private=[thing])]
    try:
        return [*made, Context("k", attributes={"a": 1, thing: 2})]
    except Exception:  # noqa: BLE001 -- it cannot be a name
        return made


async def evaluated(evaluate: Evaluate, *arguments: Any) -> None:
    """Evaluate, unless an argument is wrong."""
    try:
        await evaluate(*arguments)
    except ConfigError as refusal:
        assert str(refusal).startswith(("key: ", "context: ", "default: ")), str(refusal)  # noqa: PT017 -- others are not caught


@pytest.mark.holds("EV-E182")
@pytest.mark.parametrize("client", CLIENTS)
async def test_an_evaluation_returns_a_value_whatever_an_object_does(client: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with CLIENTS[client]() as evaluate:
            for name, thing in OBJECTS.items():
                for context in contexts(thing):
                    await evaluated(evaluate, "f", context, False)
                await evaluated(evaluate, "f", Context("k"), thing)
                await evaluated(evaluate, f"absent {name}", Context("k"), thing)  # the first default of a key is kept for events
                await evaluated(evaluate, "tracked", Context("k"), thing)
                await evaluated(evaluate, thing, Context("k"), False)
                if name != "text that raises":  # as a name of an attribute: a lookup raises, and the evaluation serves the default
                    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == [], name
                    assert "secret" not in caplog.text
                caplog.clear()


@pytest.mark.parametrize("client", CLIENTS)
@settings(max_examples=5, deadline=None)
@given(trees=st.lists(TREES, min_size=5, max_size=10))
async def test_an_evaluation_returns_a_value_whatever_the_attributes_are(client: str, trees: list[Any]) -> None:
    async with CLIENTS[client]() as evaluate:
        for each in map(grown, trees):
            await evaluated(evaluate, "f", Context("k", attributes={"a": each}), each)
