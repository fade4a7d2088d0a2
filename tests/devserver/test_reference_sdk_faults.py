"""LaunchDarkly's own SDK, synchronous and asynchronous, recovers from each fault.

Recovery means that a flag that was flipped during the fault has its new value afterwards.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from aioflags.devserver import Endpoint, Fault, ServerState, create_app, serve
from aioflags.devserver.decode import decode
from tests.devserver.test_reference_sdk import DOCUMENT, SOON, Make, Sdk, asynchronous, synchronous

pytestmark = [pytest.mark.real_time, pytest.mark.slow]

ONCE: list[dict[str, Any]] = [
    {"kind": "status", "status": 503},
    {"kind": "goodbye"},
    {"kind": "error"},
    {"kind": "malformed"},
    {"kind": "truncated"},
    {"kind": "drip", "rate": 20000},
    {"kind": "delay", "delay": 0.2},
    {"kind": "reset"},
    {"kind": "close"},
]
LETHAL = {"FDv2 polling": ["malformed"], "FDv2 streaming": []}
"""Faults that this release of the SDK does not survive: a malformed poll ends its source with an exception."""

makes = pytest.mark.parametrize("sdk_on", [synchronous, asynchronous])


async def inject_once(state: ServerState, written: dict[str, Any]) -> None:
    """Inject the fault once, wait until it has affected a client, and lift all faults."""
    injected = state.inject(decode(Fault, {**written, "times": 1}))
    with anyio.fail_after(SOON):
        while not any(client.fault is not None and client.fault.what == written["kind"] for client in state.clients.all):
            await anyio.sleep(0.01)
        await state.faults.wait_until_inactive(injected)
    state.faults.lift_all()


@makes
@pytest.mark.leaves("descriptors", reason="LaunchDarkly's SDK keeps the sockets of its polls until they are collected")
@pytest.mark.parametrize("mode", ["FDv2 polling", "FDv2 streaming"])
async def test_the_reference_sdk_recovers_from_each_fault(sdk_on: Make, mode: str) -> None:
    state = ServerState.of(DOCUMENT)
    async with serve(create_app(state)) as serving, sdk_on(serving.url, mode) as sdk:
        on = True
        for written in (written for written in ONCE if written["kind"] not in LETHAL[mode]):
            await inject_once(state, written)
            state.flip("release")
            on = not on
            await sees(sdk, on, written)


async def sees(sdk: Sdk, value: bool, written: dict[str, Any]) -> None:
    try:
        await sdk.sees("release", value)
    except TimeoutError:
        pytest.fail(f"no recovery from {written}")


@makes
@pytest.mark.leaves("descriptors", reason="LaunchDarkly's SDK keeps the sockets of its polls until they are collected")
@pytest.mark.parametrize("mode", ["FDv2 polling", "FDv2 streaming"])
async def test_the_reference_sdk_recovers_when_silence_is_lifted(sdk_on: Make, mode: str) -> None:
    state = ServerState.of(DOCUMENT)
    async with serve(create_app(state)) as serving, sdk_on(serving.url, mode) as sdk:
        injected = state.inject(decode(Fault, {"kind": "silence"}))
        await anyio.sleep(0.2)
        state.flip("release")
        await anyio.sleep(0.3)
        assert await sdk.value("release") is True
        state.faults.lift(injected.number)
        await sdk.sees("release", False)


@makes
@pytest.mark.parametrize("payload", [pytest.param(True, id="with a payload"), pytest.param(False, id="without one")])
@pytest.mark.parametrize("status", [None, 503])
async def test_the_reference_sdk_follows_the_directive_with_any_response(sdk_on: Make, payload: bool, status: int | None) -> None:
    state = ServerState.of(DOCUMENT)
    async with serve(create_app(state)) as serving, sdk_on(serving.url, "FDv2 polling") as sdk:
        if status is not None:
            state.inject(decode(Fault, {"kind": "status", "status": status, "on": [Endpoint.POLL]}))
        state.inject(decode(Fault, {"kind": "directive", "payload": payload}))
        with anyio.fail_after(SOON):
            await state.until(lambda: state.requests[Endpoint.FDV1_POLL] > 0)
        state.flip("release")
        await sdk.sees("release", False)


@makes
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_the_reference_sdk_keeps_its_data_after_a_malformed_poll(sdk_on: Make) -> None:
    state = ServerState.of(DOCUMENT)
    async with serve(create_app(state)) as serving, sdk_on(serving.url, "FDv2 polling") as sdk:
        await inject_once(state, {"kind": "malformed"})
        assert await sdk.value("release") is True
