"""The fallback directive on every response of FDv2: the client serves what came with it, leaves FDv2 and polls by FDv1."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
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
from tests.support.mobile_runs import (
    MobileRun,
    Step,
    reports,
    run_mobile,
    serves,
    started,
)
from tests.support.mobile_service import (
    ANNA,
    DOWN,
    REFUSED,
    UNCHANGED,
    MobileService,
    flags_of_fdv1,
    kept,
    latched,
    mobile_client,
    named,
    polled,
    streamed,
    transfer,
)
from tests.support.scripted_http import DIRECTED, HANG, Answer, intent, poll_of, sse

ERROR = Answer(500).directed()
"""An error with the directive."""
BEAT = b":\n\n"
DIRECTIVE = FallbackDirective(ttl=None, origin="header")


# -- the signal


def is_idle(run: MobileRun) -> None:
    """No request is open."""
    assert run.service.open == 0


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
    service = await run_mobile({"poll": [named("poll")], "stream": [streamed("s", f="stream").with_headers({name: value})]}, [5])
    assert ("fdv1" in service.endpoints) is counts


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
    service = await run_mobile(
        {"poll": [Answer(200, DIRECTED, body)]}, [serves("fdv1 anna"), 60], initial_connection_mode=mode, start_wait=20
    )
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
    await run_mobile({"poll": [DOWN], "stream": [DOWN]}, [serves("stream")], storage=storage, start_wait=1)


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


LATE = Answer(200, {}, flags_of_fdv1(f="fdv1").body, 1)
"""Flags of FDv1 after a second."""
AN_HOUR = 3600


def fdv1(first: int, count: int = 12) -> list[str]:
    """Polls by FDv1, one every five minutes, by default those of an hour."""
    return [f"fdv1 anna {first + 300 * number}" for number in range(count)]


@pytest.mark.parametrize(
    ("script", "options", "steps", "sent"),
    [
        pytest.param(
            {"poll": [polled("s1", f="poll").with_headers({"ETag": '"a"'}), UNCHANGED.directed()]},
            {"initial_connection_mode": "polling"},
            [301, serves("fdv1 anna")],
            ["poll anna 0", "poll anna 300", "fdv1 anna 300"],
            id="F-5 a 304 has the directive, too",
        ),
        pytest.param(
            {"poll": [polled("s1", f="poll").with_headers({"ETag": '"a"'}), poll_of(intent("none"), **DIRECTED)]},
            {"initial_connection_mode": "polling"},
            [301, serves("fdv1 anna")],
            ["poll anna 0", "poll anna 300", "fdv1 anna 300"],
            id="F-5 so has the intent none",
        ),
        pytest.param(
            {"poll": [Answer(200, {}, [b'{"events":[{"event":"goodbye","data":{"reason":"moved","protocolFallbackTTL":60}}]}'])]},
            {},
            [serves("fdv1 anna")],
            ["poll anna 0", "fdv1 anna 0"],
            id="F-41 a goodbye in a poll is a directive",
        ),
        pytest.param(
            {"poll": [DOWN], "stream": [ERROR]},
            {},
            [AN_HOUR],
            ["poll anna 0", "poll anna 1", "poll anna 2", "stream anna 2", *fdv1(2)],
            id="F-6 a source does not try again after an error with the directive",
        ),
        pytest.param(
            {"poll": [polled("s1", f="poll").directed()], "fdv1": [Answer(200, {}, [b"{}"], 1)]},
            {},
            [started(IdentifyStatus.COMPLETED, 0), serves("poll"), reports(SourceState.VALID), 60, serves("")],
            ["poll anna 0", "fdv1 anna 0"],
            id="F-13 S-54 a complete payload of an initializer completes the start, and FDv1 follows",
        ),
        pytest.param(
            {"poll": [UNCHANGED.directed()], "fdv1": [LATE]},
            {"keeps": [ANNA]},
            [started(IdentifyStatus.COMPLETED, 1), serves("fdv1")],
            ["poll anna 0", "fdv1 anna 0"],
            id="S-55 without news a start with kept flags waits for FDv1",
        ),
        pytest.param(
            {"poll": [named("poll"), DOWN], "stream": [REFUSED.directed()]},
            {},
            [AN_HOUR],
            ["poll anna 0", "stream anna 0", *fdv1(0)],
            id="F-11 a refused stream with the directive is not followed by the next source",
        ),
        pytest.param(
            {"poll": [ERROR]},
            {},
            [serves("fdv1 anna"), 0.5],
            ["poll anna 0", "fdv1 anna 0"],
            id="F-12 F-42 S-53 after a 500 with the directive no further source of FDv2 runs",
        ),
        pytest.param(
            {"poll": [Answer(503).directed()]},
            {},
            [serves("fdv1 anna"), 0.5],
            ["poll anna 0", "fdv1 anna 0"],
            id="F-12 F-42 S-53 nor after a 503",
        ),
        pytest.param(
            {"poll": [DOWN], "stream": [Answer(403).directed()]},
            {},
            [serves("fdv1 anna"), 60],
            ["poll anna 0", "poll anna 1", "poll anna 2", "stream anna 2", "fdv1 anna 2"],
            id="S-51 a forbidden stream with the directive",
        ),
        pytest.param(
            {"stream": [latched(1.0, sse(*transfer("s", f="stream")), *(1.0, BEAT) * 100)]},
            {},
            [1.1, is_idle, AN_HOUR],
            ["poll anna 0", "stream anna 0", *fdv1(1, 13)],
            id="F-43 the abandoned stream is closed, and no other is opened",
        ),
    ],
)
async def test_a_client_with_a_directive_sends(
    script: Mapping[str, Any], options: dict[str, Any], steps: Sequence[Step], sent: list[str]
) -> None:
    service = await run_mobile(script, steps, **options)
    assert service.sent == sent


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
    service = await run_mobile(
        {}, [1, serves("fdv1 anna"), 3600, reports(SourceState.VALID)], modes={"streaming": own}, storage=storage
    )
    assert set(service.endpoints) == {"fdv1"}


# -- the order


@pytest.mark.holds("F-9")
async def test_fdv1_starts_after_the_end_of_the_stream() -> None:
    service = await run_mobile({"stream": [streamed("s1", f="stream").directed()], "closing": 0.4}, [5])
    assert service.log[2:5] == ["stream", "stream ended", "fdv1"]
    assert (service.times("stream"), service.times("fdv1"), service.most_open) == ([0], [0.4], 1)


@pytest.mark.holds("F-9")
async def test_a_client_that_closes_while_the_stream_ends_starts_nothing() -> None:
    service = await run_mobile({"stream": [streamed("s1", f="stream").directed()], "closing": 0.4}, [0.2])
    await anyio.sleep(AN_HOUR)
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
