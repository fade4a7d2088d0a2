"""Contexts: ``evaluation.md`` 1 and 11.4."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.model.context import IGNORED, Context

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.text(alphabet="azAZ09._-", min_size=1).filter(lambda kind: kind not in {"kind", "multi"})
SINGLES = st.builds(
    Context,
    key=st.text(min_size=1),
    kind=KINDS,
    name=st.none() | st.text(),
    anonymous=st.booleans(),
    attributes=st.dictionaries(st.text(), JSON, max_size=3),
    private=st.lists(st.text(), max_size=2),
)
CONTEXTS = SINGLES | st.lists(SINGLES, min_size=1, max_size=3, unique_by=lambda single: single.kind).map(
    lambda singles: Context.multi(*singles)
)


# -- the JSON form


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
        pytest.param({"kind": "multi"}, id="EV-E55 several kinds, none there"),
        pytest.param({"kind": "multi", "user": {"key": "a"}, "org": "b"}, id="EV-E55 a member that is no object"),
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
def test_this_describes_no_context(data: Any) -> None:
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
def test_this_describes_a_context(data: dict[str, Any], canonical: str, again: dict[str, Any]) -> None:
    context = Context.from_dict(data)
    assert context.error is None
    assert context.canonical_key == canonical
    assert context.to_dict() == again


@pytest.mark.holds("EV-E59")
def test_the_kinds_of_a_context_are_written_in_order() -> None:
    context = Context.from_dict({"kind": "multi", "user": {"key": "a"}, "org": {"key": "b"}, "device": {"key": "c"}})
    assert list(context.to_dict()) == ["kind", "device", "org", "user"]


def test_what_is_written_is_nobody_elses() -> None:
    context = Context("a", attributes={"groups": ["x"]})
    context.to_dict()["groups"].append("y")
    assert context.get("groups") == ["x"]


@given(CONTEXTS)
def test_what_a_context_is_written_as_reads_back(context: Context) -> None:
    assert Context.from_dict(context.to_dict()) == context


@given(JSON | st.dictionaries(st.sampled_from(["kind", "key", "name", "anonymous", "_meta", "user", ""]), JSON))
def test_no_json_is_too_wild(data: Any) -> None:
    context = Context.from_dict(data)
    assert context.is_valid is bool(context.to_dict())


# -- making one in code


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
        pytest.param({"key": "a", "anonymous": 1}, "anonymous", id="1 is no boolean"),
        pytest.param({"key": "a", "attributes": [1]}, "mapping", id="a list of attributes"),
        pytest.param({"key": "a", "attributes": None}, "mapping", id="None as attributes"),
        pytest.param({"key": "a", "private": "email"}, "list of strings", id="a string is no list of references"),
        pytest.param({"key": "a", "private": 3}, "list of strings", id="3 is no list of references"),
        pytest.param({"key": "a", "private": [3]}, "strings", id="3 is no reference"),
    ],
)
def test_what_cannot_be_a_context_says_why_and_raises_nothing(arguments: dict[str, Any], wrong: str) -> None:
    assert wrong in (Context(**arguments).error or "")


def test_a_key_is_a_user_unless_it_is_said_to_be_something_else() -> None:
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
        pytest.param({"": 1}, {}, id="nor can a name that is none"),
        pytest.param({"private": ["a"]}, {"private": ["a"]}, id="private is a name like others"),
        pytest.param({"plan": None}, {}, id="None says that there is none"),
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
def test_a_copy_differs_in_what_was_replaced(changes: dict[str, Any], data: dict[str, Any]) -> None:
    context = Context("a", "org", name="N", attributes={"plan": "pro"}, private=["plan"])
    before = context.to_dict()
    expected = {**before, **data}
    assert context.replace(**changes).to_dict() == {name: value for name, value in expected.items() if value is not None}
    assert context.to_dict() == before


def test_a_copy_keeps_the_empty_key_that_a_legacy_user_may_have() -> None:
    legacy = Context.from_legacy_user({"key": "", "name": "N"})
    assert legacy.replace(name="M").to_dict() == {"kind": "user", "key": "", "name": "M"}
    assert "key" in (legacy.replace(key="").error or "")


@pytest.mark.parametrize(
    ("context", "error"),
    [
        pytest.param(Context.multi(Context("a"), Context("b", "org")), "multi-kind", id="of several kinds"),
        pytest.param(Context("a", "kind"), "reserved", id="that is invalid already"),
    ],
)
def test_there_is_no_valid_copy_of_a_context(context: Context, error: str) -> None:
    assert error in (context.replace(name="N").error or "")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"key": ""}, "key", id="an empty key"),
        pytest.param({"kind": "a b"}, "kind", id="a kind that cannot be"),
        pytest.param({"name": 3}, "name", id="a number as name"),
        pytest.param({"attributes": None}, "attributes", id="None as attributes"),
    ],
)
def test_a_copy_with_a_wrong_property_is_invalid_and_raises_nothing(changes: dict[str, Any], error: str) -> None:
    assert error in (Context("a").replace(**changes).error or "")


def test_a_copy_refuses_a_property_that_does_not_exist() -> None:
    wrong: Any = {"email": "e"}
    with pytest.raises(TypeError, match="email"):
        Context("a").replace(**wrong)


def test_attributes_are_taken_over_when_the_context_is_made() -> None:
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


def test_the_kinds_stand_in_order_whatever_the_order_of_making() -> None:
    context = Context.multi(USER, ORG, DEVICE)
    assert context.is_multi
    assert [single.kind for single in context] == ["device", "org", "user"]
    assert (context.kind, context.key, context.name, context.anonymous, len(context)) == ("multi", "", None, False, 3)


def test_one_of_several_kinds_is_that_one() -> None:
    assert Context.multi(ORG) is ORG
    assert len(ORG) == 1
    assert not ORG.is_multi


def test_contexts_of_several_kinds_give_each_of_theirs() -> None:
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
def test_these_make_no_context_of_several_kinds(contexts: list[Context], error: str) -> None:
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


def test_anonymous_parts_can_be_left_out() -> None:
    assert Context.multi(USER, ORG, DEVICE).without_anonymous() == Context.multi(USER, DEVICE)
    assert Context.multi(USER, ORG).without_anonymous() == USER
    assert not ORG.without_anonymous().is_valid


# -- equality


@pytest.mark.parametrize(
    ("one", "other"),
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
def test_these_are_one_context(one: Context, other: Context) -> None:
    assert one == other
    assert (one != other) is False
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(Context("a"), Context("b"), id="key"),
        pytest.param(Context("a"), Context("a", "org"), id="kind"),
        pytest.param(Context("a"), Context("a", name="N"), id="name"),
        pytest.param(Context("a"), Context("a", anonymous=True), id="anonymous"),
        pytest.param(Context("a", attributes={"x": 1}), Context("a", attributes={"x": True}), id="a boolean is no number"),
        pytest.param(Context("a", attributes={"x": [0]}), Context("a", attributes={"x": [False]}), id="nor is it one in an array"),
        pytest.param(Context("a", private=["x"]), Context("a"), id="what is private"),
        pytest.param(USER, Context.multi(USER, ORG), id="one and several"),
        pytest.param(Context(""), Context("a"), id="invalid and valid"),
        pytest.param(Context(""), Context("a", ""), id="two errors"),
        pytest.param(Context("a"), "a", id="a context and its key"),
    ],
)
def test_these_are_two(one: Context, other: object) -> None:
    assert one != other
    assert (one == other) is False


@given(CONTEXTS, CONTEXTS)
def test_canonical_keys_differ_where_kinds_or_keys_do(one: Context, other: Context) -> None:
    names = [[(single.kind, single.key) for single in context] for context in (one, other)]
    # A user's key stands as it is and so may look like anything: "org:a" may be a user.
    if ["user"] not in ([kind for kind, _ in name] for name in names):
        assert (one.canonical_key == other.canonical_key) is (names[0] == names[1])


@given(CONTEXTS | st.just(Context("")) | st.just(Context.from_legacy_user({"key": ""})))
def test_a_context_survives_pickling_and_copying(context: Context) -> None:
    for again in (pickle.loads(pickle.dumps(context)), copy.copy(context), copy.deepcopy(context)):
        assert again == context
        assert (again.error, again.canonical_key, again.to_dict()) == (context.error, context.canonical_key, context.to_dict())


def test_a_context_shows_kinds_and_keys_and_nothing_else() -> None:
    both = Context.multi(Context("a", attributes={"email": "secret@example.com"}), Context("b", "org", name="secret"))
    assert repr(both) == "Context.multi(Context('b', kind='org'), Context('a'))"
    assert repr(Context("")) == "Context(error='key: expected a string that is not empty')"


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


def test_a_legacy_user_alone_may_have_an_empty_key() -> None:
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
def test_what_a_legacy_user_does_not_have_is_absent(data: dict[str, Any]) -> None:
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
def test_this_describes_no_legacy_user(data: Any, wrong: str) -> None:
    assert wrong in (Context.from_legacy_user(data).error or "")
