"""Context kinds and attributes in definitions."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.evaluation.clauses import clean_kind, finder, reference
from aioflags.model.context import Context

USER = Context("k", name="N", attributes={"a": {"b": 1}, "/a/b": 2, "kind of": 3})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param(None, "user", id="None means user"),
        pytest.param("", "user", id="the empty string means user"),
        pytest.param("org", "org", id="another kind is unchanged"),
        pytest.param("multi", "kind", id="multi becomes kind, which no context has"),
    ],
)
def test_the_kind_that_a_definition_means(kind: str | None, expected: str) -> None:
    assert clean_kind(kind) == expected
    assert Context("k", "kind").error is not None


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        pytest.param("key", None, "k", id="the key"),
        pytest.param("name", "user", "N", id="the name"),
        pytest.param("anonymous", None, False, id="whether it is anonymous"),
        pytest.param("kind", None, "user", id="the kind"),
        pytest.param("/key", "user", "k", id="a path to the key"),
        pytest.param("a", None, {"b": 1}, id="an attribute"),
        pytest.param("/a/b", None, 2, id="a literal without a context kind"),
        pytest.param("/a/b", "user", 1, id="a path with a context kind"),
        pytest.param("/a/c", "user", None, id="a path that leads nowhere"),
        pytest.param("z", "user", None, id="a missing attribute"),
    ],
)
def test_the_value_that_a_reference_reads(text: str, kind: str | None, value: Any) -> None:
    assert finder(reference(text, kind))(USER) == value
