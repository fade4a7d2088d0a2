"""The benchmarks measure: calls, blocks of the event loop, and whole columns in separate processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

import pytest

from tests.benchmarks import documents, server
from tests.benchmarks.columns.aioflags import OVERRIDDEN, Overridden
from tests.benchmarks.columns.base import Column, FlagLocation
from tests.benchmarks.drive import measured
from tests.benchmarks.flagset import CASES, Flag, FlagSet, OneOf, Person, Rule, thousand
from tests.benchmarks.plan import Job
from tests.benchmarks.readings import Record
from tests.benchmarks.timing import Loop, LoopWatch, least
from tests.benchmarks.worker import WrongAnswerError, check


async def test_least_returns_the_fastest_sample_without_the_first_calls_and_alternates_the_loops() -> None:
    calls: list[tuple[str, int]] = []

    def loop(name: str, *paces: float) -> Loop:
        """Seconds a call: in the first calls, in three trials, and before and in each sample."""
        pace = iter(paces)

        async def made(count: int) -> float:
            calls.append((name, count))
            return count * next(pace)

        return made

    # Before each sample half as many calls are made, which are faster here, and not counted.
    loops = {"a": loop("a", 0.1, 1, 1, 1, 1, 5, 1, 2, 1, 3), "b": loop("b", 0.1, 2, 2, 2, 1, 4, 1, 8, 1, 7)}
    assert await least(loops, samples=3, seconds=64) == {"a": 2.0, "b": 4.0}
    assert [count for name, count in calls if name == "a"] == [20, 1, 4, 16, 32, 64, 32, 64, 32, 64]
    assert [name for name, _ in calls[-12:]] == ["a", "a", "b", "b"] * 3


@pytest.mark.real_time
@pytest.mark.speed
async def test_loop_watch_measures_how_long_the_loop_is_blocked() -> None:
    async with LoopWatch() as watch:
        until = perf_counter() + 0.05
        while perf_counter() < until:
            pass
    assert watch.longest >= 0.04


class Scripted(Column):
    """Answers from a table. ``values``: what it returns for all flags, which may differ from its answers."""

    def __init__(self, location: FlagLocation, answers: Mapping[str, object], values: Mapping[str, object] | None = None) -> None:
        super().__init__(location)
        self._answers = answers
        self._values = values

    async def open(self, size: str, protocol: str) -> None: ...

    async def close(self) -> None: ...

    async def answer(self, key: str, person: Person) -> object:
        return self._answers[f"{key} {person.key}"]

    async def calls(self, key: str, count: int) -> float:
        return 0.0

    async def values(self) -> Mapping[str, object] | None:
        return self._values


FLAGS = FlagSet((Flag("on"), Flag("de", (Rule((OneOf("country", ("de",)),)),), serves=False), Flag("half", share=50)), ())
RIGHT = {
    "on user-12345": True,
    "on stranger": True,
    "de user-12345": True,
    "de stranger": False,
    "half user-12345": True,
    "half stranger": False,
}


@pytest.mark.parametrize(
    ("answers", "values", "complaint"),
    [
        pytest.param({}, None, None, id="every answer is right"),
        pytest.param({"half stranger": True}, {"on": True, "de": True, "half": False}, None, id="a rollout may have either value"),
        pytest.param({"de stranger": True}, None, "de for stranger: True, not False", id="a rule is ignored"),
        pytest.param({"on stranger": None}, None, "on for stranger: None, not True", id="the flag is missing"),
        pytest.param(
            {"half stranger": 1}, None, "half for stranger: 1, not None", id="a rollout has a value that is not a boolean"
        ),
        pytest.param(
            {}, {"on": True, "de": False, "half": True}, "3 values, 1 of them wrong", id="one value of all flags is wrong"
        ),
        pytest.param({}, {"on": True, "de": True}, "2 values, 0 of them wrong", id="one of all flags is missing"),
    ],
)
async def test_a_column_with_a_wrong_value_is_not_timed(
    tmp_path: Path, answers: Mapping[str, object], values: Mapping[str, object] | None, complaint: str | None
) -> None:
    documents.write(tmp_path, "thousand", FLAGS)
    column = Scripted(FlagLocation(tmp_path, ""), {**RIGHT, **answers}, values)
    if complaint is None:
        assert await check(column) == 3
    else:
        with pytest.raises(WrongAnswerError, match=complaint):
            await check(column)


def one_round(folder: Path, job: Job) -> Record:
    documents.write(folder, "thousand", thousand())
    with server.running(folder) as service:
        return measured({job.kind: [job]}, FlagLocation(folder, service), rounds=1, seconds=1e-5, log=lambda _: None)


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.parametrize("protocol", ["fdv2-poll", "fdv2-stream", "fdv1-poll"])
def test_a_column_is_measured_in_a_separate_process(tmp_path: Path, protocol: str) -> None:
    record = one_round(tmp_path, Job("aioflags, pinned", "evaluate", protocol))
    assert not record.failures
    assert {reading.measure for reading in record.readings} == CASES.keys()
    assert all(0 < reading.value < 0.01 for reading in record.readings)


@pytest.mark.slow
@pytest.mark.real_time
def test_a_mobile_client_is_measured_on_flags_that_are_evaluated_already(tmp_path: Path) -> None:
    record = one_round(tmp_path, Job("aioflags, mobile", "evaluate", "fdv2-poll"))
    assert not record.failures
    assert {reading.measure for reading in record.readings} == {"E1", "E6", "E7 values", "E9"}


@pytest.mark.slow
@pytest.mark.real_time
def test_flags_are_measured_beside_an_override_file(tmp_path: Path) -> None:
    record = one_round(tmp_path, Job("aioflags, overrides", "evaluate", "fdv2-poll"))
    assert not record.failures
    assert {reading.measure for reading in record.readings} == CASES.keys()


@pytest.mark.slow
@pytest.mark.real_time
async def test_the_override_file_has_flags_of_the_cases(tmp_path: Path) -> None:
    documents.write(tmp_path, "thousand", thousand())
    with server.running(tmp_path) as service:
        column = Overridden(FlagLocation(tmp_path, service))
        await column.open("thousand", "fdv2-poll")
        try:
            status = column.client.overrides_status
            assert status is not None
            assert status.flags.keys() == {CASES[case] for case in OVERRIDDEN}
        finally:
            await column.close()


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.parametrize("column", ["aioflags", "aioflags, awaited"])
def test_the_service_receives_all_evaluations_of_a_column_with_events(tmp_path: Path, column: str) -> None:
    record = one_round(tmp_path, Job(column, "events", "fdv2-stream"))
    assert not record.failures
    found = {reading.measure: reading.value for reading in record.readings}
    assert found.keys() == {"E9", "E9 without events", "E2 events", "not received", "flush"}
    assert found["not received"] == 0
    assert 0 < found["E2 events"] < 0.01


@pytest.mark.real_time
def test_a_process_that_fails_is_reported_and_the_run_continues(tmp_path: Path) -> None:
    record = one_round(tmp_path, Job("aioflags", "evaluate", "no such protocol"))
    assert record == Record([], ["aioflags, evaluate no such protocol, round 1: KeyError: 'no such protocol'"])
