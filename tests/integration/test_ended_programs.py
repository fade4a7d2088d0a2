"""A program that ends without closing its client: no name of the package's own functions is shown."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable

import pytest

from aioflags import Client, Config, Context, FlagdClient, FlagdConfig, MobileClient, MobileConfig

pytestmark = pytest.mark.real_time

NOWHERE = "http://127.0.0.1:9"


def client() -> Client:
    return Client("sdk-x", Config(base_uri=NOWHERE, stream_uri=NOWHERE, events_uri=NOWHERE, start_wait=0))


def mobile_client() -> MobileClient:
    config = MobileConfig(base_uri=NOWHERE, stream_uri=NOWHERE, events_uri=NOWHERE, start_wait=0)
    return MobileClient("mob-x", Context("a"), config)


def flagd_client() -> FlagdClient:
    return FlagdClient(FlagdConfig(host="127.0.0.1", port=9))


@pytest.mark.slow
@pytest.mark.parametrize("make", [client, mobile_client, flagd_client])
def test_whenever_a_program_ends_without_closing_no_coroutine_of_the_package_is_reported(
    make: Callable[[], Client | MobileClient | FlagdClient],
) -> None:
    async def program(cycles: int) -> None:
        unclosed = make()
        await unclosed.start(0)
        for _ in range(cycles):
            await asyncio.sleep(0)

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        for cycles in range(30):
            asyncio.run(program(cycles))
        gc.collect()
    reported = [str(warning.message) for warning in shown if warning.category is RuntimeWarning]
    # The same may happen to the tasks of anyio's own connect_tcp.
    assert [text for text in reported if "connect_tcp" not in text] == []
