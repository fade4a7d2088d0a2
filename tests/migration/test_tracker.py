"""OpTracker: which measurements an event needs, and its properties."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from aioflags.errors import ConfigError
from aioflags.migration import Operation, OpTracker, Origin, Stage
from aioflags.model.context import Context
from aioflags.model.detail import EvaluationDetail, Reason, ReasonKind
from aioflags.model.event import MigrationEvent
from aioflags.model.flag import FlagDefinition, MigrationSettings
from aioflags.runtime.clock import now_ms
from aioflags.runtime.logs import logger
from tests.support.canaries import secretive

USER = secretive("anna")
INVALID_CONTEXT = Context("")
FALLTHROUGH = Reason(kind=ReasonKind.FALLTHROUGH)


def flag(**more: Any) -> FlagDefinition:
    return FlagDefinition(key="move", version=7, **more)


def tracker(
    key: str = "move",
    context: Context | None = USER,
    definition: FlagDefinition | None = None,
    chance: Callable[[], float] = lambda: 0.5,
) -> OpTracker:
    """A tracker for a flag with the value ``live``."""
    detail = EvaluationDetail(Stage.LIVE, 3, FALLTHROUGH)
    return OpTracker(key, context, detail, Stage.OFF, definition, logger=logger, chance=chance)


def invoked(*origins: Origin, operation: Operation = Operation.READ, **options: Any) -> OpTracker:
    op = tracker(**options)
    op.operation(operation)
    for origin in origins:
        op.invoked(origin)
    return op


def event_of(op: OpTracker) -> MigrationEvent:
    event = op.event()
    assert isinstance(event, MigrationEvent), event
    return event


def measured(op: OpTracker, method: str, *arguments: Any) -> None:
    getattr(op, method)(*arguments)


@pytest.mark.parametrize(
    ("op", "measure", "why"),
    [
        pytest.param(tracker(), None, "the operation was not set to read or write", id="no operation"),
        pytest.param(invoked(Origin.OLD, key=""), None, "the flag's key is empty", id="no key"),
        pytest.param(invoked(), None, "no system was invoked", id="nothing invoked"),
        pytest.param(invoked(Origin.OLD, context=None), None, "invalid context: no context", id="no context"),
        pytest.param(
            invoked(Origin.OLD, context=INVALID_CONTEXT), None, f"invalid context: {INVALID_CONTEXT.error}", id="an invalid context"
        ),
        pytest.param(
            invoked(Origin.OLD),
            ("latency", Origin.NEW, 1),
            "a measurement of the new system, which was not invoked",
            id="a latency of a system that was not invoked",
        ),
        pytest.param(
            invoked(Origin.OLD),
            ("error", Origin.NEW),
            "a measurement of the new system, which was not invoked",
            id="an error of a system that was not invoked",
        ),
        pytest.param(
            invoked(Origin.NEW),
            ("consistent", lambda: True),
            "both systems were compared, but only one was invoked",
            id="a comparison with one system",
        ),
    ],
)
def test_incomplete_or_contradictory_measurements_have_no_event(
    op: OpTracker,
    measure: tuple[Any, ...] | None,
    why: str,
) -> None:
    if measure is not None:
        measured(op, *measure)
    assert op.event() == why


def test_an_event_has_the_measurements_and_the_evaluation() -> None:
    op = invoked(
        Origin.NEW,
        Origin.OLD,
        operation=Operation.WRITE,
        definition=flag(sampling_ratio=10, migration=MigrationSettings(check_ratio=1)),
    )
    op.latency(Origin.NEW, 0.0125)
    op.latency(Origin.OLD, 0)
    op.error(Origin.OLD)
    op.consistent(lambda: False)
    began = now_ms()
    event = event_of(op)
    assert began <= event.at_ms <= now_ms()
    assert (event.operation, event.key, event.context, event.value, event.default) == ("write", "move", USER, "live", "off")
    assert (event.reason, event.variation, event.version) == (FALLTHROUGH, 3, 7)
    assert (event.sampling_ratio, event.check_ratio) == (10, 1)
    assert (event.invoked, event.failed, event.is_consistent) == (["old", "new"], ["old"], False)
    assert event.latency_ms == {"old": 0, "new": 12.5}


def test_the_event_of_an_unknown_flag_has_no_version() -> None:
    event = event_of(invoked(Origin.OLD))
    assert (event.version, event.sampling_ratio, event.check_ratio) == (None, None, None)
    assert (event.latency_ms, event.failed, event.is_consistent) == ({}, [], None)


@pytest.mark.parametrize(
    ("ratio", "chance", "is_checked"),
    [
        pytest.param(None, 0.99, True, id="always, without a ratio"),
        pytest.param(1, 0.99, True, id="always, at 1"),
        pytest.param(0, 0.0, False, id="never, at 0"),
        pytest.param(-1, 0.0, False, id="never, below 0"),
        pytest.param(4, 0.24, True, id="selected, one in four"),
        pytest.param(4, 0.25, False, id="not selected, one in four"),
    ],
)
def test_a_comparison_is_made_for_one_in_check_ratio_operations(ratio: int | None, chance: float, is_checked: bool) -> None:
    op = invoked(*Origin, definition=flag(migration=MigrationSettings(check_ratio=ratio)), chance=lambda: chance)
    calls: list[bool] = []

    def check() -> bool:
        calls.append(True)
        return True

    op.consistent(check)
    assert (len(calls), event_of(op).is_consistent) == ((1, True) if is_checked else (0, None))


def test_a_comparison_that_raises_is_logged_and_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    op = invoked(*Origin)
    op.consistent(lambda: 1 // 0 == 0)
    assert event_of(op).is_consistent is None
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "migration move: the comparison failed")


def test_a_coroutine_function_is_not_a_comparison(caplog: pytest.LogCaptureFixture) -> None:
    async def differs() -> bool:
        return False

    op = invoked(*Origin)
    op.consistent(differs)  # type: ignore[arg-type]  # as programs without a type checker do
    assert event_of(op).is_consistent is None
    assert "expected a plain function" in caplog.text


class Seconds(float):
    """A float with a subclass, as libraries for numbers have it."""


def test_a_latency_becomes_a_float() -> None:
    op = invoked(Origin.OLD)
    op.latency(Origin.OLD, Seconds(0.25))
    (latency,) = event_of(op).latency_ms.values()
    assert (type(latency), latency) == (float, 250)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e306, -0.1, "0.1", True, None])
def test_an_invalid_latency_is_ignored_with_a_warning(seconds: Any, caplog: pytest.LogCaptureFixture) -> None:
    op = invoked(Origin.OLD)
    op.latency(Origin.OLD, seconds)
    assert event_of(op).latency_ms == {}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_strings_are_accepted_for_members_of_enumerations() -> None:
    op = tracker()
    op.operation("read")  # type: ignore[arg-type]  # as programs without a type checker do
    op.invoked("new")  # type: ignore[arg-type]  # as above
    assert (event_of(op).operation, event_of(op).invoked) == ("read", ["new"])


@pytest.mark.parametrize(
    ("measure", "mistake"),
    [
        pytest.param(("operation", "reed"), "operation: expected read or write, got 'reed'", id="an operation"),
        pytest.param(("invoked", "older"), "origin: expected old or new, got 'older'", id="a system that was invoked"),
        pytest.param(("error", None), "origin: expected old or new, got None", id="a system that failed"),
        pytest.param(("latency", "", 1), "origin: expected old or new, got ''", id="a system with a latency"),
    ],
)
def test_an_unknown_string_is_refused(measure: tuple[Any, ...], mistake: str) -> None:
    with pytest.raises(ConfigError, match=mistake):
        measured(invoked(Origin.OLD), *measure)
