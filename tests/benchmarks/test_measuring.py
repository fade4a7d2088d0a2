"""The instruments measure: calls, holds of the loop, and whole columns in processes of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

import pytest

from tests.benchmarks import documents, server
from tests.benchmarks.columns.base import Column, Place
from tests.benchmarks.drive import measured
from tests.benchmarks.flagset import CASES, Flag, FlagSet, OneOf, Person, Rule, thousand
from tests.benchmarks.plan import Job
from tests.benchmarks.readings import Record
from tests.benchmarks.timing import Loop, LoopWatch, least
from tests.benchmarks.worker import WrongAnswerError, check


async def test_the_least_sample_counts_the_first_calls_do_not_and_the_loops_take_turns() -> None:
    calls: list[tuple[str, int]] = []

    def loop(name: str, *paces: float) -> Loop:
        """Seconds a call: in the first calls, in three trials, and in each sample."""
        pace = iter(paces)

        async def made(count: int) -> float:
            calls.append((name, count))
            return count * next(pace)

        return made

    loops = {"a": loop("a", 0.1, 1, 1, 1, 5, 2, 3), "b": loop("b", 0.1, 2, 2, 2, 4, 8, 7)}
    assert await least(loops, samples=3, seconds=64) == {"a": 2.0, "b": 4.0}
    assert [count for name, count in calls if name == "a"] == [20, 1, 4, 16, 64, 64, 64]
    assert [name for name, _ in calls[-6:]] == ["a", "b", "a", "b", "a", "b"]


@pytest.mark.real_time
@pytest.mark.speed
async def test_a_hold_of_the_loop_is_seen() -> None:
    async with LoopWatch() as watch:
        until = perf_counter() + 0.05
        while perf_counter() < until:
            pass
    assert watch.longest >= 0.04


class Scripted(Column):
    """Answers from a table, and says that its flags have other values than it answers where ``values`` are given."""

    def __init__(self, place: Place, answers: Mapping[str, object], values: Mapping[str, object] | None = None) -> None:
        super().__init__(place)
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
    "on nobody": True,
    "de user-12345": True,
    "de nobody": False,
    "half user-12345": True,
    "half nobody": False,
}


@pytest.mark.parametrize(
    ("answers", "values", "complaint"),
    [
        pytest.param({}, None, None, id="every answer is right"),
        pytest.param({"half nobody": True}, {"on": True, "de": True, "half": False}, None, id="a rollout may answer either"),
        pytest.param({"de nobody": True}, None, "de for nobody: True, not False", id="a column that does not target"),
        pytest.param({"on nobody": None}, None, "on for nobody: None, not True", id="a column without the flag"),
        pytest.param({"half nobody": 1}, None, "half for nobody: 1, not None", id="a rollout of something else"),
        pytest.param({}, {"on": True, "de": False, "half": True}, "3 values, 1 of them wrong", id="all flags, one wrong"),
        pytest.param({}, {"on": True, "de": True}, "2 values, 0 of them wrong", id="all flags but one"),
    ],
)
async def test_who_answers_wrong_is_not_timed(
    tmp_path: Path, answers: Mapping[str, object], values: Mapping[str, object] | None, complaint: str | None
) -> None:
    documents.write(tmp_path, "thousand", FLAGS)
    column = Scripted(Place(tmp_path, ""), {**RIGHT, **answers}, values)
    if complaint is None:
        assert await check(column) == 3
    else:
        with pytest.raises(WrongAnswerError, match=complaint):
            await check(column)


def one_round(folder: Path, job: Job) -> Record:
    documents.write(folder, "thousand", thousand())
    with server.running(folder) as service:
        return measured({job.kind: [job]}, Place(folder, service), rounds=1, seconds=1e-5, tell=lambda _: None)


@pytest.mark.real_time
@pytest.mark.parametrize("protocol", ["fdv2-poll", "fdv2-stream", "fdv1-poll"])
def test_a_column_is_measured_in_a_process_of_its_own(tmp_path: Path, protocol: str) -> None:
    record = one_round(tmp_path, Job("aioflags, pinned", "evaluate", protocol))
    assert not record.failures
    assert {reading.measure for reading in record.readings} == CASES.keys()
    assert all(0 < reading.value < 0.01 for reading in record.readings)


@pytest.mark.real_time
@pytest.mark.parametrize("column", ["aioflags", "aioflags, awaited"])
def test_a_column_that_tells_what_it_evaluates_is_heard(tmp_path: Path, column: str) -> None:
    record = one_round(tmp_path, Job(column, "tell", "fdv2-stream"))
    assert not record.failures
    found = {reading.measure: reading.value for reading in record.readings}
    assert found.keys() == {"E9", "E9 silent", "told", "unheard", "flush"}
    assert found["unheard"] == 0
    assert 0 < found["told"] < 0.01


@pytest.mark.real_time
def test_a_process_that_fails_is_reported_and_ends_nothing(tmp_path: Path) -> None:
    record = one_round(tmp_path, Job("aioflags", "evaluate", "no such protocol"))
    assert record == Record([], ["aioflags, evaluate no such protocol, round 1: KeyError: 'no such protocol'"])
