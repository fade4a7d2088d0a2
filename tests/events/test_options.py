"""What can be chosen about events, where the page of options is not enough."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags import ConfigError, Events


def test_references_that_name_nothing_are_left_out_and_remarked(caplog: pytest.LogCaptureFixture) -> None:
    events = Events(private_attributes=["email", "", "/a//b", "/a/b", "/x~2"])
    assert events.private_attributes == ("email", "/a/b")
    assert caplog.text.count("private_attributes") == 3


@pytest.mark.parametrize("value", ["email", [1], None, 3], ids=["a string", "a number in it", "nothing", "a number"])
def test_references_are_a_list_of_strings(value: Any) -> None:
    with pytest.raises(ConfigError, match="private_attributes"):
        Events(private_attributes=value)


def test_room_for_a_fraction_of_an_event_is_refused() -> None:
    with pytest.raises(ConfigError, match="events_max_pending"):
        Events(events_max_pending=1.5)  # type: ignore[arg-type]  # as a program without a type checker might


def test_the_options_are_copied() -> None:
    given = {"email"}
    events = Events(private_attributes=given)
    given.add("name")
    assert events.private_attributes == ("email",)
