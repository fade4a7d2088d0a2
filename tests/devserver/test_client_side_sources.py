"""The sources of a client-side SDK use this server: values, changes, selectors and the fallback directive, on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from aioflags.devserver import Endpoint, ServerState, create_app, serve
from aioflags.evaluation.client_side import CLIENT_SIDE
from aioflags.evaluation.snapshot import Snapshot
from aioflags.model.change import ChangeKind, FallbackDirective, Update
from aioflags.model.context import Context
from aioflags.model.status import SourceState
from aioflags.protocol.client_side import ClientSide
from aioflags.sources import Fdv1FallbackOptions, Polling, Streaming
from aioflags.sources.base import SourceContext
from tests.support.canaries import KEY
from tests.support.scripted_http import first, selecting, updates_from, updates_of

pytestmark = pytest.mark.real_time

PRO = Context("ann", attributes={"plan": "pro"}, private=["plan"])
IS_PRO = {"attribute": "plan", "op": "in", "values": ["pro"]}
DOCUMENT = {
    "flags": {
        "checkout": {
            "on": True,
            "variations": ["new", "old"],
            "offVariation": 1,
            "fallthrough": {"variation": 1},
            "rules": [{"id": "r", "variation": 0, "clauses": [IS_PRO]}],
        },
        "secret": {"on": True, "variations": [1], "clientSideAvailability": {"usingMobileKey": False}},
    }
}


class Served:
    """A server and what sources need to use it."""

    def __init__(self, state: ServerState, url: str) -> None:
        self.state, self._url = state, url

    def context(self, **options: Any) -> SourceContext:
        side = ClientSide(context=PRO, with_reasons=True, **options)
        return SourceContext(base_uri=self._url, stream_uri=self._url, headers={"Authorization": KEY}, side=side)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    state = ServerState.of(DOCUMENT)
    async with serve(create_app(state)) as serving:
        yield Served(state, serving.url)


def values(snapshot: Snapshot) -> dict[str, Any]:
    return {key: snapshot.evaluate(key, PRO, "none").detail.value for key in snapshot.flags}


def applied(snapshot: Snapshot, update: Update) -> Snapshot:
    assert update.change_set is not None
    return snapshot.apply(update.change_set)


@pytest.mark.parametrize("use_report", [False, True])
@pytest.mark.parametrize("builder", [Polling(), Streaming(), Fdv1FallbackOptions()], ids=["poll", "stream", "FDv1 poll"])
async def test_a_source_gets_the_flags_of_its_context(served: Served, builder: Any, *, use_report: bool) -> None:
    (update,) = await updates_from(builder.build(served.context(use_report=use_report)), 1)
    snapshot = applied(Snapshot.empty(dialect=CLIENT_SIDE), update)
    assert values(snapshot) == {"checkout": "new"}
    assert snapshot.evaluate("checkout", PRO, "none").detail.reason.rule_id == "r"


async def test_changes_are_pushed_to_an_open_stream(served: Served) -> None:
    snapshot = Snapshot.empty(dialect=CLIENT_SIDE)
    async with updates_of(Streaming().build(served.context())) as news:
        snapshot = applied(snapshot, (await first(news, 1))[0])
        served.state.flip("checkout")
        (update,) = await first(news, 1)
        assert update.change_set is not None
        assert update.change_set.kind is ChangeKind.CHANGES
        snapshot = applied(snapshot, update)
        assert values(snapshot) == {"checkout": "old"}
        served.state.delete("checkout")
        assert values(applied(snapshot, (await first(news, 1))[0])) == {}


async def test_a_current_selector_gets_no_data(served: Served) -> None:
    selector = selecting(served.state.transfer().selector)
    (update,) = await updates_from(Polling().build(served.context()), 1, selector)
    assert (update.state, update.change_set) == (SourceState.VALID, None)


async def test_the_directive_leads_to_fdv1(served: Served) -> None:
    served.state.send_directive(ttl=60)
    (update,) = await updates_from(Streaming().build(served.context()), 1)
    assert update.directive == FallbackDirective(ttl=60, origin="header")
    (update,) = await updates_from(Fdv1FallbackOptions().build(served.context()), 1)
    assert update.directive is None
    assert served.state.requests == {Endpoint.CLIENT_STREAM: 1, Endpoint.MOBILE_POLL: 1}


async def test_a_stream_ends_with_its_client(served: Served) -> None:
    async with updates_of(Streaming().build(served.context())) as news:
        await first(news, 1)
        assert served.state.open_streams[Endpoint.CLIENT_STREAM] == 1
        (record,) = served.state.clients.all
        assert (record.audience, record.context) == ("mobile", "ann")
    with anyio.fail_after(10):
        await served.state.until(lambda: not served.state.open_streams.total())
