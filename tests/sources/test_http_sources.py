"""What all sources over HTTP have in common, in virtual time: options, the first request, errors with an address, bugs."""

from __future__ import annotations

from typing import Any, TypeAlias

import anyio
import pytest

from aioflags.errors import ConfigError
from aioflags.model.change import Selector
from aioflags.model.status import FailureKind, SourceState
from aioflags.sources import Fdv1FallbackOptions, Fdv1Polling, Fdv1Streaming, Polling, Streaming
from tests.support.scripted_http import Answer, Service, intent, nothing_selected, poll_of, sse, stream_of, updates_from, updates_of

Builder: TypeAlias = type[Polling] | type[Streaming] | type[Fdv1Polling] | type[Fdv1FallbackOptions] | type[Fdv1Streaming]

POLLING: list[Builder] = [Polling, Fdv1Polling, Fdv1FallbackOptions]
STREAMING: list[Builder] = [Streaming, Fdv1Streaming]
DELAYS: dict[Builder, str] = dict.fromkeys(POLLING, "interval") | dict.fromkeys(STREAMING, "initial_reconnect_delay")
PATHS: dict[Builder, str] = {
    Polling: "/sdk/poll",
    Streaming: "/sdk/stream",
    Fdv1Polling: "/sdk/latest-all",
    Fdv1FallbackOptions: "/sdk/latest-all",
    Fdv1Streaming: "/all",
}


@pytest.mark.parametrize("builder", PATHS)
@pytest.mark.parametrize(("option", "value"), [("base_uri", 5), ("http", {}), ("delay", "1"), ("delay", True)])
def test_the_error_for_an_option_of_the_wrong_type_has_its_name(builder: Builder, option: str, value: Any) -> None:
    name = DELAYS[builder] if option == "delay" else option
    with pytest.raises(ConfigError, match=name):
        builder(**{name: value})


@pytest.mark.parametrize("builder", PATHS)
async def test_no_request_is_sent_before_the_source_is_iterated(builder: Builder) -> None:
    service = Service(Answer(503))
    source: Any = builder().build(service.context())
    results = [getattr(source, run)(nothing_selected) for run in ("sync", "fetch") if hasattr(source, run)]
    await anyio.sleep(60)
    assert service.requests == []
    for result in results:
        await result.aclose()


@pytest.mark.parametrize("builder", PATHS)
async def test_options_of_the_builder_override_those_of_the_client(builder: Builder) -> None:
    own, shared = Service(Answer(500)), Service(Answer(500))
    context = shared.context(poll_interval=50.0, initial_reconnect_delay=50.0)
    delay: dict[str, Any] = {DELAYS[builder]: 40}
    await updates_from(builder(base_uri="https://own.test", http=own.http(), **delay).build(context), 2)
    await updates_from(builder().build(context), 2)
    assert own.requests[0].url.host == "own.test"
    assert shared.requests[0].url.host == ("poll.test" if builder in POLLING else "stream.test")
    default = 30 if builder is Fdv1FallbackOptions else 50
    at_least = 1 if builder in POLLING else 0.5  # the jitter of a stream takes off up to half
    assert 40 * at_least <= own.pauses[0] <= 40
    assert default * at_least <= shared.pauses[0] <= default


@pytest.mark.parametrize("builder", PATHS)
async def test_a_failure_has_the_address_without_the_query(builder: Builder) -> None:
    source = builder(base_uri="https://flags.test/eu").build(Service(Answer(503)).context())
    async with updates_of(source, lambda: Selector("basis", 1)) as updates:
        update = await anext(updates)
    assert update.error is not None
    assert update.error.address == f"https://flags.test/eu{PATHS[builder]}"


@pytest.mark.parametrize(
    ("builder", "answer"),
    [
        pytest.param(Polling, poll_of(intent("none")), id="polls"),
        pytest.param(Streaming, stream_of(sse(intent("none"))), id="a stream"),
    ],
)
async def test_an_internal_error_interrupts_and_the_source_continues(
    builder: type[Polling | Streaming], answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    def selector() -> Selector:
        asked.append(1)
        if len(asked) <= 3:
            raise ZeroDivisionError("no cursor")
        return nothing_selected()

    *broken, good = await updates_from(builder().build(Service(answer).context()), 4, selector)
    failed = (SourceState.INTERRUPTED, FailureKind.UNKNOWN)
    assert [(update.state, update.error and update.error.kind) for update in broken] == [failed] * 3
    assert (good.state, good.change_set, good.error) == (SourceState.VALID, None, None)
    assert len([record for record in caplog.records if record.exc_info]) == 1
