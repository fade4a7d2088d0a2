"""The fallback directive of a stream: in its headers, where it waits for a result, and in a goodbye."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import httpx
import pytest

from aioflags.mobile.modes import ModeDefinition
from aioflags.model.context import Context
from aioflags.model.status import SourceState
from aioflags.sources import Polling, Streaming
from aioflags.sources.polling import Cache
from tests.support.mobile_runs import run_mobile, serves
from tests.support.mobile_service import (
    DOWN,
    REFUSED,
    SILENT,
    UP_TO_DATE,
    MobileService,
    latched,
    mobile_client,
    named,
    put,
    transfer,
)
from tests.support.scripted_http import HANG, Answer, Step, intent, sse

BEAT = b":\n\n"
TWO_SYNCHRONIZERS = ModeDefinition(initializers=(Cache(), Polling()), synchronizers=(Streaming(), Polling()))

ONE_SYNCHRONIZER = ModeDefinition(synchronizers=(Streaming(),))


def goodbye(**data: object) -> bytes:
    return sse(("goodbye", {"reason": "test", **data}))


@pytest.mark.holds("F-38")
async def test_a_stream_with_the_directive_goes_on_until_its_first_result() -> None:
    service = MobileService(stream=[latched(1.0, sse(*transfer("s", f="stream")), HANG)])
    async with mobile_client(service) as client:
        await anyio.sleep(0.9)
        assert (service.endpoints, client.report.source_state) == (["poll", "stream"], SourceState.VALID)
        await anyio.sleep(0.2)
        assert client.variation("f", "") == "fdv1 anna"
    assert (service.times("fdv1"), service.log[3:5]) == ([1], ["stream ended", "fdv1"])


@pytest.mark.holds("F-39", "S-67")
@pytest.mark.parametrize(
    "end",
    [
        pytest.param([], id="the end of the stream"),
        pytest.param([httpx.ReadError("reset")], id="a reset"),
        pytest.param([sse(("server-intent", "{oops"))], id="an intent that is not JSON"),
        pytest.param([sse(intent("xfer-full"), ("put-object", {"kind": "flag-eval"}))], id="a put that cannot be used"),
        pytest.param([sse(("payload-transferred", {"state": "s", "version": 1}))], id="an end without a beginning"),
        pytest.param([goodbye()], id="a goodbye"),
        pytest.param([sse(intent("none")), HANG], id="no news"),
    ],
)
async def test_a_stream_with_the_directive_connects_once(end: list[Step]) -> None:
    service = await run_mobile({"stream": [latched(1.0, *end)]}, [60, serves("fdv1 anna")], initial_reconnect_delay=0.001)
    assert [(hit.endpoint, hit.time) for hit in service.hits] == [("poll", 0), ("stream", 0), ("fdv1", 1)]


@pytest.mark.holds("F-39", "F-40", "S-68")
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([HANG], id="silence"),
        pytest.param([3.0, BEAT] * 20, id="comments"),
        pytest.param([3.0, sse(("heart-beat", {}))] * 20, id="heart-beats"),
        pytest.param([1.0, sse(("error", {"payloadId": "p", "reason": "r"})), HANG], id="an error event"),
        pytest.param([1.0, sse(intent("xfer-full"), put("f", "half")), HANG], id="half a payload"),
    ],
)
@pytest.mark.parametrize(
    "mode", [TWO_SYNCHRONIZERS, ModeDefinition(synchronizers=(Streaming(),))], ids=["two sources", "one source"]
)
async def test_a_stream_with_the_directive_and_without_a_result_ends_after_ten_seconds(
    steps: list[Step], mode: ModeDefinition
) -> None:
    service = await run_mobile({"stream": [latched(*steps)]}, [60, serves("fdv1 anna")], modes={"streaming": mode}, start_wait=15)
    opened = service.times("stream")[0]
    assert [(hit.endpoint, hit.time) for hit in service.hits if hit.endpoint != "poll"] == [
        ("stream", opened),
        ("fdv1", opened + 10),
    ]
    assert service.times("poll") == ([0] if mode is TWO_SYNCHRONIZERS else [])


@pytest.mark.holds("F-40")
async def test_a_limit_that_ends_the_turn_of_a_stream_with_the_directive_leads_to_fdv1() -> None:
    # The stream fails at 0. The second connection has the directive and no result when the 120 s of the interruption are over.
    broken = Answer(200, UP_TO_DATE.headers, [sse(*transfer("s", f="stream"))])
    late = Answer(200, UP_TO_DATE.headers, [sse(intent("xfer-full")), HANG], 115.0).directed()
    service = await run_mobile({"stream": [broken, late], "read_timeout": 120}, [130, serves("fdv1 anna")])
    assert service.endpoints == ["poll", "stream", "stream", "fdv1"]
    assert service.times("fdv1")[0] <= 127


@pytest.mark.holds("F-41", "S-69", "S-70")
@pytest.mark.parametrize(
    ("ttl", "counts"),
    [
        pytest.param(0, True, id="zero"),
        pytest.param(60, True, id="sixty"),
        pytest.param(-5, True, id="a negative number"),
        pytest.param(1.5, True, id="a fraction"),
        pytest.param(True, False, id="true"),
        pytest.param("60", False, id="text"),
        pytest.param(None, False, id="null"),
        pytest.param([60], False, id="a list"),
    ],
)
async def test_a_goodbye_with_a_number_as_its_time_is_a_directive(ttl: object, *, counts: bool) -> None:
    parting = Answer(200, UP_TO_DATE.headers, [1.0, goodbye(protocolFallbackTTL=ttl), HANG])
    service = MobileService(stream=[parting, UP_TO_DATE])
    async with mobile_client(service) as client:
        await anyio.sleep(4)
        info = client.connection_info
        assert (info.active_protocol, info.fallback.engaged, info.fallback.origin) == (
            ("fdv1", True, "goodbye") if counts else ("fdv2", False, None)
        )
        assert service.open == (0 if counts else 1)
    assert service.endpoints == ["poll", "stream", "fdv1" if counts else "stream"]
    assert service.hits[2].time <= (1 if counts else 3)


PING = sse(("ping", ""))


@pytest.mark.holds("S-19")
async def test_three_pings_at_once_lead_to_two_polls() -> None:
    def slow(hit: Any) -> Answer:
        made = named(f"poll {len(service.to('poll'))} of")(hit)
        return Answer(made.status, made.headers, made.body, 5.0 if hit.time else 0.0)

    service = MobileService(poll=[slow], stream=[Answer(200, UP_TO_DATE.headers, [sse(intent("none")), 1.0, PING * 3, HANG])])
    async with mobile_client(service) as client:
        await anyio.sleep(60)
        assert client.variation("f", "") == "poll 3 of anna"
    assert service.times("poll") == [0, 1, 6]


@pytest.mark.holds("F-20", "S-71")
@pytest.mark.parametrize(
    ("stream", "poll"),
    [
        pytest.param(latched(1.0, PING, HANG), Answer(after=httpx.ConnectError("refused")), id="of the stream, no connection"),
        pytest.param(latched(1.0, PING, HANG), DOWN, id="of the stream, the poll fails"),
        pytest.param(latched(1.0, PING, HANG), named("ping"), id="of the stream, the poll has flags"),
        pytest.param(Answer(200, UP_TO_DATE.headers, [1.0, PING, HANG]), DOWN.directed(), id="of the poll"),
    ],
)
async def test_a_ping_has_the_directive_of_the_stream_or_of_its_poll(stream: Answer, poll: Any) -> None:
    service = await run_mobile({"poll": [named("poll"), poll], "stream": [stream]}, [60, serves("fdv1 anna")])
    assert [(hit.endpoint, hit.time) for hit in service.hits] == [("poll", 0), ("stream", 0), ("poll", 1), ("fdv1", 1)]


@pytest.mark.holds("S-80")
async def test_a_switch_ends_the_poll_of_a_ping() -> None:
    slow = SILENT
    service = MobileService(
        poll=[named("poll"), slow, named("poll")], stream=[Answer(200, UP_TO_DATE.headers, [1.0, PING, HANG]), UP_TO_DATE]
    )
    async with mobile_client(service) as client:
        await anyio.sleep(2)
        assert service.open == 2
        await client.identify(Context("ben"))
        await anyio.sleep(1)
        assert (client.variation("f", ""), service.open) == ("poll ben", 1)
    assert service.open == 0


@pytest.mark.parametrize("stream", [REFUSED, DOWN], ids=["refused", "down"])
async def test_an_error_of_a_stream_without_the_directive_does_not_leave_fdv2(stream: Answer) -> None:
    service = await run_mobile({"stream": [stream]}, [1000])
    assert "fdv1" not in service.endpoints


async def test_the_time_of_a_goodbye_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    parting: list[Any] = [1.0, goodbye(protocolFallbackTTL=60.9), HANG]
    service = MobileService(stream=[Answer(200, UP_TO_DATE.headers, parting)], poll=[named("poll")])
    with caplog.at_level(logging.INFO, "aioflags"):
        async with mobile_client(service) as client:
            await anyio.sleep(5)
            assert client.connection_info.fallback.ttl == 60
    assert "streaming received a fallback directive (goodbye): leaving FDv2 for FDv1" in caplog.messages
