"""What a client logs about evaluations that serve a default."""

from __future__ import annotations

import logging

import pytest

from aioflags import Client, Config, Context
from tests.support.client_flags import DOCUMENT, USER


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


async def test_a_second_cause_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with Client.local(DOCUMENT) as client:
        for _ in range(2):
            for context in (None, Context(""), Context("a", kind="kind")):
                await client.variation("text", context, "")
    assert [record.getMessage().partition(": the context cannot be used: ")[2] for record in caplog.records] == [
        "none was given, and none is ambient",
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
