"""A document is split into its objects without losing a property."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.devserver.data.history import read_objects
from aioflags.model.change import ObjectKind
from aioflags.protocol.flag_documents import DocumentError

FLAG, SEGMENT = ObjectKind.FLAG, ObjectKind.SEGMENT


def with_a_byte_order_mark(document: object) -> bytes:
    return b"\xef\xbb\xbf" + json.dumps(document).encode()


@pytest.mark.parametrize(
    ("document", "objects"),
    [
        pytest.param({}, {}, id="an empty document has no objects"),
        pytest.param({"flags": None, "flagValues": None}, {}, id="a null section is empty"),
        pytest.param(
            {"flags": {"a": {"on": True, "invented": [1, {"x": None}]}}},
            {(FLAG, "a"): {"key": "a", "version": 1, "on": True, "invented": [1, {"x": None}]}},
            id="a flag gets its key and a version, and keeps unknown properties",
        ),
        pytest.param(
            {"flags": {"a": {"key": "a", "version": 7}}}, {(FLAG, "a"): {"key": "a", "version": 7}}, id="a stated version stays"
        ),
        pytest.param(
            {"flagValues": {"a": {"x": 1}}},
            {
                (FLAG, "a"): {
                    "key": "a",
                    "version": 1,
                    "on": True,
                    "variations": [{"x": 1}],
                    "fallthrough": {"variation": 0},
                    "offVariation": None,
                }
            },
            id="a value becomes a flag that serves it to all contexts",
        ),
        pytest.param(
            {"segments": {"a": {"included": ["x"]}}, "flags": {"a": {}}},
            {(FLAG, "a"): {"key": "a", "version": 1}, (SEGMENT, "a"): {"key": "a", "version": 1, "included": ["x"]}},
            id="a segment may have the key of a flag",
        ),
        pytest.param({"flags": {"a": {"deleted": True}}}, {}, id="a tombstone is left out"),
    ],
)
@pytest.mark.parametrize("form", [dict, json.dumps, with_a_byte_order_mark])
def test_a_document_is_split_into_objects(document: Any, objects: object, form: Callable[[Any], Any]) -> None:
    assert read_objects(form(document)) == objects


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param(b'{"flags":\n{"a": }}', r"flags\.json: line 2, column 7", id="bad syntax names the line"),
        pytest.param({"flags": {"a": {"on": 3}}}, r"flags\.json: flags\.a\.on: expected boolean", id="bad content names the path"),
        pytest.param(b'{"flags": {"a": {"invented": 1e999}}}', r"flags\.json", id="an impossible number in an unknown property"),
        pytest.param(b'{"flags": {"a": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}}", r"flags\.json", id="deep nesting"),
    ],
)
def test_a_mistake_is_reported_with_the_file_name(document: Any, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        read_objects(document, name="flags.json")


@given(st.binary() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_any_input_raises_only_document_errors(document: Any) -> None:
    with suppress(DocumentError):
        read_objects(document)
