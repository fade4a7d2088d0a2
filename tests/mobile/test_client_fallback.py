"""The fallback directive on every response of FDv2: the client serves what came with it, leaves FDv2 and polls by FDv1."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import httpx
import pytest

from aioflags.mobile.modes import ModeDefinition
from aioflags.model.change import (
    Basis,
    Change,
    ChangeKind,
    ChangeSet,
    FallbackDirective,
    FetchFailure,
    ObjectKind,
    Result,
    Selector,
    Update,
)
from aioflags.model.detail import FlagEvaluation
from aioflags.model.status import ErrorInfo, FailureKind, IdentifyStatus, SourceState
from aioflags.sources import Polling, SourceContext, Streaming, from_function
from aioflags.sources.polling import Cache
from aioflags.stores.storage import MemoryStorage
from tests.support.mobile_service import (
    DOWN,
    REFUSED,
    UNCHANGED,
    MobileService,
    flags_of_fdv1,
    kept,
    mobile_client,
    named,
    polled,
    streamed,
)
from tests.support.scripted_http import DIRECTED, HANG, Answer, intent, poll_of

ERROR = Answer(500).directed()
"""An error with the directive."""
DIRECTIVE = FallbackDirective(ttl=None, origin="header")
FIVE_MINUTES = 300.0


# -- the signal


PLACES: dict[str, dict[str, Any]] = {
    "an initializer that polls": {},
    "a synchronizer that polls": {"initial_connection_mode": "polling"},
    "a stream": {"modes": {"streaming": ModeDefinition(synchronizers=(Streaming(), Polling()))}},
}


@pytest.mark.holds("F-1")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("status", [200, 304, 400, 401, 403, 404, 408, 429, 500, 503])
async def test_the_directive_counts_with_every_status(place: str, status: int) -> None:
    answer = Answer(status, {"Content-Type": "text/event-stream"}).directed()
    service = MobileService(poll=[answer], stream=[answer])
    client = mobile_client(service, **PLACES[place])
    assert (await client.start()).status is IdentifyStatus.COMPLETED
    # A result without news, such as 304, completes the start before FDv1 has answered.
    await anyio.sleep(3500)
    assert client.variation("f", "") == "fdv1 anna"
    await client.aclose()
    assert service.endpoints[1:] == ["fdv1"] * 12
    assert service.times("fdv1")[0] == 0


@pytest.mark.holds("F-2")
@pytest.mark.parametrize(
    ("name", "value", "counts"),
    [
        ("X-LD-FD-Fallback", "TRUE", True),
        ("x-ld-fd-fallback", " true ", True),
        ("X-Ld-Fd-FALLBACK", "true, true", True),
        ("X-LD-FD-Fallback", "false", False),
        ("X-LD-FD-Fallback", "1", False),
        ("X-LD-FD-Fallback", "yes", False),
        ("X-LD-FD-Fallback", "", False),
        ("X-LD-FD-Fallback-TTL", "60", False),
    ],
)
async def test_only_the_token_true_counts(name: str, value: str, *, counts: bool) -> None:
    service = MobileService(poll=[named("poll")], stream=[streamed("s", f="stream").with_headers({name: value})])
    async with mobile_client(service):
        await anyio.sleep(5)
    assert ("fdv1" in service.endpoints) is counts


@pytest.mark.holds("F-5")
@pytest.mark.parametrize(
    "answer",
    [pytest.param(UNCHANGED.directed(), id="304"), pytest.param(poll_of(intent("none"), **DIRECTED), id="the intent none")],
)
async def test_an_answer_without_news_has_the_directive_too(answer: Answer) -> None:
    service = MobileService(poll=[polled("s1", f="poll").with_headers({"ETag": '"a"'}), answer])
    async with mobile_client(service, initial_connection_mode="polling") as client:
        await anyio.sleep(301)
        assert client.variation("f", "") == "fdv1 anna"
    assert [(hit.endpoint, hit.time) for hit in service.hits] == [("poll", 0), ("poll", 300), ("fdv1", 300)]


@pytest.mark.holds("F-6")
async def test_a_source_does_not_try_again_after_an_error_with_the_directive() -> None:
    service = MobileService(poll=[DOWN], stream=[ERROR])
    async with mobile_client(service):
        await anyio.sleep(3600)
    assert len(service.to("stream")) == 1


@pytest.mark.holds("F-7", "S-66")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param([b"{oops"], id="not JSON"),
        pytest.param([b'{"events":7}'], id="a wrong schema"),
        pytest.param([b'{"events":[', httpx.ReadError("reset")], id="a reset inside the body"),
        pytest.param([b'{"events":[', HANG], id="a body that stops"),
        pytest.param([], id="nothing"),
    ],
)
@pytest.mark.parametrize("mode", ["streaming", "polling"])
async def test_a_broken_body_does_not_lose_the_directive(body: list[Any], mode: str) -> None:
    service = MobileService(poll=[Answer(200, DIRECTED, body)])
    async with mobile_client(service, initial_connection_mode=mode, start_wait=20) as client:
        assert client.variation("f", "") == "fdv1 anna"
        await anyio.sleep(60)
    assert service.endpoints == ["poll", "fdv1"]


# -- what came with it is served first


@pytest.mark.holds("F-8", "S-52")
async def test_the_payload_that_came_with_it_is_served_and_kept() -> None:
    storage = MemoryStorage()
    service = MobileService(poll=[DOWN], stream=[streamed("s1", f="stream").directed()], fdv1=[Answer(400)])
    async with mobile_client(service, storage=storage) as client:
        assert client.variation("f", "") == "stream"
        await anyio.sleep(3)
        assert client.variation("f", "") == "stream"
        assert "stream ended" in service.log
    again = MobileService(poll=[DOWN], stream=[DOWN])
    async with mobile_client(again, storage=storage, start_wait=1) as client:
        assert client.variation("f", "") == "stream"


@pytest.mark.holds("F-13", "S-54")
async def test_a_complete_payload_of_an_initializer_completes_the_start_and_fdv1_follows() -> None:
    service = MobileService(poll=[polled("s1", f="poll").directed()], fdv1=[Answer(200, {}, [b"{}"], 1)])
    client = mobile_client(service)
    assert ((await client.start()).status, service.seconds) == (IdentifyStatus.COMPLETED, 0)
    assert (client.variation("f", ""), client.report.source_state) == ("poll", SourceState.VALID)
    await anyio.sleep(60)
    assert client.all() == {}
    await client.aclose()
    assert service.endpoints == ["poll", "fdv1"]


@pytest.mark.holds("F-14")
@pytest.mark.parametrize(
    ("result", "took"),
    [
        pytest.param("flags without a selector", 0, id="flags without a selector complete the start"),
        pytest.param("error", 1, id="an error leaves the start to FDv1"),
        pytest.param("nothing", 1, id="so does a result without flags"),
    ],
)
async def test_the_start_after_a_directive_of_an_initializer(result: str, took: float) -> None:
    results: dict[str, Result] = {
        "flags without a selector": Basis(change_set=change_set(""), directive=DIRECTIVE),
        "error": FetchFailure(error=failure(), directive=DIRECTIVE),
        "nothing": Basis(change_set=ChangeSet.unchanged(), directive=DIRECTIVE),
    }
    service = MobileService(fdv1=[Answer(200, {}, flags_of_fdv1(f="fdv1").body, 1)])
    own = ModeDefinition(initializers=(yields(results[result]), Polling()), synchronizers=(Streaming(),))
    client = mobile_client(service, modes={"streaming": own})
    assert ((await client.start()).status, service.seconds) == (IdentifyStatus.COMPLETED, took)
    await anyio.sleep(5)
    assert client.variation("f", "") == "fdv1"
    await client.aclose()
    assert service.endpoints == ["fdv1"]


@pytest.mark.holds("S-55")
async def test_without_news_a_start_with_kept_flags_waits_for_fdv1() -> None:
    storage = await kept()
    service = MobileService(poll=[UNCHANGED.directed()], fdv1=[Answer(200, {}, flags_of_fdv1(f="fdv1").body, 1)])
    client = mobile_client(service, storage=storage)
    assert ((await client.start()).status, service.seconds) == (IdentifyStatus.COMPLETED, 1)
    assert client.variation("f", "") == "fdv1"
    await client.aclose()
    assert service.endpoints == ["poll", "fdv1"]


# -- every result counts


def change_set(state: str, value: object = "result") -> ChangeSet:
    change = Change(ObjectKind.FLAG, "f", 1, FlagEvaluation(key="f", value=value, version=1))
    return ChangeSet(kind=ChangeKind.FULL, changes=(change,), selector=Selector(state, 1) if state else Selector.none())


def failure() -> ErrorInfo:
    return ErrorInfo(kind=FailureKind.NETWORK_ERROR, message="down", time=1.0)


def yields(*results: Result) -> Any:
    """A source of the program that yields these results and then waits."""

    async def run(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Result, None]:
        for result in results:
            yield result
        await anyio.sleep_forever()

    return from_function("own", run)


BASES = {
    "flags with a selector": Basis(change_set=change_set("s"), directive=DIRECTIVE),
    "flags without a selector": Basis(change_set=change_set(""), directive=DIRECTIVE),
    "no news": Basis(change_set=ChangeSet.unchanged(), directive=DIRECTIVE),
    "a failure": FetchFailure(error=failure(), directive=DIRECTIVE),
}
UPDATES = {
    "flags with a selector": Update(state=SourceState.VALID, directive=DIRECTIVE, change_set=change_set("s")),
    "flags without a selector": Update(state=SourceState.VALID, directive=DIRECTIVE, change_set=change_set("")),
    "no news": Update(state=SourceState.VALID, directive=DIRECTIVE),
    "an interruption": Update(state=SourceState.INTERRUPTED, directive=DIRECTIVE, error=failure()),
    "an end": Update(state=SourceState.OFF, directive=DIRECTIVE, error=failure()),
    "an end without an error": Update(state=SourceState.OFF, directive=DIRECTIVE),
}


@pytest.mark.holds("F-10", "F-11", "F-50")
@pytest.mark.parametrize("before", ["nothing", "kept flags", "flags with a selector"])
@pytest.mark.parametrize(
    ("role", "result"),
    [
        *(pytest.param("initializer", result, id=f"an initializer yields {name}") for name, result in BASES.items()),
        *(pytest.param("synchronizer", result, id=f"a synchronizer yields {name}") for name, result in UPDATES.items()),
    ],
)
async def test_every_result_with_the_directive_leads_to_fdv1(role: str, result: Any, before: str) -> None:
    storage = await kept() if before == "kept flags" else MemoryStorage()
    first = yields(Basis(change_set=change_set("first"), directive=None))
    initializers: tuple[Any, ...] = (Cache(), first) if before == "flags with a selector" else (Cache(),)
    if role == "initializer":
        own = ModeDefinition(initializers=(Cache(), yields(result), Polling()), synchronizers=(Streaming(), Polling()))
    else:
        own = ModeDefinition(initializers=initializers, synchronizers=(yields(result), Polling()))
    service = MobileService()
    async with mobile_client(service, modes={"streaming": own}, storage=storage) as client:
        await anyio.sleep(1)
        assert client.variation("f", "") == "fdv1 anna"
        await anyio.sleep(3600)
        assert client.report.source_state is SourceState.VALID
    assert set(service.endpoints) == {"fdv1"}


@pytest.mark.holds("F-11")
async def test_a_refused_stream_with_the_directive_is_not_followed_by_the_next_source() -> None:
    service = MobileService(poll=[named("poll"), DOWN], stream=[REFUSED.directed()])
    async with mobile_client(service):
        await anyio.sleep(3600)
    assert service.endpoints[:3] == ["poll", "stream", "fdv1"]
    assert set(service.endpoints[3:]) == {"fdv1"}


@pytest.mark.holds("F-12", "F-42", "S-53")
@pytest.mark.parametrize("status", [500, 503])
async def test_after_a_directive_no_further_source_of_fdv2_runs(status: int) -> None:
    service = MobileService(poll=[Answer(status).directed()])
    async with mobile_client(service) as client:
        assert client.variation("f", "") == "fdv1 anna"
        await anyio.sleep(0.5)
    assert service.endpoints == ["poll", "fdv1"]


@pytest.mark.holds("S-51")
async def test_a_forbidden_stream_with_the_directive() -> None:
    service = MobileService(poll=[DOWN], stream=[Answer(403).directed()])
    async with mobile_client(service) as client:
        assert client.variation("f", "") == "fdv1 anna"
        await anyio.sleep(60)
    assert service.times("fdv1")[0] - service.times("stream")[0] <= 3
    assert len(service.to("stream")) == 1


# -- the order


@pytest.mark.holds("F-9")
async def test_fdv1_starts_after_the_end_of_the_stream() -> None:
    service = MobileService(stream=[streamed("s1", f="stream").directed()], closing=0.4)
    async with mobile_client(service):
        await anyio.sleep(5)
    assert service.log[2:5] == ["stream", "stream ended", "fdv1"]
    assert (service.times("stream"), service.times("fdv1"), service.most_open) == ([0], [0.4], 1)


@pytest.mark.holds("F-9")
async def test_a_client_that_closes_while_the_stream_ends_starts_nothing() -> None:
    service = MobileService(stream=[streamed("s1", f="stream").directed()], closing=0.4)
    client = mobile_client(service)
    await client.start()
    await anyio.sleep(0.2)
    await client.aclose()
    await anyio.sleep(3600)
    assert service.endpoints == ["poll", "stream"]


async def test_the_order_of_one_engagement() -> None:
    service = MobileService(poll=[REFUSED], stream=[streamed("s1", f="stream").directed()], closing=0.4)
    client = mobile_client(service)

    async def follow_states() -> None:
        async for report in client.reports():
            service.log.append(report.source_state.value)

    async def follow_flag() -> None:
        async for change in client.changes("f"):
            service.log.append(f"f = {change.new_value}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow_states)
        tasks.start_soon(follow_flag)
        result = await client.start()
        service.log.append(f"start {result.status}")
        assert not client.connection_info.fallback.engaged
        await anyio.sleep(1)
        assert client.connection_info.fallback.engaged
        await client.aclose()
    served = service.log[service.log.index("stream") + 1 : service.log.index("stream ended")]
    assert sorted(served) == ["VALID", "f = stream", "start completed"]
    after = service.log[service.log.index("stream ended") + 1 :]
    assert after == ["fdv1", "fdv1 ended", "f = fdv1 anna", "OFF"]
