"""Overrides as a test writes them: valid arguments, and refused ones. Where they apply: tests/client_core/test_overrides.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from aioflags import Client, ConfigError, LifecycleError
from aioflags.testing import FlagOverrides, overrides
from tests.support.canaries import secretive

USER = secretive("anna")


def value(key: str) -> Any:
    """The value that a client without flags returns."""
    return Client.local({}).variation_nowait(key, USER, None)


@dataclass
class Limits:
    items: int


def test_values_are_a_mapping_or_keywords() -> None:
    with overrides({"new-checkout": True}, theme="dark"):
        assert (value("new-checkout"), value("theme")) == (True, "dark")
    assert (value("new-checkout"), value("theme")) == (None, None)


def test_a_block_ends_with_an_exception_too() -> None:
    with pytest.raises(ZeroDivisionError), overrides(theme="dark"):
        _ = 1 / 0
    assert value("theme") is None


def test_a_block_may_be_entered_again_but_not_twice() -> None:
    block = overrides(theme="dark")
    for _ in range(2):
        with block:
            assert value("theme") == "dark"
    with block, pytest.raises(LifecycleError, match="call overrides"), block:
        raise AssertionError("entered twice")
    assert value("theme") is None


def test_overrides_cannot_be_used_as_a_decorator() -> None:
    assert not callable(overrides(theme="dark"))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        pytest.param({"limits": {"a": {1}}}, r"limits\.a: expected a JSON value, got set$", id="a set"),
        pytest.param({"limits": Limits(1)}, "Limits; give its JSON, such as the dict of a model", id="a dataclass"),
        pytest.param({"rate": float("inf")}, "rate: inf is not a number", id="infinity"),
        pytest.param({3: True}, "expected strings as names", id="a key that is not a string"),
    ],
)
def test_a_value_that_is_not_json_is_refused(values: dict[Any, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        overrides(values)
    with FlagOverrides().in_force() as everywhere, pytest.raises(ConfigError, match=named):
        everywhere.update(values)


def test_the_fixture_flag_overrides_is_a_mapping() -> None:
    with FlagOverrides().in_force() as everywhere:
        everywhere["theme"] = "dark"
        everywhere.update(count=1)
        assert (value("theme"), value("count")) == ("dark", 1)
        assert dict(everywhere) == {"theme": "dark", "count": 1}
        assert len(everywhere) == 2
        assert "theme" in repr(everywhere)
        del everywhere["theme"]
        assert value("theme") is None
        everywhere.clear()
        assert value("count") is None
    everywhere["theme"] = "dark"
    assert value("theme") is None


def test_a_block_of_the_fixture_restores_the_overrides_at_its_end() -> None:
    with FlagOverrides().in_force() as everywhere:
        everywhere["theme"] = "dark"
        with everywhere({"theme": "light"}, count=1):
            assert (value("theme"), value("count")) == ("light", 1)
            everywhere["word"] = "kept"
        assert dict(everywhere) == {"theme": "dark", "word": "kept"}


def test_a_later_change_of_the_argument_has_no_effect() -> None:
    given: dict[str, Any] = {"items": [1]}
    block = overrides(given)
    given["items"].append(2)
    with block:
        assert value("items") == [1]


@pytest.mark.parametrize("values", ["theme", ["theme"], 3])
def test_an_argument_that_is_not_a_mapping_is_refused(values: Any) -> None:
    with pytest.raises(ConfigError, match="expected a mapping of flag keys to values, or keywords, got"):
        overrides(values)
