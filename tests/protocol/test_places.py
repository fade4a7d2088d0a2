"""The places of values in JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.protocol.problems import Path, places_of_json

TEXT = """{
  "a": {"b\\"": [1, "x",
    {"é": true, "é": null}]},
  "a": [[], {}, -1.5e3]
}"""


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        pytest.param((), 1, 1, id="the document"),
        pytest.param(("a",), 4, 3, id="a member, at its name; the last one of that name"),
        pytest.param(("a", 0), 4, 9, id="an array in an array"),
        pytest.param(("a", 2), 4, 17, id="a number"),
        pytest.param(("a", 9), 4, 3, id="an element that is not there: where it would be"),
        pytest.param(("a", "b"), 4, 3, id="a member of what is not an object"),
        pytest.param(("z", "b"), 1, 1, id="a member that is not there"),
    ],
)
def test_a_path_leads_to_a_place(path: Path, line: int, column: int) -> None:
    place = places_of_json(TEXT).at(path)
    assert (place.line, place.column) == (line, column)


def test_columns_count_characters() -> None:
    place = places_of_json('{"ä": "ö", "ü": [0]}').at(("ü", 0))
    assert (place.line, place.column) == (1, 18)


def test_duplicate_names_are_listed() -> None:
    assert places_of_json(TEXT).repeated == (("a", 'b"', 2, "é"), ("a",))


def paths(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from paths(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*path, index))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    ),
    st.sampled_from([None, 1]),
)
def test_each_value_is_at_its_place(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    lines, places = text.split("\n"), places_of_json(text)
    for path, inner in paths(value):
        place = places.at(path)
        written = lines[place.line - 1][place.column - 1 :]
        begin = json.dumps(path[-1] if path and isinstance(path[-1], str) else inner, ensure_ascii=False)[:1]
        assert written.startswith(begin)
    assert places.repeated == ()
