"""Which source of a mobile client runs when: starts, failures, limits and returns, seen by the service."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from aioflags.mobile.modes import ModeDefinition
from aioflags.model.change import Selector, Update
from aioflags.model.status import IdentifyStatus, SourceState
from aioflags.sources import Polling, SourceContext, Streaming, from_function
from aioflags.stores.storage import MemoryStorage
from tests.support.mobile_runs import Step as RunStep
from tests.support.mobile_runs import reports, run_mobile, serves, started, until
from tests.support.mobile_service import (
    DOWN,
    REFUSED,
    UP_TO_DATE,
    MobileService,
    kept,
    mobile_client,
    named,
    polled,
    put,
    streamed,
    transfer,
)
from tests.support.scripted_http import HANG, Answer, Step, intent, sse, stream_of

SILENT = Answer(200, UP_TO_DATE.headers, [HANG])
COMPLETED, VALID = IdentifyStatus.COMPLETED, SourceState.VALID


def late(answer: Answer, seconds: float) -> Answer:
    return Answer(answer.status, answer.headers, answer.body, seconds)


def delivers_then(*steps: Step) -> Answer:
    """A stream that delivers, goes on with these steps, and ends."""
    return Answer(200, UP_TO_DATE.headers, [sse(*transfer("s1", f="stream")), *steps])


# -- starts


@pytest.mark.parametrize(
    ("script", "steps", "sent"),
    [
        pytest.param(
            {"poll": [DOWN, DOWN, named("poll")]},
            [started(COMPLETED, 2), serves("poll anna")],
            ["poll 0", "poll 1", "poll 2", "stream 2"],
            id="S-38 a start polls up to three times",
        ),
        pytest.param(
            {"poll": [Answer(503, {"Retry-After": "300"})], "stream": [streamed("s1", f="stream")]},
            [started(COMPLETED, 0), serves("stream")],
            ["poll 0", "stream 0"],
            id="the stream does not wait for a poll that is to wait long",
        ),
        pytest.param(
            {"poll": [Answer(404)], "stream": [late(streamed("s1", f="stream"), 1)]},
            [started(COMPLETED, 1), serves("stream"), reports(VALID)],
            ["poll 0", "stream 0"],
            id="S-39 if the poll fails the first payload of the stream completes the start",
        ),
        pytest.param(
            {"poll": [DOWN], "stream": [UP_TO_DATE]},
            [started(COMPLETED)],
            ["poll 0", "poll 1", "poll 2", "stream 2"],
            id="a start completes without flags, with a stream without news",
        ),
        pytest.param(
            {"poll": [DOWN], "stream": [streamed("s")]},
            [started(COMPLETED)],
            ["poll 0", "poll 1", "poll 2", "stream 2"],
            id="a start completes without flags, with an empty payload",
        ),
        pytest.param(
            {"poll": [REFUSED], "stream": [REFUSED]},
            [started(IdentifyStatus.ERROR, 0, error="401"), reports(SourceState.OFF, "the service answered 401"), serves(""), 7200],
            ["poll 0", "stream 0", "poll 0"],
            id="S-45 a client whose key is refused everywhere is off",
        ),
        pytest.param(
            {"poll": [late(polled("s1", f="late"), 7)]},
            [started(IdentifyStatus.TIMEOUT, 5), serves(""), 3, serves("late")],
            ["poll 0", "stream 7"],
            id="a start that times out goes on",
        ),
        # -- limits
        pytest.param(
            {"poll": [DOWN, DOWN, DOWN, named("poll")], "stream": [SILENT]},
            [until(335), reports(VALID)],
            ["poll 0", "poll 1", "poll 2", "stream 2", "poll 12", "stream 312", "poll 322"],
            id="S-40 a silent stream",
        ),
        pytest.param(
            {"stream": [SILENT]},
            [until(335), reports(VALID)],
            ["poll 0", "stream 0", "poll 10", "stream 310", "poll 320"],
            id="S-40 a silent stream, with flags",
        ),
        pytest.param(
            {"stream": [delivers_then(HANG), UP_TO_DATE]},
            [until(301 + 121), reports(VALID)],
            ["poll 0", "stream 0", "stream 301"],
            id="a stream that falls silent is opened again",
        ),
        pytest.param(
            {"stream": [delivers_then(1.0), Answer(200, UP_TO_DATE.headers, [HANG]), UP_TO_DATE]},
            [until(425), reports(VALID)],
            ["poll 0", "stream 0", "stream 2", "poll 121", "stream 421"],
            id="S-41 an interruption of 120 s, and the return 300 s later",
        ),
        pytest.param(
            {"stream": [delivers_then(1.0), Answer(200, UP_TO_DATE.headers, [117.0, sse(intent("none")), HANG]), UP_TO_DATE]},
            [until(200), reports(VALID)],
            ["poll 0", "stream 0", "stream 2"],
            id="S-42 the stream recovers after 119 s",
        ),
        pytest.param(
            {"stream": [REFUSED]},
            [until(700), reports(VALID)],
            ["poll 0", "stream 0", "poll 0", "poll 300", "poll 600"],
            id="S-43 a refused stream is not contacted again",
        ),
    ],
)
async def test_the_service_is_asked(script: Mapping[str, Any], steps: Sequence[RunStep], sent: list[str]) -> None:
    service = await run_mobile(script, steps, initial_reconnect_delay=2)
    assert [f"{hit.endpoint} {int(hit.time)}" for hit in service.hits] == sent
    assert (service.most_open, service.open) == (1, 0)


@pytest.mark.parametrize(
    ("wait_for", "took", "value"),
    [
        pytest.param("cached", 0, "old", id="S-36 for kept flags"),
        pytest.param("fresh", 3, "new", id="S-37 for newer ones"),
    ],
)
async def test_with_kept_flags_and_a_slow_poll_a_start_waits(wait_for: Any, took: float, value: str) -> None:
    await kept(service=MobileService(poll=[polled("s0", f="old")]), storage=(storage := MemoryStorage()))
    service = MobileService(poll=[late(polled("s1", f="new"), 3)])
    async with aclosing(mobile_client(service, storage=storage)) as client:
        result = await client.start(wait_for=wait_for)
        assert (result.status, service.seconds, client.variation("f", "")) == (COMPLETED, took, value)
        await anyio.sleep(4)
        assert client.variation("f", "") == "new"


@pytest.mark.parametrize("wait", [pytest.param("9", id="before the next poll"), pytest.param("0", id="during the next poll")])
async def test_a_start_that_times_out_names_the_failure_of_a_poll_before(wait: str, caplog: pytest.LogCaptureFixture) -> None:
    client = mobile_client(MobileService(poll=[Answer(503, {"Retry-After": wait}), Answer(after=HANG)]))
    result = await client.start(3)
    assert result.status is IdentifyStatus.TIMEOUT
    assert client.report.last_error is not None
    assert client.report.last_error.status_code == 503
    assert client.connection_info.last_failure is not None
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert ["503" in warning for warning in warnings] == [True]
    await client.aclose()


# -- limits


@pytest.mark.holds("S-44")
async def test_an_only_source_that_fails_keeps_trying() -> None:
    service = MobileService(stream=[DOWN])
    mode = ModeDefinition(synchronizers=(Streaming(),))
    async with mobile_client(service, modes={"streaming": mode}, start_wait=1) as client:
        await anyio.sleep(3600)
        assert client.report.source_state is SourceState.INITIALIZING
        assert len(service.hits) > 3600 / 30
    assert set(service.endpoints) == {"stream"}


@pytest.mark.holds("S-46")
async def test_a_goodbye_leads_to_one_reconnect_without_an_interruption() -> None:
    parting = stream_of(1.0, sse(intent("xfer-full"), put("f", "half"), ("goodbye", {"reason": "deploy"})))
    service = MobileService(stream=[parting, UP_TO_DATE])
    async with mobile_client(service) as client:
        reports = client.reports()
        await anext(reports)
        await anyio.sleep(60)
        assert client.variation("f", "") == "poll anna"
        assert client.report.source_state is SourceState.VALID
        assert client.report.last_error is None
    first, second = service.times("stream")
    assert 1 < second - first <= 1 + 2


@pytest.mark.holds("S-49")
async def test_closing_the_client_ends_its_stream_at_once() -> None:
    service = MobileService()
    client = mobile_client(service)
    await client.start()
    await anyio.sleep(1)
    assert service.open == 1
    await client.aclose()
    assert (service.open, service.seconds) == (0, 1)
    await anyio.sleep(3600)
    assert service.endpoints == ["poll", "stream"]
    assert client.variation("f", "") == "poll anna"
    assert (client.report.source_state, client.connection_info.mode) == (SourceState.OFF, "SHUTDOWN")


# -- sources of the program


class Starts:
    """Counts the runs of sources that the program wrote, with their times."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    def source(self, name: str, *, ends: str) -> Any:
        """A synchronizer that raises, or ends, at once."""

        async def sync(context: SourceContext, selector: Callable[[], Selector]) -> AsyncGenerator[Update, None]:
            self.times.setdefault(name, []).append(anyio.current_time())
            if ends == "raises":
                raise OSError("no disk")
            return
            yield Update(state=SourceState.VALID, directive=None)

        return from_function(name, sync)


@pytest.mark.holds("S-47")
async def test_a_source_that_ends_by_itself_ends_the_updates() -> None:
    starts = Starts()
    service = MobileService()
    mode = ModeDefinition(synchronizers=(starts.source("own", ends="returns"), Polling()))
    client = mobile_client(service, modes={"streaming": mode})
    result = await client.start()
    assert (result.status, client.report.source_state) == (IdentifyStatus.ERROR, SourceState.OFF)
    await anyio.sleep(3600)
    assert (len(starts.times["own"]), service.hits) == (1, [])
    await client.aclose()


@pytest.mark.holds("S-50", "F-46")
async def test_no_source_starts_more_than_once_a_second() -> None:
    starts = Starts()
    mode = ModeDefinition(synchronizers=(starts.source("a", ends="raises"), starts.source("b", ends="raises")))
    async with mobile_client(MobileService(), modes={"streaming": mode}, start_wait=0):
        await anyio.sleep(10)
    assert set(starts.times) == {"a", "b"}
    for times in starts.times.values():
        assert len(times) <= 10
        assert min((later - earlier for earlier, later in itertools.pairwise(times)), default=1) >= 1
