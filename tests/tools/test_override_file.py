"""OverrideFile: its text has the values that were set, in JSON and in YAML."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.cli.override import OverrideFile
from aioflags.model.values import same_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["on", "1e3", "0o7", "0x1F", "~", "null", "<<", "=", "- a", "a: b", "# no", "1_000", "1:30", "2001-01-01", " a ", "\ufeff"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("name", ["o.json", "o.yaml", "o"])
@given(values=st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
def test_values_that_were_set_are_read_again(name: str, values: dict[str, Any]) -> None:
    text = OverrideFile.read(None, name).with_values(values).text()
    assert same_json({entry.key: entry.value for entry in OverrideFile.read(text, name).entries()}, values)


def test_a_byte_order_mark_is_dropped() -> None:
    text = OverrideFile.read(b"\xef\xbb\xbf" + json.dumps({"flagValues": {"a": 1}}).encode(), "o").with_values({"b": 2}).text()
    assert json.loads(text) == {"flagValues": {"a": 1, "b": 2}}


def test_sections_that_are_null_are_left_out() -> None:
    assert OverrideFile.read(b'{"flags": null, "flagValues": {"a": 1}}', "o").without(["a"]).text() == b"{}\n"
