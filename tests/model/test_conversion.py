"""The rule for values that JSON lacks: what becomes of each in a context, and what is logged."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import pathlib
import uuid
from collections import UserDict
from types import MappingProxyType
from typing import Any

import pytest

from aioflags import Client, Context
from aioflags.model.attributes import json_value
from tests.support.hostile import OBJECTS, Lazy, Raises, RaisingMapping, RaisingZone, numpy_scalar

EAST = dt.timezone(dt.timedelta(hours=2))


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


class Color(enum.Enum):
    RED = "red"
    DAY = dt.date(2026, 7, 1)


class Plan(enum.StrEnum):
    PRO = "pro"


class Ratio(float):
    def __float__(self) -> float:
        raise ZeroDivisionError


def attribute(value: object) -> Any:
    """What becomes of the value as an attribute, wherever a context shows it; "left out"."""
    context = Context("k", attributes={"a": value})
    shown = context.to_dict().get("a", "left out")
    assert context.attributes.get("a", "left out") == shown
    assert Context("k", "org", attributes={"a": value}, name="N").to_dict().get("a", "left out") == shown
    assert Context.from_dict({"kind": "user", "key": "k", "a": value}).to_dict().get("a", "left out") == shown
    assert Context("k").replace(attributes={"a": value}).to_dict().get("a", "left out") == shown
    return shown


@pytest.mark.holds("EV-E181")
@pytest.mark.parametrize(
    ("value", "json"),
    [
        pytest.param(dt.datetime(2026, 7, 1, 12, tzinfo=EAST), "2026-07-01T10:00:00Z", id="a datetime"),
        pytest.param(dt.datetime(2026, 7, 1, 12, 0, 0, 5), "2026-07-01T12:00:00.000005Z", id="a datetime without a zone"),  # noqa: DTZ001
        pytest.param(dt.date(2026, 7, 1), "2026-07-01T00:00:00Z", id="a date"),
        pytest.param(uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005", id="a UUID"),
        pytest.param(pathlib.PurePosixPath("/a/b"), "/a/b", id="a path"),
        pytest.param(Color.RED, "red", id="an enum"),
        pytest.param(Color.DAY, "2026-07-01T00:00:00Z", id="an enum whose value JSON lacks"),
        pytest.param(Plan.PRO, "pro", id="an enum of text"),
        pytest.param(decimal.Decimal("1.5"), 1.5, id="a decimal"),
        pytest.param((1, ("a",)), [1, ["a"]], id="a tuple"),
        pytest.param(Ratio(0.5), 0.5, id="a subclass of float"),
        pytest.param(MappingProxyType({"x": (1,)}), {"x": [1]}, id="a read-only mapping"),
        pytest.param(UserDict({"x": Plan.PRO}), {"x": "pro"}, id="another mapping"),
        pytest.param({Plan.PRO: 1}, {"pro": 1}, id="a name of a subclass of str"),
        pytest.param(numpy_scalar("i", 5), 5, id="an integer of numpy"),
        pytest.param(numpy_scalar("f", 0.5), 0.5, id="a number of numpy"),
        pytest.param(numpy_scalar("b", True), True, id="a boolean of numpy"),
        pytest.param(numpy_scalar("M", dt.datetime(2026, 7, 1, tzinfo=EAST)), "2026-06-30T22:00:00Z", id="a datetime of numpy"),
        pytest.param(Lazy(lambda: "pro"), "pro", id="lazy text"),
        pytest.param(Lazy(lambda: [1, Plan.PRO]), [1, "pro"], id="a lazy list"),
        pytest.param(10**400, 10**400, id="a large integer"),
        pytest.param([1.5, 10**400], [1.5, 10**400], id="a large integer in a list"),
        *(
            pytest.param(OBJECTS[name], "left out", id=name)
            for name in (
                "bytes",
                "a set",
                "a dataclass",
                "a fraction",
                "a duration",
                "NaN",
                "infinity",
                "a large decimal",
                "a decimal that is not a number",
                "a duration of numpy",
                "an object of numpy",
                "an enum of an object",
                "names that are not text",
                "a proxy without a target",
                "an object that raises",
                "an object of a class that raises",
                "a mapping that raises",
                "a time zone that raises",
                "a list that raises",
                "not a datetime",
                "a cycle",
                "127 levels",
                "10,000 levels",
            )
        ),
        pytest.param([1, b"x"], "left out", id="an array that contains bytes"),
        pytest.param({"x": {"y": float("nan")}}, "left out", id="an object that contains NaN"),
    ],
)
def test_an_attribute_becomes_json_or_is_left_out(value: object, json: Any) -> None:
    shown = attribute(value)
    assert shown == json
    assert type(shown) is type(json)


@pytest.mark.parametrize("value", [[1, "a", None, 0.5], {"a": {"b": [1.5, 2]}}, [[{}]]])
def test_a_value_that_json_has_is_not_copied(value: object) -> None:
    assert Context("k", attributes={"a": value}).attributes["a"] is value
    assert json_value(value) is value


def test_a_list_that_occurs_often_is_converted_once() -> None:
    value: Any = [(1,)]
    for _ in range(100):
        value = [value, value]
    converted = Context("k", attributes={"a": value}).attributes["a"]
    assert isinstance(converted, list)
    assert converted[0] is converted[1]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        pytest.param(b"secret", "a value of the type bytes is not JSON", id="a builtin type"),
        pytest.param(["secret", Color], "a value of the type enum.EnumType is not JSON", id="a type of a module"),
        pytest.param(float("inf"), "a float that is not finite is not JSON", id="infinity"),
        pytest.param({"secret": {5: 1}}, "its name is not text but of the type int", id="a name"),
        pytest.param(Raises(), "reading a value of the type tests.support.hostile.Raises raised ZeroDivisionError", id="raises"),
        pytest.param(RaisingMapping(), "reading a value of the type tests.support.hostile.RaisingMapping raised", id="a mapping"),
        pytest.param(dt.datetime(2026, 1, 1, tzinfo=RaisingZone()), "datetime.datetime raised ZeroDivisionError", id="a zone"),
        pytest.param(CYCLE, "it is nested too deeply, or contains itself", id="a cycle"),
    ],
)
def test_what_is_left_out_is_logged_once_with_name_and_type(
    value: object, why: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"log of {request.node.callspec.id}"
    for _ in range(3):
        assert Context("secret", attributes={name: value, "plan": "pro"}).attributes == {"plan": "pro"}
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"the attribute {name!r} is left out: " in record.message
    assert why in record.message
    assert "secret" not in record.message


def test_a_datetime_without_a_zone_is_logged_once_an_attribute(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        Context("k", attributes={"log of a naive datetime": dt.datetime(2026, 7, 1)})  # noqa: DTZ001 -- what is tested
    (message,) = caplog.messages
    assert message == "Context: the attribute 'log of a naive datetime' has a datetime without a time zone, which counts as UTC"


@pytest.mark.parametrize(
    ("context", "shown"),
    [
        pytest.param(Context(uuid.UUID(int=1)), "Context('00000000-0000-0000-0000-000000000001')", id="a UUID as key"),  # type: ignore[arg-type]
        pytest.param(Context(Lazy(lambda: "k"), Lazy(lambda: "org")), "Context('k', kind='org')", id="lazy key and kind"),  # type: ignore[arg-type]
        pytest.param(Context(Plan.PRO), "Context('pro')", id="an enum of text as key"),
        pytest.param(Context(5), "Context(error='key: expected a string, got int')", id="a number as key"),  # type: ignore[arg-type]
        pytest.param(
            Context(Raises()),  # type: ignore[arg-type]
            "Context(error='reading its properties raised ZeroDivisionError')",
            id="a key that raises",
        ),
        pytest.param(
            Context.multi(Context("a"), Raises()),  # type: ignore[arg-type]
            "Context(error='reading it raised ZeroDivisionError')",
            id="a member that raises",
        ),
    ],
)
def test_properties_of_a_context_follow_the_rule(context: Context, shown: str) -> None:
    assert repr(context) == shown


@pytest.mark.parametrize("kind", ["user", "org"])
def test_lazy_attributes_are_read_when_the_context_is_made(kind: str) -> None:
    attributes: Any = Lazy(lambda: {"plan": "pro", "team": Plan.PRO})
    context = Context("a", kind, attributes=attributes)
    assert (context.error, context.attributes) == (None, {"plan": "pro", "team": "pro"})
    assert context.replace(attributes=attributes).attributes == context.attributes


def test_references_of_private_attributes_follow_the_rule() -> None:
    references: Any = [Lazy(lambda: "email"), Plan.PRO]
    context = Context("k", attributes={"email": "e", "pro": 1}, private=references)
    assert [type(reference) for reference in context.private] == [str, str]
    assert context.to_dict()["_meta"] == {"privateAttributes": ["email", "pro"]}


@pytest.mark.parametrize("name", OBJECTS)
def test_making_a_context_never_raises(name: str) -> None:
    thing = OBJECTS[name]
    several: Any = (Context("o", "org"), thing)
    Context(thing, thing, attributes=thing, private=thing)
    Context("k", name=thing, anonymous=thing, private=[thing])
    Context("k").replace(attributes=thing, name=thing, private=thing)
    Context.from_dict(thing)
    Context.from_dict({"kind": thing, "key": thing, "name": thing, "_meta": thing})
    Context.from_dict({"kind": "multi", "user": thing, "org": {"key": thing, "a": thing}})
    Context.from_legacy_user({"key": thing, "custom": thing, "privateAttributeNames": thing})
    Context.multi(*several)


async def test_rules_and_explanations_see_the_converted_value() -> None:
    clauses = [{"attribute": "since", "op": "after", "values": ["2026-01-01T00:00:00Z"]}]
    flag = {"on": True, "variations": [True, False], "offVariation": 1, "fallthrough": {"variation": 1}}
    document = {"flags": {"f": {"key": "f", **flag, "rules": [{"id": "r", "variation": 0, "clauses": clauses}]}}}
    async with Client.local(document) as client:
        user = Context("k", attributes={"since": dt.date(2026, 7, 1)})
        assert await client.variation("f", user, False) is True
        assert "2026-07-01T00:00:00Z" in str(await client.explain("f", user))
