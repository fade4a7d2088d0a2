"""The data of a context that rules read."""

from __future__ import annotations

from aioflags.evaluation.openfeature import context_data


def test_values_are_not_copied() -> None:
    nested = {"a": [1, {"b": [2, 3]}]}

    assert context_data({"nested": nested}, None)["nested"] is nested


def test_static_attributes_and_the_targeting_key_hide_those_of_the_context() -> None:
    assert context_data({"a": 1, "b": 1, "targetingKey": "x"}, "k", {"b": 2}) == {"a": 1, "b": 2, "targetingKey": "k"}
