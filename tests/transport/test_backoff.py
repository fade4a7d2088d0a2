"""Backoff: the delays, and Retry-After."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from aioflags.transport.backoff import Backoff, RetryState, delay, read_date, read_retry_after


@pytest.mark.parametrize(
    ("initial", "attempt", "chance", "seconds"),
    [
        pytest.param(1.0, 1, 0.0, 1.0, id="the first takes the initial delay"),
        pytest.param(1.0, 1, 0.999999, 0.5, id="DS-85 or half of it"),
        pytest.param(1.0, 4, 0.0, 8.0, id="DS-85 each doubles"),
        pytest.param(1.0, 6, 0.0, 30.0, id="DS-85 up to 30 s"),
        pytest.param(1.0, 10_000, 0.5, 22.5, id="after 10000 attempts"),
        pytest.param(0.001, 3, 0.0, 0.004, id="from a millisecond"),
        pytest.param(40.0, 1, 0.0, 40.0, id="an initial delay above 30 s is the ceiling"),
        pytest.param(40.0, 5, 0.0, 40.0, id="for every attempt"),
    ],
)
def test_a_delay(initial: float, attempt: int, chance: float, seconds: float) -> None:
    assert delay(initial, attempt, chance=chance) == pytest.approx(seconds, rel=1e-5)


def test_retry_after_is_the_least_delay() -> None:
    assert delay(1.0, 1, chance=0.0, at_least=20.0) == 20.0
    assert delay(10.0, 2, chance=0.0, at_least=5.0) == 20.0


@pytest.mark.parametrize(
    ("lasted", "delays"),
    [
        pytest.param([0, 0, 0, 0], [1, 2, 4, 8], id="every end counts"),
        pytest.param([0, 0, 61, 0], [1, 2, 1, 2], id="DS-86 a connection that lasted a minute starts anew"),
        pytest.param([0, 0, 60, 0], [1, 2, 1, 2], id="60 s are a minute"),
        pytest.param([0, 0, 59.9, 0], [1, 2, 4, 8], id="less is not"),
    ],
)
def test_attempts_are_counted(lasted: list[float], delays: list[float]) -> None:
    backoff = Backoff(1.0)
    assert [backoff.after(seconds, chance=0.0) for seconds in lasted] == delays


@pytest.mark.parametrize(
    ("ends", "delays"),
    [
        pytest.param("n n n", [1, 2, 4], id="failures that may pass"),
        pytest.param("n n R R R", [1, 2, 300, 600, 1200], id="a refusal starts longer delays, which grow"),
        pytest.param("R R R R R R R", [300, 600, 1200, 2400, 3600, 3600, 3600], id="up to an hour"),
        pytest.param("R n n R", [300, 600, 1200, 2400], id="other failures count among them, and do not end them"),
        pytest.param("R R 60 n R", [300, 600, 1, 2, 300], id="a connection that lasted ends them"),
        pytest.param("R 59 n", [300, 600, 1200], id="a shorter one does not"),
    ],
)
def test_refusals_are_followed_by_long_delays(ends: str, delays: list[float]) -> None:
    backoff = Backoff(1.0, refused_delay=300.0)
    actual = [
        backoff.after(float(end) if end.isdecimal() else 0.0, chance=0.0, is_refused=end == "R")  # n: nothing lasted
        for end in ends.split()
    ]
    assert actual == delays


def test_the_delay_after_a_refusal_is_never_shorter_than_the_usual_delay() -> None:
    assert Backoff(400.0, refused_delay=300.0).after(0, chance=0.0, is_refused=True) == 400
    assert Backoff(5000.0, refused_delay=300.0).after(0, chance=0.0, is_refused=True) == 5000


@pytest.mark.parametrize(
    ("is_refused", "at_least", "seconds"),
    [
        pytest.param(False, 0.25, 0.5, id="a delay that is longer than the wish stays"),
        pytest.param(False, 20.0, 20.0, id="the wish is the least"),
        pytest.param(True, 20.0, 300.0, id="refused_delay that is longer stays"),
        pytest.param(True, 4000.0, 4000.0, id="Retry-After is longer than the delay after a refusal"),
    ],
)
def test_retry_after_applies_with_and_without_a_delay_for_refusals(is_refused: bool, at_least: float, seconds: float) -> None:
    assert Backoff(0.5, refused_delay=300.0).after(0, chance=0.0, at_least=at_least, is_refused=is_refused) == seconds


def test_by_default_there_is_no_retry_after_and_no_refusal() -> None:
    assert Backoff(0.5, refused_delay=300.0).after(0, chance=0.0) == 0.5


def test_delays_grow_up_to_the_given_ceiling() -> None:
    backoff = Backoff(1.0, ceiling=3.0)
    assert [backoff.after(0, chance=0.0) for _ in range(3)] == [1, 2, 3]


def test_without_a_delay_for_refusals_a_refusal_is_like_any_other_end() -> None:
    assert Backoff(1.0).after(0, chance=0.0, is_refused=True) == 1


@pytest.mark.parametrize(
    ("status", "text", "seconds"),
    [
        (429, "12", 12),
        (503, " 12 ", 12),
        (503, "301", 300),
        pytest.param(503, "9" * 400, 300, id="more than a float can hold"),
        (503, "-5", 0),
        (503, "1.5", 0),
        (503, "", 0),
        (503, "tomorrow", 0),
        (503, "Mon, 01 Jan 2024 00:00:00 GMT", 0),
        (429, "Fri, 01 Jan 2999 00:00:00 GMT", 300),
        (500, "12", 0),
        (200, "12", 0),
    ],
)
def test_retry_after(status: int, text: str, seconds: float) -> None:
    assert read_retry_after(status, {"Retry-After": text}) == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000"])
def test_retry_after_as_a_date_is_not_in_the_time_of_this_machine(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True).replace("GMT", zone)
        assert read_retry_after(503, {"retry-after": soon}) == pytest.approx(100, abs=3)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_without_the_header_there_is_no_retry_after() -> None:
    assert read_retry_after(503, {}) == 0
    assert read_retry_after(429, {"retry-after": "9999"}, ceiling=1000) == 1000
    assert read_retry_after(503, {"x-retry-after": "5"}) == 0


def test_a_new_run_continues_the_back_off_of_the_last_one() -> None:
    state = RetryState()
    runs = [Backoff(1.0, refused_delay=300.0, state=state) for _ in range(5)]
    assert [run.after(0, chance=0.0) for run in runs[:3]] == [1, 2, 4]
    assert runs[3].after(60, chance=0.0) == 1, "a connection that has proven itself starts anew"
    assert [run.after(0, chance=0.0, is_refused=True) for run in runs[3:]] == [300, 600]


@pytest.mark.parametrize(
    ("text", "date"),
    [
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777_000, id="a date"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 -0000", 784_111_777_000, id="without a zone"),
        pytest.param("Sunday", None, id="no date"),
        pytest.param("", None, id="nothing"),
        pytest.param("Sun, 06 Nov 99999 08:49:37 GMT", None, id="a year out of range"),
        pytest.param("Sun, 32 Nov 1994 08:49:37 GMT", None, id="a day that does not exist"),
    ],
)
def test_a_date_header_is_read_as_unix_milliseconds(text: str, date: int | None) -> None:
    assert read_date(text) == date
