"""The time that the service asked clients to wait holds for the next source of the same address, in virtual time."""

from __future__ import annotations

from typing import TypeAlias

import anyio
import pytest

from aioflags.model.change import Basis, FetchFailure
from aioflags.model.context import Context
from aioflags.protocol.client_side import ClientSide
from aioflags.sources import Fdv1FallbackOptions, Polling, Streaming
from aioflags.sources.base import SourceContext
from aioflags.transport.backoff import RetryTimes
from tests.support.scripted_http import (
    Answer,
    Service,
    intent,
    nothing_selected,
    poll_of,
    sse,
    stream_of,
    updates_from,
)

Source: TypeAlias = Polling | Streaming | Fdv1FallbackOptions

BUSY = Answer(429, {"Retry-After": "30"})
POLLED = poll_of(intent("none"))
STREAMED = stream_of(sse(intent("none")))
FDV1 = Answer(200, {}, [b"{}"])
HOST = "https://flags.test"


def context_of(service: Service, times: RetryTimes | None) -> SourceContext:
    return service.context(side=ClientSide(context=Context("k")), retry_times=times)


@pytest.mark.parametrize(
    ("before", "answer", "builder", "seconds"),
    [
        pytest.param(Polling(base_uri=HOST), POLLED, Polling(base_uri=HOST), 30, id="a poll after a poll"),
        pytest.param(Polling(base_uri=HOST), STREAMED, Streaming(base_uri=HOST), 0, id="a stream after a poll"),
        pytest.param(Streaming(base_uri=HOST), STREAMED, Streaming(base_uri=HOST), 30, id="a stream after a stream"),
        pytest.param(Streaming(base_uri=HOST), POLLED, Polling(base_uri=HOST), 0, id="a poll after a stream"),
        pytest.param(Polling(base_uri=HOST), POLLED, Polling(base_uri="https://other.test"), 0, id="a poll of another service"),
        pytest.param(Polling(base_uri=HOST), FDV1, Fdv1FallbackOptions(base_uri=HOST), 0, id="FDv1 after FDv2"),
        pytest.param(
            Fdv1FallbackOptions(base_uri=HOST), FDV1, Fdv1FallbackOptions(base_uri=HOST, on_demand=True), 30, id="FDv1 once"
        ),
    ],
)
@pytest.mark.parametrize("is_shared", [True, False], ids=["one client", "another client"])
async def test_a_new_source_waits_for_the_rest_of_the_time(
    before: Source, answer: Answer, builder: Source, seconds: float, *, is_shared: bool
) -> None:
    service, times = Service(BUSY, answer), RetryTimes()
    await updates_from(before.build(context_of(service, times)), 1)
    await updates_from(builder.build(context_of(service, times if is_shared else None)), 1)
    assert [round(pause, 3) for pause in service.pauses] == [seconds if is_shared else 0]


@pytest.mark.parametrize(
    ("passed", "waited", "result"),
    [
        pytest.param(
            0.0, 0.0, "no request for another 30 s: the service asked to wait", id="a long time is left to the next source"
        ),
        pytest.param(25.0, 5.0, None, id="a short time is waited for"),
        pytest.param(31.0, 0.0, None, id="no time is left"),
    ],
)
async def test_an_initializer_does_not_poll_too_early(passed: float, waited: float, result: str | None) -> None:
    service, times = Service(BUSY, POLLED), RetryTimes()
    context = context_of(service, times)
    assert [type(outcome) async for outcome in Polling().build(context).fetch(nothing_selected)] == [FetchFailure]
    await anyio.sleep(passed)
    start = anyio.current_time()
    (outcome,) = [outcome async for outcome in Polling().build(context).fetch(nothing_selected)]
    assert round(anyio.current_time() - start, 3) == waited
    if result is None:
        assert isinstance(outcome, Basis)
        return
    assert isinstance(outcome, FetchFailure)
    # The answer that asked to wait was logged as a warning before.
    assert (outcome.error.message, outcome.error.is_minor) == (result, True)
    assert str(outcome.error).endswith("/sdk/poll/eval/<context>)")
    assert len(service.requests) == 1


async def test_the_poll_of_a_ping_is_not_too_early() -> None:
    service = Service(BUSY, stream_of(sse(("ping", ""))), POLLED)
    context = context_of(service, RetryTimes())
    assert [type(outcome) async for outcome in Polling().build(context).fetch(nothing_selected)] == [FetchFailure]
    await updates_from(Streaming().build(context), 1)
    assert [round(pause, 3) for pause in service.pauses] == [0, 30]


def test_a_shorter_time_does_not_replace_a_longer_one() -> None:
    times = RetryTimes()
    times.note("https://flags.test/poll?basis=1", 100.0)
    times.note("https://flags.test/poll?basis=2", 50.0)
    assert [times.left(url, 40.0) for url in ("https://flags.test/poll", "https://flags.test/stream")] == [60.0, 0.0]
    assert times.left("https://flags.test/poll?basis=3", 101.0) == 0.0
