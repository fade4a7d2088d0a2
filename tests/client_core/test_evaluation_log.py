"""What a client logs about evaluations that serve a default."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aioflags import Client, Config, Context, Flag
from aioflags.testing import FlagOverrides
from tests.support.client_flags import DOCUMENT, USER
from tests.support.scripted_clients import client_of, data_after


@pytest.mark.parametrize(
    ("key", "level", "ending"),
    [
        pytest.param("footer", logging.INFO, "", id="a new key"),
        pytest.param("Text", logging.WARNING, "; did you mean 'text'?", id="a key that resembles another"),
    ],
)
async def test_an_unknown_key_is_logged(key: str, level: int, ending: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with Client.local(DOCUMENT) as client:
            await client.variation(key, USER, 0)
    (record,) = (record for record in caplog.records if "unknown flag" in record.getMessage())
    assert (record.levelno, record.getMessage()) == (level, f"{key}: unknown flag; serving the default{ending}")


async def test_a_client_that_was_not_started_logs_that_and_not_that_data_are_missing(caplog: pytest.LogCaptureFixture) -> None:
    client = client_of(data_after(60), start_wait=0)
    assert client.variation_nowait("f", USER, 0) == 0
    assert caplog.messages == ["f: the client was not started; serving the default"]
    caplog.clear()
    await client.start()
    assert client.variation_nowait("g", USER, 0) == 0
    await client.aclose()
    assert "g: there is no flag data; serving the default" in caplog.messages


async def test_a_repeated_problem_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with Client.local(DOCUMENT) as client:
            for _ in range(3):
                await client.variation("missing\nflag", USER, 0)
                await client.variation("text", USER, 0)
                await client.variation("text", Context(""), 0)
    lines = [record.getMessage() for record in caplog.records]
    assert sum("unknown flag" in line for line in lines) == 1
    assert lines.count("text: its value is a string where a number is asked for; serving the default") == 1
    assert sum("context cannot be used" in line for line in lines) == 1
    assert not any("\n" in line for line in lines)


CUT = "sample-rate: its value has a fraction, which is cut off for an int; use a float as default, such as 0.0"
LOCAL: dict[str, Any] = {"flagValues": {"sample-rate": 0.25}}


def ask_flags(default: object) -> Callable[[Client], Awaitable[object]]:
    async def ask(client: Client) -> object:
        return (await client.flags(USER)).variation("sample-rate", default)

    return ask


ASKED: dict[str, tuple[Callable[[Client], Awaitable[object]], object, bool]] = {
    "an int": (lambda client: client.variation("sample-rate", USER, 0), 0, True),
    "a typed flag": (lambda client: client.variation(Flag("sample-rate", default=1), USER), 0, True),
    "the flags of a request": (ask_flags(0), 0, True),
    "a float": (lambda client: client.variation("sample-rate", USER, 0.0), 0.25, False),
    "any type": (lambda client: client.variation("sample-rate", USER), 0.25, False),
    "another type": (lambda client: client.variation("sample-rate", USER, True), True, False),
}


@pytest.mark.parametrize(("ask", "value", "warned"), ASKED.values(), ids=ASKED)
@pytest.mark.holds("EV-E179")
async def test_a_fraction_that_an_int_cuts_off_is_one_warning_a_flag(
    ask: Callable[[Client], Awaitable[object]], value: object, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with Client.local(LOCAL) as client:
        assert [await ask(client) for _ in range(3)] == [value] * 3
    assert caplog.messages.count(CUT) == warned


async def test_a_fraction_of_a_test_override_is_one_warning(
    flag_overrides: FlagOverrides, caplog: pytest.LogCaptureFixture
) -> None:
    async with Client.local({}) as client:
        flag_overrides["sample-rate"] = 0.25
        assert [await client.variation("sample-rate", USER, 0) for _ in range(2)] == [0, 0]
    assert caplog.messages.count(CUT) == 1


async def test_a_number_without_a_fraction_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with Client.local({"flagValues": {"sample-rate": 2.0}}) as client:
        assert await client.variation("sample-rate", USER, 0) == 2
    assert caplog.messages == []


async def test_an_explanation_shows_the_fraction_that_an_int_loses() -> None:
    async with Client.local(LOCAL) as client:
        text = str(await client.explain("sample-rate", USER))
    assert "the value has a fraction: a program with an int as default gets 0, one with a float gets 0.25" in text


async def test_a_second_cause_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with Client.local(DOCUMENT) as client:
        for _ in range(2):
            for context in (None, Context(""), Context("a", kind="kind")):
                await client.variation("text", context, "")
    assert [record.getMessage().partition(": the context cannot be used: ")[2] for record in caplog.records] == [
        "it is missing: none was given, and none is ambient",
        Context("").error,
        Context("a", kind="kind").error,
    ]


async def test_a_malformed_flag_is_logged_to_the_configured_logger(caplog: pytest.LogCaptureFixture) -> None:
    configured = logging.getLogger("mine")
    async with Client.local(DOCUMENT, Config(logger=configured)) as client:
        await client.variation("broken", USER, 0)
    assert [(record.name, "serves variation 7" in record.getMessage()) for record in caplog.records] == [("mine", True)]


async def test_a_wrong_type_is_logged_after_many_unknown_flags(caplog: pytest.LogCaptureFixture) -> None:
    async with Client.local({"flagValues": {"text": "a"}}) as client:
        for number in range(1001):
            client.variation_nowait(f"f{number}", Context("u"), 0)
        caplog.clear()
        client.variation_nowait("text", Context("u"), 0)
    assert [record.getMessage() for record in caplog.records] == [
        "text: its value is a string where a number is asked for; serving the default"
    ]
