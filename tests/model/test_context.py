"""Contexts made in code: ``evaluation.md`` 1 and 11.4."""

from __future__ import annotations

import copy
import pickle
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.model.context import Context
from aioflags.model.context_json import IGNORED
from tests.support.contexts import CONTEXTS

# -- arguments


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        pytest.param({"key": ""}, "key", id="an empty key"),
        pytest.param({"key": None}, "key", id="no key"),
        pytest.param({"key": 3}, "key: expected a string, got int", id="a number as key"),
        pytest.param({"key": "a", "kind": "multi"}, "'multi' is reserved", id="kind multi"),
        pytest.param({"key": "a", "kind": "kind"}, "'kind' is reserved", id="kind kind"),
        pytest.param({"key": "a", "kind": ""}, "characters", id="kind empty"),
        pytest.param({"key": "a", "kind": 3}, "kind: expected a string, got int", id="a number as kind"),
        pytest.param({"key": "a", "kind": {"plan": "pro"}}, "attributes={…}", id="attributes in the place of the kind"),
        pytest.param({"key": "a", "name": 3}, "name: expected a string, got int", id="a number as name"),
        pytest.param({"key": "a", "anonymous": 1}, "anonymous", id="1 is not a boolean"),
        pytest.param({"key": "a", "attributes": [1]}, "mapping", id="a list of attributes"),
        pytest.param({"key": "a", "attributes": None}, "mapping", id="None as attributes"),
        pytest.param({"key": "a", "private": "email"}, "list of strings", id="a string is not a list of references"),
        pytest.param({"key": "a", "private": 3}, "list of strings", id="3 is not a list of references"),
        pytest.param({"key": "a", "private": [3]}, "strings", id="3 is not a reference"),
    ],
)
def test_wrong_arguments_give_an_invalid_context_with_an_error(arguments: dict[str, Any], wrong: str) -> None:
    assert wrong in (Context(**arguments).error or "")


def test_the_default_kind_is_user() -> None:
    assert (Context("a").kind, Context("a", "org").kind, Context("a", kind="org").kind) == ("user", "org", "org")
    no_kind: Any = None
    assert Context("a", no_kind) == Context("a")


@pytest.mark.parametrize(
    ("attributes", "data"),
    [
        pytest.param({"name": "N"}, {"name": "N"}, id="a name"),
        pytest.param({"name": 3}, {}, id="a name of a wrong type is dropped"),
        pytest.param({"anonymous": True}, {"anonymous": True}, id="anonymous"),
        pytest.param({"anonymous": "yes"}, {}, id="anonymous of a wrong type is dropped"),
        pytest.param({"key": "b"}, {}, id="a key is ignored"),
        pytest.param({"key": 3}, {}, id="a key of a wrong type is ignored"),
        pytest.param({"kind": "org"}, {}, id="a kind is ignored"),
        pytest.param({"kind": None}, {}, id="a kind of a wrong type is ignored"),
        pytest.param({"_meta": {"privateAttributes": ["a"]}}, {}, id="_meta cannot be set"),
        pytest.param({"": 1}, {}, id="an empty name cannot be set"),
        pytest.param({"private": ["a"]}, {"private": ["a"]}, id="private is a name like others"),
        pytest.param({"plan": None}, {}, id="an attribute that is None is missing"),
    ],
)
def test_attributes_may_set_the_name_and_anonymous_but_never_the_identity(attributes: dict[str, Any], data: dict[str, Any]) -> None:
    assert Context("a", attributes=attributes).to_dict() == {"kind": "user", "key": "a", **data}


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        pytest.param({"name": "given"}, {"name": "given", "anonymous": True}, id="name"),
        pytest.param({"anonymous": True}, {"name": "N", "anonymous": True}, id="anonymous"),
        pytest.param({"name": "", "kind": "org"}, {"kind": "org", "name": "", "anonymous": True}, id="an empty name"),
    ],
)
def test_an_argument_wins_over_the_attribute_of_its_name(arguments: dict[str, Any], data: dict[str, Any]) -> None:
    attributes = {"name": "N", "anonymous": True, "key": "other", "kind": "other"}
    assert Context("a", attributes=attributes, **arguments).to_dict() == {"kind": "user", "key": "a", **data}


def test_an_ignored_identity_is_logged_once_a_name_and_without_its_value(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("key", "kind"):
        IGNORED.forget(name)
    for _ in range(3):
        Context("a", attributes={"key": "secret-1", "kind": "secret-2", "name": "N"})
    assert sorted(str(record.args) for record in caplog.records) == ["('key', 'key')", "('kind', 'kind')"]
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert "secret" not in caplog.text


# -- a changed copy


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"key": "b"}, {"key": "b"}, id="key"),
        pytest.param({"kind": "team"}, {"kind": "team"}, id="kind"),
        pytest.param({"name": "M"}, {"name": "M"}, id="name"),
        pytest.param({"anonymous": True}, {"anonymous": True}, id="anonymous"),
        pytest.param({"attributes": {"size": 3}}, {"plan": None, "size": 3}, id="attributes replaces all of them"),
        pytest.param({"private": ["/plan"]}, {"_meta": {"privateAttributes": ["/plan"]}}, id="private"),
        pytest.param({"name": None, "private": ()}, {"name": None, "_meta": None}, id="what is taken away"),
        pytest.param({"key": "b", "attributes": {"key": "c"}}, {"key": "b", "plan": None}, id="not by the attributes"),
    ],
)
def test_replace_returns_a_changed_copy(changes: dict[str, Any], data: dict[str, Any]) -> None:
    context = Context("a", "org", name="N", attributes={"plan": "pro"}, private=["plan"])
    before = context.to_dict()
    expected = {**before, **data}
    assert context.replace(**changes).to_dict() == {name: value for name, value in expected.items() if value is not None}
    assert context.to_dict() == before


@pytest.mark.parametrize(
    ("changes", "name", "anonymous"),
    [
        pytest.param({}, "in attributes", True, id="absent"),
        pytest.param({"anonymous": False}, "in attributes", False, id="anonymous is given as False"),
        pytest.param({"name": None}, None, True, id="the name is taken away"),
        pytest.param({"name": "given", "anonymous": True}, "given", True, id="both given"),
        pytest.param({"key": "b", "name": None, "anonymous": False}, None, False, id="with another key"),
    ],
)
def test_an_argument_of_replace_wins_over_its_attributes(changes: dict[str, Any], name: str | None, anonymous: bool) -> None:
    attributes = {"name": "in attributes", "anonymous": True, "plan": "pro"}
    changed = Context("a").replace(attributes=attributes, **changes)
    assert (changed.name, changed.anonymous, changed.attributes) == (name, anonymous, {"plan": "pro"})
    assert len(attributes) == 3


def test_a_copy_keeps_the_empty_key_that_a_legacy_user_may_have() -> None:
    legacy = Context.from_legacy_user({"key": "", "name": "N"})
    assert legacy.replace(name="M").to_dict() == {"kind": "user", "key": "", "name": "M"}
    assert "key" in (legacy.replace(key="").error or "")


@pytest.mark.parametrize("context", [Context(cast("Any", 42)), Context.keyless()], ids=["a key that is not text", "no key"])
def test_replace_changes_a_context_that_only_flagd_accepts(context: Context) -> None:
    changed = context.replace(attributes={"plan": "pro"})
    assert (changed.attributes, changed.other_key, changed.error) == ({"plan": "pro"}, context.other_key, context.error)
    assert changed.is_valid_for_flagd


@pytest.mark.parametrize(
    ("context", "error"),
    [
        pytest.param(Context.multi(Context("a"), Context("b", "org")), "multi-kind", id="of several kinds"),
        pytest.param(Context("a", "kind"), "reserved", id="that is invalid already"),
    ],
)
def test_replace_of_an_unsuitable_context_is_invalid(context: Context, error: str) -> None:
    assert error in (context.replace(name="N").error or "")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"key": ""}, "key", id="an empty key"),
        pytest.param({"kind": "a b"}, "kind", id="an invalid kind"),
        pytest.param({"name": 3}, "name", id="a number as name"),
        pytest.param({"attributes": None}, "attributes", id="None as attributes"),
    ],
)
def test_replace_with_a_wrong_property_returns_an_invalid_context(changes: dict[str, Any], error: str) -> None:
    assert error in (Context("a").replace(**changes).error or "")


def test_a_copy_refuses_a_property_that_does_not_exist() -> None:
    wrong: Any = {"email": "e"}
    with pytest.raises(TypeError, match="email"):
        Context("a").replace(**wrong)


def test_attributes_are_copied_when_the_context_is_made() -> None:
    attributes = {"plan": "a"}
    plain, named = Context("a", attributes=attributes), Context("a", name="n", attributes=attributes)
    attributes["plan"] = "b"
    assert (plain.get("plan"), named.get("plan")) == ("a", "a")


def test_a_context_cannot_be_changed() -> None:
    context: Any = Context.multi(Context("a"), Context("b", "org"))
    for single in (context, context.member("org"), Context("")):
        for name in ("key", "kind", "attributes", "error", "members", "anything"):
            with pytest.raises(AttributeError):
                setattr(single, name, "x")


# -- several kinds

USER, ORG, DEVICE = Context("u"), Context("o", "org", anonymous=True), Context("d", "device")


def test_members_are_sorted_by_kind() -> None:
    context = Context.multi(USER, ORG, DEVICE)
    assert context.is_multi
    assert [single.kind for single in context] == ["device", "org", "user"]
    assert (context.kind, context.key, context.name, context.anonymous, len(context)) == ("multi", "", None, False, 3)


def test_multi_with_one_context_returns_it() -> None:
    assert Context.multi(ORG) is ORG
    assert len(ORG) == 1
    assert not ORG.is_multi


def test_multi_takes_the_members_of_multi_kind_contexts() -> None:
    assert Context.multi(Context.multi(USER, ORG), DEVICE) == Context.multi(USER, ORG, DEVICE)


@pytest.mark.parametrize(
    ("contexts", "error"),
    [
        pytest.param([], "at least one", id="none"),
        pytest.param([USER, Context("v")], "each kind once", id="one kind twice"),
        pytest.param([Context.multi(USER, ORG), Context("v")], "each kind once", id="one kind twice, once inside another"),
        pytest.param(
            [USER, Context("", "org"), Context("x", "a b")],
            "not empty, kind: only the characters",
            id="two invalid ones: both errors",
        ),
        pytest.param([Context("")], "not empty", id="a single invalid one"),
    ],
)
def test_multi_of_unsuitable_contexts_is_invalid(contexts: list[Context], error: str) -> None:
    assert error in (Context.multi(*contexts).error or "")


def test_a_member_is_found_by_its_kind() -> None:
    both = Context.multi(USER, ORG)
    assert (both.member("org"), both.member("user"), both.member("device"), both.member("multi")) == (ORG, USER, None, None)
    assert (USER.member("user"), USER.member("org")) == (USER, None)


def test_plain_names_find_properties_and_attributes() -> None:
    context = Context("a", name="N", attributes={"plan": "x"})
    assert [context.get(name) for name in ("kind", "key", "name", "anonymous", "plan", "other")] == [
        "user",
        "a",
        "N",
        False,
        "x",
        None,
    ]
    both = Context.multi(context, ORG)
    assert [both.get(name) for name in ("kind", "key", "name", "anonymous", "plan")] == ["multi", None, None, None, None]


def test_without_anonymous_removes_anonymous_members() -> None:
    assert Context.multi(USER, ORG, DEVICE).without_anonymous() == Context.multi(USER, DEVICE)
    assert Context.multi(USER, ORG).without_anonymous() == USER
    assert not ORG.without_anonymous().is_valid


# -- equality


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param(
            Context("a", attributes={"x": 1, "y": 2}), Context("a", attributes={"y": 2, "x": 1}), id="order of attributes"
        ),
        pytest.param(Context("a", attributes={"x": 1}), Context("a", attributes={"x": 1.0}), id="one number, two ways to write it"),
        pytest.param(Context("a", attributes={"x": None}), Context("a"), id="an attribute that is None"),
        pytest.param(Context("a", private=["x", "/y"]), Context("a", private=["y", "x", "x"]), id="the same private references"),
        pytest.param(Context.multi(USER, ORG), Context.multi(ORG, USER), id="order of kinds"),
        pytest.param(Context("a", attributes={"x": ("b",)}), Context("a", attributes={"x": ["b"]}), id="tuple or list"),
        pytest.param(Context(""), Context("", "org"), id="the same error"),
    ],
)
def test_contexts_are_equal(left: Context, right: Context) -> None:
    assert left == right
    assert (left != right) is False
    assert hash(left) == hash(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param(Context("a"), Context("b"), id="key"),
        pytest.param(Context("a"), Context("a", "org"), id="kind"),
        pytest.param(Context("a"), Context("a", name="N"), id="name"),
        pytest.param(Context("a"), Context("a", anonymous=True), id="anonymous"),
        pytest.param(Context("a", attributes={"x": 1}), Context("a", attributes={"x": True}), id="a boolean is not a number"),
        pytest.param(
            Context("a", attributes={"x": [0]}), Context("a", attributes={"x": [False]}), id="a boolean in an array is not a number"
        ),
        pytest.param(Context("a", private=["x"]), Context("a"), id="what is private"),
        pytest.param(USER, Context.multi(USER, ORG), id="one and several"),
        pytest.param(Context(""), Context("a"), id="invalid and valid"),
        pytest.param(Context(""), Context("a", ""), id="two errors"),
        pytest.param(Context("a"), "a", id="a context and its key"),
    ],
)
def test_contexts_are_different(left: Context, right: object) -> None:
    assert left != right
    assert (left == right) is False


@given(CONTEXTS, CONTEXTS)
def test_canonical_keys_differ_where_kinds_or_keys_do(left: Context, right: Context) -> None:
    names = [[(single.kind, single.key) for single in context] for context in (left, right)]
    # A user's key stands as it is and so may look like anything: "org:a" may be a user.
    if ["user"] not in ([kind for kind, _ in name] for name in names):
        assert (left.canonical_key == right.canonical_key) is (names[0] == names[1])


@given(CONTEXTS | st.just(Context("")) | st.just(Context.from_legacy_user({"key": ""})))
def test_a_context_survives_pickling_and_copying(context: Context) -> None:
    for again in (pickle.loads(pickle.dumps(context)), copy.copy(context), copy.deepcopy(context)):
        assert again == context
        assert (again.error, again.canonical_key, again.to_dict()) == (context.error, context.canonical_key, context.to_dict())


def test_the_repr_of_a_context_has_only_kinds_and_keys() -> None:
    both = Context.multi(Context("a", attributes={"email": "secret@example.com"}), Context("b", "org", name="secret"))
    assert repr(both) == "Context.multi(Context('b', kind='org'), Context('a'))"
    assert repr(Context("")) == "Context(error='key: expected a string that is not empty')"


@pytest.mark.parametrize("key", [None, ""])
def test_a_context_without_a_key_keeps_its_attributes_although_it_is_invalid(key: Any) -> None:
    context = Context(key, name="Ada", attributes={"plan": "pro"})
    assert (context.is_valid, context.is_keyless, context.key) == (False, True, "")
    assert (context.name, dict(context.attributes), context.to_dict()) == ("Ada", {"plan": "pro"}, {})


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(Context(cast("Any", 5), name=cast("Any", 5), attributes={"plan": "pro"}), id="a key and a name that are not"),
        pytest.param(Context(cast("Any", None), kind="multi", attributes={"plan": "pro"}), id="a reserved kind"),
        pytest.param(Context("", name=cast("Any", 5), attributes={"plan": "pro"}), id="a name that is not a string"),
        pytest.param(Context.multi(Context.keyless({"plan": "pro"}), Context("k", kind="org")), id="a member of several"),
    ],
)
def test_a_context_with_another_error_has_no_attributes(context: Context) -> None:
    assert (context.is_valid, context.is_keyless, dict(context.attributes)) == (False, False, {})


@pytest.mark.parametrize("key", [0, 42, 1.5, False, ["a"]])
def test_a_context_whose_key_is_not_text_keeps_it_although_it_is_invalid(key: Any) -> None:
    context = Context(key, name="Ada", attributes={"plan": "pro"})
    assert (context.error, context.key, context.is_keyless) == (f"key: expected a string, got {type(key).__name__}", "", False)
    assert (context.other_key, context.name, dict(context.attributes)) == (key, "Ada", {"plan": "pro"})
    again: Context = pickle.loads(pickle.dumps(context))
    assert (again, hash(again), again.other_key) == (context, hash(context), key)
    assert context != Context(cast("Any", 7), name="Ada", attributes={"plan": "pro"})


KEYLESS = Context(cast("Any", None), "device", anonymous=True, attributes={"plan": "pro"})


@pytest.mark.parametrize(
    ("context", "keys"),
    [
        pytest.param(Context.multi(KEYLESS, Context("k")), ["", "k"], id="a member without a key"),
        pytest.param(Context.multi(Context.multi(KEYLESS, Context("k")), Context("o", "org")), ["", "k", "o"], id="inside another"),
        pytest.param(Context.multi(KEYLESS, Context("k", "o rg")), None, id="another error beside it"),
        pytest.param(Context.multi(Context("k"), Context("o", "org")), None, id="a valid context"),
    ],
)
def test_an_invalid_context_of_several_kinds_keeps_members_that_only_lack_keys(context: Context, keys: list[str] | None) -> None:
    again: Context = pickle.loads(pickle.dumps(context))
    for each in (context, again):
        members = each.unkeyed
        assert (None if members is None else [member.key for member in members]) == keys
        assert members is None or (each.is_valid, dict(members[0].attributes)) == (False, {"plan": "pro"})


def test_contexts_without_a_key_are_compared_by_their_attributes() -> None:
    context = Context.keyless({"plan": "pro", "seats": 1})
    twins = [Context(cast("Any", None), attributes={"plan": "pro", "seats": 1.0}), pickle.loads(pickle.dumps(context))]
    assert all((twin, hash(twin), twin.is_keyless) == (context, hash(context), True) for twin in twins)
    assert context != Context.keyless({"plan": "free", "seats": 1})
    assert context != Context.keyless()
