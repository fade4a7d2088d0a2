"""Options of events that the page of options does not describe in full."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags import ConfigError, Events


def test_invalid_references_are_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    events = Events(private_attributes=["email", "", "/a//b", "/a/b", "/x~2"])
    assert events.private_attributes == ("email", "/a/b")
    assert caplog.text.count("private_attributes") == 3


@pytest.mark.parametrize("value", ["email", [1], None, 3], ids=["a string", "a number in a list", "None", "a number"])
def test_references_must_be_a_list_of_strings(value: Any) -> None:
    with pytest.raises(ConfigError, match="private_attributes"):
        Events(private_attributes=value)


def test_a_fractional_capacity_is_refused() -> None:
    with pytest.raises(ConfigError, match="events_max_pending"):
        Events(events_max_pending=1.5)  # type: ignore[arg-type]  # a program without a type checker can pass this


def test_the_options_are_copied() -> None:
    given = {"email"}
    events = Events(private_attributes=given)
    given.add("name")
    assert events.private_attributes == ("email",)
