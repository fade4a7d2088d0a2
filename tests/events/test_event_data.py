"""Data, metric values, defaults and attributes in events: what is copied, and what JSON cannot represent."""

from __future__ import annotations

from typing import Any, Never

import pytest

from aioflags import Context
from aioflags.model.defaults import MAX_PAYLOAD_BYTES
from tests.support.canaries import SECRET, redacted
from tests.support.events import U1, client_with_events


class RaisesOnRead(dict[str, object]):
    """Raises when it is read, as a dictionary can that another thread changes meanwhile."""

    def items(self) -> Never:
        raise LookupError(SECRET)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        pytest.param({}, {}, id="neither data nor a metric value"),
        pytest.param({"data": {"a": [1]}, "metric_value": 0}, {"data": {"a": [1]}, "metricValue": 0}, id="data and a zero"),
        pytest.param({"metric_value": -1.5}, {"metricValue": -1.5}, id="a negative number"),
        pytest.param({"data": False}, {"data": False}, id="false"),
        pytest.param({"data": 0}, {"data": 0}, id="zero"),
        pytest.param({"data": ""}, {"data": ""}, id="an empty string"),
        pytest.param({"data": []}, {"data": []}, id="an empty array"),
        pytest.param({"data": {}}, {"data": {}}, id="an empty object"),
        pytest.param({"data": "\ud800x"}, {"data": "\ud800x"}, id="a lone surrogate"),
        pytest.param({"data": float("nan")}, {}, id="NaN"),
        pytest.param({"data": [1, {"a": float("inf")}]}, {}, id="infinity inside an object"),
        pytest.param({"data": {1: 2}}, {}, id="a name that is not a string"),
        pytest.param({"data": object()}, {}, id="a value that JSON cannot represent"),
        pytest.param({"metric_value": float("nan")}, {}, id="EVT-W24 a metric value that is NaN"),
        pytest.param({"metric_value": float("-inf")}, {}, id="EVT-W24 an infinite metric value"),
        pytest.param({"metric_value": 10**400}, {"metricValue": 10**400}, id="a very large number"),
        pytest.param({"metric_value": 10**5000}, {}, id="a number with more digits than Python converts"),
        pytest.param({"data": {"n": 10**5000}}, {}, id="such a number inside an object"),
        pytest.param({"data": "x" * 5_000_000}, {"data": "x" * 5_000_000}, id="data that nearly fill a payload"),
        pytest.param({"data": "x" * MAX_PAYLOAD_BYTES, "metric_value": 1}, {"metricValue": 1}, id="data that are too long"),
        pytest.param({"data": RaisesOnRead(x=1)}, {}, id="a mapping that raises when it is read"),
    ],
)
async def test_data_and_metric_value_of_a_tracked_event(
    given: dict[str, Any],
    sent: dict[str, object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client_with_events() as sending:
        sending.client.track("x", U1, **given)
        sending.client.track("y", U1, "positional", 3)
        index, first, second = await sending.payload()
    assert index["kind"] == "index"
    first.pop("creationDate")
    assert first == {"kind": "custom", "key": "x", "context": redacted("u1"), **sent}
    assert (second["data"], second["metricValue"]) == ("positional", 3)
    assert bool(caplog.records) is (len(sent) < len(given))
    assert sending.client.stats.events_reduced == (len(sent) < len(given))


@pytest.mark.parametrize("key", ["nope", "tracked", "object"])
async def test_a_default_that_raises_when_it_is_read_is_null_in_the_summary(key: str) -> None:
    default = RaisesOnRead(x=1)
    async with client_with_events() as sending:
        # "tracked" serves a string, so the default is used. "object" serves an object.
        found = sending.client.variation_nowait(key, U1, default)
        assert await sending.client.variation(key, U1, default) == found
        assert (found is default) is (key != "object")
        *_, summary = await sending.payload()
    assert summary["features"][key]["default"] is None


@pytest.mark.parametrize("value", [RaisesOnRead(x=1), 10**5000], ids=["raises when it is read", "has too many digits"])
async def test_an_attribute_that_json_cannot_represent_is_left_out_alone(value: object) -> None:
    person = Context("odd", attributes={"odd": value, "plan": "pro"}, private=["/odd/x"])
    async with client_with_events() as sending:
        sending.client.identify(person)
        (identify,) = await sending.payload()
        assert sending.client.stats.events_dropped == 0
    assert identify["context"] == {"kind": "user", "key": "odd", "plan": "pro"}


async def test_data_and_defaults_are_copied_when_they_are_recorded() -> None:
    data: dict[str, Any] = {"a": [1]}
    default: list[Any] = [1]
    async with client_with_events() as sending:
        sending.client.track("x", U1, data)
        sending.client.variation_nowait("tracked", U1, default)
        data["a"].append(2)
        default.append(2)
        _, custom, feature, _ = await sending.payload()
    assert custom["data"] == {"a": [1]}
    assert feature["default"] == [1]


async def test_cyclic_data_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    data: list[Any] = []
    data.append(data)
    async with client_with_events() as sending:
        sending.client.track("x", U1, data)
        _, custom = await sending.payload()
    assert "data" not in custom
