"""From OpenFeature's evaluation context to the context of a client."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

import pytest
from openfeature.evaluation_context import EvaluationContext

from aioflags import Context
from aioflags.evaluation.openfeature import NO_KEY
from aioflags.openfeature.contexts import converter, unchecked_context
from aioflags.runtime.logs import class_name


def context_with_kinds(given: EvaluationContext | None) -> Context:
    return converter(has_kinds=True)(given)


def context_without_kinds(given: EvaluationContext | None) -> Context:
    return converter(has_kinds=False)(given)


NOON = dt.datetime(2026, 7, 1, 12, 0, tzinfo=dt.timezone(dt.timedelta(hours=2)))


class Plan(StrEnum):
    PRO = "pro"


@pytest.mark.parametrize(
    ("key", "attributes", "expected"),
    [
        pytest.param("a", {}, Context("a"), id="a key"),
        pytest.param("a", {"plan": "pro", "age": 3}, Context("a", attributes={"plan": "pro", "age": 3}), id="attributes"),
        pytest.param("a", {"targetingKey": "b", "key": "c"}, Context("a"), id="the targeting key wins"),
        pytest.param(42, {}, Context("42"), id="a number"),
        pytest.param(0, {"targetingKey": "b"}, Context("0"), id="a number that is false"),
        pytest.param(2**70, {}, Context(str(2**70)), id="a number that no float is equal to"),
        pytest.param(42.0, {}, Context("42"), id="a whole number, as a server of OFREP may read it"),
        pytest.param(True, {}, Context("true"), id="a boolean"),
        pytest.param(UUID(int=7), {}, Context("00000000-0000-0000-0000-000000000007"), id="a UUID"),
        pytest.param(None, {"targetingKey": 42}, Context("42"), id="a number as attribute"),
        pytest.param(
            None,
            {"kind": "multi", "user": {"key": 1}, "org": {"targetingKey": 0}},
            Context.multi(Context("1"), Context("0", "org")),
            id="numbers in several kinds",
        ),
        pytest.param(None, {"targetingKey": "b", "key": "c"}, Context("b"), id="then the attribute targetingKey"),
        pytest.param(None, {"key": "c"}, Context("c"), id="then the attribute key"),
        pytest.param("a", {"kind": "org"}, Context("a", "org"), id="a kind"),
        pytest.param("a", {"name": "Anna", "anonymous": True}, Context("a", name="Anna", anonymous=True), id="properties"),
        pytest.param(
            "a", {"privateAttributes": ["x"], "x": 1}, Context("a", attributes={"x": 1}, private=["x"]), id="private attributes"
        ),
        pytest.param("a", {"since": NOON}, Context("a", attributes={"since": "2026-07-01T10:00:00Z"}), id="a datetime"),
        pytest.param(
            "a", {"list": [{"t": NOON}]}, Context("a", attributes={"list": [{"t": "2026-07-01T10:00:00Z"}]}), id="a nested datetime"
        ),
        pytest.param(
            None,
            {"kind": "multi", "user": {"targetingKey": "a", "x": 1}, "org": {"key": "b"}},
            Context.multi(Context("a", attributes={"x": 1}), Context("b", "org")),
            id="several kinds",
        ),
    ],
)
def test_a_context_with_kinds(key: Any, attributes: Mapping[str, Any], expected: Context) -> None:
    context = context_with_kinds(EvaluationContext(key, attributes))
    assert context.error is None
    assert context == expected


@pytest.mark.parametrize(
    ("given", "error"),
    [
        pytest.param(None, "no targeting key", id="no context"),
        pytest.param(EvaluationContext(), "no targeting key", id="no key"),
        pytest.param(EvaluationContext("", {"a": 1}), "no targeting key", id="an empty key"),
        pytest.param(EvaluationContext("a", {"kind": 5}), "kind: expected a string, got int", id="a kind that is not text"),
        pytest.param(
            EvaluationContext("a", {"kind": "multi", "user": 5}),
            "multi-kind context: expected an object for 'user', got number",
            id="several kinds, one of them not an object",
        ),
        pytest.param(
            EvaluationContext("a", {"kind": "multi", "user": {}}), "no targeting key", id="several kinds, one of them without a key"
        ),
    ],
)
def test_a_context_with_kinds_is_invalid(given: EvaluationContext | None, error: str) -> None:
    assert context_with_kinds(given).error == error


def test_a_key_that_is_not_text_is_logged_once_for_each_type(caplog: pytest.LogCaptureFixture) -> None:
    class Number(int): ...

    for key in (Number(7), Number(7), Number(8)):
        assert context_with_kinds(EvaluationContext(cast("Any", key))).key == str(key)
    assert [record.getMessage() for record in caplog.records if "Number" in record.getMessage()] == [
        f"OpenFeature: a targeting key of the type {class_name(Number())} is used as text; LaunchDarkly's keys are strings"
    ]


def test_a_uuid_is_a_key_without_kinds() -> None:
    assert context_without_kinds(EvaluationContext(cast("Any", UUID(int=7)))).key == "00000000-0000-0000-0000-000000000007"


@pytest.mark.parametrize("key", [0, 42, 1.5, False, True])
def test_a_context_without_kinds_keeps_a_key_that_is_not_text(key: Any) -> None:
    for given in (EvaluationContext(key, {"plan": "pro"}), EvaluationContext(None, {"targetingKey": key, "plan": "pro"})):
        context = context_without_kinds(given)
        assert (context.other_key, type(context.other_key), context.attributes["plan"]) == (key, type(key), "pro")


@pytest.mark.parametrize("key", [pytest.param("a", id="with a key"), pytest.param(None, id="without a key")])
def test_a_context_without_kinds_keeps_every_attribute(key: str | None) -> None:
    attributes: dict[str, Any] = {"kind": "x", "key": "y", "name": 5, "anonymous": "no", "": 1, "nested": {"t": NOON}}
    context = context_without_kinds(EvaluationContext(key, attributes))
    assert context.attributes == {**attributes, "nested": {"t": "2026-07-01T10:00:00Z"}}
    assert context.key == (key or "")
    assert context.is_keyless is (key is None)


def test_without_kinds_the_attribute_targeting_key_replaces_a_missing_key() -> None:
    assert context_without_kinds(EvaluationContext(None, {"targetingKey": "b"})).key == "b"
    assert context_without_kinds(EvaluationContext("a", {"targetingKey": "b"})).key == "a"
    assert context_without_kinds(None).is_keyless


# -- the context of the last call


def twice(one: EvaluationContext | None, other: EvaluationContext | None, *, has_kinds: bool) -> bool:
    """Whether both have the same context."""
    convert = converter(has_kinds=has_kinds)
    first, second, expected = convert(one), convert(other), converter(has_kinds=has_kinds)(other)
    assert second == expected
    assert [type(value) for value in second.attributes.values()] == [type(value) for value in expected.attributes.values()]
    return first is second


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({}, id="no attributes"),
        pytest.param({"plan": "pro", "age": 33, "share": 0.5, "none": None}, id="scalars"),
        pytest.param({"beta": True, "count": 1, "zero": 0}, id="booleans, and numbers that equal them"),
    ],
)
@pytest.mark.parametrize("has_kinds", [True, False])
def test_an_equal_context_is_converted_once(attributes: Mapping[str, Any], has_kinds: bool) -> None:
    assert twice(EvaluationContext("a", attributes), EvaluationContext("a", dict(attributes)), has_kinds=has_kinds)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(EvaluationContext("a"), EvaluationContext("b"), id="another key"),
        pytest.param(EvaluationContext("a", {"x": "1"}), EvaluationContext("a", {"x": "2"}), id="another value"),
        pytest.param(EvaluationContext("a", {"x": 1}), EvaluationContext("a", {"x": True}), id="a boolean that equals a number"),
        pytest.param(EvaluationContext("a", {"x": False}), EvaluationContext("a", {"x": 0}), id="a number that equals a boolean"),
        pytest.param(
            EvaluationContext("a", {"x": True, "y": 1}), EvaluationContext("a", {"y": True, "x": 1}), id="the same types, exchanged"
        ),
        pytest.param(EvaluationContext("a", {"x": 1}), EvaluationContext("a", {}), id="an attribute less"),
        pytest.param(EvaluationContext("a", {}), EvaluationContext("a", {"x": 1}), id="an attribute more"),
        pytest.param(EvaluationContext("a", {"kind": "org"}), EvaluationContext("a"), id="a kind"),
        pytest.param(EvaluationContext("a", {"x": [1]}), EvaluationContext("a", {"x": [1]}), id="a list, which may change"),
        pytest.param(EvaluationContext(None, {"kind": "multi", "user": {"key": "a"}}), EvaluationContext(None), id="several kinds"),
        pytest.param(EvaluationContext("a"), None, id="none"),
    ],
)
@pytest.mark.parametrize("has_kinds", [True, False])
def test_another_context_is_converted_anew(one: EvaluationContext, other: EvaluationContext | None, has_kinds: bool) -> None:
    assert not twice(one, other, has_kinds=has_kinds)
    assert not twice(other, one, has_kinds=has_kinds)


@pytest.mark.parametrize("has_kinds", [True, False])
def test_a_list_that_changes_is_converted_anew(has_kinds: bool) -> None:
    converted, given = converter(has_kinds=has_kinds), EvaluationContext("a", {"x": [1], "y": "z"})
    seen = [converted(given) for _ in range(3)]
    assert len({id(context) for context in seen}) == 3


def test_an_attribute_that_cannot_be_compared_is_converted() -> None:
    class Incomparable:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise ValueError("the truth value of an array is ambiguous")

    converted = converter(has_kinds=True)
    first = converted(EvaluationContext("a", {"x": "1"}))
    other: Any = {"x": Incomparable()}
    assert converted(EvaluationContext("a", other)) is not first


def test_keyless_contexts_are_not_those_of_the_start() -> None:
    assert converter(has_kinds=False)(EvaluationContext()).is_keyless
    assert converter(has_kinds=True)(EvaluationContext()) is NO_KEY


def test_equal_values_of_other_classes_give_a_context() -> None:
    converted = converter(has_kinds=True)
    converted(EvaluationContext("a", {"plan": "pro", "age": 42}))
    odd: Any = {"plan": Plan.PRO, "age": Decimal(42)}
    assert converted(EvaluationContext("a", odd)).attributes["plan"] == "pro"


def test_an_unchecked_context_takes_attributes_as_they_are() -> None:
    attributes = {"key": "other", "kind": 5, "name": None, "plan": "pro"}
    context = unchecked_context("anna", attributes)
    assert (context.key, context.kind, context.error) == ("anna", "user", None)
    assert context.attributes == attributes
    assert context.attributes is not attributes
    assert unchecked_context("anna", {"plan": "pro"}) == Context("anna", attributes={"plan": "pro"})


def test_an_unchecked_context_may_have_no_key() -> None:
    context = unchecked_context(None, {"plan": "pro"})
    assert context.is_keyless
    assert context.attributes == {"plan": "pro"}
