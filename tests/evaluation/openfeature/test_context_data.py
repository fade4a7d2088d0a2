"""The data of a context that rules read: which values stay as they are, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags.evaluation.openfeature.context_data import NotJsonError, context_data


def test_values_without_datetimes_are_not_copied() -> None:
    nested = {"a": [1, {"b": (2, 3)}]}

    assert context_data({"nested": nested}, None)["nested"] is nested


def test_a_context_that_nests_too_deeply_is_refused() -> None:
    value: Any = 1
    for _ in range(129):
        value = [value]

    with pytest.raises(NotJsonError, match="the attribute 'value' is nested too deeply"):
        context_data({"value": value}, None)
