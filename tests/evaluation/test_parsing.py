"""Versions, timestamps and numbers: valid and invalid ones, and the order of versions."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.operators import parse_number, parse_time, parse_version


def _versions(number: Any, *pairs: Any) -> list[Any]:
    return [pytest.param(text, full, id=f"{number} {text} is {full}") for text, full in pairs]


@pytest.mark.parametrize(
    ("text", "full"),
    [
        *_versions("EV-E89", ("2", "2.0.0"), ("2.0", "2.0.0"), ("0", "0.0.0")),
        *_versions("EV-E90", ("2-rc.1", "2.0.0-rc.1"), ("2.0-rc.1", "2.0.0-rc.1")),
        *_versions("EV-E91", ("2+build2", "2.0.0"), ("2.0+b.01", "2.0.0"), ("2.0.0-rc.1+build2", "2.0.0-rc.1")),
        *_versions("EV-E92", ("2.0.0-0", "2.0.0-0"), ("18446744073709551616.0.0", "18446744073709551616.0.0")),
    ],
)
def test_a_version_may_be_short(text: str, full: str) -> None:
    assert parse_version(text) is not None
    assert parse_version(text) == parse_version(full)


NO_VERSIONS = [
    *("02.0.0", "2.01.0", "00", "2.0.0.0", "v2.0.0", "2.x", "2.", "2..0", ".2", "", "-1", "2-", "2.0.0+", "2.0.0-01"),
    *("2.0.0-a.01", "2.0.0-rc_1", "2.0.0 ", " 2.0.0", "2.0.0\n", "2beta", "1e3", 2, True, None, "٢", "2.0.0-é"),
]


@pytest.mark.parametrize("value", [pytest.param(v, id=f"EV-E93 {v!r}") for v in NO_VERSIONS])
def test_this_is_not_a_version(value: Any) -> None:
    assert parse_version(value) is None


def _order(number: Any, *pairs: Any) -> list[Any]:
    return [pytest.param(low, high, id=f"{number} {low} < {high}") for low, high in pairs]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        *_order("EV-E96", ("2.0.0-rc", "2.0.0")),
        *_order("EV-E97", ("2.0.0-rc", "2.0.0-rc.1")),
        *_order("EV-E98", ("2.0.0-rc.9", "2.0.0-rc.10")),
        *_order("EV-E99", ("2.0.0-1", "2.0.0-alpha")),
        *_order("EV-E100", ("2.0.0-Alpha", "2.0.0-alpha")),
        *_order("EV-E101", ("2.0.0-alpha.1", "2.0.0-alpha.beta")),
        *_order("EV-E102", ("1.0.0-1", "1.0.0-0a")),
        *_order("letters before length:", ("2.0.0-alpha", "2.0.0-beta"), ("2.0.0-aaa", "2.0.0-b")),
        *_order("any number before any letter:", ("2.0.0-999999", "2.0.0-a")),
        *_order("EV-E104", ("9.9.9", "10.0")),
        *_order("beyond 64 bits:", ("99999999999999999999.0.0", "100000000000000000000.0.0")),
    ],
)
def test_a_version_precedes_another(low: str, high: str) -> None:
    lesser, greater = parse_version(low), parse_version(high)
    assert lesser is not None
    assert greater is not None
    assert lesser < greater
    assert not greater < lesser


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("2.0.0", "2", id="EV-E94 missing numbers are 0"),
        pytest.param("2.0.0+a", "2.0.0+b", id="EV-E95 builds do not count"),
        pytest.param("2-rc", "2.0.0-rc", id="EV-E103 in front of a prerelease, too"),
    ],
)
def test_two_versions_are_equal(one: Any, other: Any) -> None:
    assert parse_version(one) == parse_version(other) != None  # noqa: E711


NUMBERS = st.integers(0, 10**30).map(str)
IDENTIFIERS = st.from_regex(r"(0|[1-9][0-9]{0,25}|[0-9]*[A-Za-z-][0-9A-Za-z-]{0,5})", fullmatch=True)


@given(
    numbers=st.lists(NUMBERS, min_size=3, max_size=3),
    prerelease=st.lists(IDENTIFIERS, max_size=3),
    others=st.lists(NUMBERS, min_size=3, max_size=3),
)
def test_versions_compare_by_their_numbers_first(numbers: list[str], prerelease: list[str], others: list[str]) -> None:
    suffix = "-" + ".".join(prerelease) if prerelease else ""
    one, other = parse_version(".".join(numbers) + suffix), parse_version(".".join(others))
    assert one is not None
    assert other is not None
    left, right = list(map(int, numbers)), list(map(int, others))
    assert (one < other) == (left < right or (left == right and bool(prerelease)))


@given(st.text(max_size=12) | st.text("0123456789.-+ab", max_size=12))
def test_reading_a_version_never_raises(text: str) -> None:
    parse_version(text)


def _times(number: Any, expected: Any, *texts: Any) -> list[Any]:
    return [pytest.param(text, expected, id=f"{number} {text}") for text in texts]


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        *_times(
            "EV-E105",
            1512543600000,
            "2017-12-06T00:00:00.000-07:00",
            "2017-12-06T07:00:00.000Z",
            "2017-12-06t07:00:00z",
            "2017-12-06T07:00:00-00:00",
        ),
        *_times("EV-E106", 1512457260000, "2017-12-06T07:00:00+23:59"),
        *_times("EV-E107", 1512543600100, "2017-12-06T07:00:00.1Z"),
        *_times("EV-E108", 1512543600123.456055, "2017-12-06T07:00:00.123456Z"),
        *_times("EV-E109", -1, "1969-12-31T23:59:59.999Z"),
        *_times("EV-E110", 1456704000000, "2016-02-29T00:00:00Z"),
        *_times("EV-E111", -62135596800000, "0001-01-01T00:00:00Z"),
        *_times("EV-E112", 253402300799999, "9999-12-31T23:59:59.999Z"),
        *(_times("EV-E113", number, number)[0] for number in (1512543600000, -1, 1512543600000.5)),
    ],
)
def test_a_timestamp(value: Any, milliseconds: float) -> None:
    assert parse_time(value) == milliseconds


NO_TIMES = [
    *("2017-12-06", "2017-12-06T07:00:00", "00:00:00Z", "badstring", "", "1512543600000", "2017-13-06T07:00:00Z"),
    *("2017-02-29T00:00:00Z", "2017-12-06T24:00:00Z", "2017-12-06T07:00:60Z", "2017-12-6T07:00:00Z"),
    *("2017-12-06T7:00:00Z", "2017-12-06T07:00:00+24:00", "2017-12-06T07:00:00+7:00", " 2017-12-06T07:00:00Z"),
    *("2017-12-06T07:00:00Z ", "0000-01-01T00:00:00Z", True, None, [1], "2017-12-06T07:60:00Z", "2017-12-06T07:00:00+00:60"),
]
LAX_TIMES = [
    *("2017-12-06 07:00:00Z", "2017-12-06X00:00:00.000-07:00", "2017-12-06T07:00Z", "2017-12-06T07:00:00+0000"),
    *("20171206T070000Z", "2017-W49-3T07:00:00Z", "2017-12-06T07:00:00,5Z", "2017-12-06T07:00:00.Z", "2017-12-06T07:00:00 Z"),
]


@pytest.mark.parametrize(
    "value",
    [
        *(pytest.param(value, id=f"EV-E114 {value!r}") for value in NO_TIMES),
        *(pytest.param(value, id=f"EV-E115 {value!r}") for value in LAX_TIMES),
    ],
)
def test_this_is_not_a_timestamp(value: Any) -> None:
    assert parse_time(value) is None


@given(
    st.integers(-62_000_000_000_000_000, 253_000_000_000_000_000),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_a_formatted_timestamp_is_parsed_to_the_same_time(microseconds: int, minutes: int) -> None:
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    moment = epoch + dt.timedelta(microseconds=microseconds)
    written = moment.astimezone(dt.timezone(dt.timedelta(minutes=minutes))).isoformat()
    milliseconds = parse_time(written)
    assert milliseconds is not None
    assert abs(milliseconds - (moment - epoch) / dt.timedelta(milliseconds=1)) < 0.1


@given(st.text(max_size=30) | st.text("0123456789-:TtZz.+ ", max_size=30))
def test_reading_a_timestamp_never_raises(text: str) -> None:
    parse_time(text)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        pytest.param(3, 3.0, id="an integer"),
        pytest.param(-0.5, -0.5, id="a fraction"),
        pytest.param(10**400, float("inf"), id="more than doubles hold"),
        pytest.param(-(10**400), float("-inf"), id="less than doubles hold"),
        pytest.param(True, None, id="a boolean"),
        pytest.param("3", None, id="a string"),
    ],
)
def test_a_number(value: Any, number: float | None) -> None:
    assert parse_number(value) == number
