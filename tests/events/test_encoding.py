"""Encoding: values of the program as JSON. Data of tracked events are in test_event_data.py."""

from __future__ import annotations

import pytest

from aioflags.events.encoding import frozen_value
from tests.support.hostile import Lazy


@pytest.mark.parametrize("value", [object(), [object()]])
def test_a_value_that_json_cannot_represent_becomes_none(value: object) -> None:
    assert frozen_value(value) is None


def test_a_lazy_value_is_read_when_it_is_recorded() -> None:
    now = "alice"
    lazy = Lazy(lambda: now)
    frozen = frozen_value(lazy)
    now = "bob"
    assert bytes(frozen) == b'"alice"'
