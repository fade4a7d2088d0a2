"""What definitions mean by a kind and by an attribute."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.evaluation.attributes import clean_kind, finder, reference
from aioflags.model.context import Context

USER = Context("k", name="N", attributes={"a": {"b": 1}, "/a/b": 2, "kind of": 3})


@pytest.mark.parametrize(
    ("kind", "meant"),
    [
        pytest.param(None, "user", id="none is a user"),
        pytest.param("", "user", id="so is an empty one"),
        pytest.param("org", "org", id="one is itself"),
        pytest.param("multi", "kind", id="multi is nobody's, and kind can be nobody's"),
    ],
)
def test_the_kind_that_is_meant(kind: str | None, meant: str) -> None:
    assert clean_kind(kind) == meant
    assert Context("k", "kind").error is not None


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        pytest.param("key", None, "k", id="the key"),
        pytest.param("name", "user", "N", id="the name"),
        pytest.param("anonymous", None, False, id="whether it is anonymous"),
        pytest.param("kind", None, "user", id="the kind"),
        pytest.param("/key", "user", "k", id="a path to the key"),
        pytest.param("a", None, {"b": 1}, id="an attribute"),
        pytest.param("/a/b", None, 2, id="a literal, where no kind is named"),
        pytest.param("/a/b", "user", 1, id="a path, where one is"),
        pytest.param("/a/c", "user", None, id="a path that leads nowhere"),
        pytest.param("z", "user", None, id="an attribute that is not there"),
    ],
)
def test_what_a_reference_finds(text: str, kind: str | None, found: Any) -> None:
    assert finder(reference(text, kind))(USER) == found
