"""What a migrator measures, and which migration events are sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from aioflags import Client, ConfigError, Context
from aioflags.migration import Operation, ReadOrder, Stage
from tests.migration.migrators import NEW, STAGES, USER, Systems, every_order, measured, migrating, ops, same
from tests.support.canaries import redacted

# -- measurements


async def test_an_event_has_all_measurements() -> None:
    async with migrating("live", samplingRatio=1, migration={"checkRatio": 1}) as sending:
        migrator = Systems().migrator(sending.client, compare=same)
        await migrator.read("move", USER, Stage.OFF, None)
        (op,) = await ops(sending)
    del op["creationDate"]
    assert op == {
        "kind": "migration_op",
        "operation": "read",
        "context": redacted("anna"),
        "evaluation": {
            "key": "move",
            "value": "live",
            "version": 7,
            "default": "off",
            "variation": 3,
            "reason": {"kind": "FALLTHROUGH"},
        },
        "measurements": [
            {"key": "invoked", "values": {"old": True, "new": True}},
            {"key": "consistent", "value": False},
            {"key": "latency_ms", "values": {"old": pytest.approx(1000), "new": pytest.approx(2000)}},
        ],
    }


@pytest.mark.parametrize(
    ("options", "names"),
    [
        pytest.param({}, {"invoked", "latency_ms", "error"}, id="latencies and errors"),
        pytest.param({"track_latency": False}, {"invoked", "error"}, id="errors alone"),
        pytest.param({"track_errors": False}, {"invoked", "latency_ms"}, id="latencies alone"),
    ],
)
async def test_latencies_and_errors_can_be_switched_off(options: dict[str, bool], names: set[str]) -> None:
    async with migrating("off") as sending:
        await Systems({"old": ValueError()}).migrator(sending.client, **options).read("move", USER, Stage.OFF, None)
        assert set(await measured(sending)) == names


@every_order
@pytest.mark.parametrize("stage", STAGES)
async def test_values_are_compared_if_both_systems_were_read(stage: str, order: ReadOrder) -> None:
    compared: list[tuple[str, str]] = []

    def compare(deciding: str, other: str) -> bool:
        compared.append((deciding, other))
        return True

    async with migrating(stage) as sending:
        await Systems().migrator(sending.client, order=order, compare=compare).read("move", USER, Stage.OFF, None)
        both = {"shadow": [("from old", "from new")], "live": [("from new", "from old")]}
        assert compared == both.get(stage, [])
        assert (await measured(sending)).get("consistent") == ({"value": True} if compared else None)


@pytest.mark.parametrize(
    ("settings", "operation", "compare"),
    [
        pytest.param({}, "read", None, id="without compare"),
        pytest.param({}, "write", same, id="in a write"),
        pytest.param({"migration": {"checkRatio": 0}}, "read", same, id="in a read with a check ratio of 0"),
    ],
)
async def test_there_is_no_comparison(
    settings: dict[str, Any], operation: str, compare: Callable[[object, object], bool] | None
) -> None:
    async with migrating("live", **settings) as sending:
        migrator = Systems().migrator(sending.client, compare=compare)
        await getattr(migrator, operation)("move", USER, Stage.OFF, None)
        assert "consistent" not in await measured(sending)


async def test_a_sampling_ratio_of_0_sends_no_event() -> None:
    async with migrating("live", samplingRatio=0) as sending:
        await Systems().migrator(sending.client).read("move", USER, Stage.OFF, None)
        assert await ops(sending) == []


async def test_an_operation_does_not_describe_its_context() -> None:
    async with migrating("live") as sending:
        _, tracker = await sending.client.migration_variation("move", USER, Stage.OFF)
        await sending.payload()
        tracker.operation(Operation.READ)
        tracker.invoked(NEW)
        sending.client.track_migration_op(tracker)
        assert [record["kind"] for record in await sending.payload()] == ["migration_op"]


# -- operations without an event


async def test_incomplete_measurements_are_not_sent_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with migrating("live") as sending:
        for _ in range(2):
            _, tracker = await sending.client.migration_variation("move", USER, Stage.OFF)
            tracker.operation(Operation.READ)
            sending.client.track_migration_op(tracker)
        assert await ops(sending) == []
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "no system was invoked" in message


async def test_for_an_invalid_context_the_default_stage_runs_and_nothing_is_sent() -> None:
    systems = Systems()
    async with migrating("live") as sending:
        result = await systems.migrator(sending.client).read("move", Context(""), Stage.OFF, "p")
        assert (result.value, systems.log) == ("from old", ["old p"])
        assert await sending.payload() == []


async def test_an_argument_that_is_not_a_tracker_is_refused() -> None:
    async with Client.local({}) as client:
        with pytest.raises(ConfigError, match=r"^tracker: expected OpTracker, got str$"):
            client.track_migration_op("tracker")  # type: ignore[arg-type]  # the mistake


# -- comparisons


def truthy(deciding: str, other: str) -> Any:
    return deciding + other


def raises(deciding: str, other: str) -> bool:
    raise ValueError(deciding, other)


CHECKS: Mapping[str, Callable[[str, str], bool]] = {"truthy": truthy, "raises": raises}


@pytest.mark.parametrize("check", CHECKS)
async def test_the_result_of_a_comparison_is_a_boolean_or_missing(check: str, caplog: pytest.LogCaptureFixture) -> None:
    async with migrating("shadow") as sending:
        compare = CHECKS[check]
        await Systems().migrator(sending.client, compare=compare).read("move", USER, Stage.OFF, None)
        assert (await measured(sending)).get("consistent") == ({"value": True} if check == "truthy" else None)
    assert ("the comparison failed" in caplog.text) is (check == "raises")
