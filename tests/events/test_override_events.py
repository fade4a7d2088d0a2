"""Events of evaluations that read an override: counted separately, and never sent one by one."""

from __future__ import annotations

from typing import Any

import pytest

from aioflags import Context
from tests.support.events import client_with_events, document, flag
from tests.support.overridden_clients import override

U1 = Context("u1")
ON_TOP = {"top": flag(trackEvents=True, prerequisites=[{"key": "pre", "variation": 1}])}


def counters(payload: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    features = payload[-1]["features"]
    return {key: sorted(feature["counters"], key=lambda counter: sorted(counter.items())) for key, feature in features.items()}


@pytest.mark.holds("EVT-W25")
@pytest.mark.parametrize(
    ("overrides", "key", "events", "counted"),
    [
        pytest.param(
            {"plain": flag(version=3)},
            "plain",
            ["index", "summary"],
            {"plain": {"value": "b", "variation": 1, "version": 3, "count": 3, "override": True}},
            id="an overridden flag",
        ),
        pytest.param(
            {"tracked": flag(trackEvents=True)},
            "tracked",
            ["index", "summary"],
            {"tracked": {"value": "b", "variation": 1, "version": 7, "count": 3, "override": True}},
            id="an overridden flag that is tracked",
        ),
        pytest.param(
            {"debug": document()["flags"]["debug"]},
            "debug",
            ["index", "summary"],
            {"debug": {"value": "b", "variation": 1, "version": 7, "count": 3, "override": True}},
            id="an overridden flag that is debugged",
        ),
        pytest.param(
            {"rollout exp": document()["flags"]["rollout exp"]},
            "rollout exp",
            ["index", "summary"],
            {"rollout exp": {"value": "a", "variation": 0, "version": 7, "count": 3, "override": True}},
            id="an overridden experiment",
        ),
        pytest.param(
            {"bad": flag(version=8, fallthrough={"variation": 9})},
            "bad",
            ["index", "summary"],
            {"bad": {"value": None, "version": 8, "count": 3, "override": True}},
            id="an overridden flag that is malformed",
        ),
        pytest.param(
            {"pre": flag(trackEvents=True, version=2)},
            "top",
            ["index", "summary"],
            {
                "pre": {"value": "b", "variation": 1, "version": 2, "count": 3, "override": True},
                "top": {"value": "b", "variation": 1, "version": 7, "count": 3, "overrideAffected": True},
            },
            id="an overridden prerequisite",
        ),
        pytest.param(
            {"pre": {"deleted": True}},
            "top",
            ["index", "summary"],
            {"top": {"value": None, "version": 7, "count": 3, "overrideAffected": True}},
            id="a prerequisite that is hidden",
        ),
        pytest.param(
            {"tracked": {"deleted": True}},
            "tracked",
            ["index", "summary"],
            {"tracked": {"value": None, "unknown": True, "count": 3, "override": True}},
            id="a flag that is hidden",
        ),
        pytest.param(
            ON_TOP,
            "top",
            ["index", "feature", "feature", "feature", "summary"],
            {
                "pre": {"value": "b", "variation": 1, "version": 7, "count": 3},
                "top": {"value": "b", "variation": 1, "version": 7, "count": 3, "override": True},
            },
            id="an overridden flag, whose prerequisite has its own events",
        ),
        pytest.param(
            {"other": flag()},
            "plain",
            ["index", "summary"],
            {"plain": {"value": "b", "variation": 1, "version": 7, "count": 3}},
            id="another flag",
        ),
    ],
)
async def test_marked_evaluations_are_counted_and_send_no_event(
    overrides: dict[str, Any], key: str, events: list[str], counted: dict[str, dict[str, Any]]
) -> None:
    async with client_with_events() as events_of:
        await override(events_of.client, {"flags": overrides})
        await events_of.client.variation(key, U1, None)
        await events_of.client.variation(key, U1, None)
        await events_of.client.variation_detail(key, U1, None)
        payload = await events_of.payload()
        assert [record["kind"] for record in payload] == events
        assert counters(payload) == {key: [counter] for key, counter in counted.items()}
        assert all(record["key"] == "pre" for record in payload if record["kind"] == "feature")


@pytest.mark.holds("EVT-W25")
async def test_marked_and_other_evaluations_of_a_version_are_counted_separately() -> None:
    async with client_with_events() as events_of:
        client = events_of.client
        for _ in range(2):
            await client.variation("plain", U1, "")
            await client.variation("plain top", U1, "")
        await override(client, {"flags": {"plain": flag(), "plain pre": flag()}})
        for _ in range(3):
            await client.variation("plain", U1, "")
            await client.variation("plain top", U1, "")
        await override(client)
        for _ in range(4):
            await client.variation("plain", U1, "")
            await client.variation("plain top", U1, "")
        counter = {"value": "b", "variation": 1, "version": 7}
        plain, marked = {**counter, "count": 6}, {**counter, "count": 3}
        assert counters(await events_of.payload()) == {
            "plain": [{**marked, "override": True}, plain],
            "plain pre": [{**marked, "override": True}, plain],
            "plain top": [{**marked, "overrideAffected": True}, plain],
        }
        await client.variation("plain", U1, "")
        assert counters(await events_of.payload()) == {"plain": [{**counter, "count": 1}]}
