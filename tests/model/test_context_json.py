"""The JSON formats of a context: ``evaluation.md`` 1 and 11.4."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.model.context import Context
from tests.support.contexts import CONTEXTS, JSON


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"kind": None, "key": "x"}, id="EV-E54 kind null"),
        pytest.param({"kind": "", "key": "x"}, id="EV-E54 kind empty"),
        pytest.param({"kind": "kind", "key": "x"}, id="EV-E54 kind called kind"),
        pytest.param({"kind": "o rg", "key": "x"}, id="EV-E54 kind with a space"),
        pytest.param({"kind": "ørg", "key": "x"}, id="EV-E54 kind beyond ASCII"),
        pytest.param({"kind": "org\n", "key": "x"}, id="a kind that ends in a line break"),
        pytest.param({"kind": 3, "key": "x"}, id="a kind that is a number"),
        pytest.param({"kind": "multi"}, id="EV-E55 several kinds, without members"),
        pytest.param({"kind": "multi", "user": {"key": "a"}, "org": "b"}, id="EV-E55 a member that is not an object"),
        pytest.param({"kind": "multi", "user": {"key": "a"}, "org": {"key": ""}}, id="EV-E55 a member with an empty key"),
        pytest.param({"kind": "multi", "user": {"key": "a"}, "o rg": {"key": "b"}}, id="a member of an impossible kind"),
        pytest.param({"kind": "multi", "multi": {"key": "a"}}, id="several kinds in several kinds"),
        pytest.param({"kind": "org", "key": ""}, id="EV-E56 an empty key"),
        pytest.param({"kind": "org"}, id="EV-E56 no key"),
        pytest.param({"kind": "org", "key": 3}, id="EV-E56 a key that is a number"),
        pytest.param({"kind": "org", "key": None}, id="a key that is null"),
        pytest.param({"kind": "org", "key": "x", "name": 3}, id="EV-E56 a name that is a number"),
        pytest.param({"kind": "org", "key": "x", "anonymous": None}, id="EV-E56 anonymous null"),
        pytest.param({"kind": "org", "key": "x", "anonymous": 1}, id="anonymous 1"),
        pytest.param({"kind": "org", "key": "x", "": 1}, id="EV-E56 an attribute without a name"),
        pytest.param({"kind": "org", "key": "x", "_meta": {"privateAttributes": ["a", 3]}}, id="EV-E56 private 3"),
        pytest.param({"kind": "org", "key": "x", "_meta": {"privateAttributes": "a"}}, id="private attributes as a string"),
        pytest.param({"kind": "org", "key": "x", "_meta": 3}, id="_meta 3"),
        pytest.param({"key": "x"}, id="no kind: a legacy user has a reader of its own"),
        pytest.param([], id="an array"),
        pytest.param(None, id="null"),
    ],
)
def test_invalid_json_gives_an_invalid_context(data: Any) -> None:
    context = Context.from_dict(data)
    assert context.error
    assert not context.is_valid
    assert (context.kind, context.key, context.attributes, context.canonical_key) == ("", "", {}, "")
    assert (len(context), list(context), context.to_dict()) == (0, [], {})
    assert bool(context) is True


@pytest.mark.parametrize(
    ("data", "canonical", "again"),
    [
        pytest.param({"kind": "org", "key": "x", "name": None}, "org:x", {"key": "x", "kind": "org"}, id="EV-E57 name null"),
        pytest.param({"kind": "org", "key": "x", "attr": None}, "org:x", {"key": "x", "kind": "org"}, id="EV-E57 attribute null"),
        pytest.param(
            {"kind": "org", "key": "x", "_meta": {"privateAttributes": []}},
            "org:x",
            {"key": "x", "kind": "org"},
            id="EV-E57 nothing private",
        ),
        pytest.param({"kind": "org", "key": "x", "_meta": None}, "org:x", {"key": "x", "kind": "org"}, id="_meta null"),
        pytest.param(
            {"kind": "org", "key": "x", "_meta": {"privateAttributes": None, "more": 1}},
            "org:x",
            {"key": "x", "kind": "org"},
            id="what else is in _meta does not count",
        ),
        pytest.param(
            {"kind": "multi", "user": {"key": "a"}}, "a", {"key": "a", "kind": "user"}, id="EV-E58 one of several is single"
        ),
        pytest.param(
            {"kind": "multi", "user": {"key": "a"}, "org": {"key": "b"}},
            "org:b:user:a",
            {"kind": "multi", "org": {"key": "b"}, "user": {"key": "a"}},
            id="EV-E59 two kinds, in order",
        ),
        pytest.param({"kind": "org", "key": "a:b%c"}, "org:a%3Ab%25c", {"kind": "org", "key": "a:b%c"}, id="EV-E60 escapes"),
        pytest.param({"kind": "user", "key": "a:b%c"}, "a:b%c", {"kind": "user", "key": "a:b%c"}, id="EV-E61 a user's key is raw"),
        pytest.param(
            {"kind": "multi", "user": {"key": "a:b"}, "org": {"key": "c%d"}},
            "org:c%25d:user:a%3Ab",
            {"kind": "multi", "user": {"key": "a:b"}, "org": {"key": "c%d"}},
            id="EV-E62 escapes in several kinds",
        ),
        pytest.param(
            {
                "kind": "org",
                "key": "x",
                "name": "X",
                "anonymous": True,
                "plan": ["a", {"b": None}],
                "_meta": {"privateAttributes": ["plan"]},
            },
            "org:x",
            {
                "kind": "org",
                "key": "x",
                "name": "X",
                "anonymous": True,
                "plan": ["a", {"b": None}],
                "_meta": {"privateAttributes": ["plan"]},
            },
            id="everything a context may have",
        ),
        pytest.param(
            {"kind": "org", "key": "x", "anonymous": False, "email": "e", "custom": {"a": 1}, "secondary": "s"},
            "org:x",
            {"kind": "org", "key": "x", "email": "e", "custom": {"a": 1}, "secondary": "s"},
            id="words of legacy users are attributes like others",
        ),
    ],
)
def test_valid_json_gives_a_context(data: dict[str, Any], canonical: str, again: dict[str, Any]) -> None:
    context = Context.from_dict(data)
    assert context.error is None
    assert context.canonical_key == canonical
    assert context.to_dict() == again


@pytest.mark.holds("EV-E59")
def test_the_kinds_of_a_context_are_written_in_order() -> None:
    context = Context.from_dict({"kind": "multi", "user": {"key": "a"}, "org": {"key": "b"}, "device": {"key": "c"}})
    assert list(context.to_dict()) == ["kind", "device", "org", "user"]


def test_to_dict_returns_a_copy() -> None:
    context = Context("a", attributes={"groups": ["x"]})
    context.to_dict()["groups"].append("y")
    assert context.get("groups") == ["x"]


@given(CONTEXTS)
def test_the_json_of_a_context_reads_back(context: Context) -> None:
    assert Context.from_dict(context.to_dict()) == context


@given(JSON | st.dictionaries(st.sampled_from(["kind", "key", "name", "anonymous", "_meta", "user", ""]), JSON))
def test_reading_any_json_never_raises(data: Any) -> None:
    context = Context.from_dict(data)
    assert context.is_valid is bool(context.to_dict())


# -- legacy users


def test_a_legacy_user_has_all_its_attributes_at_the_top() -> None:
    user = Context.from_legacy_user(
        {
            "key": "a",
            "name": "N",
            "firstName": "F",
            "lastName": "L",
            "email": "e@example.com",
            "country": "C",
            "avatar": "A",
            "ip": "1.2.3.4",
            "anonymous": True,
            "secondary": "s",
            "other": "o",
            "custom": {"plan": "x", "gone": None, "key": "k", "kind": "org", "name": "M", "anonymous": False, "_meta": {}},
            "privateAttributeNames": ["email", "/a", "a~b"],
        }
    )
    assert user.to_dict() == {
        "kind": "user",
        "key": "a",
        "name": "N",
        "anonymous": True,
        "firstName": "F",
        "lastName": "L",
        "email": "e@example.com",
        "country": "C",
        "avatar": "A",
        "ip": "1.2.3.4",
        "plan": "x",
        "_meta": {"privateAttributes": ["email", "/~1a", "a~b"]},
    }


def test_a_legacy_user_may_have_an_empty_key() -> None:
    user = Context.from_legacy_user({"key": ""})
    assert (user.is_valid, user.key, user.canonical_key, user.kind) == (True, "", "", "user")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            {"key": "a", "name": None, "email": None, "anonymous": None, "custom": None, "privateAttributeNames": None}, id="nulls"
        ),
        pytest.param({"key": "a", "anonymous": False, "custom": {}, "privateAttributeNames": []}, id="nothing in it"),
    ],
)
def test_missing_and_null_properties_of_a_legacy_user_are_absent(data: dict[str, Any]) -> None:
    assert Context.from_legacy_user(data) == Context("a")


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        pytest.param({}, "key", id="no key"),
        pytest.param({"key": None}, "key", id="key null"),
        pytest.param({"key": 3}, "key", id="key 3"),
        pytest.param({"key": "a", "name": 3}, "name", id="name 3"),
        pytest.param({"key": "a", "email": 3}, "email", id="email 3"),
        pytest.param({"key": "a", "ip": []}, "ip", id="ip an array"),
        pytest.param({"key": "a", "anonymous": "yes"}, "anonymous", id="anonymous a string"),
        pytest.param({"key": "a", "custom": 3}, "custom", id="custom 3"),
        pytest.param({"key": "a", "privateAttributeNames": "email"}, "private", id="private names a string"),
        pytest.param({"key": "a", "privateAttributeNames": [3]}, "private", id="private name 3"),
        pytest.param([], "object", id="an array"),
    ],
)
def test_an_invalid_legacy_user_gives_an_invalid_context(data: Any, wrong: str) -> None:
    assert wrong in (Context.from_legacy_user(data).error or "")


@pytest.mark.parametrize("key", [{}, {"key": None}, {"key": ""}])
def test_an_anonymous_context_without_a_key_keeps_its_properties_although_it_is_invalid(key: dict[str, Any]) -> None:
    data = {"kind": "device", "anonymous": True, "plan": "pro", "_meta": {"privateAttributes": ["plan"]}, **key}
    context = Context.from_dict(data)
    assert (context.is_valid, context.is_keyless, context.kind, context.anonymous) == (False, True, "device", True)
    assert (dict(context.attributes), context.private) == ({"plan": "pro"}, ("plan",))
    several = Context.from_dict({"kind": "multi", "user": {"key": "a"}, "device": data})
    assert [member.kind for member in several.unkeyed or ()] == ["user", "device"]
