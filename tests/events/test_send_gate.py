"""SendGate: clients with a mobile key send nothing while offline or without a network, and no diagnostics in the background."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio
import pytest

from aioflags.events.diagnostics import Diagnostics
from aioflags.events.options import MobileEvents
from aioflags.events.outbox import Outbox
from aioflags.events.recorder import Recorder
from aioflags.events.sender import SendConditions, Sender, SendGate
from aioflags.events.summary import Batch
from aioflags.protocol.side import MOBILE_EVENTS
from tests.events.mobile import evaluate
from tests.events.test_diagnostics import DESCRIPTION
from tests.events.test_outbox import post_to
from tests.support.events import U1, records, short
from tests.support.scripted_http import Answer, Service

ONLINE: Final = SendConditions()
OFFLINE: Final = SendConditions(is_offline=True)
NO_NETWORK: Final = SendConditions(has_network=False)
BACKGROUND: Final = SendConditions(is_in_background=True)
OK: Final = Answer(202)
INTERVAL: Final = 30.0
A_MOMENT: Final = 0.1


@dataclass
class Sending:
    """An outbox that runs, and what it posts."""

    service: Service
    recorder: Recorder
    outbox: Outbox

    def record(self, *names: str) -> None:
        """Track an event of each name."""
        for name in names:
            self.recorder.tracked(name, U1)

    @property
    def posts(self) -> list[list[str]]:
        """The records of each payload in short."""
        return [[short(record) for record in records(post)] for post in self.service.posts]


@asynccontextmanager
async def sending(*answers: Answer, kind: type[Recorder] = Recorder, **options: Any) -> AsyncGenerator[Sending]:
    """An outbox of a client with a mobile key. ``kind`` is the class of its recorder."""
    settings, service, gate = MobileEvents(**options), Service(), SendGate()
    service.takes = answers or (OK,)
    recorder = kind(settings)
    sender = Sender(
        post_to(service), "https://e.test", {}, gate=gate, policy=settings.policy, set_server_time=recorder.set_server_time
    )
    outbox = Outbox(recorder, settings, sender, gate)
    outbox.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outbox.run)
        await anyio.sleep(A_MOMENT)
        yield Sending(service, recorder, outbox)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("conditions", "payloads", "diagnostics"),
    [
        pytest.param(ONLINE, True, True, id="online"),
        pytest.param(OFFLINE, False, False, id="offline"),
        pytest.param(NO_NETWORK, False, False, id="without a network"),
        pytest.param(BACKGROUND, True, False, id="in the background"),
        pytest.param(SendConditions(is_offline=True, is_in_background=True), False, False, id="offline in the background"),
    ],
)
def test_what_may_be_sent(conditions: SendConditions, payloads: bool, diagnostics: bool) -> None:
    assert (conditions.allow_payloads, conditions.allow_diagnostics) == (payloads, diagnostics)


# -- analytics


async def test_events_are_posted_to_the_endpoint_for_mobile_keys() -> None:
    async with sending() as client:
        client.record("x")
        assert await client.outbox.flush_and_wait(None)
        (post,) = client.service.posts
    assert (str(post.url), post.headers["x-launchdarkly-event-schema"]) == ("https://e.test/mobile/events/bulk", "4")


@pytest.mark.parametrize("conditions", [OFFLINE, NO_NETWORK], ids=["S-96 offline", "without a network"])
async def test_events_wait_in_the_buffer_until_they_may_be_sent(conditions: SendConditions) -> None:
    async with sending() as client:
        client.outbox.set_conditions(conditions)
        client.record("x")
        evaluate(client.recorder, "plain")
        client.outbox.flush()
        assert not await client.outbox.flush_and_wait(None)
        await anyio.sleep(10 * INTERVAL)
        assert client.posts == []
        stats = client.recorder.stats
        assert (stats.events_pending, stats.evaluations_pending) == (1, 1)
        client.outbox.set_conditions(ONLINE)
        await anyio.sleep(A_MOMENT)
        assert client.posts == [["custom x", "summary plain:1"]]


async def test_offline_the_buffer_is_bounded_and_evaluations_are_still_counted() -> None:
    async with sending() as client:
        client.outbox.set_conditions(OFFLINE)
        for _ in range(150):
            evaluate(client.recorder, "tracked")
            await anyio.sleep(1)
        client.outbox.set_conditions(ONLINE)
        await anyio.sleep(A_MOMENT)
        (sent,) = client.posts
    assert (len(sent), sent[-1]) == (101, "summary tracked:150")


async def test_going_offline_sends_what_was_recorded_once() -> None:
    async with sending() as client:
        client.record("before")
        client.outbox.set_conditions(OFFLINE)
        client.record("after")
        client.outbox.set_conditions(OFFLINE)
        await anyio.sleep(10 * INTERVAL)
        assert client.posts == [["custom before"]]


class _Broken(Recorder):
    """A recorder with a bug, until it is closed."""

    def drain(self) -> Batch | None:
        if self.is_open:
            raise ZeroDivisionError
        return super().drain()


async def test_a_bug_in_the_last_dispatch_does_not_keep_the_client_online(caplog: pytest.LogCaptureFixture) -> None:
    async with sending(kind=_Broken) as client:
        client.outbox.set_conditions(OFFLINE)
        assert client.outbox._gate.conditions == OFFLINE
    (line,) = caplog.messages
    assert line.startswith("could not send events after an internal error")


async def test_going_offline_completes_what_is_being_sent_with_its_retry() -> None:
    async with sending(Answer(503, after=5), OK) as client:
        client.record("x")
        client.outbox.set_conditions(OFFLINE)
        assert await client.outbox.flush_and_wait(None)
        assert client.posts == [["custom x"]] * 2
        assert client.recorder.stats.events_sent == 1


@pytest.mark.parametrize(
    "conditions",
    [NO_NETWORK, SendConditions(is_offline=True, has_network=False)],
    ids=["losing the network", "losing the network and going offline"],
)
async def test_without_a_network_nothing_is_sent_at_last(conditions: SendConditions) -> None:
    async with sending() as client:
        client.record("x")
        client.outbox.set_conditions(conditions)
        client.outbox.set_conditions(SendConditions(is_offline=True, has_network=False))
        await anyio.sleep(10 * INTERVAL)
        assert client.posts == []


async def test_a_retry_waits_for_the_network() -> None:
    async with sending(Answer(503), OK) as client:
        client.record("x")
        client.outbox.flush()
        await anyio.sleep(A_MOMENT)
        client.outbox.set_conditions(NO_NETWORK)
        await anyio.sleep(10 * INTERVAL)
        assert client.posts == [["custom x"]]
        client.outbox.set_conditions(ONLINE)
        await anyio.sleep(A_MOMENT)
        first, second = client.service.posts
        assert client.recorder.stats.events_sent == 1
    assert first.headers["x-launchdarkly-payload-id"] == second.headers["x-launchdarkly-payload-id"]


async def test_entering_the_background_sends_at_once_and_goes_on_at_the_interval() -> None:
    async with sending() as client:
        client.record("a")
        client.outbox.set_conditions(BACKGROUND)
        await anyio.sleep(A_MOMENT)
        assert client.posts == [["custom a"]]
        client.record("b")
        client.outbox.set_conditions(BACKGROUND)
        await anyio.sleep(A_MOMENT)
        assert len(client.posts) == 1
        await anyio.sleep(INTERVAL)
        assert client.posts == [["custom a"], ["custom b"]]


@pytest.mark.parametrize(
    "conditions",
    [SendConditions(is_offline=True, is_in_background=True), SendConditions(has_network=False, is_in_background=True)],
    ids=["offline", "without a network"],
)
async def test_entering_the_background_sends_nothing_while_it_may_not(conditions: SendConditions) -> None:
    async with sending() as client:
        client.outbox.set_conditions(SendConditions(is_offline=conditions.is_offline, has_network=conditions.has_network))
        client.record("x")
        client.outbox.set_conditions(conditions)
        await anyio.sleep(INTERVAL)
        assert client.posts == []


@pytest.mark.parametrize("conditions", [OFFLINE, NO_NETWORK], ids=["offline", "without a network"])
async def test_a_flush_without_events_succeeds_although_nothing_may_be_sent(conditions: SendConditions) -> None:
    async with sending() as client:
        client.outbox.set_conditions(conditions)
        assert await client.outbox.flush_and_wait(None)


@pytest.mark.parametrize("conditions", [OFFLINE, NO_NETWORK], ids=["offline", "without a network"])
async def test_a_close_does_not_wait_for_events_that_may_not_be_sent(
    conditions: SendConditions, caplog: pytest.LogCaptureFixture
) -> None:
    async with sending(Answer(503), OK) as client:
        client.record("a")
        if conditions is NO_NETWORK:
            client.outbox.flush()
            await anyio.sleep(A_MOMENT)
        client.outbox.set_conditions(conditions)
        if conditions is OFFLINE:
            await client.outbox.flush_and_wait(None)
        client.record("b")
        posted, began = len(client.posts), anyio.current_time()
        await client.outbox.finish(60)
        assert anyio.current_time() == began
        assert len(client.posts) == posted
    lost = 1 if conditions is OFFLINE else 2
    assert caplog.messages[-1] == f"closed before all events were sent; lost: {lost} event{'s' if lost > 1 else ''}"


async def test_a_flush_returns_when_too_many_payloads_wait_for_the_network() -> None:
    async with sending(Answer(503)) as client:
        for name in "abcde":
            client.record(name)
            client.outbox.flush()
            await anyio.sleep(A_MOMENT)
        client.outbox.set_conditions(NO_NETWORK)
        client.record("f")
        assert not await client.outbox.flush_and_wait(None)
        assert client.recorder.stats.events_pending == 6


# -- diagnostics


@asynccontextmanager
async def diagnosed(
    conditions: SendConditions = ONLINE, *answers: Answer, recorder: Recorder | None = None
) -> AsyncGenerator[tuple[Service, SendGate, Diagnostics]]:
    """Diagnostics that run every 300 seconds. ``conditions``: at their start."""
    service, gate, recorder = Service(), SendGate(), recorder or Recorder(MobileEvents())
    service.takes = answers or (OK,)
    gate.conditions = conditions
    recorder.open()
    sender = Sender(post_to(service), "https://e.test", {}, gate=gate, policy=MOBILE_EVENTS, set_server_time=lambda _: None)
    loop = asyncio.get_running_loop()
    diagnostics = Diagnostics(
        recorder,
        sender,
        gate,
        interval=300,
        key_suffix="suffix",
        describe=lambda: DESCRIPTION,
        clock=lambda: int(loop.time() * 1000),
    )
    diagnostics.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(diagnostics.run)
        await anyio.sleep(A_MOMENT)
        yield service, gate, diagnostics
        tasks.cancel_scope.cancel()


async def test_no_diagnostic_event_follows_a_permanent_refusal_in_the_background() -> None:
    recorder = Recorder(MobileEvents())
    async with diagnosed(BACKGROUND, recorder=recorder) as (service, gate, _):
        recorder.refuse()
        gate.conditions = ONLINE
        await anyio.sleep(1000)
        assert service.posts == []


CLOSED: Final = [
    pytest.param(OFFLINE, id="offline"),
    pytest.param(NO_NETWORK, id="without a network"),
    pytest.param(BACKGROUND, id="in the background"),
]


@pytest.mark.parametrize("conditions", CLOSED)
async def test_the_first_diagnostic_event_is_sent_when_it_may_be(conditions: SendConditions) -> None:
    async with diagnosed(conditions) as (service, gate, _):
        await anyio.sleep(1000)
        assert service.posts == []
        gate.conditions = ONLINE
        await anyio.sleep(A_MOMENT)
        (post,) = service.posts
    assert (str(post.url), json.loads(post.content)["kind"]) == ("https://e.test/mobile/events/diagnostic", "diagnostic-init")


@pytest.mark.parametrize("conditions", CLOSED)
async def test_a_diagnostic_event_that_was_due_is_sent_later_and_covers_the_whole_time(conditions: SendConditions) -> None:
    async with diagnosed() as (service, gate, _):
        gate.conditions = conditions
        await anyio.sleep(1000)
        assert len(service.posts) == 1
        gate.conditions = ONLINE
        await anyio.sleep(A_MOMENT)
        assert len(service.posts) == 2
        await anyio.sleep(299)
        assert len(service.posts) == 2
        await anyio.sleep(2)
        init, late, next_one = (json.loads(post.content) for post in service.posts)
    assert late["dataSinceDate"] == init["creationDate"]
    assert late["creationDate"] - late["dataSinceDate"] >= 1_000_000
    assert next_one["creationDate"] - late["creationDate"] == 300_000


@pytest.mark.parametrize("conditions", CLOSED)
@pytest.mark.parametrize("after", [0, 1000], ids=["before the first event", "before a later event"])
async def test_a_close_does_not_wait_for_a_diagnostic_event_that_may_not_be_sent(conditions: SendConditions, after: float) -> None:
    async with diagnosed(ONLINE if after else conditions) as (_, gate, diagnostics):
        gate.conditions = conditions
        await anyio.sleep(after)
        began = anyio.current_time()
        await diagnostics.finish(60)
        assert anyio.current_time() == began


async def test_a_diagnostic_event_that_is_being_sent_is_completed_in_the_background() -> None:
    async with diagnosed(ONLINE, Answer(202, after=5)) as (service, gate, diagnostics):
        gate.conditions = BACKGROUND
        began = anyio.current_time()
        await diagnostics.finish(60)
        assert anyio.current_time() == began + 0.5
    assert len(service.posts) == 1
