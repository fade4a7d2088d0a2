"""Encoding: values of the program as JSON. Data of tracked events are in test_event_data.py."""

from __future__ import annotations

import pytest

from aioflags.events.encoding import frozen_value


@pytest.mark.parametrize("value", [object(), [object()]])
def test_a_value_that_json_cannot_represent_becomes_none(value: object) -> None:
    assert frozen_value(value) is None
