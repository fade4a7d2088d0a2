"""Redaction: which attributes events contain, and which they list as redacted."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from aioflags import Context
from aioflags.model.attributes import REPORTED
from aioflags.protocol.redaction import Redaction
from aioflags.runtime.cooperative import run_at_once

A = {"b": {"c": 1, "d": 2}, "e": 3}
ATTRIBUTES: dict[str, Any] = {"a": A, "arr": [{"b": 1}], "kind2": 1, "x/y": 1, "/ssn": 1}
BASE = {"kind": "user", "key": "u", "name": "N"}


def redacted_context(private: list[str], *, options: Redaction | None = None, **more: Any) -> tuple[dict[str, Any], set[str]]:
    """The context with its own private references, and what was redacted."""
    context = Context("u", name="N", attributes=ATTRIBUTES, private=private)
    properties = (options or Redaction()).redact(context, **more)
    meta = properties.pop("_meta", {"redactedAttributes": []})
    assert set(meta) == {"redactedAttributes"}
    assert len(set(meta["redactedAttributes"])) == len(meta["redactedAttributes"])
    return properties, set(meta["redactedAttributes"])


def without(*names: str, **changed: object) -> dict[str, Any]:
    whole = {**BASE, **ATTRIBUTES, **changed}
    return {name: value for name, value in whole.items() if name not in names}


@pytest.mark.parametrize(
    ("private", "remaining", "redacted"),
    [
        pytest.param(["/a/b/c"], without(a={"b": {"d": 2}, "e": 3}), {"/a/b/c"}, id="EVT-V1"),
        pytest.param(["/a/b/c", "/a/b/d"], without(a={"b": {}, "e": 3}), {"/a/b/c", "/a/b/d"}, id="EVT-V2"),
        pytest.param(["/a", "/a/b/c"], without("a"), {"a"}, id="EVT-V3"),
        pytest.param(["/arr/0", "/arr/0/b"], without(), set[str](), id="EVT-V4"),
        pytest.param(["key", "kind", "anonymous", "/nope", "//"], without(), set[str](), id="EVT-V5"),
        pytest.param(["x/y"], without("x/y"), {"x/y"}, id="EVT-V6 a plain name"),
        pytest.param(["/x~1y"], without("x/y"), {"x/y"}, id="EVT-V6 a path"),
        pytest.param(["/~1ssn"], without("/ssn"), {"/~1ssn"}, id="EVT-V7"),
        pytest.param(["/ssn"], without(), set[str](), id="EVT-V8"),
        pytest.param(["/a/b/c/d"], without(), set[str](), id="a path through a number"),
    ],
)
def test_private_attributes_are_removed_and_listed(private: list[str], remaining: dict[str, Any], redacted: set[str]) -> None:
    assert redacted_context(private) == (remaining, redacted)
    assert redacted_context([], options=Redaction(private=private)) == (remaining, redacted)


@pytest.mark.holds("EVT-V9")
def test_private_attributes_of_options_and_context_are_combined() -> None:
    remaining = without("name", a={"b": {"c": 1, "d": 2}})
    assert redacted_context(["name"], options=Redaction(private=["/a/e"])) == (remaining, {"name", "/a/e"})


@pytest.mark.holds("EVT-V10")
def test_all_attributes_may_be_private() -> None:
    remaining, redacted = redacted_context([], options=Redaction(all_attributes_private=True))
    assert remaining == {"kind": "user", "key": "u"}
    assert redacted == {"name", "a", "arr", "kind2", "x/y", "/~1ssn"}


@pytest.mark.holds("EVT-V11")
def test_private_attributes_of_one_member_do_not_affect_another() -> None:
    org = Context("o", "org", name="O", attributes={"email": "o@o"}, private=["name"])
    user = Context("u", name="U", attributes={"email": "u@u"})
    redacted_json = Redaction(private=["email"]).redact(Context.multi(org, user))
    assert redacted_json == {
        "kind": "multi",
        "org": {"key": "o", "_meta": {"redactedAttributes": ["name", "email"]}},
        "user": {"key": "u", "name": "U", "_meta": {"redactedAttributes": ["email"]}},
    }


def test_hides_anonymous_removes_all_attributes_of_anonymous_members() -> None:
    anonymous = Context("u", anonymous=True, name="U", attributes={"a": {"b": 1}})
    org = Context("o", "org", name="O")
    redacted_json = Redaction().redact(Context.multi(org, anonymous), hides_anonymous=True)
    assert redacted_json == {
        "kind": "multi",
        "org": {"key": "o", "name": "O"},
        "user": {"key": "u", "anonymous": True, "_meta": {"redactedAttributes": ["name", "a"]}},
    }
    assert "_meta" not in Redaction().redact(anonymous)


def test_redaction_does_not_change_the_context() -> None:
    attributes = {"a": {"b": 1, "c": [{"d": 1}]}}
    context = Context("u", attributes=attributes, private=["/a/b"])
    redacted_json = Redaction().redact(context)
    redacted_json["a"]["c"].append(2)
    assert attributes == {"a": {"b": 1, "c": [{"d": 1}]}}


class Plan(enum.StrEnum):
    GOLD = "gold"


class Level(enum.IntEnum):
    TOP = 3


class Street(str, enum.Enum):  # noqa: UP042 - str() of a StrEnum is its value
    NAME = "street"


@pytest.mark.parametrize(
    ("value", "remaining"),
    [
        pytest.param(object(), {}, id="an object of the program's"),
        pytest.param(float("nan"), {}, id="not a number"),
        pytest.param([1, float("inf")], {}, id="infinity in an array"),
        pytest.param({"b": {1: 2}}, {}, id="a name that is not a string"),
        pytest.param(b"bytes", {}, id="bytes"),
        pytest.param(Plan.GOLD, {"a": "gold"}, id="a member of an enumeration"),
        pytest.param(Street.NAME, {"a": "street"}, id="a member that is shown by another name"),
        pytest.param({Street.NAME: 1}, {"a": {"street": 1}}, id="such a member as a name"),
        pytest.param(Level.TOP, {"a": 3}, id="a number with a name"),
        pytest.param((1, 2), {"a": [1, 2]}, id="a tuple"),
        pytest.param(None, {}, id="nothing"),
    ],
)
@pytest.mark.parametrize("private", [[], ["/a/zzz"]], ids=["open", "with a private part"])
def test_only_attributes_that_json_does_not_support_are_omitted(
    value: object, remaining: dict[str, object], private: list[str]
) -> None:
    redacted_json = Redaction(private=private).redact(Context("u", attributes={"a": value, "z": 1}))
    assert redacted_json == {"kind": "user", "key": "u", **remaining, "z": 1}


def test_an_attribute_that_cannot_be_written_any_more_is_named_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    problem = "it cannot be written into events (TypeError)"
    REPORTED.forget(("cart", problem))
    items: dict[str, object] = {"a": 1}
    context = Context("u", attributes={"cart": items, "z": 1})
    items["a"] = object()
    assert Redaction().redact(context) == {"kind": "user", "key": "u", "z": 1}
    assert [line.split(";")[0] for line in caplog.messages] == [f"Context: the attribute 'cart' is left out: {problem}"]


MANY: dict[str, Any] = {f"n{number}": number for number in range(1000)}
LOOP: list[Any] = []
LOOP.append(LOOP)


class Unreadable(Mapping[str, object]):
    """A mapping that fails when it is read."""

    def __getitem__(self, key: str) -> object:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        raise OSError("gone")

    def __len__(self) -> int:
        return 10_000


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({**MANY, "private": 1}, id="many attributes"),
        pytest.param({"many": {**MANY, "private": {"x": 1}}, "private": MANY, "none": None}, id="a large object"),
        pytest.param({"many": {"in": {"in": {**MANY, "private": 1}}}}, id="far inside"),
        pytest.param({"many": list(range(1000)), "objects": [{"a": [1, (2,)], "private": 1}] * 1000}, id="long arrays"),
        pytest.param({"many": [list(range(1000))] * 3, "tuple": ("x" * 1000,) * 1000}, id="long arrays in arrays"),
        pytest.param(
            {"many": [*range(1000), object()], "also": {**MANY, "bad": object()}, "left": 1}, id="values that JSON does not support"
        ),
        pytest.param({"many": LOOP, "also": Unreadable(), "left": [1]}, id="a mapping that raises when read"),
        pytest.param({"text": "x" * 100_000, "private": "y" * 100_000}, id="long text"),
        pytest.param({}, id="nothing"),
    ],
)
@pytest.mark.parametrize("private", [[], ["private", "/many/private", "/many/in/in/private"]], ids=["open", "with private parts"])
@pytest.mark.parametrize("anonymous", [False, True], ids=["somebody", "anonymous"])
def test_redaction_in_slices_gives_the_same_result(attributes: dict[str, Any], private: list[str], anonymous: bool) -> None:
    single = Context("u", name="N", anonymous=anonymous, attributes=attributes)
    for context in (single, Context.multi(single, Context("o", "org", attributes=attributes, private=["n3"]))):
        for redaction in (Redaction(private=private), Redaction(all_attributes_private=True)):
            for hides in (False, True):
                whole = redaction.redact(context, hides_anonymous=hides)
                assert run_at_once(redaction.redact_in_slices(context, hides_anonymous=hides)) == whole


def test_an_attribute_that_changes_between_slices_is_copied_again() -> None:
    large: dict[str, Any] = {"many": {"in": dict(MANY)}}
    shaping = Redaction(private=["/many/private"]).redact_in_slices(Context("u", attributes=large))
    next(shaping)
    large["many"]["private"] = large["many"]["new"] = 1
    redacted_context = run_at_once(shaping)
    assert redacted_context["many"] == {"in": MANY, "new": 1}
    assert redacted_context["_meta"] == {"redactedAttributes": ["/many/private"]}


@pytest.mark.parametrize(
    ("value", "remaining"),
    [
        pytest.param({Street.NAME: "x", "no": 1}, {"a": {"no": 1}, "_meta": {"redactedAttributes": ["/a/street"]}}, id="a name"),
        pytest.param({"street": "x", "bad": object()}, {}, id="what is left out as a whole is not called redacted"),
    ],
)
def test_private_parts_are_listed_only_if_the_attribute_is_kept(value: object, remaining: dict[str, object]) -> None:
    redacted_json = Redaction(private=["/a/street"]).redact(Context("u", attributes={"a": value}))
    assert redacted_json == {"kind": "user", "key": "u", **remaining}
