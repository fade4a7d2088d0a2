"""Parts that keep the rules of the fallback directive: results, sources, the rotation and the options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import anyio
import httpx
import pytest

import aioflags.sources
from aioflags.mobile.modes import ConnectionMode, ModeDefinition, pipelines
from aioflags.model.change import Basis, ChangeSet, FallbackDirective, FetchFailure, Update
from aioflags.model.status import ErrorInfo, FailureKind, SourceState
from aioflags.protocol.client_side import ClientSide
from aioflags.sources import Fdv1FallbackOptions, Polling, Streaming
from aioflags.sources.base import closing
from aioflags.sources.polling import PollOutcome
from aioflags.supervisor.rotation import Rotation
from aioflags.supervisor.verdict import Verdict
from tests.support.device_storages import LOGGER
from tests.support.mobile_runs import run_mobile
from tests.support.mobile_service import ANNA, UNCHANGED, MobileService, mobile_client, named, polled
from tests.support.scripted_http import Answer, Service, nothing_selected, poll_of

CUT = Answer(200, {"Content-Type": "text/event-stream"}, [httpx.ReadError("reset")])
ERROR = ErrorInfo(kind=FailureKind.NETWORK_ERROR, message="down", time=1.0)


@pytest.mark.holds("F-4")
@pytest.mark.parametrize(
    ("make", "fields"),
    [
        pytest.param(Basis, {"change_set": ChangeSet.unchanged()}, id="Basis"),
        pytest.param(FetchFailure, {"error": ERROR}, id="FetchFailure"),
        pytest.param(Update, {"state": SourceState.VALID}, id="Update"),
        pytest.param(PollOutcome, {}, id="PollOutcome"),
    ],
)
def test_a_result_cannot_be_made_without_the_directive(make: Callable[..., object], fields: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="directive"):
        make(**fields)
    make(**fields, directive=None)
    make(**fields, directive=FallbackDirective(ttl=None, origin="header"))


@pytest.mark.holds("F-15")
@pytest.mark.parametrize("index", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("has_fallback", [True, False], ids=["with a fallback", "without a fallback"])
def test_after_a_directive_the_fallback_alone_is_left(index: int, *, has_fallback: bool) -> None:
    rotation = Rotation.of((Streaming(), Polling(), Polling()), Fdv1FallbackOptions() if has_fallback else None)
    for _ in range(index):
        rotation = rotation.after(Verdict.NEXT)
    assert rotation.index == index
    left = rotation.after(Verdict.FDV1, restores_removed=False)
    assert left.remaining == ((rotation.fallback,) if has_fallback else ())
    assert (left.current, left.index, left.on_fdv1) == (rotation.fallback, 0, True)
    assert left.after(Verdict.RECOVER).remaining == rotation.remaining


@pytest.mark.holds("F-19")
def test_the_fallback_is_described_by_its_options_alone() -> None:
    assert [name for name in aioflags.sources.__all__ if "Fallback" in name] == ["FallbackDirective", "Fdv1FallbackOptions"]
    assert "Fdv1Poller" not in aioflags.sources.__all__
    made = pipelines({}, Fdv1FallbackOptions(), updates_in_background=True, polls_once_by_fdv1=True, logger=LOGGER)
    options = [pipeline.fdv1_fallback for pipeline in made.values() if pipeline.fdv1_fallback is not None]
    assert len({id(each) for each in options}) == len(options) == 4
    frozen: list[tuple[Any, str]] = [
        (options[0], "interval"),
        (made[ConnectionMode.STREAMING], "fdv1_fallback"),
        (ModeDefinition(), "initializers"),
    ]
    for value, name in frozen:
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, None)


@pytest.mark.holds("F-22")
@pytest.mark.parametrize("builder", [Fdv1FallbackOptions(), Polling(), Streaming()], ids=["FDv1", "polling", "streaming"])
async def test_a_source_sends_nothing_before_it_runs(builder: Any) -> None:
    service = Service(poll_of())
    source = builder.build(service.context(side=ClientSide(context=ANNA)))
    results = source.sync(nothing_selected)
    await anyio.sleep(1)
    assert (service.requests, service.clients) == ([], [])
    async with closing(results):
        with anyio.move_on_after(0.1):
            await anext(results)
    assert len(service.requests) == 1


@pytest.mark.holds("F-35")
@pytest.mark.parametrize("endpoint", ["poll", "stream", "fdv1"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(Answer(after=httpx.ConnectError("refused")), FailureKind.NETWORK_ERROR, id="no connection"),
        pytest.param(Answer(after=httpx.ConnectTimeout("slow")), FailureKind.NETWORK_ERROR, id="no connection in time"),
        pytest.param(Answer(after=httpx.ReadError("reset")), FailureKind.NETWORK_ERROR, id="a reset"),
        pytest.param(Answer(after=httpx.ReadTimeout("slow")), FailureKind.NETWORK_ERROR, id="no answer in time"),
        pytest.param(Answer(after=httpx.RemoteProtocolError("nonsense")), FailureKind.NETWORK_ERROR, id="no HTTP"),
        pytest.param(
            Answer(200, {"Content-Type": "text/event-stream"}, [httpx.ReadError("r")]), FailureKind.NETWORK_ERROR, id="a cut"
        ),
        pytest.param(Answer(500), FailureKind.ERROR_RESPONSE, id="500"),
        pytest.param(Answer(429), FailureKind.ERROR_RESPONSE, id="429"),
        pytest.param(Answer(after=RuntimeError("a bug")), FailureKind.UNKNOWN, id="an unexpected exception"),
    ],
)
async def test_a_failure_is_classified_where_the_response_is_read(endpoint: str, answer: Answer, kind: FailureKind) -> None:
    directed = Answer(500).directed()
    service = MobileService(
        poll=[polled("s", f=1)] if endpoint == "stream" else [directed] if endpoint == "fdv1" else [named("poll"), answer],
        stream=[answer],
        fdv1=[answer],
    )
    mode = "polling" if endpoint == "poll" else "streaming"
    async with mobile_client(service, initial_connection_mode=mode, start_wait=1) as client:
        await anyio.sleep(301 if endpoint == "poll" else 0.2)
        error = client.report.last_error
        assert error is not None
        assert error.kind is kind
        assert client.report.source_state in (SourceState.INTERRUPTED, SourceState.INITIALIZING)


@pytest.mark.holds("F-36")
@pytest.mark.parametrize("poll", [named("poll"), Answer(500).directed()], ids=["FDv2", "FDv1"])
async def test_every_connection_is_closed_with_the_client(poll: Any) -> None:
    service = MobileService(poll=[poll])
    async with mobile_client(service):
        await anyio.sleep(1)
        assert not all(client.is_closed for client in service.clients)
    assert all(client.is_closed for client in service.clients)


@pytest.mark.holds("F-47")
@pytest.mark.parametrize("directed", [False, True], ids=["without the directive", "with the directive"])
async def test_a_result_without_news_leaves_the_selector(*, directed: bool) -> None:
    unchanged = UNCHANGED.directed(**{"X-LD-FD-Fallback-TTL": "5"}) if directed else UNCHANGED
    service = await run_mobile(
        {"poll": [polled("s1", f=1), unchanged], "fdv1": [Answer(503)]},
        [601],
        initial_connection_mode="polling",
        fdv1_fallback_recovery="ttl",
    )
    assert [hit.query.get("basis") for hit in service.to("poll")][:3] == [None, "s1", "s1"]
