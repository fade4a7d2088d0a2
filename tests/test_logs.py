"""What may stand in a log line, and what is said once."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.logs import Once, logger, name_of, printable, told


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("flag-é ユーザー", "flag-é ユーザー", id="what can be read stays"),
        pytest.param("a\nERROR forged", "a\\nERROR forged", id="a line break"),
        pytest.param("a\x1b[31m", "a\\x1b[31m", id="a colour of the terminal"),
        pytest.param("a\u202eb", "a\\u202eb", id="a turn of the direction"),
        pytest.param("a\u2028b", "a\\u2028b", id="a line separator"),
        pytest.param("x" * 201, "x" * 200 + "…", id="too long"),
        pytest.param("x" * 200, "x" * 200, id="just not too long"),
        pytest.param(None, "None", id="no text at all"),
    ],
)
def test_text_from_outside_fits_one_line(text: object, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_unprintable_gets_through(text: str) -> None:
    assert printable(text).isprintable()


class _Named:
    def __init__(self, name: object) -> None:
        self._name = name

    @property
    def name(self) -> object:
        if isinstance(self._name, BaseException):
            raise self._name
        return self._name


class _Unspeakable:
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("thing", "shown"),
    [
        pytest.param(_Named("metrics"), "metrics", id="its name"),
        pytest.param(_Named("a\nb"), "a\\nb", id="fit for a line"),
        pytest.param(_Named(ValueError()), "_Named", id="a name that cannot be read"),
        pytest.param(_Named(_Unspeakable()), "_Named", id="a name that cannot be shown"),
        pytest.param(object(), "object", id="no name"),
    ],
)
def test_whoever_fails_can_be_named(thing: object, shown: str) -> None:
    assert name_of(thing) == shown


def test_a_thing_is_said_once_until_it_is_forgotten() -> None:
    once = Once()
    assert [once("a"), once("a"), once("b")] == [True, False, True]
    once.forget("a")
    once.forget("never said")
    assert [once("a"), once("b")] == [True, False]


def test_after_enough_things_nothing_more_is_said() -> None:
    once = Once(capacity=2)
    assert [once(thing) for thing in ("a", "b", "c", "c")] == [True, True, False, False]


def test_the_package_prints_nothing_of_its_own() -> None:
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    assert logger.name == "aioflags"


class WordlessError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(OSError("gone\n"), "OSError: gone\\n", id="with words"),
        pytest.param(OSError(), "OSError", id="without"),
        pytest.param(WordlessError(), "WordlessError", id="with words that it cannot say"),
    ],
)
def test_an_exception_is_told_in_one_line(error: Exception, line: str) -> None:
    assert told(error) == line
