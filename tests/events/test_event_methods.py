"""track, identify and track_migration_op before the start, after the close, and without events."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from aioflags import Client, Config, EvaluationDetail, Events
from aioflags.migration import Operation, OpTracker, Origin, Stage
from aioflags.model.detail import Reason, ReasonKind
from aioflags.runtime.logs import logger
from tests.support.canaries import KEY
from tests.support.events import U1, client_with_events, document, unstarted_client
from tests.support.scripted_http import Answer, Service

EventCall = Callable[[Client], None]


def track(client: Client) -> None:
    client.track("x", U1)


def identify(client: Client) -> None:
    client.identify(U1)


def track_migration_op(client: Client) -> None:
    client.track_migration_op(measured())


def measured() -> OpTracker:
    """A write of a migration, to the old system only."""
    detail = EvaluationDetail(Stage.OFF, 0, Reason(kind=ReasonKind.FALLTHROUGH))
    tracker = OpTracker("m", U1, detail, Stage.OFF, None, logger=logger)
    tracker.operation(Operation.WRITE)
    tracker.invoked(Origin.OLD)
    return tracker


async def test_an_operation_of_a_migration_does_not_describe_its_context() -> None:
    async with client_with_events() as sending:
        track_migration_op(sending.client)
        assert [record["kind"] for record in await sending.payload()] == ["migration_op"]
        assert await sending.client.variation("plain", U1, "") == "b"
        assert await sending.sent_records() == ["index u1", "summary plain:1"]


@pytest.mark.parametrize("call", [track, identify, track_migration_op])
async def test_calls_before_the_start_and_after_the_close_log_one_warning_each(
    call: EventCall,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = unstarted_client(Service())
    for _ in range(3):
        call(client)
    early = warnings(caplog)
    async with client:
        call(client)
    in_time = warnings(caplog)[len(early) :]
    for _ in range(3):
        call(client)
    late = warnings(caplog)[len(early) :]
    assert (early, in_time, late) == (
        [f"{call.__name__}: nothing is recorded before the client is started"],
        [],
        [f"{call.__name__}: nothing is recorded once the client is closed"],
    )
    assert client.stats.events_recorded <= 2


@pytest.mark.parametrize("call", [track, identify, track_migration_op])
@pytest.mark.parametrize(
    "client",
    [
        pytest.param(lambda: Client.local(document()), id="a client with a document"),
        pytest.param(lambda: Client(KEY, Config(offline=True)), id="an offline client"),
        pytest.param(lambda: Client(KEY, Config(events=Events(send_events=False))), id="a client with events off"),
    ],
)
async def test_a_client_without_events_logs_no_warning(
    client: Callable[[], Client], call: EventCall, caplog: pytest.LogCaptureFixture
) -> None:
    silent = client()
    call(silent)
    await silent.aclose()
    call(silent)
    assert warnings(caplog) == []


@pytest.mark.parametrize("call", [track, identify, track_migration_op])
async def test_calls_after_a_refusal_log_no_warning(call: EventCall, caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    service.takes = [Answer(401)]
    async with client_with_events(service=service) as sending:
        sending.client.track("x", U1)
        await sending.client.flush_and_wait()
        before = len(warnings(caplog))
        call(sending.client)
        assert warnings(caplog)[before:] == []


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
