"""Decoder: which types and functions it takes, what it refuses, and what its messages never show."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, NewType, TypedDict

import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioflags.errors import ConfigTypeError
from aioflags.evaluation.value_types import MISMATCH, Decoder

SECRET = "sk-4711"


class Limits(pydantic.BaseModel, frozen=True):
    requests: int = pydantic.Field(default=10, gt=0)
    name: str = "a"

    @pydantic.field_validator("name")
    @classmethod
    def short(cls, name: str) -> str:
        if len(name) > 5:
            raise ValueError(f"{name} is too long")
        return name


@pydantic.dataclasses.dataclass(frozen=True)
class Checked:
    requests: int = pydantic.Field(gt=0)


@dataclasses.dataclass(frozen=True)
class Plain:
    requests: int
    at: dt.date | None = None

    def __post_init__(self) -> None:
        if self.requests > 100:
            raise ValueError(f"{self.requests} is too much for {SECRET}")


class Struct(msgspec.Struct, frozen=True):
    requests: int
    limits: list[Limits] = []


class Pair(NamedTuple):
    low: int
    high: int


class Table(TypedDict):
    requests: int


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Share(enum.Enum):
    HALF = 0.5
    ALL = 1
    NAMED = "named"


class Lenient(enum.Enum):
    A = "a"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> Lenient:
        return cls.OTHER


UserId = NewType("UserId", int)


def half(value: Any) -> float:
    return float(value) / 2


def leaking(value: Any) -> object:
    raise RuntimeError(f"cannot use {value}")


LINE_OF_CHECK = Plain.__post_init__.__code__.co_firstlineno + 2
LINE_OF_LEAK = leaking.__code__.co_firstlineno + 1


@pytest.mark.parametrize(
    ("decode", "value", "decoded"),
    [
        pytest.param(Limits, {"requests": 3}, Limits(requests=3), id="a pydantic model"),
        pytest.param(Limits.model_validate, {"requests": 3}, Limits(requests=3), id="its method"),
        pytest.param(pydantic.TypeAdapter(list[Limits]).validate_python, [{}], [Limits()], id="an adapter of pydantic"),
        pytest.param(Checked, {"requests": 3}, Checked(3), id="a dataclass of pydantic"),
        pytest.param(Plain, {"requests": 3, "at": "2026-01-02"}, Plain(3, dt.date(2026, 1, 2)), id="a dataclass"),
        pytest.param(
            Struct, {"requests": 3.0, "limits": [{"requests": 4.0}]}, Struct(3, [Limits(requests=4)]), id="a whole float for an int"
        ),
        pytest.param(Struct, {"requests": 3, "limits": [{}]}, Struct(3, [Limits()]), id="a struct with pydantic models"),
        pytest.param(list[Limits], [{"requests": 3}], [Limits(requests=3)], id="a list of pydantic models"),
        pytest.param(dict[int, Plain], {"7": {"requests": 3}}, {7: Plain(3)}, id="an object with numbers as names"),
        pytest.param(Pair, [1, 2], Pair(1, 2), id="a named tuple"),
        pytest.param(tuple[int, int], [1, 2], (1, 2), id="a tuple"),
        pytest.param(Table, {"requests": 3}, {"requests": 3}, id="a TypedDict"),
        pytest.param(int | None, None, None, id="a union"),
        pytest.param(Literal["a", "b"], "b", "b", id="a literal"),
        pytest.param(UserId, 3, 3, id="a new type"),
        pytest.param(Decimal, "1.50", Decimal("1.50"), id="a decimal"),
        pytest.param(Path, "/tmp/x", Path("/tmp/x"), id="a class that msgspec does not have"),
        pytest.param(Colour, "blue", Colour.BLUE, id="an enumeration of text"),
        pytest.param(Level, 2, Level.HIGH, id="an enumeration of numbers"),
        pytest.param(Level, 2.0, Level.HIGH, id="the same number as a float"),
        pytest.param(Share, 0.5, Share.HALF, id="an enumeration of several types"),
        pytest.param(Lenient, "unknown", Lenient.OTHER, id="an enumeration that takes unknown values"),
        pytest.param(float, 1e300, 1e300, id="a large number"),
        pytest.param(half, 5, 2.5, id="a function"),
        pytest.param(half, "5", 2.5, id="a function of text"),
    ],
)
def test_a_value_becomes_what_decode_makes_of_it(decode: Any, value: Any, decoded: object) -> None:
    found = Decoder(decode).decode(value)
    assert (type(found), found) == (type(decoded), decoded)


@pytest.mark.parametrize(
    ("decode", "value", "why"),
    [
        pytest.param(
            Limits,
            {"requests": -1, "name": SECRET},
            "Limits refuses (ValidationError: requests: greater_than; name: value_error)",
            id="a pydantic model",
        ),
        pytest.param(Limits, SECRET, "Limits refuses (ValidationError: the value: model_type)", id="text for a model"),
        pytest.param(
            list[Limits],
            [{"name": SECRET}],
            f"list[{__name__}.Limits] refuses (ValidationError: name: value_error)",
            id="inside a list",
        ),
        pytest.param(Checked, {"requests": 0}, "Checked refuses (ValidationError: requests: greater_than)", id="of pydantic"),
        pytest.param(Plain, {"requests": SECRET}, "Plain refuses (Expected `int`, got `str` - at `$.requests`)", id="a dataclass"),
        pytest.param(Plain, {}, "Plain refuses (Object missing required field `requests`)", id="a missing field"),
        pytest.param(
            Plain, {"requests": 101}, f"Plain refuses (ValueError in test_decoding.py, line {LINE_OF_CHECK})", id="its own check"
        ),
        pytest.param(Literal["a"], SECRET, "typing.Literal['a'] refuses (Invalid enum value)", id="a literal"),
        pytest.param(list[Colour], [SECRET], f"list[{__name__}.Colour] refuses (Invalid enum value - at `$[0]`)", id="inside"),
        pytest.param(Colour, SECRET, "Colour refuses (not the value of a member)", id="an unknown member"),
        pytest.param(Level, True, "Level refuses (not the value of a member)", id="true is not 1"),
        pytest.param(Colour, [SECRET], "Colour refuses (not the value of a member)", id="an array for a member"),
        pytest.param(leaking, SECRET, f"leaking refuses (RuntimeError in test_decoding.py, line {LINE_OF_LEAK})", id="a function"),
        pytest.param(float, SECRET, "float refuses (Expected `float`, got `str`)", id="a built-in type"),
        pytest.param(bool, 1, "bool refuses (Expected `bool`, got `int`)", id="a number for a boolean"),
    ],
)
def test_a_refused_value_is_described_without_the_value(decode: Any, value: Any, why: str) -> None:
    decoder = Decoder(decode)
    assert decoder.decode(value) is MISMATCH
    assert decoder.refusal(value) == why


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        pytest.param(5, "decode: expected a type or a function of the JSON value, got 5", id="a number"),
        pytest.param("Limits", "decode: expected a type or a function of the JSON value, got 'Limits'", id="a name"),
        pytest.param(Limits(), "decode: expected a type or a function", id="an object"),
    ],
)
def test_what_cannot_decode_is_refused_when_it_is_given(decode: Any, message: str) -> None:
    with pytest.raises(ConfigTypeError, match=message):
        Decoder(decode)


def test_a_coroutine_function_cannot_decode() -> None:
    async def decode(value: object) -> object:
        return value

    with pytest.raises(ConfigTypeError, match="decode: expected a plain function, got a coroutine function"):
        Decoder(decode)


def test_equal_values_are_decoded_once() -> None:
    calls: list[Any] = []

    def decode(value: Any) -> object:
        calls.append(value)
        return object()

    decoder, value = Decoder(decode), {"a": [1]}
    first = decoder.decode(value)
    assert decoder.decode(value) is decoder.decode({"a": [1]}) is first
    assert calls == [value]
    assert calls[0] is not value  # decode may change what it gets
    assert decoder.decode(1) is not decoder.decode(True)


def test_equal_values_are_refused_once() -> None:
    calls: list[Any] = []

    def refuse(value: Any) -> object:
        calls.append(value)
        raise ValueError

    decoder = Decoder(refuse)
    assert [decoder.decode([1, 2]) is MISMATCH for _ in range(5)] == [True] * 5
    assert "refuse refuses (ValueError in test_decoding.py" in decoder.refusal([1, 2])
    assert calls == [[1, 2]]


def test_the_same_object_is_not_read_again() -> None:
    calls: list[Any] = []
    value = ["a"]
    decoder = Decoder(calls.append)
    decoder.decode(value)
    value.append("b")  # a reader would see it
    decoder.decode(value)
    assert calls == [["a"]]
    decoder.decode([*value])
    assert calls == [["a"], ["a", "b"]]


def test_what_is_kept_is_bounded_and_stays_right() -> None:
    decoder = Decoder(str)
    values = [f"value {number}" for number in range(200)]
    for _ in range(2):
        assert [decoder.decode(value) for value in values] == values
    assert len(decoder._by_id) <= 32 >= len(decoder._by_json)


def test_threads_get_the_same_object() -> None:
    decoder, barrier = Decoder(Limits), threading.Barrier(4)
    found: list[Any] = []

    def read() -> None:
        barrier.wait()
        found.append(decoder.decode({"requests": 3}))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {id(one) for one in found} == {id(found[0])}


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=100)
@given(decode=st.sampled_from([Limits, Plain, Struct, Pair, Colour, Share, half, Path, list[Limits]]), value=json)
def test_decoding_never_raises(decode: Any, value: Any) -> None:
    decoder = Decoder(decode)
    decoded = decoder.decode(value)
    assert decoder.decode(value) is decoded
    if decoded is MISMATCH:
        assert " refuses (" in decoder.refusal(value)
