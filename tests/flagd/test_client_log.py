"""FlagdClient: what its log has of starts and outages.

Source: ``flagd.md`` 3.2 and 3.6.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from aioflags import Context
from tests.support.scripted_flagd import FIRST, INTERNAL, Diary, ScriptedFlagd, flag, flags

RESOLVERS = ["in-process", "rpc"]
BACK = {"in-process": ["READY", "CONFIGURATION_CHANGED none"], "rpc": ["READY", "CONFIGURATION_CHANGED any"]}
"""The end of an outage after which the flags are the same."""


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The level of each line, and the line without its reason."""
    return [(record.levelname, record.getMessage()) for record in caplog.records]


NO_CONTACT = "no contact to the source of flag data for 10 s: cannot connect to flagd: connection refused"


@pytest.mark.parametrize(
    ("resolver", "served", "served_late", "source"),
    [
        ("in-process", "the last flag data", "the last flag data", "flagd-sync"),
        ("rpc", "cached answers", "defaults", "flagd-events"),
    ],
)
async def test_the_log_of_an_outage(
    flagd: ScriptedFlagd, resolver: str, served: str, served_late: str, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with flagd.client(resolver) as client:
        caplog.set_level(logging.INFO, "aioflags")
        for _ in range(2):
            flagd.stop()
            await asyncio.sleep(30)
            flagd.start()
            await client.wait_ready(10)
        assert (
            lines(caplog)
            == [
                (
                    "WARNING",
                    f"{source} interrupted, will retry; serving {served}: flagd at {target(resolver)}: UNAVAILABLE: Socket closed",
                ),
                ("ERROR", f"{NO_CONTACT}; serving {served_late}"),
                ("WARNING", f"{source} is receiving flag updates again"),
            ]
            * 2
        )


@pytest.mark.parametrize("resolver", RESOLVERS)
async def test_an_outage_that_begins_with_a_refusal_has_a_line_for_the_network_too(
    resolver: str, caplog: pytest.LogCaptureFixture
) -> None:
    flagd = ScriptedFlagd([[FIRST], [INTERNAL], [INTERNAL]])
    async with flagd.client(resolver, retry_grace_period=100):
        flagd.send(INTERNAL)
        await asyncio.sleep(8)
        flagd.stop()
        await asyncio.sleep(8)
    endings = ["INTERNAL: broken", "cannot connect to flagd: connection refused"]
    assert [text.endswith(end) for (_, text), end in zip(lines(caplog), endings, strict=True)] == [True, True]


@pytest.mark.parametrize("resolver", RESOLVERS)
async def test_the_planned_end_of_a_stream_is_not_logged(
    flagd: ScriptedFlagd, resolver: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with flagd.client(resolver, stream_deadline=60) as client:
        caplog.set_level(logging.INFO, "aioflags")
        diary = Diary(client)
        await asyncio.sleep(200)
        assert diary.shown == ["STALE", *BACK[resolver]] * 3
        assert lines(caplog) == []


ROLLOUT = {"fractional": [["on", 1], ["off", 1]]}


@pytest.mark.parametrize(
    ("rule", "options", "count"),
    [
        pytest.param(ROLLOUT, {}, 1, id="the default"),
        pytest.param({"if": [{"==": [1, 2]}, ROLLOUT, "on"]}, {}, 1, id="inside a rule"),
        pytest.param({"if": [{"==": [1, 2]}, "off", "on"]}, {}, 0, id="no rollout"),
        pytest.param(ROLLOUT, {"fractional_version": 3}, 0, id="the version of the default, given"),
        pytest.param(ROLLOUT, {"fractional_version": 2}, 0, id="the other version"),
    ],
)
async def test_a_version_of_fractional_that_was_not_chosen_is_logged_once_if_a_rule_needs_it(
    rule: Any, options: dict[str, Any], count: int, caplog: pytest.LogCaptureFixture
) -> None:
    flagd = ScriptedFlagd([[flags(a=flag(targeting=rule), b=flag(targeting=rule))]])
    async with flagd.client(**options) as client:
        assert caplog.records == []
        for key in ("a", "b", "a"):
            await client.variation(key, Context("anna"), False)
    assert [(level, "set fractional_version, or FLAGD_FRACTIONAL_VERSION" in text) for level, text in lines(caplog)] == [
        ("WARNING", True)
    ] * count


def target(resolver: str) -> str:
    """What the client connects to."""
    return f"localhost:{8015 if resolver == 'in-process' else 8013}"


@pytest.mark.parametrize(
    ("resolver", "expected"),
    [("in-process", "started: READY, 1 flag from flagd-sync"), ("rpc", "started: READY, the server evaluates")],
)
async def test_the_log_of_a_start(flagd: ScriptedFlagd, resolver: str, expected: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    async with flagd.client(resolver):
        assert lines(caplog)[-1] == ("INFO", expected)


REFUSED = "cannot connect to flagd: connection refused"
SILENT = "no answer from flagd at {}, and no failure so far"


@pytest.mark.parametrize(("is_up", "why"), [pytest.param(False, REFUSED, id="refused"), pytest.param(True, SILENT, id="silent")])
@pytest.mark.parametrize(
    ("resolver", "what", "until"), [("in-process", "flag data", "some arrive"), ("rpc", "a connection", "there is one")]
)
async def test_the_log_of_a_start_without_an_answer(
    resolver: str, what: str, until: str, is_up: bool, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aioflags")
    flagd = ScriptedFlagd([[]])
    if not is_up:
        flagd.stop()
    async with flagd.client(resolver):
        reason = why.format(target(resolver))
        # The failure itself is a warning.
        level = "WARNING" if is_up else "INFO"
        assert [each for each, _ in lines(caplog)].count("WARNING") == 1
        assert lines(caplog)[-1] == (level, f"started without {what} after 0.5 s ({reason}): defaults are served until {until}")
