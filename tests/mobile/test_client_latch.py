"""A mobile client that left FDv2 stays off it, through modes, contexts and offline times: for good, or for a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import pytest

from aioflags.mobile.client import MobileClient
from aioflags.mobile.modes import ModeDefinition
from aioflags.model.status import IdentifyStatus, SourceState
from aioflags.sources import Polling, Streaming
from aioflags.sources.polling import Cache
from aioflags.stores.storage import MemoryStorage
from tests.support.canaries import KEY
from tests.support.mobile_runs import (
    Step,
    engaged,
    identify,
    lifecycle,
    network,
    offline,
    reports,
    run_mobile,
    serves,
    started,
    switch,
    until,
    uses,
)
from tests.support.mobile_service import (
    ANNA,
    BEN,
    DOWN,
    REFUSED,
    UP_TO_DATE,
    MobileService,
    flags_of_fdv1,
    mobile_client,
    mobile_config,
    named,
    polled,
    streamed,
)
from tests.support.scripted_http import DIRECTED, HANG, Answer

ERROR = Answer(500).directed()
"""An error with the directive."""
FIVE_MINUTES = 300
A_DAY = 24 * 3600
LEFT = "FDv2 was left, and there is no FDv1 fallback"
COMPLETED, FAILED = IdentifyStatus.COMPLETED, IdentifyStatus.ERROR
OFF, VALID, INTERRUPTED = SourceState.OFF, SourceState.VALID, SourceState.INTERRUPTED

DIRECTED_POLL: dict[str, Any] = {"poll": [ERROR]}
AT_ONCE: dict[str, Any] = {"debounce": 0}
FOR_A_TIME: dict[str, Any] = {"fdv1_fallback_recovery": "ttl"}
NO_FALLBACK: dict[str, Any] = {"fdv1_fallback": None}
ONE_MODE_WITHOUT: dict[str, Any] = {"modes": {"polling": ModeDefinition(synchronizers=(Polling(),), fdv1_fallback=None)}}
STREAM_FIRST = ModeDefinition(initializers=(Cache(),), synchronizers=(Streaming(), Polling()))
WHILE_OFFLINE: list[Step] = [until(4.9), engaged(True, ttl=5), 95.1, engaged(False)]


def for_seconds(answer: Answer, ttl: object) -> Answer:
    """The answer with a directive for a limited time."""
    return answer.directed(**{"X-LD-FD-Fallback-TTL": str(ttl)})


def fdv1(*seconds: int, key: str = "anna") -> list[str]:
    """Polls by FDv1 at these times."""
    return [f"fdv1 {key} {each}" for each in seconds]


def _of_fdv1_late(hit: Any) -> Answer:
    return Answer(200, {}, [b'{"f":{"value":"fdv1 %s"}}' % hit.key.encode()], 1)


def going(away: Step, back: Step) -> list[Step]:
    """Offline for a thousand seconds."""
    return [away, 1000, uses(None), back, 1, uses("fdv1")]


@pytest.mark.parametrize(
    ("script", "options", "steps", "sent"),
    [
        # -- without a fallback
        pytest.param(
            {"stream": [ERROR], "poll": [DOWN]},
            NO_FALLBACK,
            [started(FAILED), reports(OFF, "the service answered 500"), 3600],
            ["poll anna 0", "poll anna 1", "poll anna 2", "stream anna 2"],
            id="F-16 F-32 S-56 without a fallback the updates end",
        ),
        pytest.param(
            {"poll": [Answer(200, DIRECTED, [b"{oops"])]},
            {**NO_FALLBACK, "initial_connection_mode": "polling"},
            [started(FAILED), reports(OFF, "poll: line 1, column 2"), 3600],
            ["poll anna 0"],
            id="F-16 F-32 S-56 without a fallback the updates end, in the mode polling",
        ),
        pytest.param(
            {"poll": [polled("s1", f="poll").directed()]},
            NO_FALLBACK,
            [started(COMPLETED), 3600, reports(OFF), serves("poll")],
            ["poll anna 0"],
            id="F-32 without a fallback the payload that came with it is served",
        ),
        pytest.param(
            DIRECTED_POLL,
            {**NO_FALLBACK, **AT_ONCE, "keeps": [BEN]},
            [identify(BEN, FAILED), reports(OFF), serves("poll ben"), identify(BEN, wait_for="cached")],
            ["poll anna 0"],
            id="F-29 without a fallback a new context has its kept flags",
        ),
        pytest.param(
            {"poll": [for_seconds(Answer(500), 5)], "stream": [streamed("s", f="stream")]},
            {**FOR_A_TIME, **NO_FALLBACK, "start_wait": 1},
            [reports(SourceState.INITIALIZING), 10, serves("stream")],
            ["poll anna 0", "stream anna 5"],
            id="S-73 without a fallback FDv2 is used again after the time of the directive",
        ),
        # -- on FDv1
        pytest.param(
            {"poll": [ERROR, named("poll")]},
            {},
            [315 + A_DAY],
            ["poll anna 0", *fdv1(*range(0, 315 + A_DAY, FIVE_MINUTES))],
            id="S-57 F-31 the client does not ask FDv2 again",
        ),
        pytest.param(
            {"poll": [ERROR], "fdv1": [flags_of_fdv1(f="fdv1"), DOWN]},
            {},
            [950, reports(INTERRUPTED), serves("fdv1")],
            ["poll anna 0", *fdv1(0, 300, 600, 900)],
            id="S-63 a failing FDv1 is polled at its interval",
        ),
        pytest.param(
            {"poll": [ERROR], "fdv1": [flags_of_fdv1(f="fdv1"), REFUSED, flags_of_fdv1(f="again")]},
            {},
            [3600, reports(OFF), serves("fdv1"), identify(BEN), reports(VALID), serves("again")],
            ["poll anna 0", *fdv1(0, 300), "fdv1 ben 3600"],
            id="S-64 a refused FDv1 is off until the context changes",
        ),
        pytest.param(
            {"poll": [for_seconds(Answer(500), 1)]},
            {},
            [600, engaged(True, ttl=1)],
            ["poll anna 0", *fdv1(0, 300)],
            id="F-49 the time of a directive does not count by default",
        ),
        # -- modes
        pytest.param(
            DIRECTED_POLL,
            {"profile": "mobile"},
            [lifecycle("background"), 7201, lifecycle("foreground"), 400, serves("fdv1 anna")],
            ["poll anna 0", *fdv1(0, 3600, 7200, 7500)],
            id="F-25 S-58 the background and back",
        ),
        pytest.param(
            DIRECTED_POLL,
            AT_ONCE,
            [switch("polling"), 10, switch("background"), 10, switch("streaming"), 10, switch("polling"), 10, switch(None), 10],
            ["poll anna 0", *fdv1(0)],
            id="F-25 modes that the program sets",
        ),
        pytest.param(
            DIRECTED_POLL,
            {**AT_ONCE, "profile": "mobile"},
            going(offline(True), offline(False)),
            ["poll anna 0", *fdv1(0, 1000)],
            id="F-27 S-60 offline and back",
        ),
        pytest.param(
            DIRECTED_POLL,
            {**AT_ONCE, "profile": "mobile"},
            going(network(False), network(True)),
            ["poll anna 0", *fdv1(0, 1000)],
            id="F-27 S-60 no network, and back",
        ),
        pytest.param(
            DIRECTED_POLL,
            {**AT_ONCE, "profile": "mobile"},
            going(switch("offline"), switch(None)),
            ["poll anna 0", *fdv1(0, 1000)],
            id="F-27 S-60 the mode offline, and back",
        ),
        pytest.param(
            DIRECTED_POLL,
            AT_ONCE,
            [switch("one-shot"), 1000, reports(OFF), serves("fdv1 anna"), switch("streaming"), 1, reports(VALID)],
            ["poll anna 0", *fdv1(0, 1000)],
            id="F-29 S-61 a mode that has sources and no fallback makes no request, and the next mode polls by FDv1",
        ),
        pytest.param(
            DIRECTED_POLL,
            {**AT_ONCE, **ONE_MODE_WITHOUT},
            [switch("polling"), 1000, reports(OFF), switch("streaming"), 1000, reports(VALID)],
            ["poll anna 0", *fdv1(0, 1000, 1300, 1600, 1900)],
            id="F-29 flag updates stop in the one mode that has no fallback",
        ),
        pytest.param(
            DIRECTED_POLL,
            {"profile": "cli"},
            [started(COMPLETED), A_DAY, serves("fdv1 anna"), reports(VALID)],
            ["poll anna 0", *fdv1(0)],
            id="F-51 S-76 a command polls once by FDv1",
        ),
        pytest.param(
            DIRECTED_POLL,
            {"initial_connection_mode": "one-shot"},
            [started(FAILED), A_DAY, serves(""), reports(OFF)],
            ["poll anna 0"],
            id="F-51 S-76 the mode one-shot stops otherwise",
        ),
        pytest.param(
            DIRECTED_POLL,
            {"profile": "cli"},
            [1000, identify(BEN), serves("fdv1 ben"), 1000],
            ["poll anna 0", *fdv1(0), "fdv1 ben 1000"],
            id="F-51 each new context of a command polls once by FDv1",
        ),
        # -- contexts
        pytest.param(
            DIRECTED_POLL,
            {},
            [10, identify(BEN), serves("fdv1 ben")],
            ["poll anna 0", *fdv1(0), "fdv1 ben 10"],
            id="F-26 S-59 a new context is asked for by FDv1",
        ),
        pytest.param(
            {"poll": [ERROR], "fdv1": [_of_fdv1_late]},
            {"keeps": [BEN]},
            [identify(BEN, wait_for="cached"), serves("poll ben"), 2, serves("fdv1 ben")],
            ["poll anna 0", *fdv1(0), "fdv1 ben 1"],
            id="F-26 a new context has its kept flags first",
        ),
        # -- for a time
        pytest.param(
            {"poll": [for_seconds(Answer(500), 5), named("poll")]},
            FOR_A_TIME,
            [
                offline(True),
                *WHILE_OFFLINE,
                offline(False),
                1,
                serves("poll anna"),
                engaged(False),
            ],
            ["poll anna 0", *fdv1(0), "poll anna 100", "stream anna 100"],
            id="F-49 a directive whose time ended while the client was offline does not count",
        ),
        pytest.param(
            {"poll": [for_seconds(Answer(500), 5), named("poll")]},
            {**FOR_A_TIME, "initial_connection_mode": "polling"},
            [
                offline(True),
                *WHILE_OFFLINE,
                offline(False),
                1,
                serves("poll anna"),
                engaged(False),
            ],
            ["poll anna 0", *fdv1(0), "poll anna 100"],
            id="F-49 nor does it in the mode polling",
        ),
        pytest.param(
            {"stream": [for_seconds(streamed("s", f="stream"), 5)]},
            FOR_A_TIME,
            [14],
            ["poll anna 0", "stream anna 0", *fdv1(0), "stream anna 5", *fdv1(5), "stream anna 10", *fdv1(10)],
            id="a second directive begins its own time",
        ),
        pytest.param(
            {"stream": [REFUSED], "poll": [for_seconds(Answer(500), 5), named("poll")]},
            {**FOR_A_TIME, "modes": {"streaming": STREAM_FIRST}},
            [60, identify(BEN)],
            ["stream anna 0", "poll anna 0", *fdv1(0), "poll anna 5", "stream ben 60", "poll ben 60"],
            id="refused sources stay removed until the next context",
        ),
    ],
)
async def test_after_a_directive(
    script: Mapping[str, Any], options: dict[str, Any], steps: Sequence[Step], sent: list[str]
) -> None:
    service = await run_mobile(script, steps, **options)
    assert service.sent == sent


@pytest.mark.holds("I-12")
@pytest.mark.parametrize("mode", [None, "polling", "one-shot"])
async def test_a_context_after_the_directive_without_fdv1_has_the_cause(mode: str | None) -> None:
    service = MobileService(stream=[ERROR])
    async with mobile_client(service, fdv1_fallback=None, debounce=0) as client:
        await anyio.sleep(1)
        await client.set_connection_mode(mode)
        result = await client.identify(BEN, timeout=5)
        assert (result.status, result.error, str(client.report.last_error)) == (FAILED, LEFT, LEFT)
    assert service.endpoints == ["poll", "stream"]


@pytest.mark.holds("F-49", "S-73")
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([], id="nothing else"),
        pytest.param([identify(BEN)], id="identify"),
        pytest.param([switch("polling"), switch("streaming")], id="a mode switch"),
        pytest.param([offline(True), 1, offline(False)], id="offline"),
    ],
)
async def test_with_the_option_fdv2_is_used_again_after_that_time(steps: list[Step]) -> None:
    script = {"stream": [for_seconds(streamed("s1", f="stream"), 5), UP_TO_DATE]}
    service = await run_mobile(script, [1, *steps, until(4.9), uses("fdv1"), 60, uses("fdv2")], debounce=0, **FOR_A_TIME)
    assert (service.times("stream"), service.hits[-1].endpoint, service.hits[-1].query.get("basis")) == ([0, 5], "stream", None)
    assert service.most_open == 1


# -- directives whose result is not used, of one of several environments, of an earlier client, and without a usable time


@pytest.mark.holds("F-24", "S-75")
@pytest.mark.parametrize(
    ("poll", "stream"),
    [
        pytest.param(named("poll"), Answer(200, {**UP_TO_DATE.headers, **DIRECTED}, [HANG]), id="a stream without a result"),
        pytest.param(named("poll"), streamed("s", f="old").directed(), id="a payload that is being applied"),
        pytest.param(Answer(200, DIRECTED, [b'{"events":[', 5.0, b"]}"]), UP_TO_DATE, id="a poll whose body is being read"),
        pytest.param(Answer(500, DIRECTED, [b"bad", HANG]), UP_TO_DATE, id="an error whose body is being read"),
    ],
)
@pytest.mark.parametrize("switch", ["identify", "mode"])
async def test_a_directive_counts_although_another_context_or_mode_took_its_place(poll: Any, stream: Answer, switch: str) -> None:
    service = MobileService(poll=[poll], stream=[stream])
    client = mobile_client(service, debounce=0)
    starting = anyio.Event()

    async def start() -> None:
        await client.start(30)
        starting.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start)
        await anyio.sleep(1)
        if switch == "identify":
            assert (await client.identify(BEN)).status is IdentifyStatus.COMPLETED
        else:
            await client.set_connection_mode("polling")
        await anyio.sleep(1)
        key = client.context.key
        assert client.variation("f", "") == f"fdv1 {key}"
        await starting.wait()
        await client.aclose()
    assert {hit.endpoint for hit in service.hits if hit.time >= 1} <= {"fdv1"}


@pytest.mark.holds("F-28", "S-62")
async def test_a_directive_belongs_to_one_environment() -> None:
    def poll(hit: Any) -> Answer:
        return ERROR if hit.request.headers["authorization"] == KEY else named("poll")(hit)

    service = MobileService(poll=[poll])
    config = mobile_config(service, secondary_mobile_keys={"other": f"{KEY}-2"}, debounce=0)
    async with MobileClient(KEY, ANNA, config) as client:
        other = client.environment("other")
        assert (client.variation("f", ""), other.variation("f", "")) == ("fdv1 anna", "poll anna")
        assert (client.connection_info.fallback.engaged, other.connection_info.fallback.engaged) == (True, False)
        await client.identify(BEN)
        assert (client.variation("f", ""), other.variation("f", "")) == ("fdv1 ben", "poll ben")
    assert [hit.endpoint for hit in service.hits if hit.request.headers["authorization"] == f"{KEY}-2"] == ["poll", "stream"] * 2


@pytest.mark.holds("F-28")
async def test_a_new_client_asks_fdv2_first() -> None:
    storage = MemoryStorage()
    for _ in range(2):
        service = MobileService(poll=[ERROR])
        async with mobile_client(service, storage=storage):
            pass
        assert service.endpoints == ["poll", "fdv1"]


@pytest.mark.holds("S-74")
@pytest.mark.parametrize("ttl", [None, "0", "-5", "soon", "3601", "1e2"])
async def test_without_a_usable_time_a_directive_holds_half_an_hour_to_an_hour(ttl: str | None) -> None:
    directed = ERROR if ttl is None else for_seconds(Answer(500), ttl)
    service = await run_mobile({"poll": [directed], "stream": [UP_TO_DATE]}, [3700], fdv1_fallback_recovery="ttl")
    (returned,) = service.times("stream")
    assert 1800 <= returned <= 3600
