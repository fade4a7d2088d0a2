"""Suggestions: the names that a user may have meant."""

from __future__ import annotations

from time import thread_time
from typing import Any

import pytest

from aioflags.runtime.suggest import did_you_mean, nearest, suggestion

NAMES = ["new-checkout", "new-search", "banner"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        pytest.param("new_checkout", "new-checkout", id="another dash"),
        pytest.param("newCheckout", "new-checkout", id="another style"),
        pytest.param("New-Checkout", "new-checkout", id="another case"),
        pytest.param("NEW_CHECKOUT", "new-checkout", id="upper case"),
        pytest.param("new-chekout", "new-checkout", id="a letter lost"),
        pytest.param("bannner", "banner", id="a letter doubled"),
        pytest.param("footer", None, id="a name that resembles no other"),
        pytest.param("", None, id="no name"),
        pytest.param("b" * 1_000_000, None, id="a very long name"),
    ],
)
def test_the_nearest_name_is_suggested(name: str, meant: str | None) -> None:
    assert nearest(name, NAMES) == meant


@pytest.mark.speed
def test_many_names_are_searched_quickly() -> None:
    began = thread_time()
    assert nearest("checkout-12345x", [f"checkout-{number:05}{'y' * 60}" for number in range(100_000)]) is None
    nearest("checkout-x", [f"checkout-{number:05}" for number in range(100_000)])
    assert thread_time() - began < 1


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        pytest.param("banr", {}, "did you mean 'banner'?", id="a suggestion"),
        pytest.param("banr", {"before": "; "}, "; did you mean 'banner'?", id="after a prefix"),
        pytest.param("banr", {"quote": '"{}"'.format}, 'did you mean "banner"?', id="in other quotes"),
        pytest.param("footer", {"before": "; "}, "", id="no suggestion"),
    ],
)
def test_the_text_of_a_suggestion(name: str, options: dict[str, Any], text: str) -> None:
    assert did_you_mean(name, NAMES, **options) == text


def test_a_suggestion_shows_no_line_break() -> None:
    assert suggestion("a\nb") == "did you mean 'a\\nb'?"
