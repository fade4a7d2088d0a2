"""Diagnostic events: their content, when they are sent, and when not."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import httpx
import pytest

from aioflags import Client, Config, DataSystem, Events
from aioflags.events.diagnostics import Diagnostics
from aioflags.events.recorder import Recorder
from aioflags.events.sender import Sender, SendGate
from aioflags.model.event import StreamAttempt
from aioflags.protocol.diagnostic_json import Configuration, Description, Platform, Sdk
from aioflags.sources import Fdv1Streaming, MemorySource, SourceBuilder, Streaming
from aioflags.transport.http_client import Response
from tests.support.canaries import KEY
from tests.support.events import U1, U2, document, records
from tests.support.scripted_http import HANG, Answer, Service, payload, sse, stream_of

INTERVAL = 900
A_MOMENT = 0.1


@asynccontextmanager
async def diagnosed(
    service: Service, *sources: SourceBuilder, key: str = KEY, offline: bool = False, **events: Any
) -> AsyncGenerator[Client]:
    """A client that sends diagnostic events, and analytics only when it is flushed."""
    given: dict[str, Any] = {"flush_interval": 86_400.0, **events}
    system = DataSystem.custom(synchronizers=sources or [MemorySource.from_document(document())])
    config = Config(
        http=service.http(),
        data_system=system,
        events=Events(**given),
        close_timeout=60,
        offline=offline,
    )
    async with Client(key, config) as client:
        yield client


def diagnostic_events(service: Service) -> list[dict[str, Any]]:
    """The diagnostic events that were posted."""
    return [records(post) for post in service.posts if post.url.path == "/diagnostic"]


@pytest.mark.holds("EVT-D1", "EVT-D6", "EVT-D7")
async def test_a_client_sends_one_init_event() -> None:
    service = Service(Answer(200))
    async with diagnosed(service):
        await anyio.sleep(A_MOMENT)
    (post,) = service.posts
    assert (post.method, str(post.url)) == ("POST", "https://events.launchdarkly.com/diagnostic")
    assert post.headers["authorization"] == KEY
    assert post.headers["content-type"] == "application/json"
    assert not {"x-launchdarkly-payload-id", "x-launchdarkly-event-schema", "content-encoding"} & set(post.headers)
    (event,) = diagnostic_events(service)
    assert set(event) == {"kind", "creationDate", "id", "sdk", "configuration", "platform"}
    assert event["kind"] == "diagnostic-init"
    assert event["id"]["sdkKeySuffix"] == KEY[-6:]
    assert len(event["id"]["diagnosticId"]) == 36
    assert KEY not in post.content.decode()


@pytest.mark.holds("EVT-D2")
async def test_a_periodic_event_is_sent_at_every_interval() -> None:
    service = Service(Answer(200))
    async with diagnosed(service, events_max_pending=3) as client:
        client.track("x", U1)  # with a description of U1: two events
        client.track("x", U1)  # the third one
        client.track("x", U1)  # over the capacity
        await client.flush_and_wait(60)
        await anyio.sleep(INTERVAL + A_MOMENT)
        client.track("x", U2)
        await anyio.sleep(INTERVAL)
    init, first, second = diagnostic_events(service)
    assert {event["id"]["diagnosticId"] for event in (first, second)} == {init["id"]["diagnosticId"]}
    assert first["kind"] == "diagnostic"
    assert (first["droppedEvents"], first["deduplicatedUsers"], first["eventsInLastBatch"]) == (1, 2, 3)
    assert (second["droppedEvents"], second["deduplicatedUsers"], second["eventsInLastBatch"]) == (0, 0, 0)
    assert first["dataSinceDate"] == init["creationDate"]
    assert second["dataSinceDate"] == first["creationDate"]


async def test_the_interval_can_be_chosen() -> None:
    service = Service(Answer(200))
    async with diagnosed(service, diagnostic_recording_interval=60):
        await anyio.sleep(60 * 5 + A_MOMENT)
    assert [event["kind"] for event in diagnostic_events(service)] == ["diagnostic-init", *["diagnostic"] * 5]
    assert [round(time - service.post_times[0]) for time in service.post_times] == [0, 60, 120, 180, 240, 300]


@pytest.mark.parametrize(
    ("key", "options"),
    [
        pytest.param(KEY, {"diagnostic_opt_out": True}, id="EVT-D3 the client opts out"),
        pytest.param(KEY, {"send_events": False}, id="EVT-D3 events are off"),
        pytest.param(KEY, {"offline": True}, id="EVT-D3 the client is offline"),
        pytest.param("", {}, id="EVT-D3 the client has no key"),
        pytest.param("sdk key\n", {}, id="EVT-D3 the key cannot be sent"),
    ],
)
async def test_no_diagnostics_are_sent_if(key: str, options: dict[str, Any]) -> None:
    service = Service(Answer(200))
    async with diagnosed(service, key=key, **options):
        await anyio.sleep(2 * INTERVAL)
    assert service.posts == []


async def test_analytics_and_diagnostics_are_sent_separately() -> None:
    service = Service(Answer(200))
    async with diagnosed(service, enable_event_compression=True) as client:
        client.track("x", U1)
    kinds = {post.url.path: records(post) for post in service.posts}
    assert kinds["/diagnostic"]["kind"] == "diagnostic-init"
    assert [record["kind"] for record in kinds["/bulk"]] == ["index", "custom"]
    assert {post.headers["content-encoding"] for post in service.posts} == {"gzip"}


class Refusing(Service):
    """Answers analytics and diagnostics with different statuses."""

    def __init__(self, *, analytics: int = 202, diagnostics: int = 202) -> None:
        super().__init__(Answer(200))
        self.statuses = {"/bulk": analytics, "/diagnostic": diagnostics}

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.takes = [Answer(self.statuses.get(request.url.path, 200))]
        return await super().answer(request)


@pytest.mark.holds("EVT-D4")
async def test_a_permanent_refusal_of_analytics_stops_diagnostics() -> None:
    service = Refusing(analytics=401)
    async with diagnosed(service) as client:
        client.track("x", U1)
        await client.flush_and_wait(60)
        await anyio.sleep(3 * INTERVAL)
    assert [post.url.path for post in service.posts] == ["/diagnostic", "/bulk"]


@pytest.mark.parametrize(
    ("status", "posts"),
    [
        *[pytest.param(status, 1, id=f"EVT-D4 {status}") for status in (401, 403, 404, 413)],
        *[pytest.param(status, 2, id=f"EVT-D6 {status} is tried once more") for status in (400, 429, 500, 503)],
    ],
)
async def test_a_failed_diagnostic_event_stops_neither_analytics_nor_diagnostics(
    status: int,
    posts: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Refusing(diagnostics=status)
    async with diagnosed(service) as client:
        await anyio.sleep(INTERVAL - 1)
        assert len(diagnostic_events(service)) == posts
        client.track("x", U1)
        assert await client.flush_and_wait(60)
        assert client.stats.events_sent == 2
        await anyio.sleep(INTERVAL)
    assert [event["kind"] for event in diagnostic_events(service)] == ["diagnostic-init"] * posts + ["diagnostic"] * posts
    assert "refuses" not in caplog.text
    assert KEY not in caplog.text


@pytest.mark.holds("EVT-D5")
async def test_a_close_sends_no_event_and_waits_for_the_one_being_sent() -> None:
    service = Service(Answer(200))
    service.takes = [Answer(202, after=1.2)]
    async with diagnosed(service) as client:
        await anyio.sleep(1)
        began = anyio.current_time()
        await client.aclose()
        assert anyio.current_time() - began == pytest.approx(0.2)
        await anyio.sleep(3 * INTERVAL)
    assert [event["kind"] for event in diagnostic_events(service)] == ["diagnostic-init"]
    assert len(service.bodies) == 1


@pytest.mark.holds("EVT-D5")
@pytest.mark.parametrize("answer", [Answer(after=HANG), Answer(503), Answer(after=httpx.ConnectError("refused"))])
async def test_a_close_does_not_exceed_its_timeout(answer: Answer) -> None:
    service = Service(Answer(200))
    service.takes = [answer]
    async with diagnosed(service) as client:
        await anyio.sleep(A_MOMENT)
        began = anyio.current_time()
        await client.aclose(0.5)
        assert anyio.current_time() - began <= 0.5


@pytest.mark.holds("EVT-D5")
@pytest.mark.parametrize("answer", [Answer(after=HANG), Answer(503)], ids=["no answer", "a failure, and the pause before a retry"])
async def test_a_close_waits_half_a_second_for_diagnostics_at_most(answer: Answer) -> None:
    service = Service(Answer(200))
    service.takes = [answer]
    async with diagnosed(service) as client:
        await anyio.sleep(A_MOMENT)
        began = anyio.current_time()
        await client.aclose()
        assert anyio.current_time() - began == pytest.approx(0.5)


async def test_a_close_does_not_wait_if_no_event_is_being_sent() -> None:
    service = Service(Answer(200))
    async with diagnosed(service) as client:
        await anyio.sleep(A_MOMENT)
        began = anyio.current_time()
        await client.aclose()
        assert anyio.current_time() == began
    await anyio.sleep(3 * INTERVAL)
    assert len(service.posts) == 1


async def test_two_diagnostic_events_are_never_sent_at_once() -> None:
    service = Service(Answer(200))
    service.takes = [Answer(202), Answer(202, after=HANG), Answer(202, after=HANG), Answer(202)]
    async with diagnosed(service, diagnostic_recording_interval=60):
        await anyio.sleep(60 * 4 + A_MOMENT)
    # An answer without headers fails after 25 s, so the second attempt ends 51 s after the first began.
    assert [round(time - service.post_times[0]) for time in service.post_times] == [0, 60, 86, 120, 180, 240]
    assert len({event["creationDate"] for event in diagnostic_events(service)}) <= 5


# -- streams

GOOD = stream_of(sse(*payload("a")))


@pytest.mark.parametrize("source", [Streaming, Fdv1Streaming])
async def test_attempts_to_open_a_stream_are_reported_once(source: type[SourceBuilder]) -> None:
    put = sse(("put", {"path": "/", "data": {"flags": {}, "segments": {}}}))
    answer = GOOD if source is Streaming else stream_of(put)
    service = Service(Answer(503), replace(answer, body=[3.0, *answer.body]))
    async with diagnosed(service, source(), diagnostic_recording_interval=60):
        await anyio.sleep(2 * 60 + A_MOMENT)
    _, first, second = diagnostic_events(service)
    failed, succeeded = first["streamInits"]
    assert (failed["failed"], failed["durationMillis"]) == (True, 0)
    assert (succeeded["failed"], succeeded["durationMillis"]) == (False, 3000)
    assert isinstance(succeeded["timestamp"], int)
    assert second["streamInits"] == []


# -- Diagnostics without a client

DESCRIPTION = Description(
    sdk=Sdk(name="AioFlags", version="1"),
    platform=Platform(os_name="", os_version="\udce9", os_arch="", python_version="", python_implementation=""),
    configuration=Configuration(
        custom_base_uri=False,
        custom_stream_uri=False,
        custom_events_uri=False,
        events_capacity=0,
        connect_timeout_millis=0,
        socket_timeout_millis=0,
        events_flush_interval_millis=0,
        polling_interval_millis=0,
        reconnect_time_millis=0,
        start_wait_millis=0,
        streaming_disabled=False,
        using_relay_daemon=False,
        using_proxy=False,
        using_proxy_authenticator=False,
        all_attributes_private=False,
        user_keys_capacity=0,
        user_keys_flush_interval_millis=0,
        diagnostic_recording_interval_millis=0,
        data_store_type="memory",
    ),
)


class Post:
    """Accepts every post, and records its body."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    async def __call__(self, url: str, headers: object, body: bytes) -> Response:
        self.events.append(json.loads(body))
        return Response(202, {})


def without_client(post: Post, describe: Any = lambda: DESCRIPTION) -> Diagnostics:
    """Diagnostics without a client."""
    recorder = Recorder(Events())
    recorder.open()
    gate = SendGate()
    sender = Sender(post, "https://events.test", {}, gate=gate, set_server_time=lambda _: None)
    return Diagnostics(recorder, sender, gate, interval=60, key_suffix="suffix", describe=describe)


@pytest.mark.holds("EVT-D11")
async def test_the_newest_thousand_attempts_are_reported() -> None:
    post = Post()
    diagnostics = without_client(post)
    diagnostics.open()
    for number in range(1200):
        diagnostics.attempted(StreamAttempt(at_ms=number, took_ms=1, is_failed=True))
    with anyio.move_on_after(61):
        await diagnostics.run()
    _, event = post.events
    assert [init["timestamp"] for init in event["streamInits"]] == list(range(200, 1200))


@pytest.mark.holds("EVT-D6")
async def test_a_second_run_has_another_id_and_no_attempts_of_the_first() -> None:
    # As in the child of a fork, whose parent reports the earlier attempts.
    post = Post()
    diagnostics = without_client(post)
    for _ in range(2):
        diagnostics.open()
        with anyio.move_on_after(61):
            await diagnostics.run()
        diagnostics.attempted(StreamAttempt(at_ms=1, took_ms=1, is_failed=True))
    assert len({event["id"]["diagnosticId"] for event in post.events}) == 2
    assert [event.get("streamInits") for event in post.events] == [None, [], None, []]


async def test_an_os_version_with_a_lone_surrogate_is_sent() -> None:
    post = Post()
    diagnostics = without_client(post)
    diagnostics.open()
    with anyio.move_on_after(1):
        await diagnostics.run()
    assert post.events[0]["platform"]["osVersion"] == "\udce9"


async def test_an_exception_of_describe_is_logged_and_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    def describe() -> Description:
        raise OSError("unknown")

    diagnostics = without_client(Post(), describe)
    diagnostics.open()
    await diagnostics.run()
    await diagnostics.finish(60)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
