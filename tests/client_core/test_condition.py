"""Condition: the status that follows from what is known, the table of statuses and facts, and the events of a step."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from aioflags.client_core.condition import Condition, Fact, FactKind, advance, derive, event_kinds, status_error
from aioflags.model.status import ErrorCode, ErrorInfo, EventKind, FailureKind, SourceState, Status, StatusError
from tests.support.transitions import TABLE, Row, row_of

DOWN = ErrorInfo(kind=FailureKind.NETWORK_ERROR, message="down", time=1.0)
UNUSABLE = ErrorInfo(kind=FailureKind.INVALID_DATA, message="not JSON", time=2.0)
BETTER = ErrorInfo(kind=FailureKind.NETWORK_ERROR, message="down", time=1.0, code=ErrorCode.PARSE_ERROR)
READY, STALE, ERROR, CHANGED = EventKind.READY, EventKind.STALE, EventKind.ERROR, EventKind.CONFIGURATION_CHANGED


@pytest.mark.parametrize(
    ("source_state", "has_data", "start_limit_passed", "status"),
    [
        pytest.param(SourceState.INITIALIZING, False, False, Status.NOT_READY, id="starting"),
        pytest.param(SourceState.INITIALIZING, False, True, Status.ERROR, id="starting for too long"),
        pytest.param(SourceState.INITIALIZING, True, False, Status.STALE, id="starting, with unconfirmed data"),
        pytest.param(SourceState.INITIALIZING, True, True, Status.STALE, id="starting for too long, with such data"),
        pytest.param(SourceState.VALID, True, False, Status.READY, id="data"),
        pytest.param(SourceState.VALID, True, True, Status.READY, id="data that came late"),
        pytest.param(SourceState.VALID, False, False, Status.READY, id="validly empty"),
        pytest.param(SourceState.VALID, False, True, Status.READY, id="validly empty, late"),
        pytest.param(SourceState.INTERRUPTED, False, False, Status.NOT_READY, id="trouble before any data"),
        pytest.param(SourceState.INTERRUPTED, False, True, Status.ERROR, id="trouble before any data, for too long"),
        pytest.param(SourceState.INTERRUPTED, True, False, Status.STALE, id="trouble, with data"),
        pytest.param(SourceState.INTERRUPTED, True, True, Status.STALE, id="grace does not end"),
        pytest.param(SourceState.OFF, True, False, Status.ERROR, id="nothing left to run, with data"),
        pytest.param(SourceState.OFF, True, True, Status.ERROR, id="nothing left to run, with data, late"),
        pytest.param(SourceState.OFF, False, False, Status.FATAL, id="nothing left to run, and no data"),
        pytest.param(SourceState.OFF, False, True, Status.FATAL, id="nothing left to run, and no data, late"),
    ],
)
def test_a_status_is_derived_from_the_source_state(
    source_state: SourceState, has_data: bool, start_limit_passed: bool, status: Status
) -> None:
    condition = Condition(source=source_state, has_data=has_data, start_limit_passed=start_limit_passed)
    assert derive(condition) is status


OUT = Condition(source=SourceState.INTERRUPTED, has_data=True, is_out=True, outages=1, grace=5)
GONE = Condition(source=SourceState.OFF)
FORKED = Condition(has_data=True, grace=5)


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        pytest.param(OUT, Status.STALE, id="an outage within its grace"),
        pytest.param(replace(OUT, grace_over=True), Status.ERROR, id="an outage past its grace"),
        pytest.param(FORKED, Status.STALE, id="a start in the child of a fork, with the data of the parent"),
        pytest.param(replace(FORKED, start_limit_passed=True), Status.ERROR, id="such a start that takes too long"),
        pytest.param(replace(GONE, revives=True), Status.ERROR, id="nothing left to run on a mobile client, which may revive"),
        pytest.param(replace(GONE, is_fatal=True, has_data=True), Status.FATAL, id="a fatal code, with data"),
        pytest.param(replace(OUT, is_reconciling=True), Status.RECONCILING, id="reconciling during an outage"),
        pytest.param(replace(OUT, is_reconciling=True, is_fatal=True), Status.FATAL, id="a fatal code while reconciling"),
        pytest.param(Condition(source=SourceState.VALID, reconcile_failed=True), Status.ERROR, id="after a failed reconciling"),
        pytest.param(replace(GONE, is_fatal=True, is_closed=True), Status.NOT_READY, id="closed"),
    ],
)
def test_a_status_is_derived_from_the_rest_of_the_condition(condition: Condition, status: Status) -> None:
    assert derive(condition) is status


# -- the table


@pytest.mark.holds("OF-R6")
def test_the_table_lists_each_pair_of_status_and_fact() -> None:
    assert set(TABLE) == {*Status, None}
    assert {row: set(cells) for row, cells in TABLE.items()} == {row: set(FactKind) for row in [*Status, None]}


@pytest.mark.holds("OF-R6", "OF-A12")
def test_a_closed_client_ignores_each_fact_but_a_restart() -> None:
    closed = Condition(source=SourceState.OFF, is_closed=True)
    reactions = {kind: advance(closed, Fact(kind=kind), has_data=True) for kind in FactKind}
    assert [kind for kind, condition in reactions.items() if condition is not None] == [FactKind.RESTARTED]


@pytest.mark.holds("OF-R6", "OF-35")
def test_a_fatal_code_is_left_by_closing_alone_and_survives_a_restart() -> None:
    fatal = Condition(source=SourceState.OFF, has_data=True, is_fatal=True)
    reactions = {kind: advance(fatal, Fact(kind=kind, number=1), has_data=True) for kind in FactKind}
    assert {kind for kind, condition in reactions.items() if condition is not None} == {FactKind.CLOSED, FactKind.RESTARTED}
    closed = reactions[FactKind.CLOSED]
    assert closed is not None
    restarted = advance(closed, Fact(kind=FactKind.RESTARTED), has_data=True)
    assert restarted is not None
    assert derive(restarted) is Status.FATAL


SEEDS = 4000


@pytest.mark.holds("OF-R6")
def test_random_facts_lead_to_listed_statuses_and_reach_all_of_them() -> None:
    reached: set[tuple[Row, FactKind, Row]] = set()
    for seed in range(SEEDS):
        chance = random.Random(seed)
        condition = Condition(grace=chance.choice([None, 0.0, 5.0]), revives=chance.random() < 0.3)
        has_data = chance.random() < 0.1
        for number in range(60):
            kind = chance.choices(DRAWN, weights=[1 if kind in RARE else 6 for kind in DRAWN])[0]
            fact = Fact(
                kind=kind,
                error=chance.choice([None, DOWN, UNUSABLE]),
                next_attempt=chance.choice([None, 1000.0]) if kind is FactKind.OFF else None,
                number=chance.choice(
                    [number, condition.outages] if kind not in ENDS or not condition.calls else sorted(condition.calls)
                ),
            )
            now_has_data = has_data or fact.kind is FactKind.CACHED or (fact.kind is FactKind.DATA and chance.random() < 0.4)
            before = row_of(condition)
            if (same := advance(condition, Fact(kind=FactKind.OVERRIDES), has_data=now_has_data)) is not None:
                assert same is condition
                reached.add((before, FactKind.OVERRIDES, before))
            after = advance(condition, fact, has_data=now_has_data)
            if after is not None:
                assert row_of(after) in TABLE[before][fact.kind], (seed, number, before, fact, condition)
                reached.add((before, fact.kind, row_of(after)))
                condition, has_data = after, now_has_data
    listed = {(row, kind, status) for row, cells in TABLE.items() for kind, statuses in cells.items() for status in statuses}
    assert sorted(map(str, listed - reached)) == []


RARE = {FactKind.CACHED, FactKind.START_LIMIT, FactKind.CLOSED, FactKind.RESTARTED, FactKind.FATAL, FactKind.FAILED}
DRAWN = [kind for kind in FactKind if kind is not FactKind.OVERRIDES]
"""The facts that change a condition."""
ENDS = {FactKind.RECONCILED, FactKind.RECONCILE_FAILED}


# -- events


@pytest.mark.parametrize(
    ("before", "after", "has_changes", "kinds"),
    [
        pytest.param(Status.NOT_READY, Status.READY, True, [READY], id="the first data"),
        pytest.param(Status.NOT_READY, Status.STALE, True, [STALE], id="cached data"),
        pytest.param(Status.NOT_READY, Status.ERROR, False, [ERROR], id="a start that takes too long"),
        pytest.param(Status.NOT_READY, Status.FATAL, False, [ERROR], id="no source left"),
        pytest.param(Status.READY, Status.READY, True, [CHANGED], id="a change"),
        pytest.param(Status.READY, Status.READY, False, [], id="the same data"),
        pytest.param(Status.READY, Status.STALE, False, [STALE], id="an outage"),
        pytest.param(Status.STALE, Status.READY, True, [READY, CHANGED], id="the end of an outage, with data"),
        pytest.param(Status.STALE, Status.READY, False, [READY], id="the end of an outage, without data"),
        pytest.param(Status.STALE, Status.ERROR, False, [ERROR], id="the end of the grace"),
        pytest.param(Status.ERROR, Status.READY, True, [READY, CHANGED], id="data after an error"),
        pytest.param(Status.ERROR, Status.FATAL, False, [ERROR], id="a fatal code after an error"),
        pytest.param(Status.READY, Status.RECONCILING, False, [EventKind.RECONCILING], id="reconciling"),
        pytest.param(Status.RECONCILING, Status.RECONCILING, True, [], id="data while reconciling"),
        pytest.param(Status.RECONCILING, Status.READY, False, [EventKind.CONTEXT_CHANGED], id="the end of reconciling"),
        pytest.param(Status.RECONCILING, Status.STALE, False, [EventKind.CONTEXT_CHANGED, STALE], id="reconciled in an outage"),
        pytest.param(Status.RECONCILING, Status.NOT_READY, False, [], id="reconciled without data in an outage"),
        pytest.param(Status.RECONCILING, Status.ERROR, False, [ERROR], id="a reconciling that failed"),
        pytest.param(Status.RECONCILING, Status.FATAL, False, [ERROR], id="a fatal code while reconciling"),
        pytest.param(Status.READY, Status.NOT_READY, False, [], id="closing"),
    ],
)
def test_the_events_between_two_statuses(before: Status, after: Status, has_changes: bool, kinds: list[EventKind]) -> None:
    condition = Condition(
        is_reconciling=after is Status.RECONCILING,
        reconcile_failed=after is Status.ERROR,
        is_fatal=after is Status.FATAL,
    )
    assert list(event_kinds(before, after, condition, has_changes=has_changes)) == kinds


@pytest.mark.parametrize(
    ("condition", "error", "expected"),
    [
        pytest.param(
            Condition(start_limit_passed=True),
            DOWN,
            StatusError(ErrorCode.PROVIDER_NOT_READY, "no flag data within the time that a start may take: down"),
            id="T3 the start limit",
        ),
        pytest.param(
            Condition(start_limit_passed=True, is_unusable=True),
            UNUSABLE,
            StatusError(ErrorCode.PARSE_ERROR, "no flag data within the time that a start may take: not JSON"),
            id="T3 the start limit after an unusable payload",
        ),
        pytest.param(
            replace(FORKED, start_limit_passed=True),
            DOWN,
            StatusError(
                ErrorCode.PROVIDER_NOT_READY, "no source has confirmed the flag data within the time that a start may take: down"
            ),
            id="the start limit in the child of a fork",
        ),
        pytest.param(
            Condition(start_limit_passed=True, server_evaluates=True),
            DOWN,
            StatusError(ErrorCode.PROVIDER_NOT_READY, "no connection within the time that a start may take: down"),
            id="T3 the start limit if the server evaluates",
        ),
        pytest.param(replace(OUT), DOWN, None, id="T7 an outage"),
        pytest.param(
            replace(OUT, is_unusable=True), UNUSABLE, StatusError(ErrorCode.PARSE_ERROR, "not JSON"), id="T12 an unusable payload"
        ),
        pytest.param(
            replace(OUT, grace_over=True),
            DOWN,
            StatusError(ErrorCode.GENERAL, "no contact to the source of flag data for 5 s: down"),
            id="T9 the end of the grace",
        ),
        pytest.param(replace(GONE, is_fatal=True), DOWN, StatusError(ErrorCode.PROVIDER_FATAL, "down"), id="T4 a fatal code"),
        pytest.param(
            replace(GONE, has_data=True),
            None,
            StatusError(ErrorCode.GENERAL, "no source of flag data is left"),
            id="no source left",
        ),
        pytest.param(
            replace(GONE, has_data=True),
            BETTER,
            StatusError(ErrorCode.PARSE_ERROR, "down"),
            id="a source that knows a better code",
        ),
        pytest.param(Condition(source=SourceState.VALID), DOWN, None, id="no error"),
    ],
)
def test_the_error_of_a_status(condition: Condition, error: ErrorInfo | None, expected: StatusError | None) -> None:
    assert status_error(condition, derive(condition), error, 5.0) == expected


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        pytest.param(0.0999, "no contact to the source of flag data: down", id="without a grace"),
        pytest.param(0.1, "no contact to the source of flag data for 0.1 s: down", id="with the shortest grace"),
    ],
)
def test_the_error_of_an_outage_has_its_duration_if_there_was_a_grace(seconds: float, message: str) -> None:
    error = status_error(replace(OUT, grace_over=True), Status.ERROR, DOWN, seconds)
    assert error is not None
    assert error.message == message


def test_a_restart_keeps_what_does_not_depend_on_the_data() -> None:
    condition = Condition(source=SourceState.OFF, grace=5, revives=True, server_evaluates=True, is_closed=True)
    restarted = advance(condition, Fact(kind=FactKind.RESTARTED), has_data=False)
    assert restarted == Condition(grace=5, revives=True, server_evaluates=True)
