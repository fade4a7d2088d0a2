"""Options of events that the page of options does not describe in full."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags import ConfigError, Events
from aioflags.events.options import MobileEvents


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


def test_a_client_with_a_mobile_key_has_other_defaults() -> None:
    events = MobileEvents()
    assert (events.events_max_pending, events.flush_interval, events.diagnostic_recording_interval) == (100, 30.0, 900.0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("send_events", 1), ("events_max_pending", 1.5), ("private_attributes", "email"), ("flush_interval", "5")],
)
def test_a_client_with_a_mobile_key_refuses_options_of_another_type(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=option):
        MobileEvents(**{option: value})
