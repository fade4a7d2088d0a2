"""LaunchDarkly's own SDK, synchronous and asynchronous, uses this server: over FDv1 and FDv2, polling and streaming.

Other tests use the client of this package; these show that an independent client understands the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from ldclient import Context, LDClient, datasystem
from ldclient.async_client import AsyncLDClient
from ldclient.async_config import AsyncConfig, AsyncDataSystemConfig
from ldclient.config import Config
from ldclient.impl.datasourcev2.async_polling import AsyncFallbackToFDv1PollingDataSourceBuilder, AsyncPollingDataSourceBuilder
from ldclient.impl.datasourcev2.async_streaming import AsyncStreamingDataSourceBuilder

from aioflags.devserver import Endpoint, ServerState, create_app, serve
from tests.support.canaries import KEY

pytestmark = pytest.mark.real_time

SOON = 60.0
INTERVAL = 0.1
USER = Context.create("user-key")
DOCUMENT = {
    "flags": {
        "release": {
            "on": True,
            "variations": [True, False],
            "offVariation": 1,
            "fallthrough": {"variation": 1},
            "rules": [{"variation": 0, "clauses": [{"op": "segmentMatch", "attribute": "", "values": ["testers"]}]}],
            "somethingNew": {"unknown": 1},
        }
    },
    "flagValues": {"greeting": "hello", "limits": {"items": [1, 2.5]}},
    "segments": {"testers": {"included": ["user-key"]}},
}
VALUES = {"release": True, "greeting": "hello", "limits": {"items": [1, 2.5]}}

SPARSE: dict[str, Any] = {
    "flags": {
        "of-a-segment": {
            "on": True,
            "variations": [True, False],
            "fallthrough": {"variation": 1},
            "rules": [{"variation": 0, "clauses": [{"op": "segmentMatch", "values": ["beta"]}]}],
        },
        "of-targets": {
            "on": True,
            "variations": [True, False],
            "fallthrough": {"variation": 1},
            "targets": [{"variation": 1}, {"variation": 0, "values": ["user-key"]}],
            "contextTargets": [{"variation": 1, "contextKind": "org"}, {"variation": 0}],
        },
        "of-a-rule-without-clauses": {"on": True, "variations": [True], "rules": [{"variation": 0}]},
        "of-an-empty-rollout": {"on": True, "variations": [True], "fallthrough": {"rollout": {}}},
        "of-a-clause-without-anything": {"on": True, "variations": [True], "rules": [{"variation": 0, "clauses": [{}]}]},
        "of-nothing": {},
    },
    "segments": {
        "beta": {
            "includedContexts": [{}, {"values": ["user-key"]}],
            "rules": [{}, {"clauses": [{"op": "segmentMatch", "values": []}]}],
        }
    },
}
"""Flags and segments that leave out every optional property."""
SPARSE_VALUES = {
    "of-a-segment": True,
    "of-targets": True,
    "of-a-rule-without-clauses": True,
    **dict.fromkeys(["of-an-empty-rollout", "of-a-clause-without-anything", "of-nothing"], "the default"),
}

FDV1 = ["FDv1 polling", "FDv1 streaming"]
FDV2 = ["FDv2 polling", "FDv2 streaming", "FDv2 polling and then streaming"]


def untyped(builder: Any) -> Any:
    """Hides missing annotations of the SDK from the type checker."""
    return builder


class Sdk:
    """A started SDK of either make: values by key, and the keys of flags that change."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._changes: asyncio.Queue[str] = asyncio.Queue()

    def changed(self, change: Any) -> None:
        self._loop.call_soon_threadsafe(self._changes.put_nowait, change.key)

    async def value(self, key: str) -> object:
        answer = self._client.variation(key, USER, "the default")
        return await answer if asyncio.iscoroutine(answer) else answer

    async def sees(self, key: str, value: object) -> None:
        with anyio.fail_after(SOON):
            while await self.value(key) != value:
                await self._changes.get()


@asynccontextmanager
async def synchronous(url: str, mode: str) -> AsyncGenerator[Sdk, None]:
    polling, streaming = datasystem.polling_ds_builder().poll_interval(INTERVAL), datasystem.streaming_ds_builder()
    system = datasystem.custom().fdv1_compatible_synchronizer(datasystem.fdv1_fallback_ds_builder().poll_interval(INTERVAL))
    system.synchronizers(polling if mode == "FDv2 polling" else streaming)
    if mode == "FDv2 polling and then streaming":
        system.initializers([polling])
    config = Config(
        KEY,
        base_uri=url,
        stream_uri=url,
        events_uri=url,
        initial_reconnect_delay=0.05,
        stream=mode == "FDv1 streaming",
        datasystem_config=system.build() if mode in FDV2 else None,
    )
    vars(config)["_Config__poll_interval"] = INTERVAL  # its minimum is 30 s
    client = await asyncio.to_thread(LDClient, config, SOON)
    try:
        assert client.is_initialized()
        sdk = Sdk(client)
        client.flag_tracker.add_listener(sdk.changed)
        yield sdk
    finally:
        await asyncio.to_thread(client.close)


@asynccontextmanager
async def asynchronous(url: str, mode: str) -> AsyncGenerator[Sdk, None]:
    polling, streaming = (
        untyped(AsyncPollingDataSourceBuilder)().poll_interval(INTERVAL),
        untyped(AsyncStreamingDataSourceBuilder)(),
    )
    system = AsyncDataSystemConfig(
        initializers=[polling] if mode == "FDv2 polling and then streaming" else None,
        synchronizers=[polling if mode == "FDv2 polling" else streaming],
        fdv1_fallback_synchronizer=untyped(AsyncFallbackToFDv1PollingDataSourceBuilder)().poll_interval(INTERVAL),
    )
    config = AsyncConfig(
        KEY,
        base_uri=url,
        stream_uri=url,
        events_uri=url,
        initial_reconnect_delay=0.05,
        stream=mode == "FDv1 streaming",
        datasystem_config=system if mode in FDV2 else None,
    )
    vars(config)["_AsyncConfig__poll_interval"] = INTERVAL
    client = AsyncLDClient(config)
    await client.start(SOON)
    try:
        assert await client.is_initialized()
        sdk = Sdk(client)
        client.flag_tracker.add_listener(sdk.changed)
        yield sdk
    finally:
        await client.close()


Make = Callable[[str, str], Any]
makes = pytest.mark.parametrize("sdk_on", [synchronous, asynchronous])


def fdv2_requests(state: ServerState) -> int:
    return state.requests[Endpoint.POLL] + state.requests[Endpoint.STREAM]


@makes
@pytest.mark.parametrize("mode", FDV1 + FDV2)
async def test_the_reference_sdk_reads_the_flags_and_sees_a_flip(sdk_on: Make, mode: str) -> None:
    state = ServerState.of(DOCUMENT)
    async with serve(create_app(state)) as serving:
        async with sdk_on(serving.url, mode) as sdk:
            assert {key: await sdk.value(key) for key in VALUES} == VALUES
            state.flip("release")
            await sdk.sees("release", False)
            state.delete("greeting")
            await sdk.sees("greeting", "the default")
            assert (
                state.requests[Endpoint.FDV1_POLL] + state.requests[Endpoint.FDV1_STREAM] == 0
                if mode in FDV2
                else not fdv2_requests(state)
            )
        assert state.requests[Endpoint.EVENTS]
        assert state.requests[Endpoint.DIAGNOSTIC]


@makes
@pytest.mark.parametrize("mode", FDV1 + FDV2[:2])
async def test_the_reference_sdk_reads_sparse_definitions(sdk_on: Make, mode: str) -> None:
    state = ServerState.of(SPARSE)
    async with serve(create_app(state)) as serving, sdk_on(serving.url, mode) as sdk:
        assert {key: await sdk.value(key) for key in SPARSE_VALUES} == SPARSE_VALUES
        state.put("of-nothing", SPARSE["flags"]["of-a-segment"])
        await sdk.sees("of-nothing", True)


@makes
@pytest.mark.parametrize("mode", FDV2)
async def test_the_reference_sdk_follows_the_directive(sdk_on: Make, mode: str) -> None:
    state = ServerState.of(DOCUMENT)
    async with serve(create_app(state)) as serving, sdk_on(serving.url, mode) as sdk:
        state.send_directive()
        state.flip("release")
        with anyio.fail_after(SOON):
            await state.until(lambda: state.requests[Endpoint.FDV1_POLL] > 0)
        asked_before = fdv2_requests(state)
        await sdk.sees("release", False)
        state.flip("release")
        await sdk.sees("release", True)
        assert fdv2_requests(state) == asked_before
        assert state.open_streams[Endpoint.STREAM] == 0
