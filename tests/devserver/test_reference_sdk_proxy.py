"""LaunchDarkly's own SDK, synchronous and asynchronous, behind a :class:`~aioflags.testing.FaultProxy`.

It keeps its values while the network fails, has the newest ones afterwards, and leaves the server as it was: other clients are
served meanwhile, and no connection is left at the end.
"""

from __future__ import annotations

import anyio
import httpx
import pytest

from aioflags.devserver import ServerState, create_app, serve
from aioflags.testing import FaultProxy, Schedule, toxics
from tests.devserver.test_reference_sdk import SOON, Make, asynchronous, synchronous

pytestmark = [pytest.mark.real_time, pytest.mark.slow]

FAULTS = {
    "refused": toxics.Refuse(),
    "reset": toxics.ResetPeer(),
    "half-open": toxics.HalfOpen(),
    "black hole": toxics.BlackHole(),
    "late": toxics.Latency(latency=0.1, jitter=0.05),
    "drip": toxics.Bandwidth(rate=2000),
    "sliced": toxics.Slicer(average_size=5, size_variation=3),
    "truncated": toxics.LimitData(bytes=300),
    "unavailable": toxics.WrongStatus(status=503),
    "redirected": toxics.Redirect(),
}
"""Not an answer that is not HTTP: AsyncLDClient 9.20.0 logs its key with it."""
MODES = ["FDv1 streaming", "FDv2 streaming"]
DURING = 0.2

makes = pytest.mark.parametrize("sdk_on", [synchronous, asynchronous])


def value(number: int) -> dict[str, object]:
    return {"on": False, "variations": [number], "offVariation": 0}


async def is_served(url: str, number: int) -> bool:
    """Whether another client, without the proxy, gets that value."""
    async with httpx.AsyncClient() as other:
        flags = (await other.get(f"{url}/sdk/latest-all")).json()["flags"]
    return bool(flags["f"]["variations"] == [number])


@makes
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", [pytest.param(toxic, id=name) for name, toxic in FAULTS.items()])
async def test_the_reference_sdk_has_right_values_before_during_and_after(sdk_on: Make, mode: str, fault: toxics.Toxic) -> None:
    state = ServerState.of({"flags": {"f": value(1)}})
    async with serve(create_app(state)) as serving:
        async with FaultProxy(serving.url) as proxy, sdk_on(proxy.url, mode) as sdk:
            assert await sdk.value("f") == 1
            proxy.add(fault)
            if not isinstance(fault, (toxics.HalfOpen, toxics.BlackHole)):
                proxy.drop_connections()
            state.put("f", value(2))
            with anyio.move_on_after(DURING):
                while True:
                    assert await sdk.value("f") in {1, 2}
                    await anyio.sleep(DURING / 10)
            assert await is_served(serving.url, 2)
            proxy.clear()
            if isinstance(fault, toxics.HalfOpen):
                proxy.drop_connections()  # the SDK waits five minutes for a byte
            state.put("f", value(3))
            await sdk.sees("f", 3)
        with anyio.fail_after(SOON):
            while serving.server.server_state.connections:
                await anyio.sleep(0.01)


@makes
@pytest.mark.parametrize("mode", MODES)
async def test_the_reference_sdk_has_the_newest_value_after_random_faults(sdk_on: Make, mode: str) -> None:
    kinds = (toxics.ResetPeer, toxics.BlackHole, toxics.Slicer, toxics.Bandwidth, toxics.LimitData)
    schedule = Schedule(7, kinds, lasts=(0.05, 0.2), pause=(0.05, 0.2))
    state, seen = ServerState.of({"flags": {"f": value(0)}}), [0]
    async with serve(create_app(state)) as serving, FaultProxy(serving.url) as proxy, sdk_on(proxy.url, mode) as sdk:
        async with anyio.create_task_group() as group:

            async def edit() -> None:
                for number in range(1, 1000):
                    await anyio.sleep(0.05)
                    state.put("f", value(number))
                    seen.append(await sdk.value("f"))

            group.start_soon(edit)
            await schedule.run(proxy, 10)
            group.cancel_scope.cancel()
        assert seen == sorted(seen)
        state.put("f", value(1000))
        await sdk.sees("f", 1000)
