"""Attribute references: ``evaluation.md`` 1.7 and 11.3."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.model.attributes import AttributeReference
from aioflags.model.context import Context


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        pytest.param(["", "/"], "empty", id="EV-E36 nothing is named"),
        pytest.param(["//", "///", "/a//b", "/a/", "//a"], "part of the path empty", id="EV-E37 a part is empty"),
        pytest.param(["/a~2b", "/a~", "/~", "/a/~x"], "tilde", id="EV-E38 a tilde without 0 or 1"),
    ],
)
def test_invalid_references_have_an_error(texts: list[str], why: str) -> None:
    for text in texts:
        reference = AttributeReference.parse(text)
        assert not reference.is_valid
        assert reference.path == ()
        assert why in (reference.error or "")
        assert str(reference) == ""


@pytest.mark.parametrize(
    ("texts", "path"),
    [
        pytest.param(["a", "/a"], ("a",), id="EV-E39 a top-level name"),
        pytest.param(["a/b", "/a~1b"], ("a/b",), id="EV-E40 a name with a slash"),
        pytest.param(["/a/b"], ("a", "b"), id="EV-E41 a path of two"),
        pytest.param(["a~b", "/a~0b"], ("a~b",), id="EV-E42 a name with a tilde"),
        pytest.param(["a~"], ("a~",), id="EV-E43 a plain name may end in a tilde"),
        pytest.param(["/~0~1"], ("~/",), id="EV-E44 both escapes"),
        pytest.param(["/~01"], ("~1",), id="EV-E44 what an escape gives is not read again"),
        pytest.param(["/~10"], ("/0",), id="EV-E44 a slash before a nought"),
        pytest.param(["/a/b~1c/d~0e"], ("a", "b/c", "d~e"), id="EV-E45 escapes in a path"),
        pytest.param(["/0"], ("0",), id="EV-E46 a number is a name"),
        pytest.param(["/ "], (" ",), id="EV-E46 a space is a name"),
    ],
)
def test_valid_references_have_a_path(texts: list[str], path: tuple[str, ...]) -> None:
    references = [AttributeReference.parse(text) for text in texts]
    assert [reference.path for reference in references] == [path] * len(texts)
    assert all(reference.is_valid for reference in references)
    assert len(set(references)) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("a", "a", id="EV-E47 a"),
        pytest.param("a/b", "a/b", id="EV-E47 a slash inside"),
        pytest.param("~a", "~a", id="EV-E47 a tilde"),
        pytest.param("/a", "/~1a", id="EV-E47 a slash in front"),
        pytest.param("/a~1", "/~1a~01", id="EV-E47 a slash in front, and a tilde"),
        pytest.param("/", "/~1", id="EV-E47 nothing but a slash"),
    ],
)
def test_a_literal_name_is_written_as_a_reference(name: str, text: str) -> None:
    assert str(AttributeReference.literal(name)) == text
    assert AttributeReference.parse(text) == AttributeReference.literal(name)


@pytest.mark.holds("EV-E47")
def test_an_empty_literal_name_is_invalid() -> None:
    assert not AttributeReference.literal("").is_valid


@given(st.lists(st.text(min_size=1), min_size=1))
def test_a_written_reference_reads_back(path: list[str]) -> None:
    reference = AttributeReference(tuple(path))
    assert AttributeReference.parse(str(reference)) == reference


@given(st.text(alphabet="/~01ab"))
def test_a_reference_has_either_a_path_or_an_error(text: str) -> None:
    reference = AttributeReference.parse(text)
    assert bool(reference.path) is reference.is_valid is (reference.error is None)


PERSON = Context.from_dict(
    {
        "kind": "user",
        "key": "value1",
        "address": {"street": {"line1": "value2"}, "city": "value4"},
        "good/bad": "value5",
        "dog~cat": "value6",
        "/ab": "value7",
        "arr": ["x", "y"],
        "f": False,
        "obj": {"nul": None},
    }
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("key", "value1", id="EV-E48 the key"),
        pytest.param("/key", "value1", id="EV-E48 the key as a path"),
        pytest.param("/address/street/line1", "value2", id="EV-E49 deep inside"),
        pytest.param("/address/street", {"line1": "value2"}, id="EV-E49 a whole object"),
        pytest.param("good/bad", "value5", id="EV-E50 a slash in a plain name"),
        pytest.param("/good~1bad", "value5", id="EV-E50 an escaped slash"),
        pytest.param("/dog~0cat", "value6", id="EV-E51 an escaped tilde"),
        pytest.param("/~1ab", "value7", id="EV-E51 a name that starts with a slash"),
        pytest.param("/arr", ["x", "y"], id="EV-E52 an array"),
        pytest.param("/f", False, id="EV-E52 false is a value"),
        pytest.param("/kind", "user", id="EV-E52 the kind"),
        pytest.param("anonymous", False, id="EV-E52 anonymous is always there"),
        pytest.param("/ab", None, id="EV-E53 the path is not the name"),
        pytest.param("/arr/0", None, id="EV-E53 arrays are not indexed"),
        pytest.param("/address/zip", None, id="EV-E53 a missing name"),
        pytest.param("/address/city/x", None, id="EV-E53 beyond a string"),
        pytest.param("/obj/nul", None, id="EV-E53 null is not there"),
        pytest.param("/name", None, id="EV-E53 a property that is not set"),
        pytest.param("_meta", None, id="private metadata are no attribute"),
        pytest.param("//", None, id="an invalid reference finds nothing"),
    ],
)
def test_a_reference_resolves_to_a_value(text: str, value: Any) -> None:
    assert PERSON.resolve(AttributeReference.parse(text)) == value


def test_a_context_of_several_kinds_resolves_nothing() -> None:
    both = Context.multi(PERSON, Context("b", "org"))
    assert both.resolve(AttributeReference.parse("key")) is None
