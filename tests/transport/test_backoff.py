"""Delays, as plain numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from aioflags.transport.backoff import Backoff, delay, read_retry_after


@pytest.mark.parametrize(
    ("initial", "attempt", "chance", "seconds"),
    [
        pytest.param(1.0, 1, 0.0, 1.0, id="the first takes the initial delay"),
        pytest.param(1.0, 1, 0.999999, 0.5, id="DS-85 or half of it"),
        pytest.param(1.0, 4, 0.0, 8.0, id="DS-85 each doubles"),
        pytest.param(1.0, 6, 0.0, 30.0, id="DS-85 up to 30 s"),
        pytest.param(1.0, 10_000, 0.5, 22.5, id="for ever"),
        pytest.param(0.001, 3, 0.0, 0.004, id="from a millisecond"),
        pytest.param(40.0, 1, 0.0, 40.0, id="an initial delay above 30 s is the ceiling"),
        pytest.param(40.0, 5, 0.0, 40.0, id="for every attempt"),
    ],
)
def test_a_delay(initial: float, attempt: int, chance: float, seconds: float) -> None:
    assert delay(initial, attempt, chance=chance) == pytest.approx(seconds, rel=1e-5)


def test_a_wish_of_the_server_is_the_least() -> None:
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


def test_retry_after_as_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert read_retry_after(503, {"retry-after": soon}) == pytest.approx(100, abs=3)
    assert read_retry_after(503, {}) == 0
