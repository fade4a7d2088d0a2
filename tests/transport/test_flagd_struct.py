"""Python values as a Struct of protobuf, and back."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from aioflags.transport.flagd_struct import EXACT, from_struct, to_struct, whole


def nested(levels: int) -> dict[str, Any]:
    """An object in an object, and so on."""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -7,
        1.5,
        "",
        "text",
        [],
        {},
        [1, [2, {"a": []}], {}],
        {"a": {"b": {}}, "c": None},
        EXACT,
        pytest.param(nested(30), id="thirty objects in each other"),
    ],
)
def test_a_value_comes_back(value: object) -> None:
    sent = to_struct({"name": value}).SerializeToString()
    received = from_struct(Struct.FromString(sent))["name"]
    assert received == value
    assert type(received) is type(value)


@pytest.mark.parametrize(
    ("value", "received"),
    [
        pytest.param(3.0, 3, id="a whole number becomes int"),
        pytest.param(-0.0, 0, id="minus zero"),
        pytest.param(2**53 + 1, float(2**53), id="a large whole number stays a double"),
        pytest.param((1, 2), [1, 2], id="a tuple"),
        pytest.param(dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05Z", id="a time in UTC"),
        pytest.param(
            dt.datetime(2026, 1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2026-01-02T01:00:00Z", id="a time elsewhere"
        ),
        pytest.param(dt.datetime.fromisoformat("2026-01-02"), "2026-01-02T00:00:00Z", id="a time without zone"),
    ],
)
def test_a_value_that_changes(value: object, received: object) -> None:
    assert from_struct(to_struct({"name": value})) == {"name": received}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(object(), "name: object is not a JSON value", id="an object of Python"),
        pytest.param({1, 2}, "name: set is not a JSON value", id="a set"),
        pytest.param(b"x", "name: bytes is not a JSON value", id="bytes"),
        pytest.param([{"a": {1: 2}}], "name: the name 1 is not a string", id="a name that is a number"),
        pytest.param(float("nan"), "name: nan is not a JSON number", id="not a number"),
        pytest.param(float("-inf"), "name: the number is not a JSON number", id="infinity"),
        pytest.param(10**400, "name: the number is not a JSON number", id="a number that no double represents"),
        pytest.param("\ud800", "'name': the text is not valid Unicode", id="half a character"),
        pytest.param({"\ud800": 1}, "'name': the text is not valid Unicode", id="a name that is half a character"),
        pytest.param(nested(200), "name: nested more than 128 levels deep", id="too many objects in each other"),
    ],
)
def test_a_value_that_a_struct_cannot_represent(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        to_struct({"name": value})


def test_inexact_numbers_are_reported_by_name() -> None:
    names: list[str] = []
    to_struct({"small": EXACT, "large": EXACT + 1, "deep": {"a": [1, {"b": -EXACT - 1}]}, "double": 1e300}, names.append)
    assert names == ["large", "deep"]


@pytest.mark.parametrize(
    ("number", "converted"), [(1.0, 1), (1.5, 1.5), (float(EXACT), EXACT), (1e300, 1e300), (float("inf"), float("inf"))]
)
def test_a_double_is_an_int_if_it_is_whole_and_exact(number: float, converted: float) -> None:
    assert (whole(number), type(whole(number))) == (converted, type(converted))
