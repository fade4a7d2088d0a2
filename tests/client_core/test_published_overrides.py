"""What observers of a client see of overrides: changes of flags, and no change of the status."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from aioflags import Client, Config, Context, DataSystem, FlagChange, Status, ValueChange
from aioflags.evaluation.overrides import NO_OVERRIDES
from aioflags.model.status import Event
from aioflags.supervisor.next_snapshot import publish_overrides
from tests.support.client_flags import on
from tests.support.feed import Feed, full
from tests.support.overridden_clients import override, overrides_in
from tests.support.status_clients import FATAL, StatusClient, settle, shown

CHANGED = ["CONFIGURATION_CHANGED f"]
K = Context("k")
OVERRIDES = overrides_in({"flagValues": {"f": "override"}})


@pytest.mark.holds("DS-160")
@pytest.mark.parametrize(
    ("facts", "status", "events"),
    [
        pytest.param([], Status.NOT_READY, [], id="before data"),
        pytest.param(["late"], Status.ERROR, CHANGED, id="a late start"),
        pytest.param(["data"], Status.READY, CHANGED, id="with data"),
        pytest.param(["data", "interrupted"], Status.STALE, CHANGED, id="in an outage"),
        pytest.param(["data", "off"], Status.ERROR, CHANGED, id="no source left"),
        pytest.param(["off"], Status.FATAL, CHANGED, id="refused before any data"),
    ],
)
async def test_overrides_change_flags_and_not_the_status(
    facts: list[str], status: Status, events: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    client, seen = StatusClient(), list[Event]()
    await client.start(0)
    reports: dict[str, Callable[[], object]] = {
        "late": client.cell.start_timed_out,
        "data": lambda: client.data(f=1, g=1),
        "interrupted": client.interrupted,
        "off": client.off,
    }
    for fact in facts:
        reports[fact]()
    client.on_event(None, seen.append, inline=True)
    await settle()
    seen.clear()
    caplog.clear()
    caplog.set_level(logging.INFO)
    before, age = client.report, client.cell.data_since
    is_ready = client.cell.readiness.is_set()
    await publish_overrides(client.cell, OVERRIDES)
    await settle()
    assert client.value("f") == "override"
    after = client.report
    assert (after.status, after.source_state, after.since, after.error) == (status, before.source_state, before.since, before.error)
    assert shown(seen) == events
    assert (client.cell.data_since, client.cell.readiness.is_set()) == (age, is_ready)
    assert not caplog.records
    await publish_overrides(client.cell, NO_OVERRIDES)
    assert client.value("f") == (1 if "data" in facts else None)
    await client.aclose()


async def test_overrides_after_a_fatal_code_or_the_close_are_ignored() -> None:
    client = StatusClient(restartable=True)
    await client.start(0)
    client.data(f=1)
    client.off(FATAL)
    await publish_overrides(client.cell, OVERRIDES)
    assert client.value("f") == 1
    await client.aclose()
    other = StatusClient()
    await other.start(0)
    await other.aclose()
    await publish_overrides(other.cell, OVERRIDES)
    assert other.value("f") is None


async def test_data_after_overrides_make_a_client_ready() -> None:
    client = StatusClient()
    await client.start(0)
    await publish_overrides(client.cell, OVERRIDES)
    statuses = [client.status]
    client.data(f=1, g=2)
    assert [*statuses, client.status] == [Status.NOT_READY, Status.READY]
    assert (client.value("f"), client.value("g")) == ("override", 2)
    assert client.cell.data_summary == "2 flags"
    await client.aclose()


@pytest.mark.holds("DS-158")
async def test_changes_follow_overrides_and_what_depends_on_them() -> None:
    feed = Feed()
    needs = {"prerequisites": [{"key": "a", "variation": 0}], "offVariation": 1}
    async with Client("", Config(data_system=DataSystem.custom(synchronizers=[feed]), start_wait=0)) as client:
        await override(client, {"flags": {"top": on(1, 2, **needs)}})
        async with client.changes() as flags, client.changes("top", K) as values:
            feed.say(full(a=1, b=1))
            await settle()
            assert await anext(flags) == FlagChange("a")
            assert await anext(flags) == FlagChange("b")
            assert await anext(flags) == FlagChange("top")
            assert await anext(values) == ValueChange("top", 2, 1)
            await override(client, {"flags": {"top": on(1, 2, **needs), "a": on(7, on=False)}})
            assert await anext(flags) == FlagChange("a")
            assert await anext(flags) == FlagChange("top")
            assert await anext(values) == ValueChange("top", 1, 2)
            await override(client, {})
            assert await anext(values) == ValueChange("top", 2, None)


async def test_pinned_flags_keep_their_overrides() -> None:
    feed = Feed()
    feed.say(full(a=1))
    async with Client("", Config(data_system=DataSystem.custom(synchronizers=[feed]))) as client:
        await override(client, a="override")
        pinned = await client.flags(K)
        await override(client)
        assert (pinned.variation("a", ""), client.variation_nowait("a", K, 0)) == ("override", 1)


@pytest.mark.holds("EV-E176", "DS-160")
async def test_before_data_all_flags_are_the_overridden_ones_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with Client("", Config(data_system=DataSystem.custom(synchronizers=[Feed()]), start_wait=0)) as client:
        assert not (await client.all_flags_state(K)).valid
        caplog.clear()
        await override(client, a="override")
        for _ in range(3):
            state = await client.all_flags_state(K)
            assert (state.valid, state.to_values_map()) == (True, {"a": "override"})
            assert (await client.flags(K)).all() == {"a": "override"}
        assert await client.variation("a", K, "") == "override"
        assert await client.variation("b", K, "default") == "default"
        assert not client.is_initialized
        assert [record.getMessage() for record in caplog.records] == [
            "all flags: there is no flag data; serving the overridden flags alone",
            "b: there is no flag data; serving the default",
        ]
        explanation = await client.explain("a", K)
        assert "a local override defines the flag" in str(explanation)
        await override(client)
        assert not (await client.all_flags_state(K)).valid
