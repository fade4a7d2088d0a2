"""UpdateLog: one line for each cause and each change of source, and the end of an outage at the level of its start."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import anyio
import pytest

from aioflags.model.change import FallbackDirective, FetchFailure, Update
from aioflags.model.status import ErrorInfo, FailureKind, SourceState
from aioflags.supervisor.update_log import UpdateLog
from aioflags.supervisor.verdict import Verdict
from tests.support.scripted_sources import DIRECTIVE, HANG, Script, World, down, error, failure, off, valid

D, I, W, E = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR  # noqa: E741  # a column of levels
ADDRESS: Final = "https://flags.test/sdk/stream"


def network(message: str) -> Update:
    failed = ErrorInfo(kind=FailureKind.NETWORK_ERROR, message=message, time=0, address=ADDRESS)
    return Update(state=SourceState.INTERRUPTED, error=failed, directive=None)


def unreachable(message: str) -> FetchFailure:
    return FetchFailure(error=ErrorInfo(kind=FailureKind.NETWORK_ERROR, message=message, time=0), directive=None)


def minor(message: str) -> Update:
    failed = ErrorInfo(kind=FailureKind.NETWORK_ERROR, message=message, time=0, is_minor=True)
    return Update(state=SourceState.INTERRUPTED, error=failed, directive=None)


def lines(caplog: pytest.LogCaptureFixture, level: int = I) -> list[tuple[int, str]]:
    return [(record.levelno, record.getMessage()) for record in caplog.records if record.levelno >= level]


@pytest.mark.parametrize(
    ("initializers", "synchronizers", "seconds", "expected"),
    [
        pytest.param(
            [[failure(401)]],
            [[off(401)], [off(401)]],
            1,
            [(E, "no data source is left; serving defaults; next attempt in 225 s: status 401")],
            id="one line if all sources refuse the key",
        ),
        pytest.param(
            [],
            [[off(401)], [off(404)]],
            1,
            [
                (E, "S1 stopped, and S2 takes over: status 401"),
                (E, "no data source is left; serving defaults; next attempt in 225 s: status 404"),
            ],
            id="a line for each cause",
        ),
        pytest.param(
            [],
            [[off(401)]],
            2000,
            [
                (E, "no data source is left; serving defaults; next attempt in 225 s: status 401"),
                (I, "no data source is left; serving defaults; next attempt in 450 s: status 401"),
                (I, "no data source is left; serving defaults; next attempt in 900 s: status 401"),
                (I, "no data source is left; serving defaults; next attempt in 1800 s: status 401"),
            ],
            id="the same refusal again is not an error again",
        ),
        pytest.param(
            [],
            [[[off(401)], [valid(1), HANG]]],
            300,
            [
                (E, "no data source is left; serving defaults; next attempt in 225 s: status 401"),
                (E, "S1 is receiving flag updates"),
            ],
            id="the end of refusals at their level",
        ),
        pytest.param(
            [[failure(404)]],
            [[valid(1), HANG]],
            1,
            [(W, "I1 returned no data; serving defaults: status 404"), (W, "S1 is receiving flag updates")],
            id="a refused initializer, then a working source",
        ),
        pytest.param(
            [],
            [[off(404)], [valid(1), HANG]],
            1,
            [(E, "S1 stopped, and S2 takes over: status 404"), (E, "S2 is receiving flag updates")],
            id="a source that is removed",
        ),
        pytest.param(
            [],
            [[valid(1), network("closed"), 1, network("refused"), 1, network("refused"), 1, network("closed"), valid(), HANG]],
            5,
            [
                (I, "S1 is receiving flag updates"),
                (W, f"S1 interrupted, will retry; serving the last flag data: closed ({ADDRESS})"),
                (W, f"S1 interrupted, will retry; serving the last flag data: refused ({ADDRESS})"),
                (W, "S1 is receiving flag updates again"),
            ],
            id="a failed reconnect is another cause",
        ),
        pytest.param(
            [[unreachable("a.test:443: Connection refused")], [unreachable("b.test:443: Connection refused")]],
            [],
            1,
            [
                (W, "I1 returned no data; serving defaults: a.test:443: Connection refused"),
                (I, "no data source is left; serving defaults; no further attempt: b.test:443: Connection refused"),
            ],
            id="one line if no host can be reached",
        ),
        pytest.param(
            [[unreachable("ConnectError: refused (the proxy p:1 for a.test:443)")]],
            [[network("ConnectError: refused (the proxy p:1 for b.test:443)"), 1, network("b.test: not trusted"), HANG]],
            2,
            [
                (W, "I1 returned no data; serving defaults: ConnectError: refused (the proxy p:1 for a.test:443)"),
                (W, f"S1 interrupted, will retry; serving defaults: b.test: not trusted ({ADDRESS})"),
            ],
            id="another reason is another line",
        ),
        pytest.param(
            [],
            [[HANG], [HANG]],
            101,
            [
                *[(I, "S1 is not valid; S2 takes over"), (I, "S2 is not valid; S1 takes over")] * 4,
                (I, "S1 is not valid; S2 takes over"),
                (I, "S2 is not valid, nor is any other source; S1 starts in 2 s"),
            ],
            id="sources that never become valid",
        ),
        pytest.param(
            [],
            [[HANG], [valid(1), HANG]],
            315,
            [
                (I, "S1 is not valid; S2 takes over"),
                (I, "S2 is receiving flag updates"),
                (I, "S2 has been valid for a while; trying S1 again"),
            ],
            id="back to the first source",
        ),
    ],
)
async def test_the_log_of(
    world: World,
    initializers: Sequence[Script],
    synchronizers: Sequence[Any],
    seconds: float,
    expected: list[tuple[int, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    scripts = [script if isinstance(script[0], list) else [script] for script in synchronizers]
    async with world.running(
        initializers=[world.source(f"I{n}", script) for n, script in enumerate(initializers, 1)],
        synchronizers=[world.source(f"S{n}", *script) for n, script in enumerate(scripts, 1)],
        refused_retry="extended",
    ):
        await anyio.sleep(seconds)
    assert lines(caplog) == expected


async def test_a_source_that_is_removed_while_a_directive_holds_for_a_time_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    first = world.source("S1", [off(500, FallbackDirective(ttl=100, origin="header"))], [valid(1), HANG])
    async with world.running(synchronizers=[first], fallback=world.source("F1", [off(401)]), recovery="ttl"):
        await anyio.sleep(101)
    assert lines(caplog) == [
        (W, "S1 stopped: status 500"),
        (W, "S1 received a fallback directive (header): leaving FDv2 for FDv1"),
        (W, "switching to FDv1 polling; FDv2 again in 100 s"),
        (E, "F1 stopped: status 401"),
        (I, "returning to FDv2: the fallback directive has expired"),
        (E, "S1 is receiving flag updates"),
    ]


async def test_an_outage_logs_at_most_20_causes(world: World, caplog: pytest.LogCaptureFixture) -> None:
    script = [valid(1), *[network(f"port {n}") for n in range(1000)], HANG]
    async with world.running(synchronizers=[world.source("S1", script)]):
        await anyio.sleep(1)
    assert len(lines(caplog, W)) == 20


async def test_each_repeated_result_is_logged_at_debug(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aioflags")
    async with world.running(synchronizers=[world.source("S1", [valid(1), valid(), down(), 1, down(), HANG])]):
        await anyio.sleep(2)
    debug = [message for level, message in lines(caplog, D) if level == D]
    assert debug == ["S1 is up to date", "S1 interrupted, will retry; serving the last flag data: status 503"]


@pytest.mark.parametrize(
    ("message", "address", "text"),
    [
        pytest.param("status 503", None, "status 503", id="without an address"),
        pytest.param("status 503", ADDRESS, f"status 503 ({ADDRESS})", id="with an address"),
        pytest.param("ConnectError (flags.test)", ADDRESS, f"ConnectError ({ADDRESS})", id="the host is named once"),
        pytest.param("two\nlines", None, "two\\nlines", id="a line break is escaped"),
        pytest.param("x" * 300, ADDRESS, f"{'x' * 200}… ({ADDRESS})", id="a long message leaves room for the address"),
    ],
)
def test_the_text_of_an_error(message: str, address: str | None, text: str) -> None:
    assert str(replace(error(), message=message, address=address)) == text


async def test_an_interruption_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    script = [valid(1), *[down(), 1] * 20, valid(), down(), HANG]
    async with world.running(synchronizers=[world.source("S1", script)]):
        await anyio.sleep(60)
    warning = "S1 interrupted, will retry; serving the last flag data: status 503"
    good = "S1 is receiving flag updates"
    assert lines(caplog) == [(I, good), (W, warning), (W, f"{good} again"), (W, warning)]


async def test_a_minor_failure_is_not_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    planned, repeated = (minor(text) for text in ("the planned end of a stream", "refused"))
    script = [valid(1), planned, valid(), planned, network("closed"), repeated, valid(), repeated, HANG]
    async with world.running(synchronizers=[world.source("S1", script)]):
        await anyio.sleep(5)
    assert lines(caplog) == [
        (I, "S1 is receiving flag updates"),
        (W, f"S1 interrupted, will retry; serving the last flag data: closed ({ADDRESS})"),
        (W, "S1 is receiving flag updates again"),
    ]


async def test_a_client_whose_server_evaluates_serves_cached_answers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    log = UpdateLog(logging.getLogger("aioflags"), server_evaluates=True)
    for number, has_data in enumerate([False, True]):
        log.result("S1", network(f"port {number}"), Verdict.STAY, has_data=has_data, is_on_demand=False)
        log.exhausted(error(), has_data=has_data, retry_in=None)
    assert [text.partition(";")[2].partition(":")[0] for _, text in lines(caplog)] == [
        " serving defaults",
        " serving defaults; no further attempt",
        " serving cached answers",
        " serving defaults; no further attempt",
    ]


async def test_each_different_error_in_the_data_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "aioflags")

    def wrong(message: str) -> Update:
        error = ErrorInfo(kind=FailureKind.INVALID_DATA, message=message, time=0.0)
        return Update(state=SourceState.INTERRUPTED, error=error, directive=None)

    script = [valid(1), wrong("line 1"), wrong("line 1"), wrong("line 2"), down(), wrong("line 2"), HANG]
    async with world.running(synchronizers=[world.source("S1", script)]):
        await anyio.sleep(1)
    errors = [record.getMessage().rpartition(": ")[2] for record in caplog.records]
    assert errors == ["line 1", "line 2", "status 503", "line 2"]


@pytest.mark.parametrize(
    ("result", "level", "message"),
    [
        pytest.param(off(401, DIRECTIVE), logging.WARNING, "S1 stopped: status 401", id="with a directive"),
        pytest.param(
            Update(state=SourceState.OFF, directive=None), logging.ERROR, "S1 stopped: no reason given", id="without a reason"
        ),
    ],
)
async def test_off_of_a_source_is_logged(
    world: World, result: Update, level: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    await world.run(synchronizers=[world.source("S1", [result])])
    assert ("aioflags", level, message) in caplog.record_tuples
