"""Names that may have been meant."""

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
        pytest.param("NEW_CHECKOUT", "new-checkout", id="shouted"),
        pytest.param("new-chekout", "new-checkout", id="a letter lost"),
        pytest.param("bannner", "banner", id="a letter doubled"),
        pytest.param("footer", None, id="nothing like it"),
        pytest.param("", None, id="no name"),
        pytest.param("b" * 1_000_000, None, id="a very long name"),
    ],
)
def test_what_may_have_been_meant(name: str, meant: str | None) -> None:
    assert nearest(name, NAMES) == meant


@pytest.mark.speed
def test_among_many_names_it_does_not_look_for_long() -> None:
    began = thread_time()
    assert nearest("checkout-12345x", [f"checkout-{number:05}{'y' * 60}" for number in range(100_000)]) is None
    nearest("checkout-x", [f"checkout-{number:05}" for number in range(100_000)])
    assert thread_time() - began < 1


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        pytest.param("banr", {}, "did you mean 'banner'?", id="a suggestion"),
        pytest.param("banr", {"before": "; "}, "; did you mean 'banner'?", id="after what stands before it"),
        pytest.param("banr", {"quote": '"{}"'.format}, 'did you mean "banner"?', id="in the quotes of the line"),
        pytest.param("footer", {"before": "; "}, "", id="nothing if no name is like it"),
    ],
)
def test_a_suggestion_reads(name: str, options: dict[str, Any], text: str) -> None:
    assert did_you_mean(name, NAMES, **options) == text


def test_a_suggestion_shows_no_line_break() -> None:
    assert suggestion("a\nb") == "did you mean 'a\\nb'?"
