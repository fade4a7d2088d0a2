"""FlagRecorder: recorded evaluations, assertions and their messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from aioflags import Client, Context, FlagdClient
from aioflags.client_core.overrides import OVERRIDES
from aioflags.testing import FlagRecorder

ANNA, BERT = Context("anna"), Context("bert")


@pytest.fixture
def recorder() -> Iterator[FlagRecorder]:
    """A recorder that is active."""
    found = FlagRecorder()
    with OVERRIDES.observed(found):
        yield found


@pytest.fixture
def client() -> Client:
    """A client with three flags."""
    return Client.local({"flagValues": {"new-checkout": True, "theme": "dark", "limit": 3}})


def test_the_recorder_has_each_evaluation_in_order(recorder: FlagRecorder, client: Client) -> None:
    client.variation_nowait("theme", ANNA, "")
    client.variation_nowait("limit", BERT, 0)
    client.variation_nowait("theme", BERT, "none")
    assert [(one.key, one.context, one.default, one.detail.value) for one in recorder] == [
        ("theme", ANNA, "", "dark"),
        ("limit", BERT, 0, 3),
        ("theme", BERT, "none", "dark"),
    ]
    assert recorder.keys == ["theme", "limit"]
    assert [one.default for one in recorder.of("theme")] == ["", "none"]
    assert (len(recorder), repr(recorder)) == (3, "<FlagRecorder, 3 evaluations of 2 flags>")
    recorder.clear()
    assert (len(recorder), recorder.keys) == (0, [])


@pytest.mark.parametrize(
    ("check", "key", "wanted"),
    [
        pytest.param("assert_evaluated", "limit", dict[str, Any](), id="at least once"),
        pytest.param("assert_evaluated", "limit", dict[str, Any](times=2), id="a number of times"),
        pytest.param("assert_evaluated", "limit", dict[str, Any](value=3.0), id="with a value, and 3 is 3.0"),
        pytest.param("assert_evaluated", "limit", dict[str, Any](default=1, times=1), id="with a default"),
        pytest.param("assert_evaluated", "limit", dict[str, Any](context=Context("anna"), times=1), id="for a context"),
        pytest.param("assert_evaluated", "theme", dict[str, Any](times=0), id="zero times"),
        pytest.param("assert_not_evaluated", "theme", dict[str, Any](), id="not at all"),
    ],
)
def test_an_assertion_holds(recorder: FlagRecorder, client: Client, check: str, key: str, wanted: dict[str, Any]) -> None:
    client.variation_nowait("limit", ANNA, 0)
    client.variation_nowait("limit", BERT, 1)
    getattr(recorder, check)(key, **wanted)


@pytest.mark.parametrize(
    ("check", "key", "wanted", "message"),
    [
        pytest.param(
            "assert_evaluated",
            "new_checkout",
            dict[str, Any](),
            "the flag 'new_checkout' was not evaluated; did you mean 'new-checkout'?\nevaluated flags:\n"
            "  new-checkout = True for anna with the default False (FALLTHROUGH)\n"
            "  theme = '' for no context with the default '' (ERROR: USER_NOT_SPECIFIED)",
            id="a similar key",
        ),
        pytest.param(
            "assert_evaluated",
            "new-checkout",
            dict[str, Any](value=1, context=BERT, default=False),
            "the flag 'new-checkout' was not evaluated with the value 1 with the default False for bert:\n"
            "  new-checkout = True for anna with the default False (FALLTHROUGH)",
            id="other properties of the evaluation",
        ),
        pytest.param(
            "assert_evaluated",
            "theme",
            dict[str, Any](times=2),
            "the flag 'theme' was expected to be evaluated 2 times, but 1 times:\n"
            "  theme = '' for no context with the default '' (ERROR: USER_NOT_SPECIFIED)",
            id="another number of times",
        ),
        pytest.param(
            "assert_not_evaluated",
            "new-checkout",
            dict[str, Any](),
            "the flag 'new-checkout' was evaluated 1 times:\n  new-checkout = True for anna with the default False (FALLTHROUGH)",
            id="a flag that was evaluated",
        ),
    ],
)
def test_a_failed_assertion_lists_what_was_evaluated(
    recorder: FlagRecorder, client: Client, check: str, key: str, wanted: dict[str, Any], message: str
) -> None:
    client.variation_nowait("new-checkout", ANNA, False)
    client.variation_nowait("theme", None, "")
    with pytest.raises(AssertionError) as failure:
        getattr(recorder, check)(key, **wanted)
    assert str(failure.value) == message


def test_a_failed_assertion_reports_that_no_flag_was_evaluated(recorder: FlagRecorder) -> None:
    with pytest.raises(AssertionError, match=r"the flag 'theme' was not evaluated; no flag was evaluated$"):
        recorder.assert_evaluated("theme")


def test_a_failed_assertion_lists_the_newest_of_many(recorder: FlagRecorder, client: Client) -> None:
    for count in range(50):
        client.variation_nowait("limit", ANNA, count)
    with pytest.raises(AssertionError) as failure:
        recorder.assert_evaluated("theme")
    lines = str(failure.value).splitlines()
    assert (len(lines), lines[2]) == (23, "  … 30 before")
    assert lines[-1].startswith("  limit = 3 for anna with the default 49")


async def test_all_flags_are_not_recorded_as_evaluations(recorder: FlagRecorder, client: Client) -> None:
    client.flags_nowait(ANNA).all()
    await client.all_flags_state(ANNA)
    assert len(recorder) == 0


def test_a_context_without_a_key_is_shown_as_such(recorder: FlagRecorder) -> None:
    FlagdClient.local({"flags": {}}).variation_nowait("limit", Context.keyless({"plan": "pro"}), 0)
    with pytest.raises(AssertionError, match="limit = 0 for a context without a key"):
        recorder.assert_not_evaluated("limit")


def test_an_invalid_context_is_shown_as_invalid(recorder: FlagRecorder, client: Client) -> None:
    client.variation_nowait("limit", Context("anna", kind="a b"), 0)
    with pytest.raises(AssertionError, match="limit = 0 for an invalid context"):
        recorder.assert_not_evaluated("limit")
