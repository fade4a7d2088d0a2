"""Outages of hours in virtual time: how many requests a client makes, and how soon it recovers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import anyio
import httpx
import pytest

from aioflags import Client, Config, DataSystem, MobileClient, MobileConfig, NotReadyError
from aioflags.model.status import Status
from aioflags.sources import Polling, Streaming
from aioflags.stores import DiskStore, MemoryStorage
from tests.support.canaries import KEY, secretive
from tests.support.mobile_service import ANNA, MobileService, mobile_client
from tests.support.scripted_http import HANG, Answer, Service, payload, poll_of, sse, stream_of

USER = secretive("u")
HOUR: Final = 3600.0
MAX_ATTEMPTS: Final = 245
"""In any hour of an outage after its first minute."""
LONGEST_RECOVERY: Final = 31.0
"""Seconds: the longest time between two attempts, and one for the attempt itself."""
LONGEST_FIRST_PAUSE: Final = 300.0
"""Seconds from the first refusal of every source to the next attempt."""

POLL: Final = poll_of(*payload("f"))
STREAM: Final = stream_of(sse(*payload("f")))


class Flaky(Service):
    """A service that works until ``failure`` is set. Then every request gets it as its answer."""

    def __init__(self, failure: Answer | None = None) -> None:
        super().__init__()
        self.failure = failure
        self._broken = anyio.Event()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        stream = Answer(200, STREAM.headers, [*STREAM.body[:-1], self._broken])
        self.answers = (self.failure or (stream if request.url.path == "/sdk/stream" else POLL),)
        return await super().answer(request)

    def fail_now(self, failure: Answer) -> None:
        """Break the open streams, and answer every request with ``failure``."""
        self.failure = failure
        self._broken.set()
        self._broken = anyio.Event()

    @property
    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]


def client_of(service: Service, system: DataSystem | None = None) -> Client:
    return Client(KEY, Config(http=service.http(), data_system=system or DataSystem.default()))


def busiest_hour(times: Sequence[float]) -> int:
    """The highest number of these times within one hour."""
    return max((sum(1 for time in times if start <= time < start + HOUR) for start in times), default=0)


def garbage() -> Answer:
    return Answer(200, {"Content-Type": "text/event-stream"}, [b"event: put-object\ndata: {oops\n\n", HANG])


FAILURES: Final = [
    pytest.param(Answer(503), id="503"),
    pytest.param(Answer(after=httpx.RemoteProtocolError("Server disconnected")), id="a closed connection"),
    pytest.param(Answer(after=httpx.ConnectError("connection refused")), id="a refused connection"),
    pytest.param(Answer(after=HANG), id="a connection that hangs"),
    pytest.param(garbage(), id="200 with garbage"),
    pytest.param(Answer(200, {"Content-Type": "text/event-stream"}), id="200 and nothing else"),
]


# -- attempts


@pytest.mark.holds("DS-147")
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("had_data", [pytest.param(True, id="after an hour of service"), pytest.param(False, id="from the start")])
async def test_an_outage_costs_few_requests_an_hour(failure: Answer, had_data: bool) -> None:
    service = Flaky(None if had_data else failure)
    client = client_of(service)
    await client.start()
    if had_data:
        await asyncio.sleep(HOUR)
        service.fail_now(failure)
    begin = asyncio.get_running_loop().time()
    await asyncio.sleep(3 * HOUR)
    times = [time for time in service.times if time > begin + 60]
    assert len(times) > 100, "the client has to go on asking"
    assert busiest_hour(times) <= MAX_ATTEMPTS
    await client.aclose()


@pytest.mark.holds("DS-147", "RB-R5")
@pytest.mark.parametrize(
    "system",
    [
        pytest.param(DataSystem.streaming(), id="a stream alone"),
        pytest.param(DataSystem.polling(), id="polls alone"),
        pytest.param(DataSystem.custom(synchronizers=[Streaming(), Streaming()]), id="two streams"),
        pytest.param(DataSystem.custom(synchronizers=[Polling(), Polling()]), id="two pollers"),
    ],
)
async def test_other_data_systems_make_as_few_requests(system: DataSystem) -> None:
    service = Flaky(Answer(503))
    async with client_of(service, system):
        begin = asyncio.get_running_loop().time()
        await asyncio.sleep(3 * HOUR)
    assert busiest_hour([time for time in service.times if time > begin + 60]) <= MAX_ATTEMPTS


@pytest.mark.holds("DS-148")
async def test_the_first_round_of_sources_has_no_pause() -> None:
    service = Flaky(Answer(503))
    async with client_of(service):
        begin = service.times[0]
        await asyncio.sleep(30 - (asyncio.get_running_loop().time() - begin))
    first = [(path, time - begin) for path, time in zip(service.paths, service.times, strict=True) if time - begin < 20]
    streams = [time for path, time in first if path == "/sdk/stream"]
    polls = [time for path, time in first if path == "/sdk/poll"]
    assert polls == pytest.approx([0, 10], abs=0.1), "the initializer, and the second source after 10 s"
    assert len(streams) >= 3
    assert streams[0] == pytest.approx(0, abs=0.1)


@pytest.mark.holds("DS-149")
@pytest.mark.parametrize("minutes", [1, 2, 7, 61])
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_client_recovers_soon_after_an_outage(failure: Answer, minutes: int) -> None:
    service = Flaky(failure)
    client = client_of(service)
    await client.start()
    await asyncio.sleep(60 * minutes)
    service.failure = None
    await client.wait_ready(LONGEST_RECOVERY)
    assert await client.variation("f", USER, 0) == 1
    await client.aclose()


@pytest.mark.holds("DS-150")
async def test_retry_after_outlives_the_run_of_a_source() -> None:
    service = Flaky(Answer(429, {"Retry-After": "200"}))
    async with client_of(service, DataSystem.custom(synchronizers=[Streaming(), Polling()])):
        await asyncio.sleep(190)
        assert service.paths == ["/sdk/stream", "/sdk/poll"]
        await asyncio.sleep(60)
        assert service.paths.count("/sdk/stream") == service.paths.count("/sdk/poll") == 2


@pytest.mark.holds("DS-150")
async def test_a_stable_connection_resets_the_delays() -> None:
    service = Flaky(Answer(503))
    client = client_of(service, DataSystem.custom(synchronizers=[Streaming(), Streaming()]))
    await client.start()
    await asyncio.sleep(600)
    service.failure = None
    await client.wait_ready(LONGEST_RECOVERY)
    await asyncio.sleep(61)
    asked = len(service.times)
    service.fail_now(Answer(503))
    broke = asyncio.get_running_loop().time()
    await asyncio.sleep(20)
    assert service.times[asked] - broke <= 1.0, "the first delay is the shortest one again"
    await client.aclose()


# -- refusals


@pytest.mark.holds("DS-153")
@pytest.mark.parametrize("status", [401, 403, 404, 410, 418])
@pytest.mark.parametrize("had_data", [pytest.param(True, id="after an hour of service"), pytest.param(False, id="from the start")])
async def test_updates_return_after_a_short_refusal(status: int, had_data: bool) -> None:
    service = Flaky(None if had_data else Answer(status))
    client = client_of(service)
    await client.start()
    if had_data:
        service.fail_now(Answer(status))
        await asyncio.sleep(2.5)
    report = client.report
    assert (report.status, report.source_state) == (Status.ERROR if had_data else Status.FATAL, "OFF")
    assert not report.is_final
    assert report.next_attempt is not None
    with pytest.raises(NotReadyError, match="next attempt in"):
        await client.wait_ready()
    service.failure = None
    await asyncio.sleep(LONGEST_FIRST_PAUSE)
    assert client.status is Status.READY
    assert client.report.next_attempt is None
    assert await client.variation("f", USER, 0) == 1
    await client.aclose()


@pytest.mark.holds("DS-151", "RB-R5")
async def test_a_lasting_refusal_costs_few_requests_an_hour() -> None:
    service = Flaky(Answer(401))
    async with client_of(service) as client:
        await asyncio.sleep(10 * HOUR)
        assert client.status is Status.FATAL
    begin = service.times[0] + 1
    assert len([time for time in service.times if begin < time < begin + HOUR]) <= 8


@pytest.mark.holds("DS-154")
async def test_refusals_end_the_updates_if_configured() -> None:
    service = Flaky(Answer(401))
    system = DataSystem.custom(synchronizers=[Streaming()], refused_retry="never")
    async with client_of(service, system) as client:
        assert client.report.is_final
        await asyncio.sleep(10 * HOUR)
    assert len(service.times) == 1


@pytest.mark.holds("DS-156")
async def test_a_refused_client_on_demand_starts_again_with_a_refresh() -> None:
    service = Flaky(Answer(401))
    async with client_of(service, DataSystem.on_demand()) as client:
        assert client.status is Status.FATAL
        await client.refresh()
        assert len(service.times) == 1, "the first pause is not over"
        await asyncio.sleep(10 * HOUR)
        assert len(service.times) == 1, "there is no timer"
        await client.refresh()
        assert (len(service.times), client.status) == (2, Status.FATAL)
        await asyncio.sleep(2 * LONGEST_FIRST_PAUSE)
        service.failure = None
        assert (await client.refresh()).status is Status.READY


async def test_a_client_can_be_closed_while_refused_sources_wait() -> None:
    service = Flaky(Answer(401))
    client = client_of(service)
    await client.start()
    await asyncio.sleep(LONGEST_FIRST_PAUSE)
    began = asyncio.get_running_loop().time()
    await client.aclose()
    assert asyncio.get_running_loop().time() - began < 1
    assert client.report.next_attempt is None


# -- the log


async def test_a_refused_key_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with client_of(Flaky(Answer(401))) as client:
        await client.variation("f", USER, 0)
        await asyncio.sleep(60)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING and "f:" not in record.getMessage()]
    assert [record.levelno for record in warnings] == [logging.ERROR]
    message = warnings[0].getMessage()
    assert "401 Unauthorized" in message
    assert "(https://sdk.launchdarkly.com/sdk/poll)" in message
    assert "next attempt in" in message
    assert KEY not in caplog.text


async def test_an_evaluation_without_data_is_logged_once_a_flag(caplog: pytest.LogCaptureFixture) -> None:
    async with client_of(Flaky(Answer(401))) as client:
        for _ in range(3):
            await client.variation("f", USER, 0)
            await client.variation("g", USER, 0)
    messages = [record.getMessage() for record in caplog.records if record.getMessage().startswith(("f:", "g:"))]
    assert messages == [f"{key}: there is no flag data; serving the default" for key in "fg"], "once a flag"


async def test_a_start_logs_the_number_of_flags_and_their_source(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    async with client_of(Flaky()):
        pass
    assert "started: READY, 1 flag from polling" in caplog.messages


# -- a program that runs once, without a network

REASONS: Final = [
    pytest.param("Connection refused", id="a closed port"),
    pytest.param("no address of {host}: [Errno -3] Temporary failure in name resolution", id="no name resolution"),
]


class Unreachable(Service):
    """A service to which connections fail for ``reason``, which may contain the host of the request."""

    def __init__(self, reason: str = "Connection refused") -> None:
        super().__init__()
        self.reason = reason

    async def answer(self, request: httpx.Request) -> httpx.Response:
        failure = Answer(after=httpx.ConnectError(self.reason.format(host=request.url.host)))
        self.answers = self.takes = (failure,)
        return await super().answer(request)


def default_client(service: Service) -> Client:
    return Client(KEY, Config(http=service.http()))


def one_shot_client(service: Service) -> Client:
    return Client(KEY, Config(http=service.http()).one_shot(4))


def desktop_client(service: Service) -> MobileClient:
    return MobileClient(KEY, USER, MobileConfig(http=service.http()))


def command_client(service: Service) -> MobileClient:
    return MobileClient(KEY, USER, MobileConfig(http=service.http(), profile="cli"))


async def run_once(client: Client | MobileClient) -> float:
    """Evaluate two flags, track an event, and end. Returns the seconds that the close took."""
    await client.start()
    for key in "fg":
        if isinstance(client, Client):
            await client.variation(key, USER, 7)
            client.track("used", USER)
        else:
            client.variation(key, 7)
            client.track("used")
    began = anyio.current_time()
    await client.aclose()
    return anyio.current_time() - began


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


CLIENTS: Final = [
    pytest.param(default_client, "polling returned no data", "https://sdk.launchdarkly.com/sdk/poll", 5, id="Client"),
    pytest.param(
        one_shot_client,
        "polling interrupted, polls again when refresh() is called",
        "https://sdk.launchdarkly.com/sdk/poll",
        0,
        id="Client that runs once",
    ),
    pytest.param(desktop_client, "polling returned no data", "https://clientsdk.launchdarkly.com/sdk/poll/eval/", 5, id="desktop"),
    pytest.param(command_client, "polling returned no data", "https://clientsdk.launchdarkly.com/sdk/poll/eval/", 2, id="cli"),
]


@pytest.mark.holds("CS-C26")
@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize(("client", "event", "address", "seconds"), CLIENTS)
async def test_a_program_without_a_network_logs_one_warning(
    client: Callable[[Service], Client | MobileClient],
    event: str,
    address: str,
    seconds: float,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    service = Unreachable(reason)
    await run_once(client(service))
    (warning,) = warnings_of(caplog)
    assert warning.startswith(f"{event}; serving defaults: ConnectError: {reason.format(host=httpx.URL(address).host)}")
    assert address in warning
    others = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    for text in ("f: there is no flag data", "closed during an outage of the events service; dropped: "):
        assert sum(message.startswith(text) for message in others) == 1, "it can be looked up"


@pytest.mark.holds("EVT-W26")
@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize(("client", "event", "address", "seconds"), CLIENTS)
async def test_a_program_without_a_network_ends_without_a_pause(
    client: Callable[[Service], Client | MobileClient], event: str, address: str, seconds: float, reason: str
) -> None:
    service, began = Unreachable(reason), anyio.current_time()
    made = client(service)
    assert await run_once(made) == 0
    assert anyio.current_time() - began == pytest.approx(seconds, abs=0.01)
    assert made.stats.events_dropped > 0
    assert made.stats.events_dropped == made.stats.events_recorded


@pytest.mark.parametrize("client", [default_client, desktop_client, command_client])
async def test_where_packets_vanish_the_end_of_the_start_is_the_one_warning(
    client: Callable[[Service], Client | MobileClient], caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(Answer(after=HANG))
    service.takes = [Answer(after=HANG)]
    assert await run_once(client(service)) <= 2
    assert warnings_of(caplog) == [
        "started without flag data after 5 s (no answer, and no failure so far): defaults are served until some arrive"
    ]


@pytest.mark.parametrize("profile", ["cli", "desktop"])
@pytest.mark.parametrize(
    ("wait", "event"),
    [
        pytest.param(0, "f: there is no flag data", id="no wait"),
        pytest.param(0.3, "started without flag data after 0.3 s (ConnectError: ", id="before the second poll"),
        pytest.param(1.5, "started without flag data after 1.5 s (ConnectError: ", id="before the last poll"),
        pytest.param(3, "polling returned no data", id="after the last poll"),
    ],
)
async def test_a_start_in_an_outage_logs_one_warning_whenever_it_ends(
    wait: float, event: str, profile: Literal["cli", "desktop"], caplog: pytest.LogCaptureFixture
) -> None:
    config = MobileConfig(http=Unreachable().http(), profile=profile, start_wait=wait)
    async with MobileClient(KEY, USER, config) as client:
        assert client.variation("f", 7) == 7
    warnings = [warning for warning in warnings_of(caplog) if "dropped" not in warning or wait]
    assert [warning.startswith(event) for warning in warnings] == [True]


@pytest.mark.parametrize("profile", ["cli", "desktop"])
@pytest.mark.parametrize(
    ("wait", "event"),
    [
        pytest.param(0.3, "start timed out (ConnectError: ", id="before the second poll"),
        pytest.param(1.5, "start timed out (ConnectError: ", id="before the last poll"),
        pytest.param(3, "polling returned no data", id="after the last poll"),
    ],
)
async def test_a_start_on_stored_flags_in_an_outage_logs_one_warning_and_the_close_takes_no_time(
    wait: float, event: str, profile: Literal["cli", "desktop"], caplog: pytest.LogCaptureFixture
) -> None:
    storage = MemoryStorage()
    async with mobile_client(MobileService(), ANNA, storage=storage):
        pass
    config = MobileConfig(http=Unreachable().http(), profile=profile, storage=storage, start_wait=wait)
    client = MobileClient(KEY, ANNA, config)
    caplog.clear()
    assert await run_once(client) == 0
    outage, type_of_f = warnings_of(caplog)
    assert outage.startswith(event)
    assert type_of_f.startswith("f: its value is a string")


@pytest.mark.parametrize(
    ("config", "event"),
    [
        pytest.param(Config(start_wait=0.3), "polling returned no data", id="start that ends early"),
        pytest.param(Config(), "polling returned no data", id="start that ends late"),
        pytest.param(Config().one_shot(4), "polling interrupted", id="program that runs once"),
    ],
)
async def test_a_client_with_a_store_logs_one_warning_in_an_outage(
    config: Config, event: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = DiskStore(tmp_path / "flags")
    async with client_of(Flaky(), DataSystem.persistent_store(store)):
        pass
    caplog.clear()
    system = replace(config.data_system, persistence=DataSystem.persistent_store(store).persistence)
    assert await run_once(Client(KEY, replace(config, http=Unreachable().http(), data_system=system))) == 0
    (warning,) = warnings_of(caplog)
    assert warning.startswith(event)
    assert "serving defaults" not in warning


async def test_a_close_ends_the_pause_before_a_retry_if_there_was_no_connection() -> None:
    service = Unreachable()
    client = one_shot_client(service)
    await client.start()
    client.track("used", USER)
    client.flush()
    await anyio.sleep(0.3)
    assert len(service.posts) == 1
    began = anyio.current_time()
    await client.aclose()
    assert (anyio.current_time() - began, len(service.posts), client.stats.events_dropped) == (0, 1, 2)


@pytest.mark.holds("EVT-W26")
@pytest.mark.parametrize(
    ("flags", "takes"),
    [
        pytest.param(POLL, Answer(after=httpx.ConnectError("refused")), id="a connection for flags"),
        pytest.param(Answer(503), Answer(after=httpx.ConnectError("refused")), id="an answer to the request for flags"),
        pytest.param(Answer(after=httpx.ConnectError("refused")), Answer(503), id="an answer of the events service"),
    ],
)
async def test_after_a_connection_the_close_tries_events_once_more(
    flags: Answer, takes: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(flags)
    service.takes = [takes, Answer(202)]
    client = one_shot_client(service)
    assert await run_once(client) == pytest.approx(1)
    assert len(service.posts) == 2
    assert (client.stats.events_dropped, client.stats.events_sent) == (0, client.stats.events_recorded)
    assert any(message.startswith("could not send") for message in warnings_of(caplog))


async def test_events_that_fail_after_the_first_flags_are_a_warning_although_the_first_failure_was_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service(Answer(after=httpx.ConnectError("refused")), POLL)
    service.takes = [Answer(after=httpx.ConnectError("refused"))]
    async with one_shot_client(service) as client:
        client.track("used", USER)
        assert await client.flush_and_wait()
        assert len(warnings_of(caplog)) == 1
        await client.refresh()
        client.track("used", USER)
        assert await client.flush_and_wait()
    assert [message.split()[0] for message in warnings_of(caplog)] == ["polling", "polling", "could", "dropped", "closed"]
