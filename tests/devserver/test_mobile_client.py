"""The client for a mobile key uses this server: its context's flags, changes, another context, outages, FDv1 and events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest

from aioflags import Context, MobileClient, MobileConfig
from aioflags.devserver import Endpoint, Fault, FaultKind, ServerState, create_app, serve
from tests.support.canaries import KEY

pytestmark = pytest.mark.real_time

SOON = 60.0
IS_PRO = {"attribute": "plan", "op": "in", "values": ["pro"]}
DOCUMENT = {
    "flags": {
        "checkout": {
            "on": True,
            "variations": ["new", "old"],
            "offVariation": 1,
            "fallthrough": {"variation": 1},
            "rules": [{"id": "r", "variation": 0, "clauses": [IS_PRO]}],
            "prerequisites": [{"key": "shop", "variation": 0}],
            "trackEvents": True,
        },
        "shop": {"on": True, "variations": [True, False], "offVariation": 1, "fallthrough": {"variation": 0}},
    }
}
ANN, BOB = Context("ann", attributes={"plan": "pro"}), Context("bob")


class Scene:
    """A server and a client of it."""

    def __init__(self, state: ServerState, client: MobileClient) -> None:
        self.state, self.client = state, client

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(SOON):
            while not condition():
                await anyio.sleep(0.01)

    async def gets(self, value: str) -> None:
        """Wait until the flag has this value."""
        await self.until(lambda: self.client.variation("checkout", "none") == value)


@asynccontextmanager
async def scene(**options: Any) -> AsyncGenerator[Scene]:
    state = ServerState.of(DOCUMENT)
    async with AsyncExitStack() as stack:
        url = (await stack.enter_async_context(serve(create_app(state)))).url
        config = MobileConfig(base_uri=url, stream_uri=url, events_uri=url, initial_reconnect_delay=0.05, **options)
        yield Scene(state, await stack.enter_async_context(MobileClient(KEY, ANN, config)))


@pytest.mark.parametrize("use_report", [False, True])
async def test_the_client_follows_its_flags_and_changes_its_context(*, use_report: bool) -> None:
    async with scene(use_report=use_report, evaluation_reasons=True) as server:
        await server.gets("new")
        assert server.client.variation_detail("checkout", "none").reason.rule_id == "r"
        await server.until(lambda: server.state.open_streams[Endpoint.CLIENT_STREAM] == 1)
        server.state.flip("shop")
        await server.gets("old")
        server.state.flip("shop")
        await server.gets("new")
        await server.client.identify(BOB)
        assert server.client.variation("checkout", "none") == "old"
        await server.until(lambda: server.state.clients.all[0].context == "bob")


@pytest.mark.parametrize("kind", [FaultKind.STATUS, FaultKind.RESET, FaultKind.CLOSE, FaultKind.GOODBYE, FaultKind.MALFORMED])
async def test_the_client_recovers_from_a_fault_of_its_stream(kind: FaultKind) -> None:
    async with scene() as server:
        await server.until(lambda: server.state.open_streams[Endpoint.CLIENT_STREAM] == 1)
        server.state.inject(Fault(kind=kind, on=frozenset({Endpoint.CLIENT_STREAM}), times=1))
        server.state.flip("checkout")
        await server.gets("old")


async def test_the_client_goes_to_fdv1_when_it_is_told_to() -> None:
    async with scene() as server:
        await server.until(lambda: server.state.open_streams[Endpoint.CLIENT_STREAM] == 1)
        server.state.send_directive()
        await server.until(lambda: server.state.requests[Endpoint.MOBILE_POLL] == 1)
        assert server.client.variation("checkout", "none") == "new"
        assert server.client.connection_info.active_protocol == "fdv1"


async def test_events_of_the_client_have_no_problems() -> None:
    async with scene() as server:
        await server.gets("new")
        server.client.track("bought", {"price": 1})
        assert await server.client.flush_and_wait(SOON)
        await server.until(lambda: {event.kind for event in server.state.events.newest} >= {"feature", "custom", "summary"})
        assert [event for event in server.state.events.newest if event.problems] == []
        assert server.state.requests[Endpoint.MOBILE_EVENTS] > 0
